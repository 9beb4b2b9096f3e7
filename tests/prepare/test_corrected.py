"""The results of segment.py beside their images are a data set, in which what was corrected by hand is what counts."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from roifile import ROI_TYPE, ImagejRoi
from test_prepare import png, tif

import prepare
from nuclei.base.errors import InputError
from nuclei.base.params import Prepare
from nuclei.images.io import read_labels
from nuclei.images.records import label_path
from nuclei.segment.marks import write_marked_labels
from nuclei.segment.rois import write_geojson, write_imagej

PARAMS = Prepare(channel=None, max_image_px=10**8, max_archive_bytes=10**10, binary_masks="error")
LABELS = np.zeros((20, 30), np.uint16)
LABELS[3:9, 4:12] = 1
LABELS[10:15, 8:20] = 2
CORRECTED = (LABELS == 2).astype(np.uint16)  # the first nucleus was none

UNCHANGED = ("unchanged results of segment.py", "kept")


def rois() -> bytes:
    """The corrected nucleus as Fiji saves it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("2.roi", ImagejRoi(roitype=ROI_TYPE.RECT, left=8, top=10, right=20, bottom=15).tobytes())
    return file.getvalue()


def geojson(*rings: list[list[float]]) -> bytes:
    """Annotations as QuPath exports them."""
    features = [
        {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}, "properties": {}} for ring in rings
    ]
    return json.dumps({"type": "FeatureCollection", "features": features}).encode()


BY_HAND = {
    "a_labels.tif": tif(CORRECTED),
    "a_rois.zip": rois(),
    "a.geojson": geojson([[8, 10], [20, 10], [20, 15], [8, 15], [8, 10]]),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """An image with two nuclei and the files that segment.py writes for it."""
    folder = tmp_path_factory.mktemp("written")
    write_marked_labels(folder / "a_labels.tif", LABELS)
    write_imagej(folder / "a_rois.zip", LABELS)
    write_geojson(folder / "a.geojson", "a.png", LABELS, {"area_px": [48, 60]})
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    return {"a.png": png(np.random.default_rng(0).integers(0, 90, (20, 30), dtype=np.uint8)), **files}


def prepared(folder: Path, files: dict[str, bytes]) -> tuple[np.ndarray, list[tuple[str, str]]]:
    """The label map, and what the table of annotations says: each defect with what was done."""
    with zipfile.ZipFile(folder / "data.zip", "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    prepare.prepare_labelled(folder / "data.zip", folder / "prepared", PARAMS, workers=1)
    with (folder / "prepared/annotations.csv").open(newline="") as file:
        rows = [(row["defect"], row["action"]) for row in csv.DictReader(file)]
    return read_labels(label_path(folder / "prepared", "a")), rows


def test_where_nothing_was_corrected_the_label_map_is_taken(tmp_path: Path, written: dict[str, bytes]) -> None:
    labels, said = prepared(tmp_path, written)
    np.testing.assert_array_equal(labels, LABELS)
    assert said == [("choice among several annotations", "the label map was taken"), UNCHANGED]


@pytest.mark.parametrize("name", BY_HAND)
def test_the_file_that_was_corrected_is_taken_whichever_it_is(
    tmp_path: Path, written: dict[str, bytes], name: str
) -> None:
    labels, said = prepared(tmp_path, written | {name: BY_HAND[name]})
    np.testing.assert_array_equal(labels, CORRECTED)
    taken = "the label map was" if name == "a_labels.tif" else "outlines were"
    assert said == [("choice among several annotations", f"{taken} taken")]


@pytest.mark.parametrize("name", ["a_labels.tif", "a_rois.zip", "a.geojson"])
def test_each_file_as_it_was_written_is_an_annotation_by_itself(
    tmp_path: Path, written: dict[str, bytes], name: str
) -> None:
    labels, said = prepared(tmp_path, {"a.png": written["a.png"], name: written[name]})
    np.testing.assert_array_equal(labels, LABELS)
    assert said == [UNCHANGED]


def test_two_corrected_files_of_an_image_are_an_error_that_names_both(
    tmp_path: Path, written: dict[str, bytes]
) -> None:
    both = {name: BY_HAND[name] for name in ("a_labels.tif", "a.geojson")}
    with pytest.raises(InputError, match=r"by hand(.|\n)*a\.png(.|\n)*a_labels\.tif, a\.geojson(.|\n)*keep the one"):
        prepared(tmp_path, written | both)
    assert [path.name for path in tmp_path.iterdir()] == ["data.zip"]


def test_outlines_beside_masks_of_one_nucleus_each_are_an_error_if_they_were_corrected(
    tmp_path: Path, written: dict[str, bytes]
) -> None:
    files = {"a/images/a.png": written["a.png"], "a/masks/1.png": png((LABELS == 1).astype(np.uint8))}
    labels, _ = prepared(tmp_path, files | {"a/images/a.geojson": written["a.geojson"]})
    np.testing.assert_array_equal(labels, LABELS == 1)
    with pytest.raises(InputError, match=r"by hand(.|\n)*a/masks/1\.png, a/images/a\.geojson"):
        prepared(tmp_path, files | {"a/images/a.geojson": BY_HAND["a.geojson"]})


def test_a_pixel_of_two_outlines_goes_to_the_smaller_nucleus_and_what_is_no_nucleus_is_counted(
    tmp_path: Path, written: dict[str, bytes]
) -> None:
    content = json.loads(geojson([[2, 2], [8, 2], [8, 8], [2, 8]], [[6, 6], [9, 6], [9, 9], [6, 9]]))
    content["features"].append({"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 2]}})
    labels, said = prepared(tmp_path, {"a.png": written["a.png"], "a.geojson": json.dumps(content).encode()})
    expected = np.zeros((20, 30), np.uint16)
    expected[2:8, 2:8] = 1
    expected[6:9, 6:9] = 2
    np.testing.assert_array_equal(labels, expected)
    assert said == [
        ("overlapping masks", "pixels given to the smaller nucleus"),
        ("objects that are no nuclei", "points, lines or texts: ignored"),
    ]


@pytest.mark.parametrize(
    ("outlines", "problem"),
    [
        (geojson([[40, 2], [48, 2], [48, 8]]), "outside the image"),
        (geojson([[0, 0], [30, 0], [30, 18], [0, 18]]), "nucleus like a background"),
        (geojson(), "holds no nucleus"),
        (b"{", "can not be read"),
    ],
)
def test_outlines_of_another_image_or_of_the_background_are_an_error_that_names_the_file(
    tmp_path: Path, written: dict[str, bytes], outlines: bytes, problem: str
) -> None:
    with pytest.raises(InputError, match=rf"{problem}(.|\n)*data\.zip: a\.geojson"):
        prepared(tmp_path, {"a.png": written["a.png"], "a.geojson": outlines})
