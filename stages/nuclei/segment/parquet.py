"""Rows as Parquet, in a folder of files that pandas, Polars and DuckDB read as one table."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import count, islice
from pathlib import Path
from typing import Any

from nuclei.base.errors import InputError

EXTRA = "requirements-cluster.txt"
GROUP_ROWS = 20_000  # in memory at a time
PART_GROUPS = 50  # in a file: a million rows
WHOLE = {"label", "area_px", "top_px", "left_px", "height_px", "width_px", "touches_border"}  # int64, others float64


def write_parts(folder: Path, names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write part-00000.parquet and so on into a new folder; without rows, one file without rows.

    Args:
        folder: to make.
        names: of the columns. The first is text, in which bytes that are not UTF-8 become visible escapes.
        rows: by column; what a row lacks, or has as None, is null.

    Raises:
        InputError: pyarrow is not installed.
    """
    arrow, parquet = arrow_modules()
    text, *numbers = names
    types = {name: arrow.int64() if name in WHOLE else arrow.float64() for name in numbers}
    schema = arrow.schema({text: arrow.string(), **types})
    folder.mkdir()
    rest = iter(rows)
    group = list(islice(rest, GROUP_ROWS))
    for part in count():
        with parquet.ParquetWriter(folder / f"part-{part:05}.parquet", schema) as writer:
            for _ in range(PART_GROUPS):
                columns: list[list[Any]] = [[_utf8(row[text]) for row in group]]
                columns += [[_number(row.get(name), name) for row in group] for name in numbers]
                writer.write_table(arrow.table(columns, schema=schema))
                group = list(islice(rest, GROUP_ROWS))
                if not group:
                    return


def arrow_modules() -> tuple[Any, Any]:
    """The modules `pyarrow` and `pyarrow.parquet`; raise InputError if they are not installed."""
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError:
        problem = "Parquet needs a package that is not installed: pyarrow"
        raise InputError(problem, fix=f"pip install -r {EXTRA}") from None


def _number(value: float | None, name: str) -> float | None:
    return value if value is None or name in WHOLE else float(value)


def _utf8(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "backslashreplace")
