"""The table of nuclei over several runs."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from nuclei.base.errors import InputError
from nuclei.segment.measurements import columns, measure
from nuclei.segment.table import NUCLEI, can_be_kept, merging


def measured(count: int, channels: int = 1, value: float = 7) -> dict[str, np.ndarray]:
    """So many nuclei of one pixel in an image of one intensity."""
    labels = np.zeros((3, 2 * count + 1), np.uint16)
    labels[1, 1::2] = np.arange(1, count + 1)
    return measure(labels, np.full((*labels.shape, channels), value))


def run(path: Path, **images: dict[str, np.ndarray]) -> list[dict[str, str]]:
    """A run that segments some images; the rows of the table after it."""
    with merging(path, NUCLEI, keep=can_be_kept(path, NUCLEI, force=False)) as add:
        for name, columns_of in images.items():
            add(f"{name}.tif", columns_of)
    return list(csv.DictReader(path.open()))


def nuclei(rows: list[dict[str, str]]) -> list[tuple[str, str]]:
    return [(row["image"], row["label"]) for row in rows]


def test_a_second_run_replaces_the_rows_of_its_images_and_keeps_the_others_in_order(tmp_path: Path) -> None:
    path = tmp_path / "out/nuclei.csv"
    assert nuclei(run(path, a=measured(2), c=measured(1))) == [("a.tif", "1"), ("a.tif", "2"), ("c.tif", "1")]
    rows = run(path, a=measured(1, value=9), b=measured(1))
    assert nuclei(rows) == [("a.tif", "1"), ("b.tif", "1"), ("c.tif", "1")]
    assert [row["intensity_mean_ch1"] for row in rows] == ["9", "7", "7"]


def test_runs_over_parts_of_the_images_leave_the_same_bytes_as_one_run(tmp_path: Path) -> None:
    run(tmp_path / "parts.csv", b=measured(3, 3))
    run(tmp_path / "parts.csv", a=measured(2), c=measured(1))
    run(tmp_path / "whole.csv", a=measured(2), b=measured(3, 3), c=measured(1))
    assert (tmp_path / "parts.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_an_image_that_now_has_no_nuclei_or_another_extension_loses_its_old_rows(tmp_path: Path) -> None:
    run(tmp_path / "t.csv", a=measured(2), b=measured(1))
    with merging(tmp_path / "t.csv", NUCLEI, keep=True) as add:
        add("a.png", measured(1))
        add("b.tif", measured(0))
    assert nuclei(list(csv.DictReader((tmp_path / "t.csv").open()))) == [("a.png", "1")]


def test_gray_and_colour_images_share_a_table_in_which_absent_channels_are_empty(tmp_path: Path) -> None:
    rows = run(tmp_path / "t.csv", a=measured(1), b=measured(1, 3))
    assert list(rows[0]) == ["image", *columns(3)]
    assert [row["intensity_mean_ch3"] for row in rows] == ["", "7"]
    assert list(run(tmp_path / "gray.csv", a=measured(1))[0]) == ["image", *columns(1)]


def test_whole_numbers_are_written_in_full_and_nan_as_an_empty_cell(tmp_path: Path) -> None:
    labels = np.ones((100, 100), np.uint8)
    (row,) = run(tmp_path / "t.csv", a=measure(labels, np.full((100, 100, 1), 65_501, np.uint16)))
    assert row["intensity_sum_ch1"] == "655010000"
    assert (row["nearest_px"], row["background_median_ch1"]) == ("", "")


def test_after_an_interruption_the_table_has_what_was_done(tmp_path: Path) -> None:
    path = tmp_path / "nuclei.csv"
    run(path, z=measured(1))
    with pytest.raises(KeyboardInterrupt), merging(path, NUCLEI, keep=True) as add:
        add("a.tif", measured(1))
        raise KeyboardInterrupt
    assert nuclei(list(csv.DictReader(path.open()))) == [("a.tif", "1"), ("z.tif", "1")]
    assert [file.name for file in tmp_path.iterdir()] == ["nuclei.csv"]


@pytest.mark.parametrize(
    "content",
    [
        b"a,b\n1,2\n",
        b"",
        b"\x89PNG\0",
        ("image," + ",".join(columns(1)) + "\na.tif,1\n").encode(),
        ("image;" + ";".join(columns(1)) + "\n").encode(),
    ],
    ids=["other columns", "empty", "no text", "a short row", "saved with semicolons"],
)
def test_a_table_of_the_users_own_is_refused_and_replaced_by_force(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "nuclei.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"not one that this program wrote(.|\n)*--force"):
        can_be_kept(path, NUCLEI, force=False)
    assert path.read_bytes() == content
    assert not can_be_kept(path, NUCLEI, force=True)
    with merging(path, NUCLEI, keep=False) as add:
        add("a.tif", measured(1))
    assert nuclei(list(csv.DictReader(path.open()))) == [("a.tif", "1")]
