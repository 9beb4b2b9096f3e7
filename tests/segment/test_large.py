"""The results of a large image: its label map in both formats, its table, its outlines."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from brightness import Brightness
from test_by_blocks import pixels, segmenter, write_channels  # noqa: F401
from test_rois import from_geojson

import segment
from nuclei.base.errors import InputError
from nuclei.network.segmenter import Segmenter
from nuclei.segment.batch import Batch, LargeOptions, Options
from nuclei.segment.finding import Image, find_images
from nuclei.segment.large import segment_large
from nuclei.segment.manifest import Manifest, opened

BLOCKS = LargeOptions(block_px=200)


@pytest.fixture
def slide(pixels: np.ndarray, tmp_path: Path) -> Image:  # noqa: F811
    path = tmp_path / "slide.ome.tif"
    size = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm"}
    tifffile.imwrite(path, pixels[:400, :300], tile=(128, 128), metadata={"axes": "YX", **size})
    return Image(path, path.name)


@pytest.fixture
def manifest(tmp_path: Path) -> Iterator[Manifest]:
    with opened(tmp_path / "out") as manifest:
        yield manifest


def batch(segmenter: Segmenter, manifest: Manifest, out: Path, *rois: str) -> Batch:  # noqa: F811
    return Batch(segmenter, "model", out, manifest, Options(rois=rois))


def test_outlines_and_table_are_those_of_the_label_map(
    segmenter: Segmenter,  # noqa: F811
    slide: Image,
    manifest: Manifest,
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    segment_large(batch(segmenter, manifest, out, "geojson"), slide, BLOCKS)

    labels = np.asarray(zarr.open_group(out / "slide.ome_labels.ome.zarr", mode="r")["0"])
    assert labels.max() > 20
    np.testing.assert_array_equal(from_geojson(out / "slide.ome.geojson", labels.shape), labels)
    rows = list(csv.DictReader((out / "slide.ome_nuclei.csv").open()))
    assert [int(row["area_px"]) for row in rows] == np.bincount(labels.ravel())[1:].tolist()
    features = json.loads((out / "slide.ome.geojson").read_text())["features"]
    assert len({feature["id"] for feature in features}) == len(rows)
    for row, feature in zip(rows, features, strict=True):
        assert feature["properties"]["name"] == row["label"]
        assert feature["properties"]["measurements"] == {
            name: float(value) for name, value in row.items() if value and name != "label"
        }


def test_an_ome_tiff_has_the_label_map_its_pyramid_and_the_size_of_a_pixel(
    segmenter: Segmenter,  # noqa: F811
    slide: Image,
    manifest: Manifest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("nuclei.segment.multiscale.CHUNK_PX", 160)
    out = tmp_path / "out"
    segment_large(batch(segmenter, manifest, out), slide, BLOCKS)
    segment_large(batch(segmenter, manifest, out), slide, LargeOptions(200, "ome-tiff"))

    group = zarr.open_group(out / "slide.ome_labels.ome.zarr", mode="r")
    with tifffile.TiffFile(out / "slide.ome_labels.ome.tif") as file:
        levels = file.series[0].levels
        assert file.is_ome
        assert file.is_bigtiff
        assert 'PhysicalSizeX="0.5"' in (file.ome_metadata or "")
        assert len(levels) == 3
        for number, level in enumerate(levels):
            assert level.keyframe.is_tiled
            np.testing.assert_array_equal(level.asarray(), group[str(number)][:])  # type: ignore[index]
    found = find_images([slide.path, out / "slide.ome_labels.ome.tif"], out)
    assert [image.path for image in found.images] == [slide.path, out / "slide.ome_labels.ome.tif"]


def test_a_label_map_beside_its_image_is_not_taken_for_an_image(slide: Image) -> None:
    slide.path.with_name("slide.ome_labels.ome.tif").touch()
    assert [image.path for image in find_images([slide.path.parent], slide.path.parent / "out").images] == [slide.path]


def test_an_image_without_nuclei_has_a_table_without_rows(
    segmenter: Segmenter,  # noqa: F811
    manifest: Manifest,
    tmp_path: Path,
) -> None:
    tifffile.imwrite(tmp_path / "empty.tif", np.full((300, 220), 7, np.uint8))
    segment_large(batch(segmenter, manifest, tmp_path / "out", "geojson"), Image(tmp_path / "empty.tif", "a"), BLOCKS)
    (header,) = csv.reader((tmp_path / "out/a_nuclei.csv").open())
    assert header[:2] == ["label", "score"]
    assert json.loads((tmp_path / "out/a.geojson").read_text())["features"] == []


def test_what_is_finished_is_not_segmented_again(
    segmenter: Segmenter,  # noqa: F811
    slide: Image,
    manifest: Manifest,
    tmp_path: Path,
) -> None:
    net: Brightness = segmenter.net  # type: ignore[assignment]
    segment_large(batch(segmenter, manifest, tmp_path / "out"), slide, BLOCKS)
    net.fails_at = net.tiles
    segment_large(batch(segmenter, manifest, tmp_path / "out"), slide, BLOCKS)
    with pytest.raises(InputError, match="never replaced unasked"):
        segment_large(batch(segmenter, manifest, tmp_path / "out"), slide, LargeOptions(block_px=256))


def test_an_ome_zarr_of_which_a_chunk_was_written_again_is_not_taken_for_finished(
    segmenter: Segmenter,  # noqa: F811
    pixels: np.ndarray,  # noqa: F811
    manifest: Manifest,
    tmp_path: Path,
) -> None:
    image = Image(tmp_path / "slide.ome.zarr", "slide.ome.zarr")
    write_channels(image.path, pixels[None, :400, :300], ["DAPI"])
    net: Brightness = segmenter.net  # type: ignore[assignment]
    segment_large(batch(segmenter, manifest, tmp_path / "out"), image, BLOCKS)
    net.fails_at = net.tiles
    segment_large(batch(segmenter, manifest, tmp_path / "out"), image, BLOCKS)
    before = image.path.stat()
    zarr.open_group(image.path, mode="r+")["0"][0, 0, :128, :128] = 0  # type: ignore[index]
    assert image.path.stat().st_mtime_ns == before.st_mtime_ns
    with pytest.raises(InputError, match="never replaced unasked"):
        segment_large(batch(segmenter, manifest, tmp_path / "out"), image, BLOCKS)


def test_a_table_that_was_changed_is_not_replaced(
    segmenter: Segmenter,  # noqa: F811
    slide: Image,
    manifest: Manifest,
    tmp_path: Path,
) -> None:
    (tmp_path / "out/slide.ome.geojson").write_text("mine")
    with pytest.raises(InputError, match="not one that this program wrote"):
        segment_large(batch(segmenter, manifest, tmp_path / "out", "geojson"), slide, BLOCKS)
    assert (tmp_path / "out/slide.ome.geojson").read_text() == "mine"


def test_imagej_regions_of_a_large_image_are_refused(
    segmenter: Segmenter,  # noqa: F811
    slide: Image,
    manifest: Manifest,
    tmp_path: Path,
) -> None:
    with pytest.raises(InputError, match=r"no ROIs for ImageJ(.|\n)*--rois geojson"):
        segment_large(batch(segmenter, manifest, tmp_path / "out", "imagej"), slide, BLOCKS)


def test_the_command_segments_by_blocks_and_again_replaces_nothing_of_the_users(
    segmenter: Segmenter,  # noqa: F811
    slide: Image,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Segmenter, "load", lambda *_, **__: segmenter)
    out = str(tmp_path / "results")
    command = ["segment.py", str(slide.path), "-o", out, "--blocks", "256", "--large-labels", "ome-tiff"]
    for more in (["--rois", "geojson"], ["--rois", "geojson"]):
        monkeypatch.setattr(sys, "argv", [*command, *more])
        segment.main()
    assert capsys.readouterr().out.startswith("1 image, ")
    assert sorted(path.name for path in Path(out).iterdir() if path.name.startswith("slide")) == [
        "slide.ome.geojson", "slide.ome_labels.ome.tif", "slide.ome_nuclei.csv"
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", [*command[:5], "100"])
    with pytest.raises(InputError, match="at least 256 pixels"):
        segment.main()
