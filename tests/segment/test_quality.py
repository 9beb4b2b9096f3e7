"""What a run says of images that are blank or out of focus."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nuclei.segment.quality import edge_blur, image_warnings, prominence, why_none

TARGET_PX = 25.0


def gray(values: np.ndarray) -> np.ndarray:
    return np.dstack([values.round().clip(0, 255).astype(np.uint8)] * 3)


def noise(seed: int, level: float, sigma: float) -> np.ndarray:
    return level + np.random.default_rng(seed).normal(0, sigma, (160, 200))


@given(seed=st.integers(0, 2**31 - 1), level=st.floats(0, 250), sigma=st.floats(0, 30))
def test_nothing_but_noise_is_blank(seed: int, level: float, sigma: float) -> None:
    (warning,) = image_warnings(gray(noise(seed, level, sigma)), 1.0, TARGET_PX, 0)
    assert warning.startswith("blank") and "found" not in warning


def test_what_was_found_in_a_blank_image_is_doubted() -> None:
    (warning,) = image_warnings(gray(noise(0, 40, 5)), 1.0, TARGET_PX, 3)
    assert warning.startswith("blank") and "may be noise" in warning


@pytest.mark.parametrize("invert", [False, True])
@pytest.mark.parametrize("contrast", [1.5, 4, 30])
def test_a_disc_is_not_blank_even_if_it_is_hardly_brighter_than_the_noise(contrast: float, invert: bool) -> None:
    image = noise(1, 100, 5)
    cv2.circle(disc := np.zeros_like(image), (90, 80), 12, 5 * contrast, -1)
    rgb = gray(image + disc)
    assert image_warnings(255 - rgb if invert else rgb, 1.0, None, 1) == []


def test_one_nucleus_in_a_large_image_is_enough() -> None:
    image = np.random.default_rng(3).normal(100, 5, (1500, 1500))
    assert image_warnings(gray(image), 1.0, None, 0)[0].startswith("blank")
    cv2.circle(image, (700, 900), 8, 130, -1)
    assert image_warnings(gray(image), 1.0, None, 1) == []


@pytest.mark.parametrize("blur_px", [1.0, 2.0, 4.0, 6.0])
def test_the_blur_of_an_edge_is_measured(blur_px: float) -> None:
    step = np.zeros((120, 120), np.float32)
    step[:, 60:] = 200
    assert edge_blur(cv2.GaussianBlur(step, (0, 0), blur_px)) == pytest.approx(blur_px, abs=0.25)


@pytest.mark.parametrize("zoom", [1.0, 0.5])
def test_discs_that_are_blurred_by_a_third_of_their_diameter_are_out_of_focus(zoom: float) -> None:
    side = round(300 / zoom)
    image = np.full((side, side), 20.0)
    for row, col in ((60, 70), (150, 200), (230, 90)):
        cv2.circle(image, (round(col / zoom), round(row / zoom)), round(12.5 / zoom), 180, -1)
    rgb = gray(image)
    assert image_warnings(rgb, zoom, TARGET_PX, 3) == []
    (warning,) = image_warnings(cv2.GaussianBlur(rgb, (0, 0), TARGET_PX / zoom / 3), zoom, TARGET_PX, 3)
    assert warning.startswith("out of focus")


@pytest.mark.parametrize("value", [0, 7, 255])
def test_an_image_of_one_value_is_blank(value: int) -> None:
    flat = np.full((40, 40), value, np.float32)
    assert prominence(flat) < 0.01
    assert image_warnings(gray(flat), 1.0, TARGET_PX, 0)[0].startswith("blank")


def test_an_image_without_an_edge_is_blurred_without_end() -> None:
    assert edge_blur(np.zeros((40, 40), np.float32)) == float("inf")


@pytest.mark.parametrize(
    ("best", "said"), [(0.6, "has a score of 0.60, below 0.75;"), (0.7496, "has a score just below 0.75;")]
)
def test_why_no_nucleus_is_kept_never_says_that_a_number_is_below_itself(best: float, said: str) -> None:
    assert said in why_none(np.array([0.2, best]), 0.75)
    assert why_none(np.array([0.2, 0.75]), 0.75) == ""
