"""The commands that use a trained model: segment, predict, and the function behind them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from test_rle import decode

from conftest import draw_discs, run_script
from nuclei.base import errors, files
from nuclei.base.errors import InputError
from nuclei.images.io import read_labels, read_rgb, write_rgb
from nuclei.images.records import UNLABELLED_COLUMNS, image_path, label_path
from nuclei.network.segmenter import Segmenter, pick_device, segment_cell_image
from segment import find_images


@pytest.fixture
def images(workspace: Path) -> Path:
    folder = workspace / "mine"
    folder.mkdir()
    for number in range(2):
        write_rgb(folder / f"image {number}.png", draw_discs(50 + number, 60, 75)[0])
    return folder


def test_segment_writes_a_label_map_an_overlay_and_a_table_for_a_folder(workspace: Path, images: Path) -> None:
    done = run_script("segment", workspace, "mine", "-o", "out")
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((workspace / "out/nuclei.csv").open()))
    for image in images.iterdir():
        labels = read_labels(workspace / "out" / f"{image.stem}_labels.tif")
        assert labels.shape == (60, 75)
        assert read_rgb(workspace / "out" / f"{image.stem}_overlay.png").shape == (60, 75, 3)
        areas = [int(float(row["area_px"])) for row in rows if row["image"] == image.name]
        assert areas == np.bincount(labels.ravel())[1:].tolist()


def test_an_image_that_can_not_be_read_is_reported_after_the_others_were_done(workspace: Path, images: Path) -> None:
    (images / "broken.png").write_bytes(b"\x89PNG\r\n")
    done = run_script("segment", workspace, "mine", "-o", "out")
    assert done.returncode == 1
    assert "1 of 3 images were not segmented" in done.stderr
    assert "broken.png" in done.stderr
    assert (workspace / "out/image 0_labels.tif").exists()


def test_without_a_model_the_error_says_what_to_run(tmp_path: Path) -> None:
    write_rgb(tmp_path / "a.png", draw_discs(0, 40, 40)[0])
    done = run_script("segment", tmp_path, "a.png", "-o", "out")
    assert done.returncode == 1
    assert "there is no trained model" in done.stderr
    assert "dvc repro train" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("arguments", "problem"), [(["none.png"], "no such image"), (["empty"], "has no images")])
def test_a_wrong_path_is_an_error(arguments: list[str], problem: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = run_script("segment", tmp_path, *arguments, "-o", "out")
    assert done.returncode == 1
    assert problem in done.stderr


@pytest.mark.parametrize("out", ["a.txt", "a.txt/below"])
def test_a_file_in_the_place_of_the_results_is_an_error_that_leaves_it(tmp_path: Path, out: str) -> None:
    write_rgb(tmp_path / "a.png", draw_discs(0, 40, 40)[0])
    (tmp_path / "a.txt").write_text("mine")
    done = run_script("segment", tmp_path, "a.png", "-o", out)
    assert done.returncode == 1
    assert done.stderr.startswith("error: the results can not be written there")
    assert (tmp_path / "a.txt").read_text() == "mine"


def test_the_results_of_an_earlier_run_in_the_same_folder_are_not_taken_for_images(tmp_path: Path) -> None:
    names = ["a.png", "a_labels.tif", "a_overlay.png", "b_overlay.png", "c_labels.png"]  # the last two are of no image
    for name in names:
        (tmp_path / name).touch()
    images = [tmp_path / name for name in ("a.png", "b_overlay.png", "c_labels.png")]
    assert find_images([tmp_path]) == find_images([tmp_path / name for name in names]) == images


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


def test_two_images_of_one_name_are_refused_before_any_is_lost(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write_rgb(tmp_path / folder / "a.png", draw_discs(0, 40, 40)[0])
    done = run_script("segment", tmp_path, "one", "two", "-o", "out")
    assert done.returncode == 1
    assert "two images would get the same name" in done.stderr


def test_predict_writes_a_submission_that_decodes_to_its_label_maps(workspace: Path) -> None:
    unlabelled = workspace / "data/unlabelled"
    (unlabelled / "images").mkdir(parents=True)
    pictures = {"full": draw_discs(7, 64, 50)[0], "black": np.zeros((40, 33, 3), np.uint8)}
    for id, rgb in pictures.items():
        write_rgb(image_path(unlabelled, id), rgb)
    rows = [dict.fromkeys(UNLABELLED_COLUMNS, "1") | {"id": id, "modality": "tissue"} for id in pictures]
    files.write_rows(unlabelled / "index.csv", UNLABELLED_COLUMNS, rows)
    done = run_script("predict", workspace)
    assert done.returncode == 0, done.stderr
    submission = workspace / "data/submission"
    lines = list(csv.DictReader((submission / "submission.csv").open()))
    for id, rgb in pictures.items():
        labels = read_labels(label_path(submission, id))
        encoded = [line["EncodedPixels"] for line in lines if line["ImageId"] == id]
        assert encoded, "an image without nuclei has a row too"
        decoded = decode([line for line in encoded if line], rgb.shape[:2])
        np.testing.assert_array_equal(decoded, labels)
        assert (submission / "overlays" / f"{id}.png").exists()
    assert (submission / "montage.png").exists()


def test_predict_without_unlabelled_images_writes_an_empty_submission(workspace: Path) -> None:
    files.write_rows(workspace / "data/unlabelled/index.csv", UNLABELLED_COLUMNS, [])
    done = run_script("predict", workspace)
    assert done.returncode == 0, done.stderr
    assert (workspace / "data/submission/submission.csv").read_text() == "ImageId,EncodedPixels\n"


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
        pick_device("cuda" if not __import__("torch").cuda.is_available() else "mps")


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


def test_a_diameter_is_taken_or_refused_by_the_command(workspace: Path, images: Path) -> None:
    done = run_script("segment", workspace, "mine", "-o", "out", "--diameter", "12")
    assert done.returncode == 0, done.stderr
    segmenter = Segmenter.load(workspace / "data/model", device="cpu")
    for image in images.iterdir():
        expected = segmenter.segment(read_rgb(image), 12)
        np.testing.assert_array_equal(read_labels(workspace / "out" / f"{image.stem}_labels.tif"), expected)
    done = run_script("segment", workspace, "mine", "-o", "out2", "--diameter", "0")
    assert done.returncode == 1
    assert "1 to 1000 pixels" in done.stderr

    settings = workspace / "data/model/model.json"
    values = files.read_json(settings, "")
    assert isinstance(values, dict)
    files.write_json(settings, {**values, "diameter_px": None})
    done = run_script("segment", workspace, "mine", "-o", "out2", "--diameter", "12")
    assert done.returncode == 1
    assert "takes every image as it is" in done.stderr
    assert not (workspace / "out2").exists()
