"""The command segment: what it writes, what it never replaces, and what it says."""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from PIL import Image
from threshold import Threshold

import segment
from committed import run_here
from conftest import draw_discs
from nuclei.base import citation, errors, shipped
from nuclei.base.errors import InputError
from nuclei.images.io import read_labels, read_rgb, write_labels, write_rgb
from nuclei.network.confidence import Confidence
from nuclei.network.segmenter import Segmenter
from nuclei.segment import marks
from nuclei.segment.manifest import opened


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with two images of discs in `mine`; the model is a threshold."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Segmenter, "load", lambda *_, **__: Threshold())
    for number in range(2):
        write_rgb(tmp_path / f"mine/image {number}.png", draw_discs(50 + number, 60, 75)[0])
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["segment.py", *arguments])
    segment.main()


def table(folder: Path, name: str = "nuclei.csv") -> list[dict[str, str]]:
    return list(csv.DictReader((folder / name).open()))


def test_each_image_gets_a_label_map_an_overlay_and_rows_of_the_table(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, "mine", "-o", "out")
    rows = table(here / "out")
    for path in (here / "mine").iterdir():
        labels = read_labels(here / "out" / f"{path.stem}_labels.tif")
        assert labels.shape == (60, 75)
        assert read_rgb(here / "out" / f"{path.stem}_overlay.png").shape == (60, 75, 3)
        areas = [int(row["area_px"]) for row in rows if row["image"] == path.name]
        assert areas == np.bincount(labels.ravel())[1:].tolist()
    assert capsys.readouterr().out == f"2 images, {len(rows)} nuclei: out, with the model {shipped.MODEL}\n"


def test_a_second_run_into_the_folder_of_the_images_replaces_its_own_results_alone(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, "mine/image 0.png", "-o", "mine")
    run(monkeypatch, "mine", "-o", "mine")
    assert {row["image"] for row in table(here / "mine")} == {"image 0.png", "image 1.png"}
    before = {path: path.read_bytes() for path in (here / "mine").iterdir()}
    run(monkeypatch, "mine", "-o", "mine")
    assert {path: path.read_bytes() for path in (here / "mine").iterdir()} == before
    assert (
        "not segmented: label maps, masks and overlays of images beside them: image 0_labels" in capsys.readouterr().out
    )


