"""Intensities of any type are mapped to 8 bits by their percentiles, block by block."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nuclei.base.errors import InputError
from nuclei.images import intensity
from nuclei.images.intensity import to_eight_bit

TYPES = ("u2", "i2", "u4", "i4", "f4", "f8")


def rescaled(values: np.ndarray) -> np.ndarray:
    """The definition, in one go."""
    low, high = np.percentile(values.astype(np.float64), (0.1, 99.9))
    return np.rint(np.clip((values.astype(np.float64) - low) * (255 / (high - low)), 0, 255)).astype(np.uint8)


@given(st.sampled_from(TYPES), st.integers(2, 40), st.integers(2, 40), st.integers(0, 99), st.integers(1, 200))
def test_blocks_give_what_the_whole_image_gives(dtype: str, height: int, width: int, seed: int, block: int) -> None:
    values = np.random.default_rng(seed).normal(500, 90, (height, width, 3)).astype(dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intensity, "BLOCK", block)
        found, missing_px = to_eight_bit(values, "")
    np.testing.assert_array_equal(found, rescaled(values))
    assert missing_px == 0


def test_percentiles_of_a_sample_are_those_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).gamma(2, 300, (1000, 1000)).astype(np.uint16)
    monkeypatch.setattr(intensity, "SAMPLE", 200_000)
    found = to_eight_bit(values, "")[0].astype(int)
    again = to_eight_bit(values, "")[0]
    np.testing.assert_array_equal(found, again)
    assert np.abs(found - rescaled(values)).max() <= 8  # the upper percentile of this long tail is off by some per cent
    monkeypatch.setattr(intensity, "SAMPLE", 10**6)
    np.testing.assert_array_equal(to_eight_bit(values, "")[0], rescaled(values))


def test_memory_is_that_of_the_result_and_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intensity, "SAMPLE", 2**16)
    monkeypatch.setattr(intensity, "BLOCK", 2**16)
    values = np.arange(4_000_000, dtype=np.uint16).reshape(2000, 2000)
    tracemalloc.start()
    found, _ = to_eight_bit(values, "")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.nbytes < peak < found.nbytes + 40 * 2**16  # a float64 copy of the image alone is 8 times the result


@pytest.mark.parametrize("dtype", TYPES)
def test_an_image_of_two_values_of_which_one_is_rare_uses_the_whole_range(dtype: str) -> None:
    values = np.full((100, 100), 7, dtype)
    assert to_eight_bit(values, "")[0].max() == 0
    values[3, 4] = 9
    found = to_eight_bit(values, "")[0]
    assert found[3, 4] == 255 and np.count_nonzero(found) == 1


def test_a_pixel_with_a_value_that_is_not_finite_in_any_channel_is_counted_once() -> None:
    values = np.random.default_rng(0).normal(0, 1, (10, 10, 3))
    values[0, 0] = np.nan
    values[1, 1, 2], values[2, 2, 0] = np.inf, -np.inf
    found, missing_px = to_eight_bit(values, "")
    assert missing_px == 3
    assert not found[~np.isfinite(values)].any()


def test_complex_numbers_are_not_intensities() -> None:
    with pytest.raises(InputError, match="not intensities"):
        to_eight_bit(np.ones((3, 3), complex), "a.tif")
