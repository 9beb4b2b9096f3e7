"""Images scaled to one size, and their grid."""

from __future__ import annotations

import numpy as np
import pytest
from squares import DARK, squares

from nuclei.pictures.montages import fitted, montage


def test_a_small_image_grows_by_a_whole_factor() -> None:
    rgb, (labels,) = fitted(DARK, [squares((3, 4))], 70)
    assert rgb.shape == (60, 60, 3)
    np.testing.assert_array_equal(labels[::3, ::3], squares((3, 4)))


def test_a_large_image_shrinks_to_the_side_asked_for() -> None:
    image, labels = np.zeros((200, 100, 3), np.uint8), squares((40, 40), side=50, shape=(200, 100))
    rgb, (small,) = fitted(image, [labels], 100)
    assert rgb.shape == (100, 50, 3)
    assert small.shape == (100, 50)
    assert (small > 0).sum() == 25 * 25


def test_a_montage_has_a_cell_for_each_image_and_a_row_for_each_line_of_text() -> None:
    images = [np.zeros((30, 40, 3), np.uint8)] * 5
    assert montage(images, 3, gap_px=8).shape == (2 * 38 + 8, 3 * 48 + 8, 3)
    captioned = montage(images, 3, ["name\nscore"] * 5, text_px=10)
    assert captioned.shape[0] == 2 * (30 + 2 * 14 + 8) + 8


def test_a_montage_of_different_sizes_keeps_every_image_whole() -> None:
    picture = montage([np.zeros((10, 30, 3), np.uint8), np.zeros((30, 10, 3), np.uint8)], 2)
    assert (picture == 0).all(axis=2).sum() == 2 * 300


def test_a_caption_wider_than_its_image_is_cut_and_does_not_reach_the_next() -> None:
    image = np.full((30, 60, 3), 255, np.uint8)
    picture = montage([image, image], 2, ["a very long name of an image", ""])
    assert (picture[:, 8 + 60 + 1 :] == 255).all()
    assert (picture[:, :68] != 255).any()


def test_captions_that_are_not_as_many_as_the_images_are_refused() -> None:
    with pytest.raises(ValueError, match="got 1 captions for 2 images"):
        montage([DARK, DARK], 2, ["one"])
