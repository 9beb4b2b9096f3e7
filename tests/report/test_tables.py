"""The reports, read back and checked."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

import made_up
from nuclei.base.errors import InputError
from nuclei.report import tables


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return made_up.finished_run(tmp_path, images=4, side_px=64) / "reports"


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_numbers_become_floats_and_text_stays_text(folder):
    reports = tables.read(folder)
    row = reports.table("per_image", "test").iloc[0]
    assert isinstance(row["id"], str)
    assert isinstance(row["nuclei"], float)
    assert reports.parts() == ["val", "test"]
    interval = reports.intervals["val"]["dice"]
    assert interval.low == pytest.approx(reports.metrics["val"]["dice"] - 0.04)
    assert (interval.images, interval.nuclei, interval.undefined) == (7, 140, 0)


def test_an_id_of_digits_keeps_its_zeros(folder):
    change(folder / "per_image.csv", "image0000", "0007")
    assert "0007" in set(tables.read(folder).table("per_image")["id"])


def test_an_empty_cell_and_a_null_are_undefined(folder):
    change(folder / "metrics.json", '"dice": 0.93', '"dice": null')
    reports = tables.read(folder)
    assert math.isnan(reports.metrics["val"]["dice"])
    assert math.isnan(reports.intervals["val"]["aji"].low)
    assert reports.table("calibration")["mean_score"].isna().sum() == 2


@pytest.mark.parametrize("name", [*(f"{name}.csv" for name in tables.COLUMNS), "metrics.json", "metrics_ci.json"])
def test_a_missing_report_is_named_with_what_makes_it(folder, name):
    (folder / name).unlink()
    with pytest.raises(InputError, match=rf"(?s)missing.*{name}.*dvc repro"):
        tables.read(folder)


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("roc.csv", "fpr", "false", "lacks columns"),
        ("ap.csv", "0.85", "high", "line 2, column f1: not a number"),
        ("history.csv", "9.5", "9,5", "line 2 has the wrong number of fields"),
        ("metrics.json", "0.93", "", "not valid JSON"),
        ("metrics.json", "0.93", '"0.93"', "the metric dice is not a number"),
        ("metrics_ci.json", '"low"', '"lower"', "the interval of dice is malformed"),
    ],
)
def test_a_malformed_report_is_refused_with_what_is_wrong(folder, name, old, new, message):
    change(folder / name, old, new)
    with pytest.raises(InputError, match=rf"(?s)({message}).*{name}"):
        tables.read(folder)


def test_a_table_without_rows_is_refused(folder):
    path = folder / "history.csv"
    path.write_text(path.read_text().splitlines()[0] + "\n")
    with pytest.raises(InputError, match="a table is empty"):
        tables.read(folder)


def test_a_part_that_has_metrics_but_no_rows_is_refused(folder):
    path = folder / "ap.csv"
    path.write_text("".join(line for line in path.open() if not line.startswith("test")))
    with pytest.raises(InputError, match=r"(?s)no rows of test.*ap\.csv"):
        tables.read(folder)


def test_metrics_of_neither_val_nor_test_are_refused(folder):
    (folder / "metrics.json").write_text(json.dumps({"train": {"dice": 1.0}}))
    with pytest.raises(InputError, match="no part has metrics"):
        tables.read(folder)


def test_metrics_that_are_not_in_sections_are_refused(folder):
    (folder / "metrics.json").write_text(json.dumps({"dice": 1.0}))
    with pytest.raises(InputError, match="metrics have the wrong shape"):
        tables.read(folder)
