"""What became of each nucleus, and its picture."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import ImageColor
from squares import squares

from nuclei.pictures.verdicts import ERRORS, errors_layer, verdicts

FAR = np.array([0, 7, 2**32 - 1], np.uint32)  # label 1 becomes 7, label 2 the largest there is


def verdict_of(truth: np.ndarray, predicted: np.ndarray) -> tuple[list[str], ...]:
    return tuple(list(kinds.values()) for kinds in verdicts(truth, predicted))


def test_a_match_at_iou_one_half_is_found_and_one_below_is_not() -> None:
    truth = squares((0, 0), side=4)
    half, less = truth.copy(), truth.copy()
    half[:2] = 0
    less[:2] = less[2, 0] = 0
    assert verdict_of(truth, half) == (["true positive"], ["true positive"])
    assert verdict_of(truth, less) == (["false negative"], ["false positive"])


def test_a_nucleus_in_two_fragments_is_split_and_they_are_not_false_positives() -> None:
    truth, predicted = squares((3, 4)), squares((3, 4))
    predicted[6:] *= 2
    assert verdict_of(truth, predicted) == (["split"], ["split", "split"])


def test_two_nuclei_in_one_prediction_are_merged_and_neither_is_missed() -> None:
    truth = squares((3, 2), (3, 7))
    assert verdict_of(truth, np.minimum(truth, 1)) == (["merged", "merged"], ["merged"])


@pytest.mark.parametrize("names", [np.array([0, 3, 5], np.uint16), FAR])
def test_a_verdict_stands_under_its_label_however_large_and_unused_labels_have_none(names: np.ndarray) -> None:
    truth, predicted = names[squares((1, 1), (8, 8))], names[squares((1, 1), (14, 1))]
    one, other = names[1:].tolist()
    assert verdicts(truth, predicted) == (
        {one: "true positive", other: "false negative"},
        {one: "true positive", other: "false positive"},
    )


def test_large_labels_are_drawn_like_small_ones() -> None:
    truth, predicted = squares((1, 1), (8, 8)), squares((1, 1), (14, 1))
    large = errors_layer(FAR[truth], FAR[predicted], *verdicts(FAR[truth], FAR[predicted]))
    np.testing.assert_array_equal(large, errors_layer(truth, predicted, *verdicts(truth, predicted)))


def test_every_verdict_has_its_colour_where_it_holds() -> None:
    truth = squares((1, 1), (1, 8), (8, 1), (8, 8), (8, 13), shape=(20, 24))
    predicted = np.zeros_like(truth)
    predicted[1:6, 1:6] = 1  # found
    predicted[1:6, 15:20] = 2  # a false positive, while the nucleus at (1, 8) is missed
    predicted[8:11, 1:6], predicted[11:13, 1:6] = 3, 4  # split
    predicted[8:13, 8:18] = 5  # merged
    layer = errors_layer(truth, predicted, *verdicts(truth, predicted))
    corners = {
        (1, 1): "true positive",
        (1, 15): "false positive",
        (1, 8): "false negative",
        (8, 1): "split",
        (8, 8): "merged",
    }
    for corner, kind in corners.items():
        assert tuple(layer[corner]) == (*ImageColor.getrgb(ERRORS[kind]), 255)


def test_a_found_nucleus_is_not_filled_and_a_missed_one_is_hatched() -> None:
    truth = squares((1, 1), (20, 20), side=16, shape=(40, 40))
    predicted = np.where(truth == 1, truth, 0)
    layer = errors_layer(truth, predicted, *verdicts(truth, predicted))
    assert not layer[2:16, 2:16, 3].any()
    filled = (layer[21:35, 21:35, 3] > 0).mean()
    assert 0.4 < filled < 0.6
