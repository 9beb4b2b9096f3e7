"""Masks become label maps, and what was wrong with them is counted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nuclei.base.errors import InputError
from nuclei.prepare.annotations import Defect, from_binary_masks, from_label_map, from_masks
from nuclei.prepare.binary import Structure


def mask(*rows: str) -> np.ndarray:
    return np.array([[pixel == "#" for pixel in row] for row in rows])


def named(*masks: np.ndarray) -> list[tuple[str, np.ndarray]]:
    return [(f"mask {number}", each) for number, each in enumerate(masks)]


def combined(*masks: np.ndarray) -> tuple[np.ndarray, list[Defect]]:
    found = from_masks(named(*masks), masks[0].shape)
    return found.labels, found.defects


def test_masks_are_numbered_in_their_order() -> None:
    labels, defects = combined(mask("##...", "##..."), mask("....#", "....#"), mask("...#.", "....."))
    np.testing.assert_array_equal(labels, [[1, 1, 0, 3, 2], [1, 1, 0, 0, 2]])
    assert labels.dtype == np.uint16 and defects == []


def test_a_pixel_of_two_masks_goes_to_the_smaller_nucleus_whatever_their_order() -> None:
    large, small = mask("####.", "####.", "....."), mask("...##", ".....", ".....")
    expected = {
        "large": [[1, 1, 1, 2, 2], [1, 1, 1, 1, 0], [0] * 5],
        "small": [[2, 2, 2, 1, 1], [2, 2, 2, 2, 0], [0] * 5],
    }
    for first, masks in (("large", (large, small)), ("small", (small, large))):
        labels, defects = combined(*masks)
        np.testing.assert_array_equal(labels, expected[first])
        assert defects == [Defect("overlapping masks", 1, 1, "pixels given to the smaller nucleus")]


def test_a_pixel_of_three_masks_counts_once() -> None:
    _, defects = combined(mask("###", "..."), mask("..#", "..#"), mask("..#", "..."))
    assert [(defect.defect, defect.count, defect.pixels) for defect in defects] == [("overlapping masks", 2, 1)]


def test_empty_masks_are_dropped_and_counted() -> None:
    labels, defects = combined(mask("..."), mask("#.."), mask("..."))
    np.testing.assert_array_equal(labels, [[1, 0, 0]])
    assert defects == [Defect("empty masks", 2, 0, "dropped")]


def test_an_image_whose_only_mask_is_empty_has_no_nuclei() -> None:
    labels, defects = combined(mask("...", "..."))
    assert labels.max() == 0 and labels.shape == (2, 3)
    assert [defect.defect for defect in defects] == ["empty masks"]


def test_of_identical_masks_one_is_kept() -> None:
    labels, defects = combined(mask("##..."), mask("##..."), mask("..#.."))
    np.testing.assert_array_equal(labels, [[1, 1, 2, 0, 0]])
    assert [(defect.defect, defect.count, defect.pixels) for defect in defects] == [
        ("overlapping masks", 1, 2),
        ("hidden masks", 1, 2),
    ]


def test_a_nucleus_of_two_components_stays_one_and_corners_connect() -> None:
    found = from_masks(named(mask("##..#", "##..."), mask("..#..", "...#.")), (2, 5))
    np.testing.assert_array_equal(found.labels, [[1, 1, 2, 0, 1], [1, 1, 0, 2, 0]])
    assert found.defects == [Defect("divided nuclei", 1, 1, "kept as one nucleus each")]
    assert found.structure == Structure(nuclei=2, divided=1, components=3)


def test_a_mask_of_another_shape_is_an_error_that_names_it() -> None:
    with pytest.raises(InputError, match="shape of its image") as caught:
        from_masks([("x/masks/1.png", mask("#..")), ("x/masks/2.png", mask("#.."))], (3, 1))
    assert caught.value.file == "x/masks/1.png"
    assert (caught.value.got, caught.value.expected) == ("1 x 3", "3 x 1")
    with pytest.raises(InputError, match="shape of its image"):
        from_label_map("a.tif", np.zeros((2, 2), np.uint16), (2, 3))


def test_labels_of_a_map_become_consecutive_in_their_order() -> None:
    for high in (900, 70_000, 4_000_000_000):
        drawn = np.array([[0, 5, 5], [high, 0, 7]], np.uint32)
        found = from_label_map("a.tif", drawn, (2, 3))
        np.testing.assert_array_equal(found.labels, [[0, 1, 1], [3, 0, 2]])
        assert found.labels.dtype == np.uint16 and found.defects == []


@pytest.mark.parametrize(
    "drawn", [[[7, 3]], [[1, 1, 1], [1, 0, 1], [1, 1, 1]]], ids=["no background", "a nucleus like a background"]
)
def test_a_label_map_without_a_plausible_background_is_an_error(drawn: list[list[int]]) -> None:
    labels = np.array(drawn, np.uint16)
    with pytest.raises(InputError, match=r"background(.|\n)*a\.tif"):
        from_label_map("a.tif", labels, labels.shape)


def test_little_background_is_a_defect() -> None:
    halves = np.repeat([1, 1, 1, 1, 0, 0, 2, 2, 2, 2], 10).reshape(10, 10).astype(np.uint16)
    assert from_label_map("a.tif", halves, halves.shape).defects == []
    halves[5] = 2
    assert from_label_map("a.tif", halves, halves.shape).defects == [Defect("little background", 1, 10, "kept")]


def test_every_connected_component_of_binary_masks_becomes_a_nucleus() -> None:
    found = from_binary_masks(named(mask("##..#", "....."), mask(".....", "...#.")), (2, 5))
    np.testing.assert_array_equal(found.labels, [[1, 1, 0, 0, 2], [0, 0, 0, 2, 0]])
    assert found.defects == [Defect("components of binary masks", 2, 4, "each became a nucleus")]
    assert from_binary_masks(named(mask("...")), (1, 3)).defects == []
    with pytest.raises(InputError, match="shape of its image"):
        from_binary_masks(named(mask("...")), (3, 1))


def test_more_than_65535_nuclei_fit() -> None:
    drawn = np.arange(66_000, dtype=np.uint32).reshape(300, 220)
    labels = from_label_map("a.tif", drawn, drawn.shape).labels
    assert labels.dtype == np.uint32 and labels.max() == 65_999


@settings(max_examples=150, deadline=None)
@given(arrays(np.bool_, st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 6))))
def test_every_pixel_that_was_drawn_belongs_to_one_of_the_nuclei_that_claim_it(masks: np.ndarray) -> None:
    labels, defects = combined(*masks)
    np.testing.assert_array_equal(labels > 0, masks.any(axis=0))
    found = sorted(set(labels.ravel().tolist()) - {0})
    assert found == list(range(1, len(found) + 1))
    owners = [next(index for index, each in enumerate(masks) if each[labels == label].all()) for label in found]
    assert len(owners) == len(found)
    contested = int((masks.sum(axis=0) > 1).sum())
    counted = {defect.defect: defect for defect in defects}
    assert (counted["overlapping masks"].pixels if "overlapping masks" in counted else 0) == contested
    dropped = sum(counted[kind].count for kind in ("empty masks", "hidden masks") if kind in counted)
    assert len(found) + dropped == len(masks)
