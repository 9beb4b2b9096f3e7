"""The tables of nuclei and of images, written row by row from the manifest: CSV, and Parquet for many nuclei."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path, PurePath

from nuclei.base.files import remove
from nuclei.segment.manifest import Manifest, Segmented, Value
from nuclei.segment.measurements import IMAGE, Column, columns
from nuclei.segment.parquet import arrow_modules, write_parts

NUCLEI, IMAGES, PARQUET = "nuclei.csv", "images.csv", "nuclei.parquet"
KINDS = ("csv", "parquet")  # of the table of nuclei
MANY = 10**6  # nuclei: beyond them a table is better read as Parquet
IMAGE_COLUMNS = ["image", *IMAGE, "warnings", "seconds"]
BYTES = "surrogateescape"  # a file name need not be UTF-8
Row = dict[str, Value]


def stem_of(name: str) -> str:
    """The name of an image without its extension: two files with the same stem have the same results."""
    return PurePath(name).with_suffix("").as_posix()


def add_table_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that chooses the kind of the table of nuclei."""
    kinds = f"the table of nuclei: {NUCLEI}, or {PARQUET}, a folder (csv; parquet above a million nuclei)"
    parser.add_argument("--table", choices=KINDS, help=kinds)


def check_table(kind: str | None) -> None:
    """Raise InputError if this kind of table was asked for and can not be written."""
    if kind == "parquet":
        arrow_modules()


def write_tables(manifest: Manifest, out: Path, kind: str | None = None) -> None:
    """Write both tables, sorted by image; cells of columns that an image does not have are empty.

    Args:
        manifest: of the folder.
        out: the folder.
        kind: of the table of nuclei, one of `KINDS`; None: CSV up to `MANY` nuclei, then Parquet if pyarrow is
            installed. A table of the other kind, of an earlier run, is removed.
    """
    names = ["image", *columns(merged(manifest.channels()), micrometres=manifest.has_pixel_sizes())]
    nuclei = (row for image in manifest.images() for row in nuclei_of(image))
    if kind == "parquet" or (kind is None and manifest.nuclei() > MANY and find_spec("pyarrow")):
        with manifest.replacing(out / PARQUET) as temporary:
            write_parts(temporary, names, nuclei)
        remove(out / NUCLEI)
    else:
        _write(manifest, out / NUCLEI, names, nuclei)
        remove(out / PARQUET)
    _write(manifest, out / IMAGES, IMAGE_COLUMNS, map(_image_row, manifest.images()))


def _image_row(image: Segmented) -> Row:
    return {
        "image": image.name,
        **image.summary,
        "warnings": "; ".join(image.notes),
        "seconds": round(image.seconds, 3),
    }


def nuclei_of(image: Segmented) -> Iterator[Row]:
    """The rows of the nuclei of an image, each by column."""
    for entries in zip(*image.nuclei.values(), strict=True):
        yield {"image": image.name, **dict(zip(image.nuclei, entries, strict=True))}


def nuclei_text(nuclei: Mapping[str, Column]) -> Iterator[list[Value]]:
    """The cells of the nuclei in some columns of measurements, row by row, as the tables have them."""
    for entries in zip(*(column.tolist() for column in nuclei.values()), strict=True):
        yield ["" if value != value else _text(value) for value in entries]


def merged(channels: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """All channels of some images, by their first place in an image and then by name."""
    place: dict[str, int] = {}
    for names in channels:
        for number, name in enumerate(names):
            place[name] = min(number, place.get(name, number))
    return tuple(sorted(place, key=lambda name: (place[name], name)))


def _write(manifest: Manifest, path: Path, header: list[str], rows: Iterable[Row]) -> None:
    with (
        manifest.replacing(path) as temporary,
        temporary.open("w", encoding="utf-8", errors=BYTES, newline="") as file,
    ):
        table = csv.DictWriter(file, header, restval="", lineterminator="\n")
        table.writeheader()
        table.writerows({name: _text(value) for name, value in row.items()} for row in rows)


def _text(value: Value) -> Value:
    """A number with eight digits, a whole one in full, None as an empty cell."""
    return f"{value:.8g}" if isinstance(value, float) else value