def test_the_table_of_images_has_those_without_nuclei_too_and_is_merged_like_the_other(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rgb(here / "mine/empty.png", np.zeros((40, 33, 3), np.uint8))
    run(monkeypatch, "mine/image 0.png", "-o", "out")
    run(monkeypatch, "mine/empty.png", "-o", "out")
    empty, full = table(here / "out", "images.csv")
    assert 0 < float(empty.pop("seconds")) < 60
    assert empty == {
        "image": "empty.png", "height_px": "40", "width_px": "33", "channels": "1", "nuclei": "0", "foreground": "0",
        "diameter_px": "", "zoom": "1", "pixel_size_um": "", "version": citation.version(), "channel": "",
        "warnings": "blank: nothing in the image stands out from its noise",
    }  # fmt: skip
    labels = read_labels(here / "out/image 0_labels.tif")
    assert (full["nuclei"], full["channels"]) == (str(labels.max()), "1")
    assert float(full["foreground"]) == pytest.approx((labels > 0).mean())
    areas = np.bincount(labels.ravel())[1:]
    assert 2 * np.sqrt(areas.min() / np.pi) <= float(full["diameter_px"]) <= 2 * np.sqrt(areas.max() / np.pi)


def test_nuclei_below_the_least_score_are_dropped_and_the_others_keep_theirs(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="this model gives nuclei no score"):
        run(monkeypatch, "mine", "-o", "out", "--min-score", "0.5")
    of_model = {"confidence": Confidence(0, 1, 0), "instance_target": "none"}
    monkeypatch.setattr(Threshold, "settings", SimpleNamespace(**vars(Threshold.settings) | of_model))
    monkeypatch.setattr(Threshold, "nuclei", Segmenter.nuclei)
    monkeypatch.setattr(Threshold, "scores", Segmenter.scores, raising=False)
    dim = draw_discs(52, 60, 75)
    monkeypatch.setattr(
        Threshold, "predict", lambda self, rgb, scale: np.where(dim[1] == 1, 0.6, (dim[1] > 0) * 0.9)[None]
    )
    monkeypatch.setattr(Threshold, "label", lambda self, maps: dim[1])
    run(monkeypatch, "mine/image 0.png", "-o", "all")
    scores = [float(row["score"]) for row in table(here / "all")]
    assert scores == pytest.approx([0.6, *[0.9] * (dim[1].max() - 1)])
    run(monkeypatch, "mine/image 0.png", "-o", "sure", "--min-score", "0.7")
    assert [float(row["score"]) for row in table(here / "sure")] == pytest.approx(scores[1:])
    labels = read_labels(here / "sure/image 0_labels.tif")
    assert np.array_equal(labels, np.where(dim[1] > 1, dim[1] - 1, 0))
    of_model |= {"min_score": 0.7}
    monkeypatch.setattr(Threshold, "settings", SimpleNamespace(**vars(Threshold.settings) | of_model))
    run(monkeypatch, "mine/image 0.png", "-o", "as the model says")
    assert [float(row["score"]) for row in table(here / "as the model says")] == pytest.approx(scores[1:])
    run(monkeypatch, "mine/image 0.png", "-o", "all of them", "--min-score", "0")
    assert [float(row["score"]) for row in table(here / "all of them")] == pytest.approx(scores)
    of_model |= {"min_best_score": 0.95}
    monkeypatch.setattr(Threshold, "settings", SimpleNamespace(**vars(Threshold.settings) | of_model))
    run(monkeypatch, "mine/image 0.png", "-o", "none", "--min-score", "0.8")
    assert not table(here / "none")
    assert "the surest has a score of 0.90, below 0.95" in (here / "none/images.csv").read_text()
    with opened(here / "none") as manifest:
        assert [image.certainty for image in manifest.images()] == pytest.approx(
            [0.9]
        )  # so it is among the first to review
    run(monkeypatch, "mine/image 0.png", "-o", "all in spite of that", "--min-score", "0")
    assert [float(row["score"]) for row in table(here / "all in spite of that")] == pytest.approx(scores)


def correct_by_tifffile(path: Path) -> None:
    labels = tifffile.imread(path)
    labels[0, 0] = 77
    tifffile.imwrite(path, labels)


def edit_in_place(path: Path) -> None:
    """Change a pixel and keep all metadata, as a careful editor would."""
    with tifffile.TiffFile(path) as file:
        labels, mark = file.asarray(), file.pages.first.software
    labels[0, 0] = 77
    tifffile.imwrite(path, labels, software=mark)


@pytest.mark.parametrize("change", [correct_by_tifffile, edit_in_place])
def test_a_corrected_label_map_is_kept_and_nothing_is_computed_unless_forced(
    here: Path, monkeypatch: pytest.MonkeyPatch, change
) -> None:
    run(monkeypatch, "mine", "-o", "out")
    corrected = here / "out/image 1_labels.tif"
    change(corrected)
    content = corrected.read_bytes()
    loaded: list[int] = []
    monkeypatch.setattr(Segmenter, "load", lambda *_, **__: loaded.append(1) or Threshold())
    with pytest.raises(InputError, match=r"would replace files(.|\n)*image 1_labels.tif(.|\n)*--force"):
        run(monkeypatch, "mine", "-o", "out")
    assert (corrected.read_bytes(), loaded) == (content, [])
    run(monkeypatch, "mine", "-o", "out", "--force")
    assert 77 not in read_labels(corrected)


@pytest.mark.parametrize("name", ["image 0_labels.tif", "image 0_overlay.png", "nuclei.csv", "images.csv"])
def test_a_file_of_the_users_own_in_the_place_of_a_result_stops_the_run_before_it_starts(
    here: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = here / "mine" / name
    if name.endswith(".tif"):
        write_labels(path, np.ones((60, 75), np.uint16))
    elif name.endswith(".png"):
        Image.new("RGB", (75, 60)).save(path)
    else:
        path.write_text("well,drug\nA01,x\n")
    before = {file: file.read_bytes() for file in (here / "mine").iterdir()}
    with pytest.raises(InputError, match="this program"):
        run(monkeypatch, "mine", "-o", "mine")
    assert {file: file.read_bytes() for file in (here / "mine").iterdir()} == before
    run(monkeypatch, "mine", "-o", "mine", "--force")
    assert {row["image"] for row in table(here / "mine")} == {"image 0.png", "image 1.png"}


def test_force_keeps_the_rows_of_images_that_are_not_segmented(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, "mine", "-o", "out")
    run(monkeypatch, "mine/image 0.png", "-o", "out", "--force")
    assert {row["image"] for row in table(here / "out")} == {"image 0.png", "image 1.png"}


def test_an_image_that_can_not_be_read_is_reported_after_the_others_were_done(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "mine/broken.png").write_bytes(b"\x89PNG\r\n")
    (here / "mine/slide.oib").touch()
    with pytest.raises(InputError, match=r"1 of 3 images were not segmented(.|\n)*broken.png"):
        run(monkeypatch, "mine", "-o", "out")
    out = capsys.readouterr().out
    assert out.startswith("2 images, ")
    assert "not segmented: formats that are not read: slide.oib" in out
    assert {row["image"] for row in table(here / "out")} == {"image 0.png", "image 1.png"}


def test_with_recursive_the_results_keep_the_subfolder(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_rgb(here / "mine/A01/image 0.png", draw_discs(3, 60, 75)[0])
    run(monkeypatch, "mine", "-o", "mine/out", "--recursive")
    run(monkeypatch, "mine", "-o", "mine/out", "--recursive")
    assert {row["image"] for row in table(here / "mine/out")} == {"A01/image 0.png", "image 0.png", "image 1.png"}
    assert (here / "mine/out/A01/image 0_labels.tif").exists()
    assert len(list((here / "mine").rglob("*_labels.tif"))) == 3


def test_images_are_taken_from_a_list_too(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "list.txt").write_text("mine/image 1.png\n")
    run(monkeypatch, "--list", "list.txt", "-o", "out")
    assert {row["image"] for row in table(here / "out")} == {"image 1.png"}


@pytest.mark.parametrize("channels", [1, 3])
def test_intensities_are_those_of_the_file_at_every_exposure(
    here: Path, monkeypatch: pytest.MonkeyPatch, channels: int
) -> None:
    _, labels = draw_discs(1, 60, 75)
    counts = np.where(labels, 20_000, 400).astype(np.uint16)
    for exposure in (1, 2, 4):
        shown = counts // exposure if channels == 1 else np.stack([counts // exposure, counts, counts * 2], axis=2)
        tifffile.imwrite(here / f"mine/{exposure}.tif", shown, photometric="rgb" if channels == 3 else "minisblack")
    run(monkeypatch, *(f"mine/{exposure}.tif" for exposure in (1, 2, 4)), "-o", "out")
    rows = table(here / "out")
    for exposure in (1, 2, 4):
        of_image = [row for row in rows if row["image"] == f"{exposure}.tif"]
        assert of_image
        assert {row["intensity_mean_ch1"] for row in of_image} == {str(20_000 // exposure)}
        assert {row["background_median_ch1"] for row in of_image} == {str(400 // exposure)}
        if channels == 3:
            assert {row["intensity_mean_ch3"] for row in of_image} == {"40000"}


def test_a_gray_image_saved_as_colour_has_one_channel(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, "mine", "-o", "out")
    (rgb,) = (read_rgb(path) for path in (here / "mine").glob("image 0.png"))
    labels = read_labels(here / "out/image 0_labels.tif")
    row = table(here / "out")[0]
    assert "intensity_mean_ch2" not in row
    assert float(row["intensity_mean_ch1"]) == pytest.approx(rgb[..., 0][labels == 1].mean())


def test_pixels_without_a_finite_value_are_reported_and_not_measured(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    values = np.where(draw_discs(1, 60, 75)[1] > 0, np.float32(0.5), np.float32(0.125))
    values[:4] = np.nan
    tifffile.imwrite(here / "mine/nan.tif", values)
    run(monkeypatch, "mine/nan.tif", "-o", "out")
    assert "warning: nan.tif: 300 pixels without a finite value were taken as black" in capsys.readouterr().out
    assert {row["intensity_mean_ch1"] for row in table(here / "out")} == {"0.5"}
    assert {row["background_median_ch1"] for row in table(here / "out")} == {"0.125"}


def test_a_diameter_outside_the_range_of_the_model_is_a_warning_for_each_image(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, "mine", "-o", "out", "--diameter", "400")
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: ")]
    assert [line.split(": ")[1] for line in said] == ["image 0.png", "image 1.png"]
    assert "nuclei of 400 px are outside what the model was trained for" in said[0]
    assert {row["zoom"] for row in table(here / "out", "images.csv")} == {"0.1"}


def test_an_image_that_is_shown_turned_is_measured_as_its_label_map_lies(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.zeros((30, 50), np.uint16)
    values[5:15, 30:45] = 9000
    tifffile.imwrite(here / "mine/turned.tif", values, extratags=[(274, "H", 1, 6, True)])  # 90 degrees clockwise
    run(monkeypatch, "mine/turned.tif", "-o", "out")
    assert read_labels(here / "out/turned_labels.tif").shape == (50, 30)
    (row,) = table(here / "out")
    assert (row["intensity_min_ch1"], row["height_px"], row["width_px"]) == ("9000", "15", "10")


@pytest.mark.parametrize("out", ["a.txt", "a.txt/below"])
def test_a_file_in_the_place_of_the_results_is_an_error_that_leaves_it(
    here: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    (here / "a.txt").write_text("mine")
    with pytest.raises(InputError, match="the results can not be written there"):
        run(monkeypatch, "mine", "-o", out)
    assert (here / "a.txt").read_text() == "mine"


@pytest.mark.parametrize("option", ["--diameter=0", "--diameter=1001", "--diameter=nan", "--diameter=-3um",
                                    "--diameter=3 cm", "--min-score=1.1", "--min-score=high"])  # fmt: skip
def test_a_diameter_or_score_out_of_range_is_refused(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, "mine", "-o", "out", option)
    assert re.search("expected (1 to 1000 pixels, or µm, as 12um|a number from 0 to 1)", capsys.readouterr().err)


def test_a_diameter_in_micrometres_goes_by_the_pixels_of_each_image(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tifffile.imwrite(
        here / "mine/fine.ome.tif",
        np.zeros((30, 40), np.uint8),
        metadata={"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5},
    )
    with pytest.raises(InputError, match="2 of 3 images") as said:
        run(monkeypatch, "mine", "-o", "out", "--diameter", "20um")
    assert str(said.value).count("the size of a pixel is not known") == 2
    assert [row["zoom"] for row in table(here / "out", "images.csv")] == ["0.625"]  # 25 px / (20 µm / 0.5 µm)
    run(monkeypatch, "mine", "-o", "out", "--diameter", "20 µm", "--pixel-size", "2")
    assert [row["zoom"] for row in table(here / "out", "images.csv")] == ["2.5"] * 3
    with pytest.raises(InputError, match=r"20 µm, which are 2e\+04 pixels of 0.001 µm"):
        run(monkeypatch, "mine", "-o", "out", "--diameter", "20um", "--pixel-size", "0.001")


def test_the_label_map_carries_the_size_of_a_pixel_where_it_is_known(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(monkeypatch, "mine/image 0.png", "-o", "with", "--pixel-size", "0.325")
    run(monkeypatch, "mine/image 0.png", "-o", "without")
    with tifffile.TiffFile(here / "with/image 0_labels.tif") as file:
        page, said = file.pages.first, file.imagej_metadata
        assert said["unit"] == "micron"
        pixels, microns = page.tags["XResolution"].value
        assert microns / pixels == pytest.approx(0.325, rel=1e-6)
        assert page.tags["YResolution"].value == (pixels, microns)
    with tifffile.TiffFile(here / "without/image 0_labels.tif") as file:
        assert "XResolution" not in file.pages.first.tags or not file.is_imagej
    maps = [read_labels(here / folder / "image 0_labels.tif") for folder in ("with", "without")]
    assert np.array_equal(*maps)
    assert marks.is_ours(here / "with/image 0_labels.tif")


def test_a_model_that_does_not_rescale_refuses_a_diameter(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Threshold, "settings", SimpleNamespace(diameter_px=None))
    with pytest.raises(InputError, match="takes every image as it is"):
        run(monkeypatch, "mine", "-o", "out", "--model", "data/model", "--diameter", "12")
    assert not (here / "out").exists()


def test_without_images_the_usage_is_shown(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, "-o", "out")
    assert "give images, folders, or --list FILE" in capsys.readouterr().err


def test_without_a_model_the_error_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_rgb(tmp_path / "a.png", draw_discs(0, 40, 40)[0])
    monkeypatch.setattr(sys, "argv", ["segment.py", "a.png", "-o", "out", "--model", "data/model"])
    with pytest.raises(SystemExit, match=r"error: there is no trained model(.|\n)*dvc repro train"):
        errors.run(segment.main)
    assert not (tmp_path / "out").exists()


def test_the_script_segments_with_a_trained_model_at_the_diameter_given(workspace: Path) -> None:
    rgb = draw_discs(50, 60, 75)[0]
    write_rgb(workspace / "mine/a.png", rgb)
    done = run_here("segment", workspace, "mine", "-o", "out", "--model", "data/model", "--diameter", "12")
    assert done.returncode == 0, done.stderr
    expected = Segmenter.load(workspace / "data/model", device="cpu").segment(rgb, 12)
    np.testing.assert_array_equal(read_labels(workspace / "out/a_labels.tif"), expected)
    assert [row["label"] for row in table(workspace / "out")] == [str(n) for n in range(1, expected.max() + 1)]
