"""Synthetic images have the looks and the touching nuclei of the real data."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy import ndimage

from nuclei.images.io import modality
from nuclei.simulate.images import APPEARANCES, draw


@pytest.fixture(scope="module")
def drawn() -> list[tuple[np.ndarray, np.ndarray]]:
    return [draw(0, number) for number in range(2 * len(APPEARANCES))]


def test_the_modalities_are_told_apart_and_mixed_as_said(drawn: list[tuple[np.ndarray, np.ndarray]]) -> None:
    assert Counter(modality(rgb) for rgb, _ in drawn) == {"fluorescence": 24, "tissue": 10, "brightfield": 6}
    first = {modality(rgb) for rgb, _ in drawn[:4]}
    assert first == {"fluorescence", "tissue", "brightfield"}  # the smallest sample has all three


def test_every_nucleus_is_one_piece_of_a_sensible_size(drawn: list[tuple[np.ndarray, np.ndarray]]) -> None:
    for _, labels in drawn:
        count = int(labels.max())
        assert count >= 1 and set(np.unique(labels)) == set(range(count + 1))
        assert all(ndimage.label(labels == label)[1] == 1 for label in range(1, count + 1))
        areas = np.bincount(labels.ravel())[1:]
        assert areas.min() >= 12 and areas.max() < 3000


def test_nuclei_touch_in_many_images(drawn: list[tuple[np.ndarray, np.ndarray]]) -> None:
    touching = 0
    for _, labels in drawn:
        right = (labels[:, 1:] != labels[:, :-1]) & (labels[:, 1:] > 0) & (labels[:, :-1] > 0)
        touching += bool(right.any())
    assert touching >= len(drawn) / 2


def test_nuclei_stand_out_from_their_surroundings(drawn: list[tuple[np.ndarray, np.ndarray]]) -> None:
    for rgb, labels in drawn:
        gray = rgb.astype(float).mean(axis=2)
        inside, outside = gray[labels > 0].mean(), gray[labels == 0].mean()
        dark = modality(rgb) == "fluorescence"
        assert inside > outside + 8 if dark else inside < outside - 40


def test_the_images_are_of_several_sizes_and_mostly_small(drawn: list[tuple[np.ndarray, np.ndarray]]) -> None:
    sizes = [labels.shape for _, labels in drawn]
    assert len(set(sizes)) >= 6
    assert np.mean([max(size) <= 192 for size in sizes]) > 0.5
    assert all(128 <= side <= 320 for size in sizes for side in size)
