"""The tables of nuclei and of images, written from the manifest of one or more runs."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from nuclei.segment.batch import rounded
from nuclei.segment.manifest import Segmented, opened
from nuclei.segment.measurements import columns, measure, summarise
from nuclei.segment.table import IMAGES, NUCLEI, merged, write_tables


def segmented(
    name: str, count: int, channels: tuple[str, ...] = ("ch1",), *, value: float = 7, um: float | None = None
) -> Segmented:
    """So many nuclei of one pixel in an image of one intensity."""
    labels = np.zeros((3, 2 * count + 1), np.uint16)
    labels[1, 1::2] = np.arange(1, count + 1)
    found = measure(labels, np.full((*labels.shape, len(channels)), value), channels, um)
    nuclei = {column: rounded(entries) for column, entries in found.items()}
    stem = name.rsplit(".", 1)[0]
    return Segmented(
        stem, name, stem, "key", summarise(labels, len(channels), channels[0], 1.0, um), nuclei, channels, um
    )


def run(out: Path, *images: Segmented) -> list[dict[str, str]]:
    """A run that segments some images; the rows of the table of nuclei after it."""
    with opened(out) as manifest:
        for image in images:
            manifest.add(image)
            manifest.finish(image.file, image.key)
        write_tables(manifest, out)
    return list(csv.DictReader((out / NUCLEI).open(errors="surrogateescape")))


def nuclei(rows: list[dict[str, str]]) -> list[tuple[str, str]]:
    return [(row["image"], row["label"]) for row in rows]


def test_a_second_run_replaces_the_rows_of_its_images_and_keeps_the_others_in_order(tmp_path: Path) -> None:
    first = run(tmp_path, segmented("a.tif", 2), segmented("c.tif", 1))
    assert nuclei(first) == [("a.tif", "1"), ("a.tif", "2"), ("c.tif", "1")]
    rows = run(tmp_path, segmented("a.png", 1, value=9), segmented("b.tif", 1), segmented("c.tif", 0))
    assert nuclei(rows) == [("a.png", "1"), ("b.tif", "1")]
    assert [row["intensity_mean_ch1"] for row in rows] == ["9", "7"]
    assert [row["image"] for row in csv.DictReader((tmp_path / IMAGES).open())] == ["a.png", "b.tif", "c.tif"]


def test_runs_over_parts_of_the_images_leave_the_same_bytes_as_one_run_in_any_order(tmp_path: Path) -> None:
    images = [segmented("a.tif", 2), segmented("b.tif", 3, ("DAPI", "GFP"), um=0.5), segmented("c.tif", 1)]
    run(tmp_path / "parts", images[1])
    run(tmp_path / "parts", images[2], images[0])
    run(tmp_path / "whole", *images)
    for name in (NUCLEI, IMAGES):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_images_of_other_channels_and_unknown_pixel_size_share_a_table_in_which_those_cells_are_empty(
    tmp_path: Path,
) -> None:
    rows = run(tmp_path, segmented("a.tif", 1), segmented("b.tif", 1, ("DAPI", "GFP"), um=0.5))
    assert list(rows[0]) == ["image", *columns(["DAPI", "ch1", "GFP"], micrometres=True)]
    assert [row["intensity_mean_GFP"] for row in rows] == ["", "7"]
    assert [row["area_um2"] for row in rows] == ["", "0.25"]


def test_channels_are_ordered_by_their_first_place_and_then_by_name() -> None:
    assert merged([("b", "a"), ("a", "c"), ("c",)]) == ("a", "b", "c")
    assert merged([]) == ()


def test_whole_numbers_are_written_in_full_and_what_is_missing_as_an_empty_cell(tmp_path: Path) -> None:
    labels = np.ones((100, 100), np.uint8)
    found = measure(labels, np.full((100, 100, 1), 65_501, np.uint16), ["ch1"])
    image = segmented("a.tif", 0)
    image.nuclei.update({column: rounded(entries) for column, entries in found.items()})
    (row,) = run(tmp_path, image)
    assert row["intensity_sum_ch1"] == "655010000"
    assert (row["nearest_px"], row["background_median_ch1"]) == ("", "")


def test_a_name_that_is_not_utf_8_is_written_as_it_is(tmp_path: Path) -> None:
    run(tmp_path, segmented("caf\udce9.tif", 1))
    assert (tmp_path / NUCLEI).read_bytes().splitlines()[1].startswith(b"caf\xe9.tif,1,")
