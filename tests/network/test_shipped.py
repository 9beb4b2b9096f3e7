"""The model in models/nuclei finds the nuclei of synthetic images and, where they are at hand, of real ones."""

from __future__ import annotations

import hashlib
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from nuclei.base import shipped
from nuclei.images.io import read_labels, read_rgb
from nuclei.network.normalisation import is_gray
from nuclei.network.segmenter import Segmenter, segment_cell_image
from nuclei.network.sizing import INVERTED
from nuclei.simulate.images import draw

MOST_BYTES = 30_000_000  # in git


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.load(device="cpu")


def f1(truth: NDArray[np.integer], found: NDArray[np.integer]) -> float:
    """F1 of the nuclei at IoU 0.5, by counting overlaps: at more than half of the union, a match is unique."""
    matched = 0
    for number in range(1, int(truth.max()) + 1):
        inside = truth == number
        for other in np.unique(found[inside]):
            union = inside | (found == other)
            matched += bool(other) and (inside & (found == other)).sum() > union.sum() / 2
    return 2 * matched / (truth.max() + found.max())


def test_it_is_small_enough_for_git_and_loads_from_any_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sum(path.stat().st_size for path in shipped.MODEL.iterdir()) < MOST_BYTES
    monkeypatch.chdir(tmp_path)
    blank = np.zeros((64, 64, 3), np.uint8)
    assert segment_cell_image(blank).shape == (64, 64)


def test_it_finds_the_nuclei_of_synthetic_images_of_every_modality(segmenter: Segmenter) -> None:
    scores = [f1(truth, segmenter.segment(rgb)) for rgb, truth in (draw(7, number) for number in range(8))]
    assert np.mean(scores) > 0.8 and min(scores) > 0.5


def test_it_finds_the_nuclei_of_real_images_on_which_it_was_trained(segmenter: Segmenter, real_data: Path) -> None:
    scores = []
    with zipfile.ZipFile(real_data) as archive:
        names = archive.namelist()
        for id in sorted({name.split("/")[0] for name in names})[:200:40]:
            of_image = [name for name in names if name.startswith(f"{id}/")]
            (image,) = [name for name in of_image if "/images/" in name and name.endswith(".png")]
            masks = [name for name in of_image if "/masks/" in name and name.endswith(".png")]
            rgb = read_rgb(archive.read(image))
            truth = np.zeros(rgb.shape[:2], np.uint16)
            for number, mask in enumerate(masks, start=1):
                truth[read_labels(archive.read(mask)) > 0] = number
            scores.append(f1(truth, segmenter.segment(rgb)))
    assert np.mean(scores) > 0.8


def test_inverted_fluorescence_gives_the_label_map_of_the_plain_image_and_light_cells_stay_as_they_are(
    segmenter: Segmenter,
) -> None:
    auto = Segmenter(segmenter.net, replace(segmenter.settings, invert_light="auto"))
    seen = Counter[tuple[str, bool]]()
    for number in range(24):
        rgb, truth = draw(3, number)
        if not is_gray(rgb) or not truth.any():
            continue
        dark = np.median(rgb) < 128
        light = 255 - rgb if dark else rgb
        inverted = auto.scale(light).inverted
        seen["fluorescence" if dark else "bright-field", inverted] += 1
        assert (INVERTED in auto.scale(light).notes) is inverted
        if inverted is bool(dark):
            assert np.array_equal(auto.segment(light), segmenter.segment(rgb))
    assert seen["bright-field", False] >= 3 and not seen["bright-field", True]
    assert seen["fluorescence", True] >= 10 and seen["fluorescence", False] <= 2
    uncalibrated = Segmenter(segmenter.net, replace(auto.settings, confidence=None))
    assert not uncalibrated.scale(255 - draw(3, 0)[0]).inverted


def test_its_card_has_the_hashes_of_its_files() -> None:
    card = (shipped.MODEL / "MODEL.md").read_text()
    for name in ("unet_final_model.pth", "instance_head.pth", "model.json"):
        assert hashlib.sha256((shipped.MODEL / name).read_bytes()).hexdigest() in card
