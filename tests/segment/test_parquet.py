"""The table of nuclei as Parquet has the rows of the CSV, whoever reads it and however many files it is in."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest
from pyarrow import parquet
from test_table import run, segmented

from nuclei.base.errors import InputError
from nuclei.segment import parquet as ours
from nuclei.segment import table
from nuclei.segment.manifest import check_unchanged, opened

IMAGES = [segmented("a.tif", 2), segmented("b.tif", 3, ("DAPI", "GFP"), um=0.5), segmented("c.tif", 1, value=0.25)]


def write(out: Path, kind: str | None = "parquet") -> None:
    with opened(out) as manifest:
        table.write_tables(manifest, out, kind)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    run(tmp_path / "out", *IMAGES)
    return tmp_path / "out"


@pytest.mark.parametrize(("group_rows", "part_groups", "parts"), [(4, 50, 1), (1, 2, 3), (6, 1, 1), (4, 1, 2)])
def test_pandas_reads_from_any_number_of_files_what_it_reads_from_the_csv(
    out: Path, monkeypatch: pytest.MonkeyPatch, group_rows: int, part_groups: int, parts: int
) -> None:
    expected = pd.read_csv(out / "nuclei.csv")
    monkeypatch.setattr(ours, "GROUP_ROWS", group_rows)
    monkeypatch.setattr(ours, "PART_GROUPS", part_groups)
    write(out)
    found = pd.read_parquet(out / "nuclei.parquet")
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)
    assert [path.name for path in sorted((out / "nuclei.parquet").iterdir())] == [
        f"part-{number:05}.parquet" for number in range(parts)
    ]


def test_the_columns_have_the_same_types_whatever_the_rows(out: Path) -> None:
    write(out)
    run(out.parent / "empty", segmented("d.tif", 0, ("DAPI", "ch1", "GFP"), um=1))
    write(out.parent / "empty")
    schemas = [parquet.read_schema(next((place / "nuclei.parquet").iterdir())) for place in (out, out.parent / "empty")]
    types = [{field.name: str(field.type) for field in schema} for schema in schemas]
    assert types[0] == types[1]
    assert (types[0]["image"], types[0]["label"], types[0]["row_px"]) == ("string", "int64", "double")


@pytest.mark.parametrize(("many", "kind", "written"), [(5, None, "parquet"), (6, None, "csv"), (5, "csv", "csv")])
def test_the_table_is_parquet_above_a_number_of_nuclei_and_one_of_the_other_kind_goes(
    out: Path, monkeypatch: pytest.MonkeyPatch, many: int, kind: str | None, written: str
) -> None:
    write(out, "csv" if written == "parquet" else "parquet")
    monkeypatch.setattr(table, "MANY", many)
    write(out, kind)
    assert {path.name for path in out.iterdir()} == {"manifest.sqlite", "images.csv", f"nuclei.{written}"}


def test_a_table_that_was_changed_since_is_not_replaced(out: Path) -> None:
    write(out)
    check_unchanged([out / "nuclei.parquet"], out)
    (out / "nuclei.parquet/mine.parquet").touch()
    with pytest.raises(InputError, match=r"changed since(.|\n)*nuclei\.parquet"):
        check_unchanged([out / "nuclei.parquet"], out)


def test_a_name_that_is_not_utf_8_is_visible(tmp_path: Path) -> None:
    run(tmp_path, segmented("caf\udce9.tif", 1))
    write(tmp_path)
    assert pd.read_parquet(tmp_path / "nuclei.parquet")["image"].tolist() == ["caf\\xe9.tif"]


def test_without_pyarrow_it_is_an_error_that_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    table.check_table("csv")
    with pytest.raises(InputError, match=r"pyarrow(.|\n)*requirements-cluster\.txt"):
        table.check_table("parquet")
