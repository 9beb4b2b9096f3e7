"""The table of nuclei: a run replaces the rows of the images that it segments and keeps all others."""

from __future__ import annotations

import csv
import heapq
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path, PurePath

from nuclei.base.errors import InputError
from nuclei.base.files import replacing
from nuclei.segment.measurements import Column, columns

BYTES = "surrogateescape"  # a file name need not be UTF-8
HEADERS = [["image", *columns(channels)] for channels in (1, 2, 3)]
Row = dict[str, str]
Add = Callable[[str, dict[str, Column]], None]


def stem_of(name: str) -> str:
    """The name of an image without its extension: two files with the same stem have the same results."""
    return PurePath(name).with_suffix("").as_posix()


def can_be_kept(path: Path, *, force: bool) -> bool:
    """Whether there is a table of nuclei whose rows a run can keep.

    Raises:
        InputError: the file is something else; with `force` the result is False instead.
    """
    try:
        return sum(1 for _ in _rows(path)) > 0
    except InputError:
        if force:
            return False
        raise


@contextmanager
def merging(path: Path, *, keep: bool) -> Iterator[Add]:
    """Yield a function that adds an image: its name, and what `measure` returned; images are added sorted by name.

    The rows wait in a temporary file, so that memory does not grow with them. At the end of the block, also after an
    error or Ctrl-C, they are written to the table, which is sorted by image and has columns for as many channels as the
    image that has the most.

    Args:
        path: of the table.
        keep: keep the rows that the table has of other images, those with another stem.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    header = _header(path) if keep else HEADERS[0]
    segmented: set[str] = set()  # stems
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors=BYTES, newline="", dir=path.parent) as waiting:
        writer = csv.DictWriter(waiting, HEADERS[-1], restval="", lineterminator="\n")
        writer.writeheader()

        def add(image: str, measured: dict[str, Column]) -> None:
            nonlocal header
            header = max(header, HEADERS[-1][: 1 + len(measured)], key=len)
            segmented.add(stem_of(image))
            for row in zip(*(column.tolist() for column in measured.values()), strict=True):
                writer.writerow({"image": image, **dict(zip(measured, map(_text, row), strict=True))})

        try:
            yield add
        finally:
            waiting.seek(0)
            kept = (row for row in (_rows(path) if keep else ()) if stem_of(row["image"]) not in segmented)
            with replacing(path) as temporary, temporary.open("w", encoding="utf-8", errors=BYTES, newline="") as file:
                table = csv.DictWriter(file, header, restval="", extrasaction="ignore", lineterminator="\n")
                table.writeheader()
                table.writerows(heapq.merge(kept, csv.DictReader(waiting), key=itemgetter("image")))


def _rows(path: Path) -> Iterator[Row]:
    """The rows of a table of nuclei; none if there is no file. Raise InputError if the file is anything else."""
    if not path.exists():
        return
    _header(path)
    with path.open(encoding="utf-8-sig", errors=BYTES, newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            for row in reader:
                if None in row or None in row.values():
                    raise _foreign(path, f"line {reader.line_num} with the wrong number of fields")
                yield row
        except (UnicodeDecodeError, csv.Error) as error:
            raise _foreign(path, error) from None


def _header(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig", errors=BYTES, newline="") as file:
            header = next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _foreign(path, error) from None
    if header not in HEADERS:
        raise _foreign(path, f"columns {', '.join(header)[:200]}")
    return header


def _foreign(path: Path, got: object) -> InputError:
    fix = "give another folder after -o, move the table away, or add --force to replace it"
    expected = f"columns {', '.join(HEADERS[0][:4])}, ..."
    return InputError("the table is not one that this program wrote", file=path, got=got, expected=expected, fix=fix)


def _text(value: int | float) -> str:
    """A whole number in full, any other with eight digits, NaN as an empty cell."""
    if isinstance(value, int):
        return str(value)
    return "" if value != value else f"{value:.8g}"
