"""What the pipeline knows of each image: the rows of index.csv and split.csv, and where an image's files lie."""

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
MAX_NAME_BYTES = 200  # of an id: the file names made of it must fit every file system
UNSAFE = set('<>:"/\\|?*')
MAX_COUNT = 2**31  # no image has as many pixels, to a side or nuclei


@dataclass(frozen=True)
class Record:
    """One image: a row of `data/prepared/index.csv`.

    Attributes:
        id: its name, the stem of all its files.
        height, width: in pixels.
        nuclei: number of labels in its label map.
        foreground: fraction of pixels that belong to a nucleus.
        modality: one of `MODALITIES`.
        source: the path of the image in the archive that it came from.
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
    """One image without annotation: a row of `data/unlabelled/index.csv`, with the columns that `Record` has too."""

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
        InputError: it is absent, an id stands twice, or a row is not what `prepare` writes.
    """
    return [Record(**row) for row in _read_table(Path(folder) / "index.csv", COLUMNS)]


def read_unlabelled(folder: str | Path) -> list[Unlabelled]:
    """Read the index of a folder like `data/unlabelled`, sorted by id; errors as `read_index`."""
    return [Unlabelled(**row) for row in _read_table(Path(folder) / "index.csv", UNLABELLED_COLUMNS)]


def read_ids(folder: Path) -> list[str]:
    """Read the ids of a folder like `data/unlabelled`, whose index may be empty; errors as `read_index`."""
    return [row.id for row in read_unlabelled(folder)]


def read_split(path: str | Path) -> dict[str, str]:
    """Read split.csv: the part, one of `PARTS`, of each id, in the file's order.

    Raises:
        InputError: it is absent, an id stands twice, or a part is none of `PARTS`.
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
        folder: like `data/prepared`.
        split: the split's table.
        part: one of `PARTS`.

    Raises:
        InputError: as `read_index` and `read_split`, or the two do not hold the same images.
    """
    records, parts = read_index(folder), read_split(split)
    strangers = sorted({record.id for record in records} ^ set(parts))
    if strangers:
        got = f"{len(strangers)} in only one of the two: {', '.join(strangers[:3])}"
        raise InputError(f"the split and {folder} do not hold the same images", file=split, got=got, fix=REMAKE)
    return [record for record in records if parts[record.id] == part]


def read_groups(split: str | Path) -> dict[str, str]:
    """Read the group of each id from split.csv: near-duplicates and tiles of one field of view have the same.

    Raises:
        InputError: as `read_split`, or an image has no group.
    """
    rows = read_rows(split, ["id", "group"], fix=REMAKE)
    without = [row["id"] for row in rows if not row["group"]]
    if without:
        raise InputError("images of a split have no group", file=split, got=", ".join(without[:3]), fix=REMAKE)
    return {row["id"]: row["group"] for row in rows}


def is_name(id: str) -> bool:
    """Whether files can be named by an id on every system, and lie where they are meant to."""
    safe = id.isprintable() and id == id.strip(" .") and not UNSAFE & set(id)
    return safe and 0 < len(id.encode()) <= MAX_NAME_BYTES


def image_path(folder: str | Path, id: str) -> Path:
    """Where the RGB image lies in a folder like `data/prepared`."""
    return Path(folder) / "images" / f"{id}.png"


def label_path(folder: str | Path, id: str) -> Path:
    """Where the label map lies in a folder like `data/prepared` or `data/predictions`."""
    return Path(folder) / "labels" / f"{id}.tif"


def score_path(folder: str | Path, id: str) -> Path:
    """Where the score map lies in a folder like `data/predictions`."""
    return Path(folder) / "scores" / f"{id}.png"


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


# what a column holds: how its text is read, which values are right, and how that is said
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
