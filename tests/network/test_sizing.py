"""Nuclei are measured, and images and label maps are rescaled to one shape."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from made_up import SETTINGS
from nuclei.network.segmenter import Segmenter, make_net, segment_cell_image
from nuclei.network.sizing import (
    LARGEST_ZOOM,
    SMALLEST_ZOOM,
    Scale,
    diameter,
    fullest,
    is_worth_a_look,
    most_plausible,
    sureness,
    zoom_to,
    zoomed_image,
    zoomed_labels,
)


def disc(radius: float, side: int = 101) -> np.ndarray:
    rows, cols = np.indices((side, side)) - side // 2
    return rows**2 + cols**2 <= radius**2


@pytest.mark.parametrize("radius", [3, 10, 40])
def test_the_diameter_of_a_disc_is_its_own(radius: int) -> None:
    assert diameter(disc(radius).astype(np.uint16) * 7) == pytest.approx(2 * radius, abs=0.7)


def test_fragments_do_not_count_and_nothing_has_no_diameter() -> None:
    labels = disc(20).astype(np.uint32) * 100_000
    labels[0, :40:2] = np.arange(1, 21)  # twenty nuclei of one pixel each
    assert diameter(labels) == pytest.approx(40, abs=0.7)
    assert diameter(np.zeros((5, 5), np.uint16)) is None


def test_sureness_is_the_mean_of_the_peaks_weighted_by_area() -> None:
    labels = np.array([[1, 1, 1, 0, 2]], np.uint16)
    landscape = np.array([[0.2, 0.8, 0.1, 0.9, 0.4]], np.float32)
    assert sureness(labels, landscape) == pytest.approx((3 * 0.8 + 1 * 0.4) / 4)
    assert sureness(np.zeros_like(labels), landscape) == 0


@given(
    st.integers(3, 60), st.integers(3, 60), st.integers(2, 70), st.integers(0, 59), st.integers(0, 59),
    st.sampled_from([1, 2, 3]),
)  # fmt: skip
def test_the_fullest_part_holds_the_only_foreground(
    height: int, width: int, side: int, row: int, col: int, reduced: int
) -> None:
    row, col = row % height, col % width
    rgb = np.zeros((height * reduced, width * reduced, 3), np.uint8)
    rgb[row * reduced, col * reduced] = 9
    foreground = np.zeros((height, width), np.float32)
    foreground[row, col] = 1
    part = fullest(rgb, foreground, side * reduced)
    assert part.shape == (min(side, height) * reduced, min(side, width) * reduced, 3)
    assert part.max() == 9


def test_of_two_parts_the_one_with_more_foreground_is_the_fullest() -> None:
    foreground = np.zeros((20, 30), np.float32)
    foreground[2, 3], foreground[15:18, 22] = 1, 0.5
    rgb = np.repeat(foreground[..., None] * 100, 3, axis=2).astype(np.uint8)
    assert fullest(rgb, foreground, 6).sum() == 3 * 3 * 50


@given(areas=st.lists(st.integers(1, 60), min_size=1, max_size=12))
def test_half_of_the_area_lies_in_nuclei_up_to_the_diameter(areas: list[int]) -> None:
    labels = np.repeat(np.arange(len(areas) + 1), [5, *areas])[None]
    found = diameter(labels)
    assert found is not None
    area = round(np.pi * found**2 / 4)
    assert sum(other for other in areas if other <= area) >= sum(areas) / 2
    assert sum(other for other in areas if other < area) < sum(areas) / 2


@given(target=st.floats(5, 200), size=st.floats(0.5, 5000))
def test_the_zoom_brings_nuclei_to_the_target_within_its_limits(target: float, size: float) -> None:
    zoom = zoom_to(target, size)
    assert SMALLEST_ZOOM <= zoom <= LARGEST_ZOOM
    if SMALLEST_ZOOM < zoom < LARGEST_ZOOM:
        assert zoom * size == pytest.approx(target)
    assert zoom_to(target, None) == 1


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (300, "rescaled by 0.08 to give them 25 px, but is rescaled by 0.1, the smallest factor.* at 30 px"),
        (1000, "rescaled by 0.03 to give them 25 px, but is rescaled by 0.1, the smallest factor.* at 100 px"),
        (5, "rescaled by 5.00 to give them 25 px, but is rescaled by 4, the largest factor.* at 20 px"),
    ],
)
def test_nuclei_that_can_not_be_rescaled_to_the_trained_diameter_give_a_warning(size: float, said: str) -> None:
    assert re.search(f"nuclei of {size} px are outside what the model was trained for.*{said}", Scale(size, 25).warning)


def test_segmenting_warns_of_nuclei_that_can_not_be_rescaled_and_of_no_others(recwarn: pytest.WarningsRecorder) -> None:
    settings = dataclasses.replace(SETTINGS, encoder_name="resnet18", diameter_px=25.0)
    segmenter = Segmenter(make_net("Unet", "resnet18", "distance"), settings)
    image = np.zeros((64, 64, 3), np.uint8)
    segment_cell_image(image, segmenter, diameter_px=30)
    assert not recwarn
    with pytest.warns(UserWarning, match="nuclei of 300 px"):
        segment_cell_image(image, segmenter, diameter_px=300)


@pytest.mark.parametrize("scale", [Scale(249, 25), Scale(7, 25), Scale(None, 25), Scale(60, None)])
def test_nuclei_within_the_limits_or_of_unknown_size_give_no_warning(scale: Scale) -> None:
    assert scale.warning is None


@given(height=st.integers(1, 60), width=st.integers(1, 60), zoom=st.floats(SMALLEST_ZOOM, LARGEST_ZOOM))
def test_image_and_label_map_keep_one_shape(height: int, width: int, zoom: float) -> None:
    labels = np.random.default_rng(0).integers(0, 70_000, (height, width), np.uint32)
    rgb = np.zeros((height, width, 3), np.uint8)
    larger = zoomed_labels(labels, zoom)
    assert larger.shape == zoomed_image(rgb, zoom).shape[:2]
    assert larger.dtype == labels.dtype
    assert set(larger.ravel()) <= set(labels.ravel())


@pytest.mark.parametrize("zoom", [0.6, 1.0, 1.3, 2.0, 4.0])
def test_a_nucleus_stays_in_its_place(zoom: float) -> None:
    labels = np.zeros((90, 120), np.uint16)
    labels[20:50, 60:100] = 3
    seen = zoomed_image(np.repeat((labels > 0)[..., None], 3, 2).astype(np.uint8) * 255, zoom)[..., 0] > 127
    agree = seen == (zoomed_labels(labels, zoom) > 0)
    assert agree.mean() > 0.99
    assert diameter(zoomed_labels(labels, zoom)) == pytest.approx(zoom * diameter(labels), rel=0.03)  # type: ignore[operator]


@given(size=st.integers(1, 200), zoom=st.floats(SMALLEST_ZOOM, LARGEST_ZOOM))
def test_a_pixel_of_a_zoomed_label_map_is_the_one_that_its_centre_lies_in(size: int, zoom: float) -> None:
    numbered = np.arange(size, dtype=np.uint32)[None].repeat(3, axis=0)
    (found, *_) = zoomed_labels(numbered, zoom)
    centres = (np.arange(len(found)) + 0.5) * size / len(found)
    assert (np.abs(centres - (found + 0.5)) <= 0.5 + 1e-9).all()


def test_a_sure_look_at_a_cluster_does_not_outweigh_one_that_shows_nuclei_as_in_training() -> None:
    # the looks at an image of BBBC038 whose nuclei measure 13.5 px
    looks = [(0.125, 0.744, 367.9), (0.25, 0.738, 170.1), (0.5, 0.556, 31.0), (1.0, 0.701, 14.0), (2.0, 0.755, 14.9)]
    assert most_plausible(looks, 25.0) == 14.9
    # and at a section with nuclei of 18 px: by chance the cluster has the diameter of training in one look
    looks = [(0.125, 0.725, 195.5), (0.25, 0.518, 44.2), (0.5, 0.686, 23.0), (1.0, 0.73, 19.3), (2.0, 0.756, 19.6)]
    assert most_plausible(looks, 25.0) == 19.3
    assert most_plausible([(0.25, 0.9, 110.0), (1.0, 0.5, 25.0)], 25.0) == 110.0  # fragments of which it is unsure
    assert most_plausible([(0.25, 0.3, 80.0), (1.0, 0.0, None)], 25.0) == 80.0
    assert most_plausible([(1.0, 0.0, None)], 25.0) is None


EIGHTH, QUARTER = (0.125, 0.7, 50.0), (0.25, 0.8, 52.0)


@pytest.mark.parametrize(
    ("looks", "zoom", "worth"),
    [
        ([EIGHTH], 0.25, True),  # nothing confirms it
        ([EIGHTH, QUARTER], 0.5, True),  # seen at 13 px, of 25 in training
        ([EIGHTH, QUARTER, (0.5, 0.9, 50.0)], 1.0, False),  # seen at 25 px, and confirmed
        ([EIGHTH, QUARTER, (0.5, 0.9, 50.0)], 2.0, False),
        ([EIGHTH, QUARTER, (0.5, 0.9, 39.0)], 1.0, True),  # seen at less than 20 px
        ([EIGHTH, (0.25, 0.8, 70.0), (0.5, 0.9, 50.0)], 1.0, True),  # not confirmed
        ([EIGHTH, (0.25, 0.95, 50.0), (0.5, 0.8, 50.0)], 1.0, True),  # another look was much surer
        ([EIGHTH, QUARTER, (0.5, 0.9, 19.0)], 1.0, False),  # less than 20 px: the enlarged look says more
        ([EIGHTH, QUARTER, (0.5, 0.9, 19.0)], 2.0, True),
        ([EIGHTH, QUARTER, (0.5, 0.9, 21.0)], 1.0, True),
        ([EIGHTH, QUARTER, (0.5, 0.9, 21.0), (1.0, 0.9, 21.0)], 2.0, False),
        ([EIGHTH, QUARTER, (0.5, 0.9, 21.0), (1.0, 0.9, 19.0)], 2.0, True),
        ([(0.125, 0.0, None)], 1.0, True),
        ([(0.125, 0.0, None), (1.0, 0.0, None)], 2.0, False),  # no nucleus to enlarge
    ],
)
def test_what_an_image_is_looked_at(looks: list[tuple[float, float, float | None]], zoom: float, worth: bool) -> None:
    assert is_worth_a_look(zoom, looks, 25.0) is worth
