"""Layers over images: contours, colours of instances, truth beside prediction, brightening."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import ImageColor
from skimage.segmentation import expand_labels
from squares import BRIGHT, DARK, squares

from nuclei.pictures import overlays

SMALL_MAPS = arrays(np.uint16, (9, 11), elements=st.integers(0, 5))


def cells(count: int, side: int = 60) -> np.ndarray:
    """Voronoi cells: every instance touches its neighbours."""
    centres = np.zeros((side, side), np.uint16)
    where = np.random.default_rng(count).choice(side * side, count, replace=False)
    centres.ravel()[where] = np.arange(1, count + 1)
    return expand_labels(centres, side)


def outlined(labels: np.ndarray) -> np.ndarray:
    """The pixels with one of their four neighbours outside their instance, looked up one by one."""
    edge = np.zeros(labels.shape, bool)
    for row, col in np.argwhere(labels):
        around = [(row - 1, col), (row + 1, col), (row, col - 1), (row, col + 1)]
        inside = [(r, c) for r, c in around if 0 <= r < labels.shape[0] and 0 <= c < labels.shape[1]]
        edge[row, col] = any(labels[place] != labels[row, col] for place in inside)
    return edge


def test_the_contour_of_a_square_is_its_outermost_ring_of_pixels() -> None:
    edge = overlays.contours(squares((3, 4)))
    expected = np.zeros((20, 20), bool)
    expected[3:8, 4:9] = True
    expected[4:7, 5:8] = False
    np.testing.assert_array_equal(edge, expected)


def test_touching_nuclei_have_a_contour_each_along_their_common_side() -> None:
    edge = overlays.contours(squares((3, 2), (3, 7)))
    assert edge[3:8, 6:8].all()


def test_a_nucleus_cut_by_the_border_of_the_image_is_open_there() -> None:
    edge = overlays.contours(squares((0, 0)))
    assert not edge[0, :4].any()
    assert edge[4, :5].all()


@given(SMALL_MAPS)
def test_contours_are_the_pixels_with_a_neighbour_outside_their_instance(labels: np.ndarray) -> None:
    expected = outlined(labels)
    np.testing.assert_array_equal(overlays.contours(labels), expected)
    relabelled = np.where(labels > 0, 70_000 - labels.astype(np.uint32), 0)
    layer = overlays.instances_layer(relabelled, bright=False)
    np.testing.assert_array_equal(layer[..., 3] == 255, expected)
    np.testing.assert_array_equal(layer[..., 3] > 0, labels > 0)


@pytest.mark.parametrize("count", [2, 8, 200])
@pytest.mark.parametrize("bright", [False, True])
def test_touching_instances_never_share_a_colour(count: int, bright: bool) -> None:
    labels = cells(count)
    colour = overlays.instances_layer(labels, bright=bright)[..., :3].astype(int)
    for axis in (0, 1):
        one, other = np.moveaxis(labels, axis, 0)[1:], np.moveaxis(labels, axis, 0)[:-1]
        same = (np.moveaxis(colour, axis, 0)[1:] == np.moveaxis(colour, axis, 0)[:-1]).all(axis=-1)
        assert not (same & (one != other)).any()


@given(SMALL_MAPS)
@settings(max_examples=50)
def test_five_instances_of_any_shape_differ_wherever_they_touch(labels: np.ndarray) -> None:
    colour = overlays.instances_layer(labels, bright=False)[..., :3].astype(int)
    border = (labels[:, 1:] != labels[:, :-1]) & (labels[:, 1:] > 0) & (labels[:, :-1] > 0)
    assert (colour[:, 1:] != colour[:, :-1]).any(axis=-1)[border].all()


def test_near_instances_that_do_not_touch_differ_too() -> None:
    layer = overlays.instances_layer(squares((3, 1), (3, 8), (3, 15)), bright=False)
    first, second, third = layer[5, 3, :3], layer[5, 10, :3], layer[5, 17, :3]
    assert (first != second).any()
    assert (second != third).any()


def test_large_labels_are_drawn_like_small_ones_without_a_table_over_all_labels() -> None:
    labels = squares((2, 2), (10, 10))
    large = np.where(labels == 2, 200_000, labels).astype(np.uint32)
    expected = overlays.overlay(DARK, labels)
    tracemalloc.start()
    picture = overlays.overlay(DARK, large)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(picture, expected)
    assert peak_bytes < 2**20


def test_an_image_without_nuclei_comes_back_without_a_drawing() -> None:
    np.testing.assert_array_equal(overlays.overlay(BRIGHT, np.zeros((20, 20), np.uint16)), BRIGHT)


def test_colours_on_bright_images_differ_from_those_on_dark_ones() -> None:
    on_dark, on_bright = (overlays.overlay(image, squares((3, 4)))[3, 4] for image in (DARK, BRIGHT))
    assert (on_dark != on_bright).any()


@pytest.mark.parametrize(("image", "palette"), [(DARK, overlays.PAIR_ON_DARK), (BRIGHT, overlays.PAIR_ON_BRIGHT)])
def test_truth_prediction_and_what_they_share_have_three_colours(image: np.ndarray, palette: tuple[str, ...]) -> None:
    picture = overlays.truth_vs_prediction(image, squares((3, 4)), squares((3, 6)))
    truth, predicted, both = (ImageColor.getrgb(colour) for colour in palette)
    assert tuple(picture[4, 4]) == truth
    assert tuple(picture[4, 10]) == predicted
    assert tuple(picture[3, 7]) == both


def test_a_dark_image_is_brightened_and_a_bright_one_is_left_alone() -> None:
    dim = np.zeros((20, 20, 3), np.uint8)
    dim[5:10, 5:10] = 30
    assert overlays.visible(dim).max() == 255
    np.testing.assert_array_equal(overlays.visible(BRIGHT), BRIGHT)


def test_the_noise_of_an_empty_image_is_not_amplified() -> None:
    noise = np.random.default_rng(0).integers(0, 3, (20, 20, 1), np.uint8).repeat(3, axis=2)
    assert overlays.visible(noise).max() < 80
