"""Tables of nuclei and of images: a run replaces the rows of the images that it segments and keeps all others."""

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
from nuclei.segment.measurements import IMAGE, Column, columns

BYTES = "surrogateescape"  # a file name need not be UTF-8
NUCLEI = [["image", *columns(channels)] for channels in (1, 2, 3)]  # headers, from the fewest channels to the most
IMAGES = [["image", *IMAGE]]
Headers = list[list[str]]
Row = dict[str, str]
Add = Callable[[str, dict[str, Column]], None]


def stem_of(name: str) -> str:
    """The name of an image without its extension: two files with the same stem have the same results."""
    return PurePath(name).with_suffix("").as_posix()


def can_be_kept(path: Path, headers: Headers, *, force: bool) -> bool:
    """Whether there is a table with one of the headers, whose rows a run can keep.

    Raises:
        InputError: the file is something else; with `force` the result is False instead.
    """
    try:
        return sum(1 for _ in _rows(path, headers)) > 0
    except InputError:
        if force:
            return False
        raise


@contextmanager
def merging(path: Path, headers: Headers, *, keep: bool) -> Iterator[Add]:
    """Yield a function that adds the rows of an image, given its name and columns; images are added sorted by name.

    The rows wait in a temporary file, so that memory does not grow with them. At the end of the block, also after an
    error or Ctrl-C, they are written to the table, which is sorted by image and has the shortest header that holds the
    columns of all rows; cells of absent columns are empty.

    Args:
        path: of the table.
        headers: each begins with the one before it.
        keep: keep the rows that the table has of other images, those with another stem.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    header = _header(path, headers) if keep else headers[0]
    segmented: set[str] = set()  # stems
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors=BYTES, newline="", dir=path.parent) as waiting:
        writer = csv.DictWriter(waiting, headers[-1], restval="", lineterminator="\n")
        writer.writeheader()

        def add(image: str, columns_of: dict[str, Column]) -> None:
            nonlocal header
            header = max(header, headers[-1][: 1 + len(columns_of)], key=len)
            segmented.add(stem_of(image))
            for row in zip(*(column.tolist() for column in columns_of.values()), strict=True):
                writer.writerow({"image": image, **dict(zip(columns_of, map(_text, row), strict=True))})

        try:
            yield add
        finally:
            waiting.seek(0)
            kept = (row for row in (_rows(path, headers) if keep else ()) if stem_of(row["image"]) not in segmented)
            with replacing(path) as temporary, temporary.open("w", encoding="utf-8", errors=BYTES, newline="") as file:
                table = csv.DictWriter(file, header, restval="", extrasaction="ignore", lineterminator="\n")
                table.writeheader()
                table.writerows(heapq.merge(kept, csv.DictReader(waiting), key=itemgetter("image")))


def _rows(path: Path, headers: Headers) -> Iterator[Row]:
    """The rows of a table; none if there is no file. Raise InputError if the file is anything else."""
    if not path.exists():
        return
    _header(path, headers)
    with path.open(encoding="utf-8-sig", errors=BYTES, newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            for row in reader:
                if None in row or None in row.values():
                    raise _foreign(path, f"line {reader.line_num} with the wrong number of fields")
                yield row
        except (UnicodeDecodeError, csv.Error) as error:
            raise _foreign(path, error) from None


def _header(path: Path, headers: Headers) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig", errors=BYTES, newline="") as file:
            header = next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _foreign(path, error) from None
    if header not in headers:
        raise _foreign(path, f"columns {', '.join(header)[:200]}")
    return header


def _foreign(path: Path, got: object) -> InputError:
    fix = "give another folder after -o, move the table away, or add --force to replace it"
    return InputError("the table is not one that this program wrote", file=path, got=got, fix=fix)


def _text(value: int | float) -> str:
    """A whole number in full, any other with eight digits, NaN as an empty cell."""
    if isinstance(value, int):
        return str(value)
    return "" if value != value else f"{value:.8g}"
