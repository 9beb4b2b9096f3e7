"""The folder of images to review holds the least certain ones, and what was corrected there stays."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tifffile
from test_segment import here, run
from test_table import segmented

from conftest import draw_discs
from nuclei.base.errors import InputError
from nuclei.images.io import read_image, read_labels, read_rgb, write_labels
from nuclei.segment.batch import Options
from nuclei.segment.finding import find_images
from nuclei.segment.manifest import opened
from nuclei.segment.marks import write_marked_labels
from nuclei.segment.review import write_review
from nuclei.segment.rois import write_geojson, write_imagej

__all__ = ["here"]  # a fixture
CERTAINTIES = {"a": 0.9, "b": None, "c": 0.2, "d": 0.5}
PLAIN = Options()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The results of four images in `mine`, of which `b` has no nuclei, all with one label map."""
    with opened(tmp_path / "out") as manifest:
        for number, (name, certainty) in enumerate(CERTAINTIES.items()):
            rgb, labels = draw_discs(number, 40, 50)
            (tmp_path / "mine").mkdir(exist_ok=True)
            tifffile.imwrite(tmp_path / f"mine/{name}.tif", rgb[..., 0].astype(np.uint16) * 100)
            result(tmp_path / "out", name, labels)
            manifest.add(dataclasses.replace(segmented(f"{name}.tif", 1), certainty=certainty))
    return tmp_path / "out"


def result(out: Path, name: str, labels: np.ndarray) -> None:
    write_marked_labels(out / f"{name}_labels.tif", labels)
    write_imagej(out / f"{name}_rois.zip", labels)
    write_geojson(out / f"{name}.geojson", name, labels, {})


def reviewed(out: Path, count: int, *names: str, options: Options = PLAIN) -> tuple[str, set[str]]:
    """Fill the folder from a run over some of the images, or all; return what was said and the names of its files."""
    given = [out.parent / f"mine/{name}.tif" for name in names] or [out.parent / "mine"]
    with opened(out) as manifest:
        said = write_review(manifest, find_images(given, out).images, out, count, options)
    return said, {path.name for path in (out / "review").iterdir()}


def test_the_least_certain_images_come_with_their_label_maps_and_those_without_nuclei_last(out: Path) -> None:
    said, names = reviewed(out, 2)
    assert said == f"to review: 2 images in {out / 'review'}"
    assert names == {"c.png", "c_labels.tif", "d.png", "d_labels.tif"}
    assert reviewed(out, 3)[1] - names == {"a.png", "a_labels.tif"}
    assert reviewed(out, 99)[1] >= {"b.png", "b_labels.tif"}
    for name in CERTAINTIES:
        for copied in (f"{name}_labels.tif",):
            assert (out / "review" / copied).read_bytes() == (out / copied).read_bytes()


def test_the_image_is_the_one_that_the_network_saw(out: Path) -> None:
    reviewed(out, 1)
    seen = read_image(out.parent / "mine/c.tif").rgb
    np.testing.assert_array_equal(read_rgb(out / "review/c.png"), seen)


def test_outlines_come_along_where_the_run_wrote_them_and_those_of_an_earlier_run_go(out: Path) -> None:
    both = Options(rois=("imagej", "geojson"))
    assert reviewed(out, 1, options=both)[1] == {"c.png", "c_labels.tif", "c_rois.zip", "c.geojson"}
    assert (out / "review/c.geojson").read_bytes() == (out / "c.geojson").read_bytes()
    assert reviewed(out, 1, options=Options(rois=("geojson",)))[1] == {"c.png", "c_labels.tif", "c.geojson"}


def test_only_images_of_this_run_are_copied(out: Path) -> None:
    assert reviewed(out, 1, "a", "b")[1] == {"a.png", "a_labels.tif"}


@pytest.mark.parametrize("file", ["c_labels.tif", "c.geojson", "c.roi", "c.png"])
def test_an_image_of_which_a_file_was_changed_by_hand_stays_as_it_is(out: Path, file: str) -> None:
    reviewed(out, 1)
    if file == "c_labels.tif":
        write_labels(out / "review" / file, np.ones((40, 50), np.uint16))
    else:
        (out / "review" / file).write_bytes(b"mine")
    before = {path.name: path.read_bytes() for path in (out / "review").iterdir()}
    result(out, "c", np.eye(40, 50, dtype=np.uint16))
    said, _ = reviewed(out, 2)
    assert said == f"to review: 1 image in {out / 'review'}, 1 kept as they were, because they were corrected"
    assert {name: (out / "review" / name).read_bytes() for name in before} == before


def test_an_image_that_nobody_changed_gets_the_results_of_the_new_run(out: Path) -> None:
    reviewed(out, 1)
    result(out, "c", np.eye(40, 50, dtype=np.uint16))
    reviewed(out, 1)
    np.testing.assert_array_equal(read_labels(out / "review/c_labels.tif"), np.eye(40, 50))


def test_of_a_file_with_several_planes_each_is_an_image_of_its_own(tmp_path: Path) -> None:
    frames = np.stack([draw_discs(number, 30, 40)[0][..., 0] for number in range(3)])
    (tmp_path / "mine").mkdir()
    tifffile.imwrite(tmp_path / "mine/x.tif", frames, imagej=True, metadata={"axes": "TYX"})
    with opened(tmp_path / "out") as manifest:
        for number, certainty in enumerate((0.9, 0.1, 0.5), start=1):
            name = f"x_t00{number}"
            result(tmp_path / "out", name, np.ones((30, 40), np.uint16))
            manifest.add(dataclasses.replace(segmented(f"{name}.tif", 1), file="x", certainty=certainty))
    assert reviewed(tmp_path / "out", 1)[1] == {"x_t002.png", "x_t002_labels.tif"}
    np.testing.assert_array_equal(read_rgb(tmp_path / "out/review/x_t002.png")[..., 0], frames[1])


def test_the_command_fills_the_folder_in_the_images_own_and_never_segments_it(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        run(monkeypatch, "mine", "-o", "mine", "--recursive", "--review", "1", "--rois", "imagej")
        assert {path.name for path in (here / "mine/review").iterdir()} == {
            "image 0.png", "image 0_labels.tif", "image 0_rois.zip"
        }  # fmt: skip
    said = capsys.readouterr().out
    assert "to review: 1 image in mine/review\n2 images, " in said
    assert "not segmented: the folder of images to review: review" in said


@pytest.mark.parametrize("count", ["0", "-1", "many", "1.5"])
def test_a_wrong_number_is_refused_before_anything_is_done(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], count: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, "mine", "-o", "out", f"--review={count}")
    assert "argument --review: give a number of images, at least 1" in capsys.readouterr().err
    assert not (here / "out").exists()


def test_an_image_that_failed_is_not_among_them(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, "mine", "-o", "out")
    (here / "mine/image 0.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(InputError, match="1 of 2 images were not segmented"):
        run(monkeypatch, "mine", "-o", "out", "--review", "2")
    assert {path.name for path in (here / "out/review").iterdir()} == {"image 1.png", "image 1_labels.tif"}
