"""Outlines for other programs hold the pixels of the label map: filled again, they give it back."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from matplotlib.path import Path as Polygon
from numpy.typing import NDArray
from roifile import roiread

from nuclei.segment.rois import write_geojson, write_imagej

Rings = list[NDArray[np.float64]]
label_maps = hnp.arrays(np.uint16, st.tuples(st.integers(1, 7), st.integers(1, 7)), elements=st.integers(0, 3))
RING = np.array([[1, 1, 1, 0], [1, 0, 1, 0], [1, 1, 1, 2], [0, 0, 0, 2]], np.uint16)


def filled(rings: Rings, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The pixels whose centres lie inside an odd number of the rings."""
    rows, cols = np.indices(shape)
    centres = np.stack([cols.ravel() + 0.5, rows.ravel() + 0.5], axis=1)
    inside = [Polygon(ring).contains_points(centres).reshape(shape) for ring in rings]
    return np.logical_xor.reduce(inside)


def from_imagej(path: Path, shape: tuple[int, ...]) -> NDArray[np.int64]:
    found = np.zeros(shape, int)
    if zipfile.ZipFile(path).namelist():
        regions = roiread(path)
        for region in regions if isinstance(regions, list) else [regions]:
            coordinates = region.coordinates(multi=True)
            rings = coordinates if isinstance(coordinates, list) else [coordinates]
            found[filled(rings, shape)] += int(region.name)  # a pixel of two regions would get a wrong label
    return found


def from_geojson(path: Path, shape: tuple[int, ...]) -> NDArray[np.int64]:
    found = np.zeros(shape, int)
    for feature in json.loads(path.read_text())["features"]:
        geometry = feature["geometry"]
        parts = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
        rings = [np.array(ring) for part in parts for ring in part]
        found[filled(rings, shape)] += int(feature["properties"]["name"])
    return found


@settings(max_examples=60, deadline=None)
@given(labels=label_maps)
def test_filled_again_the_outlines_give_the_label_map_back_to_the_pixel(
    labels: NDArray[np.uint16], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("rois")
    write_imagej(folder / "a.zip", labels)
    write_geojson(folder / "a.geojson", "a", labels, {})
    np.testing.assert_array_equal(from_imagej(folder / "a.zip", labels.shape), labels)
    np.testing.assert_array_equal(from_geojson(folder / "a.geojson", labels.shape), labels)


def test_a_square_has_four_corners_on_the_edges_of_its_pixels(tmp_path: Path) -> None:
    labels = np.zeros((6, 7), np.uint16)
    labels[1:4, 2:5] = 1
    write_geojson(tmp_path / "a.geojson", "a", labels, {})
    (feature,) = json.loads((tmp_path / "a.geojson").read_text())["features"]
    (ring,) = feature["geometry"]["coordinates"]
    assert ring[0] == ring[-1] and len(ring) == 5
    assert {tuple(point) for point in ring} == {(2, 1), (5, 1), (5, 4), (2, 4)}


def test_the_same_label_map_gives_the_same_bytes_and_replaces_the_regions_of_an_earlier_run(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_imagej(tmp_path / f"{name}.zip", np.ones((3, 3), np.uint16))
        write_imagej(tmp_path / f"{name}.zip", RING)
        write_geojson(tmp_path / f"{name}.geojson", "image", RING, {})
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    assert (tmp_path / "a.geojson").read_bytes() == (tmp_path / "b.geojson").read_bytes()
    assert zipfile.ZipFile(tmp_path / "a.zip").namelist() == ["1.roi", "2.roi"]


def test_features_are_detections_with_unique_ids_and_the_measurements_that_are_known(tmp_path: Path) -> None:
    write_geojson(tmp_path / "a.geojson", "image", RING, {"area_px": [8, 2], "nearest_px": [float("nan"), None]})
    features = json.loads((tmp_path / "a.geojson").read_text())["features"]
    assert [feature["properties"]["objectType"] for feature in features] == ["detection"] * 2
    assert [feature["properties"]["measurements"] for feature in features] == [{"area_px": 8}, {"area_px": 2}]
    write_geojson(tmp_path / "b.geojson", "another image", RING, {})
    ids = [
        feature["id"] for name in "ab" for feature in json.loads((tmp_path / f"{name}.geojson").read_text())["features"]
    ]
    assert len(set(ids)) == 4
