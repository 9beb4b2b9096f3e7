"""A trained model in use: saved, loaded, and segmenting an array or a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import draw_discs
from nuclei.base import errors
from nuclei.base.errors import InputError
from nuclei.images.io import write_rgb
from nuclei.network.segmenter import Segmenter, pick_device, segment_cell_image


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


def test_the_diameter_of_the_nuclei_decides_at_which_scale_they_are_seen(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmenter = Segmenter.load(trained / "data/model", device="cpu")
    target = segmenter.settings.diameter_px
    assert target is not None
    rgb = draw_discs(3, 60, 75)[0]
    zooms: list[float] = []
    predict = segmenter._predict

    def watched(normalised: np.ndarray, zoom: float, *, flips: bool) -> np.ndarray:
        zooms.append(zoom)
        return predict(normalised, zoom, flips=flips)

    monkeypatch.setattr(segmenter, "_predict", watched)
    monkeypatch.setattr("nuclei.network.segmenter.diameter", lambda labels: target / 2)
    measured = segmenter.maps(rgb)
    assert zooms == [1.0, 2.0]  # as it is, to measure; then at the scale that this found
    zooms.clear()
    np.testing.assert_array_equal(segmenter.maps(rgb, target / 2), measured)
    assert zooms == [2.0]
    monkeypatch.setattr("nuclei.network.segmenter.diameter", lambda labels: None)  # nothing there to measure
    zooms.clear()
    segmenter.maps(rgb)
    assert zooms == [1.0, 1.0]
