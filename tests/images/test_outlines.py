"""Outlines that were corrected in ImageJ or QuPath become the pixels that those programs show as filled."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from matplotlib.path import Path as Polygon
from roifile import ROI_OPTIONS, ROI_SUBTYPE, ROI_TYPE, ImagejRoi
from skimage.segmentation import relabel_sequential

from nuclei.base.errors import InputError
from nuclei.images.outlines import ENCLOSING, NO_AREA, NO_NUCLEUS, TILES, Outlines, filled, read_outlines
from nuclei.segment.rois import write_geojson, write_imagej

SHAPE = (12, 16)
SQUARE = [[2, 3], [6, 3], [6, 5], [2, 5], [2, 3]]  # (x, y): columns 2 to 5, rows 3 and 4


def pixels(outlines: Outlines, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """A label map in which each pixel has the sum of the numbers of its regions."""
    labels = np.zeros(shape, np.int64)
    for number, (box, inside) in enumerate(outlines.regions, start=1):
        labels[box] += inside * number
    return labels


def block(*boxes: tuple[int, int, int, int], shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """A label map of rectangles, each with its first and last row and column, the last ones not included."""
    labels = np.zeros(shape, np.int64)
    for number, (top, bottom, left, right) in enumerate(boxes, start=1):
        labels[top:bottom, left:right] = number
    return labels


def feature(geometry: dict[str, Any] | None, **properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def polygon(*rings: list[list[float]]) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": list(rings)}


def square(left: float, top: float, side: float) -> dict[str, Any]:
    return polygon(
        [[left, top], [left + side, top], [left + side, top + side], [left, top + side], [left, top]],
    )


def geojson(*features: Any) -> bytes:
    return json.dumps({"type": "FeatureCollection", "features": features}).encode()


def zipped(*regions: ImagejRoi) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number, region in enumerate(regions):
            archive.writestr(f"{number}.roi", region.tobytes())
    return file.getvalue()


@settings(max_examples=60, deadline=None)
@given(
    labels=hnp.arrays(np.uint16, st.tuples(st.integers(1, 7), st.integers(1, 7)), elements=st.integers(0, 3)).filter(
        np.any
    )
)
def test_outlines_that_were_written_give_the_label_map_back_to_the_pixel(
    labels: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("outlines")
    write_imagej(folder / "a_rois.zip", labels)
    write_geojson(folder / "a.geojson", "a", labels, {})
    for name in ("a_rois.zip", "a.geojson"):
        found = read_outlines((folder / name).read_bytes(), name, labels.shape)
        np.testing.assert_array_equal(pixels(found, labels.shape), relabel_sequential(labels)[0])
        assert not found.ignored


@settings(max_examples=60, deadline=None)
@given(
    rings=st.lists(
        hnp.arrays(np.float64, st.tuples(st.integers(3, 6), st.just(2)), elements=st.floats(0.25, 11.75)),
        min_size=1,
        max_size=2,
    )
)
def test_a_pixel_is_filled_if_its_centre_lies_inside_an_odd_number_of_rings(rings: list[np.ndarray]) -> None:
    rows, cols = np.indices(SHAPE)
    centres = np.stack([cols.ravel() + 0.5, rows.ravel() + 0.5], axis=1)
    inside = np.logical_xor.reduce([Polygon(ring).contains_points(centres) for ring in rings])
    apart = [shapely.distance(shapely.linearrings(ring), shapely.points(centres)) > 1e-6 for ring in rings]
    clear = np.logical_and.reduce(apart)  # of every outline, where rounding decides
    found = np.zeros(SHAPE, np.bool_)
    region = filled(rings, SHAPE)
    found[region.box] = region.inside
    np.testing.assert_array_equal(found.ravel()[clear], inside[clear])


def test_regions_that_share_an_edge_through_the_centres_of_pixels_share_no_pixel_and_leave_none_out() -> None:
    left, right = polygon([[1, 1], [4.5, 1], [4.5, 6.5], [1, 6.5]]), polygon([[4.5, 1], [9, 1], [9, 6.5], [4.5, 6.5]])
    found = read_outlines(geojson(feature(left), feature(right)), "a", SHAPE)
    np.testing.assert_array_equal(pixels(found), block((1, 6, 1, 4), (1, 6, 4, 9)))


@pytest.mark.parametrize("kind", [ROI_TYPE.POLYGON, ROI_TYPE.FREEHAND, ROI_TYPE.TRACED])
@pytest.mark.parametrize("subpixel", [False, True])
def test_polygons_of_imagej_are_read_with_whole_and_with_fractional_coordinates(kind: ROI_TYPE, subpixel: bool) -> None:
    region = ImagejRoi.frompoints(np.array(SQUARE[:4], np.float64) + (0.25 if subpixel else 0))
    region.roitype = kind
    found = read_outlines(zipped(region), "a", SHAPE)
    np.testing.assert_array_equal(pixels(found), block((3, 5, 2, 6)))


def test_rectangles_of_imagej_have_whole_or_fractional_corners() -> None:
    whole = ImagejRoi(roitype=ROI_TYPE.RECT, left=1, top=2, right=5, bottom=4)
    fractional = ImagejRoi(roitype=ROI_TYPE.RECT, left=8, top=6, right=12, bottom=9, version=228)
    fractional.options |= ROI_OPTIONS.SUB_PIXEL_RESOLUTION
    fractional.xd, fractional.yd, fractional.widthd, fractional.heightd = 8.6, 6.4, 3.0, 2.0
    found = read_outlines(zipped(whole, fractional), "a", SHAPE)
    np.testing.assert_array_equal(pixels(found), block((2, 4, 1, 5), (6, 8, 9, 12)))


def test_an_oval_of_imagej_is_the_pixels_whose_centres_lie_in_the_ellipse() -> None:
    found = read_outlines(ImagejRoi(roitype=ROI_TYPE.OVAL, left=2, top=1, right=14, bottom=9).tobytes(), "a", SHAPE)
    rows, cols = np.indices(SHAPE)
    np.testing.assert_array_equal(pixels(found) == 1, ((cols - 7.5) / 6) ** 2 + ((rows - 4.5) / 4) ** 2 < 1)


def test_lines_points_and_texts_are_counted_and_a_region_across_the_border_is_clipped() -> None:
    line = ImagejRoi(roitype=ROI_TYPE.LINE)
    point = ImagejRoi.frompoints([[3, 3]])
    point.roitype = ROI_TYPE.POINT
    text = ImagejRoi(roitype=ROI_TYPE.RECT, subtype=ROI_SUBTYPE.TEXT, left=1, top=1, right=9, bottom=9)
    across = ImagejRoi(roitype=ROI_TYPE.RECT, left=-3, top=8, right=2, bottom=40)
    found = read_outlines(zipped(line, point, text, across), "a", SHAPE)
    assert found.ignored == {NO_AREA: 3}
    np.testing.assert_array_equal(pixels(found), block((8, 12, 0, 2)))


def test_geojson_may_be_a_collection_a_list_or_one_feature_with_holes_and_several_parts() -> None:
    ring = polygon([[1, 1], [8, 1], [8, 8], [1, 8], [1, 1]], SQUARE)
    parts = {"type": "MultiPolygon", "coordinates": [[SQUARE], [[[10, 3], [12, 3], [12, 5], [10, 5], [10, 3]]]]}
    expected = block((1, 8, 1, 8))
    expected[3:5, 2:6] = 2
    expected[3:5, 10:12] = 2
    for data in (geojson(feature(ring), feature(parts)), json.dumps([feature(ring), feature(parts)]).encode()):
        np.testing.assert_array_equal(pixels(read_outlines(data, "a", SHAPE)), expected)
    alone = read_outlines(b"\xef\xbb\xbf" + json.dumps(feature(polygon(SQUARE))).encode(), "a", SHAPE)
    np.testing.assert_array_equal(pixels(alone), block((3, 5, 2, 6)))


def test_of_cells_the_nucleus_is_taken_and_cells_without_one_tiles_and_points_are_counted() -> None:
    cell = feature(square(0, 0, 9), objectType="cell") | {"nucleusGeometry": polygon(SQUARE)}
    others = [
        feature(square(0, 0, 9), objectType="cell"),
        feature(square(0, 0, 9), objectType="tile"),
        feature({"type": "Point", "coordinates": [1, 2]}, objectType="annotation"),
    ]
    found = read_outlines(geojson(cell, *others), "a", SHAPE)
    np.testing.assert_array_equal(pixels(found), block((3, 5, 2, 6)))
    assert found.ignored == {NO_NUCLEUS: 1, TILES: 1, NO_AREA: 1}


def test_an_annotation_around_two_others_marks_where_to_look_and_is_no_nucleus() -> None:
    inner = [feature(square(2, 2, 3), objectType="detection"), feature(square(6, 2, 3), objectType="annotation")]
    found = read_outlines(geojson(feature(square(1, 1, 10), objectType="annotation"), *inner), "a", SHAPE)
    np.testing.assert_array_equal(pixels(found), block((2, 5, 2, 5), (2, 5, 6, 9)))
    assert found.ignored == {ENCLOSING: 1}
    assert (
        len(read_outlines(geojson(feature(square(1, 1, 10), objectType="annotation"), inner[0]), "a", SHAPE).regions)
        == 2
    )


@pytest.mark.parametrize(
    ("data", "problem", "got"),
    [
        (geojson(feature(square(20, 2, 3))), "outside the image", r"from \(20, 2\) to \(23, 5\)"),
        (zipped(ImagejRoi(roitype=ROI_TYPE.OVAL, left=1, top=50, right=9, bottom=60)), "outside the image", "50"),
        (geojson(), "holds no nucleus", "no regions"),
        (geojson(feature({"type": "Point", "coordinates": [1, 2]})), "holds no nucleus", f"1 {NO_AREA}"),
        (zipped(), "holds no nucleus", "no regions"),
        (b"", "can not be read", "JSONDecodeError"),
        (b"[1]", "can not be read", "AttributeError"),
        (geojson(feature(None)), "holds no nucleus", f"1 {NO_AREA}"),
        (geojson(feature({"type": "Polygon"})), "can not be read", "KeyError"),
        (geojson(feature(polygon([[0, 0], [float("nan"), 1], [2, 2]]))), "can not be read", "no number"),
        (zipped(ImagejRoi(roitype=ROI_TYPE.OVAL))[:-9], "can not be read", "BadZipFile"),
        (b"Iout" + bytes(70), "can not be read", "ROI"),
    ],
)  # fmt: skip
def test_outlines_of_another_image_without_a_nucleus_or_damaged_are_an_error(
    data: bytes, problem: str, got: str
) -> None:
    with pytest.raises(InputError, match=rf"{problem}(.|\n)*some\.file(.|\n)*{got}"):
        read_outlines(data, "some.file", SHAPE)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_file_with_damaged_bytes_is_read_or_an_error_and_nothing_else(data: st.DataObject) -> None:
    good = [
        ImagejRoi.frompoints(np.array(SQUARE[:4])).tobytes(),
        zipped(ImagejRoi(roitype=ROI_TYPE.OVAL, right=5, bottom=5)),
        geojson(feature(polygon(SQUARE), objectType="annotation")),
    ]
    damaged = bytearray(data.draw(st.sampled_from(good)))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = read_outlines(bytes(damaged), "a", SHAPE)
    except InputError:
        return
    assert pixels(found).shape == SHAPE


def test_a_zip_file_that_unpacks_to_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nuclei.images.outlines.MAX_BYTES", 100)
    with pytest.raises(InputError, match="more than 100 bytes"):
        read_outlines(zipped(ImagejRoi(roitype=ROI_TYPE.OVAL, right=5, bottom=5)), "a", SHAPE)


def test_the_names_in_a_zip_file_decide_what_is_a_region(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("notes.txt", b"x")
        archive.writestr("1.roi", ImagejRoi(roitype=ROI_TYPE.RECT, left=2, top=3, right=6, bottom=5).tobytes())
    found = read_outlines((tmp_path / "a.zip").read_bytes(), "a", SHAPE)
    np.testing.assert_array_equal(pixels(found), block((3, 5, 2, 6)))
