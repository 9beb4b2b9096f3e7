"""The tables that list a data set's images, index.csv and split.csv, and the paths of each image's files."""

from __future__ import annotations

import reprlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from nuclei.base.errors import InputError
from nuclei.base.files import read_rows

PARTS = ("train", "val", "test")
MODALITIES = ("fluorescence", "tissue", "brightfield")
REMAKE = "run `dvc repro`, which makes it again"
MAX_NAME_BYTES = 200  # of an id in UTF-8: file systems allow 255 for a name, and suffixes are added
UNSAFE = set('<>:"/\\|?*')
MAX_COUNT = 2**31  # above any number of pixels or nuclei


@dataclass(frozen=True)
class Record:
    """One image: a row of `data/prepared/index.csv`.

    Attributes:
        id: unique name, the stem of the image's files.
        height, width: in pixels.
        nuclei: number of labels in the label map.
        foreground: fraction of pixels inside nuclei, 0 to 1.
        modality: one of `MODALITIES`.
        source: path of the image in the archive it came from.
    """

    id: str
    height: int
    width: int
    nuclei: int
    foreground: float
    modality: str
    source: str


@dataclass(frozen=True)
class Unlabelled:
    """One image without annotation: a row of `data/unlabelled/index.csv`; attributes as in `Record`."""

    id: str
    height: int
    width: int
    modality: str
    source: str


COLUMNS = [field.name for field in fields(Record)]
UNLABELLED_COLUMNS = [field.name for field in fields(Unlabelled)]


def read_index(folder: str | Path) -> list[Record]:
    """Read `folder`/index.csv, sorted by id.

    Raises:
        InputError: the file is missing, an id occurs twice, or a value is invalid.
    """
    return [Record(**row) for row in _read_table(Path(folder) / "index.csv", COLUMNS)]


def read_unlabelled(folder: str | Path) -> list[Unlabelled]:
    """Read `folder`/index.csv of images without annotation, sorted by id; it may be empty.

    Raises:
        InputError: as `read_index`.
    """
    return [Unlabelled(**row) for row in _read_table(Path(folder) / "index.csv", UNLABELLED_COLUMNS)]


def read_ids(folder: Path) -> list[str]:
    """Read the ids in `folder`/index.csv of images without annotation, sorted.

    Raises:
        InputError: as `read_index`.
    """
    return [row.id for row in read_unlabelled(folder)]


def read_split(path: str | Path) -> dict[str, str]:
    """Read split.csv: a dictionary from id to part (one of `PARTS`), in the file's order.

    Raises:
        InputError: the file is missing, an id occurs twice, or a part is not one of `PARTS`.
    """
    rows = read_rows(path, ["id", "part"], fix=REMAKE)
    parts = {row["id"]: row["part"] for row in rows}
    _check_unique((row["id"] for row in rows), path)
    unknown = sorted(set(parts.values()) - set(PARTS))
    if unknown:
        raise InputError("a split has unknown parts", file=path, got=", ".join(unknown), expected=", ".join(PARTS))
    return parts


def read_part(folder: str | Path, split: str | Path, part: str) -> list[Record]:
    """Read the records of one part, sorted by id.

    Args:
        folder: a folder such as `data/prepared`, with an index.csv.
        split: path of split.csv.
        part: one of `PARTS`.

    Raises:
        InputError: as `read_index` and `read_split`, or the index and the split list different images.
    """
    records, parts = read_index(folder), read_split(split)
    unmatched = sorted({record.id for record in records} ^ set(parts))
    if unmatched:
        got = f"{len(unmatched)} in only one of the two: {', '.join(unmatched[:3])}"
        raise InputError(f"the split and {folder} do not hold the same images", file=split, got=got, fix=REMAKE)
    return [record for record in records if parts[record.id] == part]


def read_groups(split: str | Path) -> dict[str, str]:
    """Read the group of each id from split.csv: near-duplicates and tiles of one field of view have the same.

    Raises:
        InputError: as `read_split`, or an image has no group.
    """
    return _read_column(split, "group")


def read_families(split: str | Path) -> dict[str, str]:
    """Read the family of each id from split.csv: images of one size, modality and look, see split/families.py.

    Raises:
        InputError: as `read_split`, or an image has no family.
    """
    return _read_column(split, "family")


def is_name(id: str) -> bool:
    """Whether an id is a valid file name on every operating system, without path separators."""
    safe = id.isprintable() and id == id.strip(" .") and not UNSAFE & set(id)
    return safe and 0 < len(id.encode()) <= MAX_NAME_BYTES


def image_path(folder: str | Path, id: str) -> Path:
    """Path of the RGB image in a folder such as `data/prepared`."""
    return Path(folder) / "images" / f"{id}.png"


def label_path(folder: str | Path, id: str) -> Path:
    """Path of the label map in a folder such as `data/prepared` or `data/predictions`."""
    return Path(folder) / "labels" / f"{id}.tif"


def score_path(folder: str | Path, id: str) -> Path:
    """Path of the score map in a folder such as `data/predictions`."""
    return Path(folder) / "scores" / f"{id}.png"


def _read_column(split: str | Path, column: str) -> dict[str, str]:
    rows = read_rows(split, ["id", column], fix=REMAKE)
    without = [row["id"] for row in rows if not row[column]]
    if without:
        raise InputError(f"images of a split have no {column}", file=split, got=", ".join(without[:3]), fix=REMAKE)
    return {row["id"]: row[column] for row in rows}


def _read_table(path: Path, columns: list[str]) -> list[dict[str, Any]]:
    rows = read_rows(path, columns, fix=REMAKE)
    _check_unique((row["id"] for row in rows), path)
    return sorted(
        ({column: _value(row, column, path) for column in columns} for row in rows), key=lambda row: row["id"]
    )


def _check_unique(ids: Iterable[str], path: str | Path) -> None:
    twice = sorted(id for id, count in Counter(ids).items() if count > 1)
    if twice:
        raise InputError("an id stands twice in a table", file=path, got=", ".join(twice[:3]), fix=REMAKE)


# for each column: how its text is parsed, which values are valid, and what an error says is expected
TYPES: dict[str, tuple[Callable[[str], Any], Callable[[Any], bool], str]] = {
    "id": (str, is_name, "a name"),
    "height": (int, lambda value: 0 < value < MAX_COUNT, "a number of pixels"),
    "width": (int, lambda value: 0 < value < MAX_COUNT, "a number of pixels"),
    "nuclei": (int, lambda value: 0 <= value < MAX_COUNT, "a number of nuclei"),
    "foreground": (float, lambda value: 0 <= value <= 1, "a fraction"),
    "modality": (str, MODALITIES.__contains__, ", ".join(MODALITIES)),
    "source": (str, bool, "a path"),
}


def _value(row: Mapping[str, str], column: str, path: Path) -> Any:
    read, right, expected = TYPES[column]
    try:
        value = read(row[column])
        if right(value):
            return value
    except ValueError:
        pass
    name = reprlib.repr(row["id"]) if row["id"] else "an image without a name"
    problem = f"the index has a wrong {column} for {name}"
    raise InputError(problem, file=path, got=reprlib.repr(row[column]), expected=expected, fix=REMAKE)
