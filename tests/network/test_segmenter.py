"""A trained model in use: saved, loaded, and segmenting an array or a file."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.measure import label as connected

from conftest import draw_discs
from made_up import SETTINGS
from nuclei.base import errors
from nuclei.base.errors import InputError
from nuclei.images.io import write_rgb
from nuclei.network.confidence import Confidence
from nuclei.network.segmenter import (
    ENLARGED_LOOK_PX,
    LOOK_PX,
    SAME_PLACES,
    Segmenter,
    make_net,
    pick_device,
    segment_cell_image,
)


def test_a_full_disk_ends_in_one_clear_error_when_a_model_is_saved(trained: Path, tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no device that is always full")
    segmenter = Segmenter.load(trained / "data/model", device="cpu")
    (tmp_path / "unet_final_model.pth").symlink_to("/dev/full")
    with pytest.raises(SystemExit, match=r"error: No space left on device\n(.|\n)*free some space"):
        errors.run(lambda: segmenter.save(tmp_path))


def test_a_saved_model_has_the_same_bytes_in_any_folder(trained: Path, tmp_path: Path) -> None:
    segmenter = Segmenter.load(trained / "data/model", device="cpu")
    segmenter.save(tmp_path)
    for name in ("unet_final_model.pth", "instance_head.pth", "model.json"):
        assert (tmp_path / name).read_bytes() == (trained / "data/model" / name).read_bytes()


def test_an_array_and_its_file_give_the_same_label_map(trained: Path, tmp_path: Path) -> None:
    rgb = draw_discs(3, 64, 64)[0]
    write_rgb(tmp_path / "a.png", rgb)
    segmenter = Segmenter.load(trained / "data/model", device="cpu")
    from_array = segment_cell_image(rgb, segmenter)
    np.testing.assert_array_equal(segment_cell_image(tmp_path / "a.png", segmenter), from_array)
    np.testing.assert_array_equal(segment_cell_image(rgb[..., 0], trained / "data/model"), from_array)
    assert from_array.dtype == np.uint16


def test_a_model_drops_nuclei_below_its_least_score_and_can_be_asked_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    rgb, truth = draw_discs(52, 60, 75)
    sure = Confidence(0, 1, 0)  # the score is the mean foreground probability
    settings = dataclasses.replace(SETTINGS, instance_target="none", diameter_px=None, min_score=0.7, confidence=sure)
    segmenter = Segmenter(make_net("Unet", SETTINGS.encoder_name, "none"), settings)
    maps = np.where(truth == 1, 0.6, (truth > 0) * 0.9)[None].astype(np.float32)
    monkeypatch.setattr(segmenter, "_predict", lambda rgb, zoom, flips: maps)
    monkeypatch.setattr(segmenter, "label", lambda maps: truth)
    expected = np.where(truth > 1, truth - 1, 0)
    assert np.array_equal(segmenter.segment(rgb), expected)
    assert np.array_equal(segment_cell_image(rgb, segmenter), expected)
    assert np.array_equal(segmenter.nuclei(maps, 0)[0], truth)
    segmenter.settings = dataclasses.replace(settings, min_best_score=0.9)
    assert np.array_equal(segmenter.segment(rgb), expected)
    segmenter.settings = dataclasses.replace(settings, min_best_score=0.91)
    assert not segmenter.segment(rgb).any()
    assert np.array_equal(segmenter.nuclei(maps, 0, 0)[0], truth)
    segmenter.calibrate(None)
    assert np.array_equal(segmenter.segment(rgb), truth)  # without scores there is nothing to go by


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4), np.uint8)]
)
def test_an_array_of_the_wrong_kind_is_refused(image: np.ndarray, trained: Path) -> None:
    with pytest.raises(InputError, match="wrong shape or type"):
        segment_cell_image(image, trained / "data/model")


def test_a_model_with_a_damaged_file_is_one_clear_error(workspace: Path) -> None:
    model = workspace / "data/model"
    settings = (model / "model.json").read_text()
    (model / "model.json").write_text(settings.replace('"tile_px": 1024', '"tile_px": 1000'))
    with pytest.raises(InputError, match="multiple of 32"):
        Segmenter.load(model)
    (model / "model.json").write_text(settings)
    (model / "instance_head.pth").unlink()
    with pytest.raises(InputError, match="weights are missing"):
        Segmenter.load(model)


def test_a_device_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match="the device is not there"):
        pick_device("cuda" if not torch.cuda.is_available() else "mps")


def fake(monkeypatch: pytest.MonkeyPatch, sees_px: float, *, flips: bool = False) -> tuple[Segmenter, list[float]]:
    """A segmenter that sees bright squares, the surer the nearer to `sees_px` they are; the heights that it was shown.

    Brightness is the foreground; the second head's map is high where the square's side is near to `sees_px`.
    """
    settings = dataclasses.replace(SETTINGS, encoder_name="resnet18", diameter_px=25.0, flips=flips)
    segmenter, seen = Segmenter(make_net("Unet", "resnet18", "distance"), settings), []

    def predict(rgb: np.ndarray, zoom: float, *, flips: bool) -> np.ndarray:
        seen.append(rgb.shape[0] * zoom)
        inside = (rgb[..., 0] > 127).astype(np.float32)
        side = max(inside.sum() ** 0.5, 1)
        return np.stack([inside, inside * np.exp(-abs(np.log(side / sees_px)))]).astype(np.float32)

    monkeypatch.setattr(segmenter, "_predict", predict)
    return segmenter, seen


def square(side: int, image_px: int = 512) -> np.ndarray:
    rgb = np.zeros((image_px, image_px, 3), np.uint8)
    rgb[32 : 32 + side, 32 : 32 + side] = 255
    return rgb


@pytest.mark.parametrize("side", [8, 24, 48, 96, 200])
def test_the_looks_say_how_large_the_nuclei_are(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    segmenter, _ = fake(monkeypatch, 25)
    found = segmenter.scale(square(side)).diameter_px
    assert found == pytest.approx(2 * side / np.pi**0.5, rel=0.1)  # of the circle of the same area


def test_an_enlarged_copy_is_looked_at_only_where_nuclei_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    segmenter, seen = fake(monkeypatch, 25)
    segmenter.scale(square(22, 160))
    assert seen == [20, 40, 80, 160]
    seen.clear()
    segmenter.scale(square(17, 160))
    assert seen == [20, 40, 80, 160, ENLARGED_LOOK_PX]


def test_an_image_is_not_looked_at_where_smaller_or_larger_scales_say_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    segmenter, seen = fake(monkeypatch, 25)
    segmenter.scale(square(48, 160))  # half the scale shows it as in training, a quarter confirms its size
    assert seen == [20, 40, 80]
    seen.clear()
    segmenter.scale(square(8, 160))  # tiny at half the scale
    assert seen == [20, 40, 80, ENLARGED_LOOK_PX]


def test_what_a_look_sees_does_not_grow_with_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    segmenter, seen = fake(monkeypatch, 25)
    rgb = square(8, 1600)
    rgb[1300:1308, 900:908] = rgb[1320:1328, 900:908] = 255  # two squares lie here, one in the upper left corner
    found = segmenter.scale(rgb)
    assert seen == [200, LOOK_PX, LOOK_PX, ENLARGED_LOOK_PX]
    assert found.diameter_px == pytest.approx(2 * 8 / np.pi**0.5, rel=0.1)


def test_an_image_that_needs_no_rescaling_is_predicted_once_unless_flips_are_averaged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for flips, times in ((False, 1), (True, 2)):
        segmenter, seen = fake(monkeypatch, 22, flips=flips)
        maps = segmenter.maps(square(22, LOOK_PX))
        assert len(seen) == 4 + times - 1
        assert maps.shape == (2, LOOK_PX, LOOK_PX)


def test_an_image_that_was_not_looked_at_as_a_whole_is_predicted_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    segmenter, seen = fake(monkeypatch, 22)
    assert segmenter.maps(square(22, LOOK_PX + 1)).shape == (2, LOOK_PX + 1, LOOK_PX + 1)
    assert len(seen) == 5


def test_a_given_diameter_is_used_without_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    segmenter, seen = fake(monkeypatch, 25)
    segmenter.maps(square(200), 200)
    assert seen == [64]


def test_an_image_without_nuclei_keeps_its_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    segmenter, _ = fake(monkeypatch, 25)
    assert segmenter.scale(square(0)).zoom == 1


@pytest.mark.parametrize(
    ("as_it_is", "inverse", "inverted"),
    [
        ("nuclei, 0.6", "nuclei, 0.9", True),
        ("nuclei, 0.9", "nuclei, 0.6", False),
        ("nuclei, 0.6", "cells, 0.9", False),
        ("nothing, 0", "nuclei, 0.9", True),
        ("nothing, 0", "nothing, 0", False),
    ],
)
def test_a_light_image_is_inverted_if_the_same_nuclei_are_surer_then(
    monkeypatch: pytest.MonkeyPatch, as_it_is: str, inverse: str, inverted: bool
) -> None:
    _, truth = draw_discs(52, 60, 75)
    cells = np.ones_like(truth)
    assert (truth > 0).mean() < SAME_PLACES
    score = Confidence(0, 1, 0)  # the mean foreground probability
    settings = dataclasses.replace(
        SETTINGS, instance_target="none", diameter_px=None, confidence=score, invert_light="auto"
    )
    segmenter = Segmenter(make_net("Unet", SETTINGS.encoder_name, "none"), settings)

    def maps(name: str) -> np.ndarray:
        kind, probability = name.split(", ")
        shown = {"nuclei": truth, "cells": cells, "nothing": np.zeros_like(truth)}[kind]
        return ((shown > 0) * float(probability))[None].astype(np.float32)

    def predict(rgb: np.ndarray, zoom: float, flips: bool) -> np.ndarray:
        return maps(inverse if np.median(rgb) < 128 else as_it_is)

    monkeypatch.setattr(segmenter, "_predict", predict)
    monkeypatch.setattr(segmenter, "label", lambda maps: connected(maps[0] > 0))
    light = np.repeat(np.where(truth > 0, 100, 240).astype(np.uint8)[..., None], 3, axis=2)
    assert segmenter.scale(light).inverted is inverted
    expected = inverse if inverted else as_it_is
    assert np.array_equal(segmenter.segment(light) > 0, maps(expected)[0] > 0)
    assert not segmenter.scale(255 - light).inverted
    segmenter.calibrate(None)
    assert not segmenter.scale(light).inverted
