"""Pictures of label maps: contours, colours, verdicts, montages."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import ImageColor
from scipy import ndimage

from nuclei.pictures import overlays
from nuclei.scores import matching

SMALL_MAPS = arrays(np.uint16, (9, 11), elements=st.integers(0, 5))
STAGES = Path(__file__).resolve().parents[2] / "stages"


def squares(*corners: tuple[int, int], side: int = 5, shape: tuple[int, int] = (20, 20)) -> np.ndarray:
    """Squares of labels 1, 2, ... with their upper left pixels at the corners."""
    labels = np.zeros(shape, np.uint16)
    for label, (row, col) in enumerate(corners, start=1):
        labels[row : row + side, col : col + side] = label
    return labels


def cells(count: int, side: int = 60, seed: int = 0) -> np.ndarray:
    """Voronoi cells: every instance touches its neighbours."""
    seeds = np.zeros((side, side), np.uint16)
    where = np.random.default_rng(seed).choice(side * side, count, replace=False)
    seeds.ravel()[where] = np.arange(1, count + 1)
    nearest = ndimage.distance_transform_edt(seeds == 0, return_distances=False, return_indices=True)
    return seeds[tuple(nearest)]


def verdict_of(truth: np.ndarray, predicted: np.ndarray) -> tuple[list[str], list[str]]:
    return tuple(list(kinds.values()) for kinds in overlays.verdicts(truth, predicted))


def rgb_of(name: str) -> tuple[int, ...]:
    return ImageColor.getrgb(overlays.ERRORS[name])


DARK = np.full((20, 20, 3), 20, np.uint8)
BRIGHT = np.full((20, 20, 3), 220, np.uint8)


# --- contours ---------------------------------------------------------------------------------------------------------


def test_the_contour_of_a_square_is_its_outermost_ring_of_pixels():
    edge = overlays.contours(squares((3, 4)))
    expected = np.zeros((20, 20), bool)
    expected[3:8, 4:9] = True
    expected[4:7, 5:8] = False
    np.testing.assert_array_equal(edge, expected)


def test_touching_nuclei_have_a_contour_each_along_their_common_side():
    edge = overlays.contours(squares((3, 2), (3, 7)))
    assert edge[3:8, 6].all()
    assert edge[3:8, 7].all()


def test_a_nucleus_cut_by_the_border_of_the_image_is_open_there():
    edge = overlays.contours(squares((0, 0)))
    assert not edge[0, :4].any()
    assert edge[4, :5].all()


@pytest.mark.parametrize("shape", [(256, 256), (1040, 1388)])
def test_contours_are_one_pixel_wide_on_small_and_on_large_images(shape: tuple[int, int]) -> None:
    labels = np.zeros(shape, np.uint16)
    places = [(row, col) for row in range(30, shape[0] - 30, 60) for col in range(30, shape[1] - 30, 60)]
    rows, cols = np.indices((41, 41)) - 20
    disc = rows**2 + cols**2 <= 20**2
    for number, (row, col) in enumerate(places, start=1):
        labels[row - 20 : row + 21, col - 20 : col + 21][disc] = number
    cross = ndimage.generate_binary_structure(2, 1)
    edge = (labels > 0) & ~ndimage.binary_erosion(labels > 0, cross)  # what erosion by one pixel takes away
    np.testing.assert_array_equal(overlays.contours(labels), edge)
    layer = overlays.instances_layer(labels, bright=False)
    np.testing.assert_array_equal(layer[..., 3] == 255, edge)
    assert set(np.unique(layer[..., 3])) == {0, round(255 * overlays.FILL), 255}


@given(SMALL_MAPS)
def test_contours_lie_inside_instances_and_follow_flips_and_relabelling(labels):
    edge = overlays.contours(labels)
    assert not edge[labels == 0].any()
    np.testing.assert_array_equal(overlays.contours(labels[:, ::-1]), edge[:, ::-1])
    np.testing.assert_array_equal(overlays.contours(np.where(labels > 0, 70_000 - labels.astype(np.uint32), 0)), edge)


# --- instances --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 8, 40, 200])
@pytest.mark.parametrize("bright", [False, True])
def test_touching_instances_never_share_a_colour(count, bright):
    labels = cells(count, seed=count)
    colour = overlays.instances_layer(labels, bright=bright)[..., :3].astype(int)
    for axis in (0, 1):
        one, other = np.moveaxis(labels, axis, 0)[1:], np.moveaxis(labels, axis, 0)[:-1]
        same = (np.moveaxis(colour, axis, 0)[1:] == np.moveaxis(colour, axis, 0)[:-1]).all(axis=-1)
        assert not (same & (one != other)).any()


@given(SMALL_MAPS)
@settings(max_examples=50)
def test_five_instances_of_any_shape_differ_wherever_they_touch(labels):
    colour = overlays.instances_layer(labels, bright=False)[..., :3].astype(int)
    border = (labels[:, 1:] != labels[:, :-1]) & (labels[:, 1:] > 0) & (labels[:, :-1] > 0)
    assert (colour[:, 1:] != colour[:, :-1]).any(axis=-1)[border].all()


def test_near_instances_that_do_not_touch_differ_too():
    layer = overlays.instances_layer(squares((3, 1), (3, 8), (3, 15)), bright=False)
    first, second, third = layer[5, 3, :3], layer[5, 10, :3], layer[5, 17, :3]
    assert (first != second).any()
    assert (second != third).any()


def test_an_instance_is_tinted_and_its_contour_opaque():
    layer = overlays.instances_layer(squares((3, 4)), bright=False)
    assert layer[3, 4, 3] == 255
    assert 0 < layer[5, 6, 3] < 128
    assert layer[0, 0, 3] == 0


def test_labels_above_65535_and_gaps_between_labels_are_drawn_like_any_others():
    labels = squares((2, 2), (10, 10))
    large = np.where(labels == 2, 4_000_000_000, labels).astype(np.uint32)
    np.testing.assert_array_equal(overlays.overlay(DARK, large), overlays.overlay(DARK, labels))


def test_an_image_without_nuclei_comes_back_without_a_drawing():
    np.testing.assert_array_equal(overlays.overlay(BRIGHT, np.zeros((20, 20), np.uint16)), BRIGHT)


def test_colours_on_bright_images_differ_from_those_on_dark_ones():
    on_dark, on_bright = (overlays.instances_layer(squares((3, 4)), bright=bright) for bright in (False, True))
    assert (on_dark[3, 4] != on_bright[3, 4]).any()


# --- truth and prediction ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("image", "palette"), [(DARK, overlays.PAIR_ON_DARK), (BRIGHT, overlays.PAIR_ON_BRIGHT)])
def test_truth_prediction_and_what_they_share_have_three_colours(image, palette):
    picture = overlays.truth_vs_prediction(image, squares((3, 4)), squares((3, 6)))
    truth, predicted, both = (ImageColor.getrgb(colour) for colour in palette)
    assert tuple(picture[4, 4]) == truth
    assert tuple(picture[4, 10]) == predicted
    assert tuple(picture[3, 7]) == both


def test_a_match_at_iou_one_half_is_found_and_one_below_is_not():
    truth = squares((0, 0), side=4)
    half, less = truth.copy(), truth.copy()
    half[:2] = 0
    less[:2] = less[2, 0] = 0
    assert verdict_of(truth, half) == (["true positive"], ["true positive"])
    assert verdict_of(truth, less) == (["false negative"], ["false positive"])


def test_a_nucleus_in_two_pieces_is_split_and_its_pieces_are_not_invented():
    truth, predicted = squares((3, 4)), squares((3, 4))
    predicted[6:] *= 2
    assert verdict_of(truth, predicted) == (["split"], ["split", "split"])


def test_two_nuclei_in_one_prediction_are_merged_and_neither_is_missed():
    truth, predicted = squares((3, 2), (3, 7)), squares((3, 2), (3, 7))
    predicted[predicted == 2] = 1
    assert verdict_of(truth, predicted) == (["merged", "merged"], ["merged"])


def test_labels_that_no_instance_has_get_no_verdict():
    of_truth, of_predicted = overlays.verdicts(squares((3, 4)) * 3, squares((12, 4)) * 2)
    assert (of_truth, of_predicted) == ({3: "false negative"}, {2: "false positive"})


def test_the_largest_labels_are_judged_and_drawn_like_small_ones():
    truth, predicted = squares((1, 1), (8, 8)), squares((1, 1), (14, 1))
    far = np.array([0, 7, 2**32 - 1], np.uint32)
    tracemalloc.start()
    large = overlays.verdicts(far[truth], far[predicted])
    layer = overlays.errors_layer(far[truth], far[predicted], *large)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert large == (
        {7: "true positive", 2**32 - 1: "false negative"},
        {7: "true positive", 2**32 - 1: "false positive"},
    )
    small = overlays.errors_layer(truth, predicted, *overlays.verdicts(truth, predicted))
    np.testing.assert_array_equal(layer, small)
    assert peak < 2**24  # a table over all labels would take gigabytes


@given(SMALL_MAPS, SMALL_MAPS)
def test_verdicts_count_what_matching_counts(truth, predicted):
    of_truth, of_predicted = overlays.verdicts(truth, predicted)
    matches = matching.match(truth, predicted)
    true, guessed = list(of_truth.values()), list(of_predicted.values())
    assert true.count("split") == matches.splits
    assert guessed.count("merged") == matches.merges
    assert (len(true), len(guessed)) == (matches.truth, matches.predicted)
    if not matches.splits and not matches.merges:
        assert true.count("true positive") == guessed.count("true positive") == matches.tp[0]


def test_every_kind_of_error_has_its_colour_where_it_happened():
    truth = squares((1, 1), (1, 8), (8, 1), (8, 8), (8, 13), shape=(20, 24))
    predicted = np.zeros_like(truth)
    predicted[1:6, 1:6] = 1  # found
    predicted[1:6, 15:20] = 2  # invented, while the nucleus at (1, 8) is missed
    predicted[8:11, 1:6], predicted[11:13, 1:6] = 3, 4  # split
    predicted[8:13, 8:18] = 5  # merged
    picture = overlays.errors(np.full((20, 24, 3), 20, np.uint8), truth, predicted)
    corners = {
        (1, 1): "true positive",
        (1, 15): "false positive",
        (1, 8): "false negative",
        (8, 1): "split",
        (8, 8): "merged",
    }
    assert {corner: tuple(picture[corner]) for corner in corners} == {c: rgb_of(kind) for c, kind in corners.items()}


def test_a_found_nucleus_is_not_filled_and_a_missed_one_is_hatched():
    truth = squares((1, 1), (20, 20), side=16, shape=(40, 40))
    predicted = np.where(truth == 1, truth, 0)
    layer = overlays.errors_layer(truth, predicted, *overlays.verdicts(truth, predicted))
    assert not layer[2:16, 2:16, 3].any()
    filled = (layer[21:35, 21:35, 3] > 0).mean()
    assert 0.4 < filled < 0.6


# --- images -----------------------------------------------------------------------------------------------------------


def test_a_dark_image_is_brightened_and_a_bright_one_is_left_alone():
    dim = np.zeros((20, 20, 3), np.uint8)
    dim[5:10, 5:10] = 30
    assert overlays.visible(dim).max() == 255
    np.testing.assert_array_equal(overlays.visible(BRIGHT), BRIGHT)


def test_the_noise_of_an_empty_image_is_not_blown_up():
    noise = np.random.default_rng(0).integers(0, 3, (20, 20, 1), np.uint8).repeat(3, axis=2)
    assert overlays.visible(noise).max() < 80


def test_a_small_image_grows_by_a_whole_factor():
    rgb, (labels,) = overlays.fitted(DARK, [squares((3, 4))], 70)
    assert rgb.shape == (60, 60, 3)
    np.testing.assert_array_equal(labels[::3, ::3], squares((3, 4)))


def test_a_large_image_shrinks_to_the_side_asked_for():
    image, labels = np.zeros((200, 100, 3), np.uint8), squares((40, 40), side=50, shape=(200, 100))
    rgb, (small,) = overlays.fitted(image, [labels], 100)
    assert rgb.shape == (100, 50, 3)
    assert small.shape == (100, 50)
    assert (small > 0).sum() == 25 * 25


def test_a_montage_has_a_cell_for_each_image_and_a_row_for_each_line_of_text():
    images = [np.zeros((30, 40, 3), np.uint8)] * 5
    assert overlays.montage(images, 3, gap_px=8).shape == (2 * 38 + 8, 3 * 48 + 8, 3)
    captioned = overlays.montage(images, 3, ["name\nscore"] * 5, text_px=10)
    assert captioned.shape[0] == 2 * (30 + 2 * 14 + 8) + 8


def test_a_montage_of_different_sizes_keeps_every_image_whole():
    picture = overlays.montage([np.full((10, 30, 3), 255, np.uint8) * 0, np.zeros((30, 10, 3), np.uint8)], 2)
    assert (picture == 0).all(axis=2).sum() == 2 * 300


def test_a_caption_wider_than_its_image_is_cut_and_does_not_reach_the_next():
    image = np.full((30, 60, 3), 255, np.uint8)
    picture = overlays.montage([image, image], 2, ["a very long name of an image", ""])
    assert (picture[:, 8 + 60 + 1 :] == 255).all()
    assert (picture[:, :68] != 255).any()


def test_captions_that_are_not_as_many_as_the_images_are_refused():
    with pytest.raises(ValueError, match="got 1 captions for 2 images"):
        overlays.montage([DARK, DARK], 2, ["one"])


def test_pictures_need_neither_torch_nor_matplotlib():
    code = "import sys; import nuclei.overlays; print({'torch', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=STAGES, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
