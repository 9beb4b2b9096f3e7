"""Images are stretched between percentiles, all channels alike, and a nearly blank field stays one."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from conftest import ROOT
from nuclei.normalisation import stretch
from nuclei.params import load

TRAIN = load(ROOT / "params.yaml").train


def blank_field() -> np.ndarray:
    """Pale tissue with the noise of a camera, and two dark nuclei on half a percent of it."""
    rgb = np.random.default_rng(0).normal((180, 160, 205), 2, (256, 320, 3))
    rgb[40:54, 30:44] = rgb[200:214, 250:264] = (90, 60, 190)
    return np.rint(rgb).astype(np.uint8)


def test_a_nearly_blank_field_is_not_stretched_to_noise() -> None:
    before = blank_field()
    after = stretch(before, TRAIN.normalise_low, TRAIN.normalise_high)
    blank = np.s_[100:180, 60:240]
    assert after[blank].std(axis=(0, 1)).max() < 5  # of 255
    assert stretch(before, 1.0, TRAIN.normalise_high)[blank].std(axis=(0, 1)).max() > 8  # as the 1st percentile does
    assert after[45, 35, 1] < after[blank][..., 1].min()


@given(seed=st.integers(0, 2**31 - 1), low=st.floats(0, 40), high=st.floats(60, 100))
def test_the_percentiles_become_black_and_white_and_the_order_stays(seed: int, low: float, high: float) -> None:
    random = np.random.default_rng(seed)
    before = random.integers(random.integers(0, 100), random.integers(150, 256), (30, 30, 3), np.uint8)
    after = stretch(before, low, high).astype(int)
    assert after.min() == 0
    assert after.max() == 255
    assert (after == 0).mean() * 100 > low
    assert (after == 255).mean() * 100 >= 100 - high
    order = np.argsort(before, axis=None, kind="stable")
    assert (np.diff(after.ravel()[order]) >= 0).all()
