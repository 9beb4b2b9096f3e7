"""Synthetic images of any look: always the same, exactly labelled, and different from one another."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from nuclei.images.io import modality
from nuclei.simulate import varied
from nuclei.simulate.images import Labels
from nuclei.simulate.varied import RADIUS, SIDES, draw_varied


@pytest.fixture(scope="module")
def drawn() -> list[tuple[np.ndarray, Labels]]:
    return [draw_varied(0, number) for number in range(60)]


def test_an_image_depends_on_the_seed_and_its_number_alone(drawn: list[tuple[np.ndarray, Labels]]) -> None:
    for number in (7, 3):
        for one, other in zip(draw_varied(0, number), drawn[number], strict=True):
            np.testing.assert_array_equal(one, other)
    assert drawn[3][0].shape != draw_varied(1, 3)[0].shape


def test_every_label_is_one_component(drawn: list[tuple[np.ndarray, Labels]]) -> None:
    for rgb, labels in drawn:
        assert rgb.shape == (*labels.shape, 3) and rgb.dtype == np.uint8 and labels.dtype == np.uint16
        assert set(np.unique(labels)) - {0} == set(range(1, int(labels.max()) + 1))
        assert all(ndimage.label(labels == label)[1] == 1 for label in range(1, int(labels.max()) + 1))


def test_sizes_of_images_and_nuclei_cover_their_ranges(drawn: list[tuple[np.ndarray, Labels]]) -> None:
    sides = [side for _, labels in drawn for side in labels.shape]
    assert SIDES[0] <= min(sides) < SIDES[0] + 10 and SIDES[1] - 10 < max(sides) <= SIDES[1]
    radius = [np.sqrt((labels > 0).sum() / labels.max() / np.pi) for _, labels in drawn if labels.max()]
    assert min(radius) < 1.3 * RADIUS[0] and max(radius) > 0.8 * RADIUS[1]


def test_all_modalities_are_drawn_and_some_fields_are_blank(drawn: list[tuple[np.ndarray, Labels]]) -> None:
    seen = [modality(rgb) for rgb, _ in drawn]
    assert set(seen) == {"fluorescence", "tissue", "brightfield"}
    assert 20 <= seen.count("fluorescence") <= 40 and 14 <= seen.count("tissue") <= 34
    assert 3 <= sum(labels.max() == 0 for _, labels in drawn) <= 13  # three in ten of the fluorescence


def test_blank_fields_out_of_focus_have_less_sharp_detail_and_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    detail: list[list[float]] = []
    for share in (0.0, 1.0):
        monkeypatch.setattr(varied, "DEFOCUSED", share)
        drawn = [rgb[..., 0].astype(float) for rgb, labels in map(draw_varied, [0] * 30, range(30)) if not labels.max()]
        detail.append([float((gray - ndimage.gaussian_filter(gray, 1.5)).std()) for gray in drawn])
    assert len(detail[0]) > 2
    assert all(out < 0.5 * sharp for sharp, out in zip(*detail, strict=True))


def test_in_some_tissue_what_surrounds_the_nuclei_is_brown(drawn: list[tuple[np.ndarray, Labels]]) -> None:
    brown = []
    for rgb, labels in drawn:
        if modality(rgb) == "tissue":
            red, _, blue = rgb[labels == 0].astype(float).T
            brown.append(np.mean(red > 1.5 * blue))
    assert max(brown) > 0.2 and np.median(brown) < 0.02


def test_nuclei_can_be_told_from_their_surroundings(drawn: list[tuple[np.ndarray, Labels]]) -> None:
    for rgb, labels in drawn:
        if labels.max():
            inside = labels > 0
            around = ndimage.binary_dilation(inside, iterations=6) & ~ndimage.binary_dilation(inside, iterations=2)
            differences = np.abs(rgb[inside].mean(axis=0) - rgb[around].mean(axis=0))
            assert differences.max() > 3
