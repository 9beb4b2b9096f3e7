"""The loop of docs/corrections.md: segment, review, correct in three programs, prepare to the pixel, train on."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
from roifile import ROI_TYPE, ImagejRoi, roiread
from scipy import ndimage
from skimage.segmentation import relabel_sequential
from test_segment import Threshold

from committed import run_here
from conftest import draw_discs, write_params
from nuclei.images.io import read_labels, write_rgb
from nuclei.images.records import label_path
from nuclei.network.segmenter import Segmenter


def free_place(labels: np.ndarray) -> tuple[int, int]:
    """Row and column of the pixel that is farthest from nuclei and border."""
    distance = ndimage.distance_transform_edt(np.pad(labels == 0, 1))[1:-1, 1:-1]
    row, col = np.unravel_index(distance.argmax(), labels.shape)
    assert distance.max() > 6
    return int(row), int(col)


def correct_in_napari(review: Path, name: str) -> np.ndarray:
    """Erase the first nucleus and paint another; the label map is saved without its tags."""
    path = review / f"{name}_labels.tif"
    labels = read_labels(path)
    row, col = free_place(labels)
    labels[labels == 1] = 0
    labels[row - 2 : row + 3, col - 3 : col + 4] = 200
    tifffile.imwrite(path, labels)
    return labels


def correct_in_fiji(review: Path, name: str) -> np.ndarray:
    """Delete the first region, add an oval, and save all of the ROI Manager."""
    labels = read_labels(review / f"{name}_labels.tif")
    path = review / f"{name}_rois.zip"
    row, col = free_place(labels)
    oval = ImagejRoi(roitype=ROI_TYPE.OVAL, left=col - 4, top=row - 3, right=col + 4, bottom=row + 3)
    regions = [*roiread(path)[1:], oval]
    with zipfile.ZipFile(path, "w") as archive:
        for number, region in enumerate(regions, start=1):
            archive.writestr(f"{number:04}-{region.top:04}-{region.left:04}.roi", region.tobytes())
    rows, cols = np.indices(labels.shape)
    labels[labels == 1] = 0
    labels[((cols + 0.5 - col) / 4) ** 2 + ((rows + 0.5 - row) / 3) ** 2 < 1] = 200
    return labels


def correct_in_qupath(review: Path, name: str) -> np.ndarray:
    """Delete the first detection, draw an annotation, and export all objects."""
    labels = read_labels(review / f"{name}_labels.tif")
    path = review / f"{name}.geojson"
    row, col = free_place(labels)
    content = json.loads(path.read_text())
    ring = [[col - 2.2, row - 3.3], [col + 2.9, row - 3.3], [col + 2.9, row + 2.8], [col - 2.2, row + 2.8]]
    annotation = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}}
    annotation["properties"] = {"objectType": "annotation"}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [*content["features"][1:], annotation]}))
    labels[labels == 1] = 0
    labels[row - 3 : row + 3, col - 2 : col + 3] = 200
    return labels


def test_what_was_corrected_is_trained_on_to_the_pixel(
    tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        write_rgb(tmp_path / f"mine/{number}.png", draw_discs(50 + number, 64, 80)[0])
    with monkeypatch.context() as patched:
        patched.setattr(Segmenter, "load", lambda *_, **__: Threshold())
        command = ("mine", "-o", "mine", "--review", "6", "--rois", "imagej", "--rois", "geojson")
        done = run_here("segment", tmp_path, *command)
    assert done.returncode == 0, done.stderr
    review = tmp_path / "mine/review"
    expected = {str(number): read_labels(review / f"{number}_labels.tif") for number in range(6)}
    for name, correct in enumerate((correct_in_napari, correct_in_fiji, correct_in_qupath)):
        expected[str(name)] = correct(review, str(name))
    fractions = {"val_fraction": 0.2, "test_fraction": 0.2}
    start = {"start_from": str(trained / "data/model"), "crops_per_image": 1}
    write_params(tmp_path, data="mine/review", epochs=1, split=fractions, train=start)
    for stage in ("source", "fetch", "prepare", "split", "train"):
        done = run_here(stage, tmp_path)
        assert done.returncode == 0, done.stderr
        if stage == "prepare":
            assert "3 unchanged results of segment.py, 0 pixels, in 3 images: kept" in done.stdout
    for name, labels in expected.items():
        found = read_labels(label_path(tmp_path / "data/prepared", name))
        np.testing.assert_array_equal(found, relabel_sequential(labels)[0])
    assert (tmp_path / "data/model/unet_final_model.pth").exists()
