"""Images are normalised between percentiles, all channels alike, and a nearly blank field stays one."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from conftest import ROOT
from nuclei.base.params import load
from nuclei.network.normalisation import LIGHTEST_BLACK, normalise_percentiles

TRAIN = load(ROOT / "params.yaml").train


def test_a_nearly_blank_field_is_not_stretched_to_noise() -> None:
    rgb = np.random.default_rng(0).normal((180, 160, 205), 2, (256, 320, 3))
    rgb[40:54, 30:44] = rgb[200:214, 250:264] = (90, 60, 190)  # two dark nuclei on half a percent of it
    before = np.rint(rgb).clip(0, 255).astype(np.uint8)
    after = normalise_percentiles(before, TRAIN.normalise_low, TRAIN.normalise_high)
    blank = np.s_[100:180, 60:240]
    assert after[blank].std(axis=(0, 1)).max() < 5  # of 255; from the 1st percentile on it would be 9
    assert after[45, 35, 1] < after[blank][..., 1].min() / 10


@given(seed=st.integers(0, 2**31 - 1), low=st.floats(0, 40), high=st.floats(60, 100))
def test_the_percentiles_become_black_and_white_and_the_order_stays(seed: int, low: float, high: float) -> None:
    random = np.random.default_rng(seed)
    before = random.integers(random.integers(0, 100), random.integers(150, 256), (30, 30, 3), np.uint8)
    after = normalise_percentiles(before, low, high).astype(int)
    assert after.max() == 255
    assert (after == 255).mean() * 100 >= 100 - high
    assert (after == 0).mean() * 100 > low or np.percentile(before, low) > LIGHTEST_BLACK * before[
        after == 255
    ].min() - 1
    order = np.argsort(before, axis=None, kind="stable")
    assert (np.diff(after.ravel()[order]) >= 0).all()


@given(pedestal=st.integers(0, 200), gain=st.integers(5, 50))
def test_a_dark_image_on_a_pedestal_is_stretched_in_full(pedestal: int, gain: int) -> None:
    before = np.full((40, 40, 3), pedestal, np.uint8)
    before[:10] = pedestal + gain
    after = normalise_percentiles(before, TRAIN.normalise_low, TRAIN.normalise_high)
    assert set(np.unique(after[:10])) == {255}
    assert set(np.unique(after[10:])) == {0}


@given(seed=st.integers(0, 2**31 - 1))
def test_a_gray_image_and_its_inverse_become_the_same_if_light_ones_are_inverted(seed: int) -> None:
    random = np.random.default_rng(seed)
    gray = random.integers(0, 40, (30, 30, 1), np.uint8)
    gray[:9] += random.integers(100, 200, dtype=np.uint8)  # nuclei on less than a third of it
    dark = np.repeat(gray, 3, axis=2)
    assert np.array_equal(normalise_percentiles(dark, 1, 99, invert_light=True), normalise_percentiles(dark, 1, 99))
    inverted = normalise_percentiles(255 - dark, 1, 99, invert_light=True).astype(int)
    assert abs(inverted - normalise_percentiles(dark, 1, 99)).max() <= 255 / 60  # percentiles are whole gray levels


@given(seed=st.integers(0, 2**31 - 1), gain=st.integers(10, 200))
def test_a_gray_image_and_its_inverse_get_the_same_contrast(seed: int, gain: int) -> None:
    random = np.random.default_rng(seed)
    gray = random.integers(0, 5, (30, 30, 1), np.uint8)
    gray[:9] += np.uint8(gain)  # nuclei on less than a third of it, however dim
    dark = np.repeat(gray, 3, axis=2)
    inverted = normalise_percentiles(255 - dark, TRAIN.normalise_low, TRAIN.normalise_high)
    plain = normalise_percentiles(dark, TRAIN.normalise_low, TRAIN.normalise_high)
    assert np.array_equal(255 - inverted, plain)
    assert plain[:9].min() > 255 / 2 > plain[9:].max()


@given(seed=st.integers(0, 2**31 - 1), share=st.floats(0.5, 0.74), gain=st.integers(20, 200))
def test_a_gray_image_full_of_nuclei_keeps_their_contrast(seed: int, share: float, gain: int) -> None:
    random = np.random.default_rng(seed)
    nuclei = random.random((40, 40, 1)) < share
    gray = (5 + nuclei * gain * random.uniform(0.4, 1, nuclei.shape)).astype(np.uint8)
    after = normalise_percentiles(np.repeat(gray, 3, axis=2), TRAIN.normalise_low, TRAIN.normalise_high)
    assert after.min() == 0 and after.max() == 255
    assert np.median(after[nuclei[..., 0]]) > 255 / 2


def test_a_colour_image_is_never_inverted() -> None:
    tissue = np.full((20, 20, 3), (230, 200, 225), np.uint8)
    tissue[:5] = (90, 60, 150)
    assert np.array_equal(normalise_percentiles(tissue, 1, 99, invert_light=True), normalise_percentiles(tissue, 1, 99))
