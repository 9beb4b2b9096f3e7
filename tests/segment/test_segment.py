"""The commands that use a trained model: segment, predict, and the function behind them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from conftest import draw_discs, run_script
from nuclei.base import files
from nuclei.images.io import read_labels, read_rgb, write_rgb
from nuclei.network.segmenter import Segmenter
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


def test_two_images_of_one_name_are_refused_before_any_is_lost(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write_rgb(tmp_path / folder / "a.png", draw_discs(0, 40, 40)[0])
    done = run_script("segment", tmp_path, "one", "two", "-o", "out")
    assert done.returncode == 1
    assert "two images would get the same name" in done.stderr


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
