"""The tables of nuclei and of images, written row by row from the manifest."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath

from nuclei.segment.manifest import Manifest, Segmented, Value
from nuclei.segment.measurements import IMAGE, columns

NUCLEI, IMAGES = "nuclei.csv", "images.csv"
BYTES = "surrogateescape"  # a file name need not be UTF-8
Row = dict[str, Value | str]


def stem_of(name: str) -> str:
    """The name of an image without its extension: two files with the same stem have the same results."""
    return PurePath(name).with_suffix("").as_posix()


def write_tables(manifest: Manifest, out: Path) -> None:
    """Write both tables, sorted by image; cells of columns that an image does not have are empty."""
    nuclei = ["image", *columns(merged(manifest.channels()), micrometres=manifest.has_pixel_sizes())]
    _write(manifest, out / NUCLEI, nuclei, (row for image in manifest.images() for row in nuclei_of(image)))
    _write(manifest, out / IMAGES, ["image", *IMAGE], ({"image": i.name, **i.summary} for i in manifest.images()))


def nuclei_of(image: Segmented) -> Iterator[Row]:
    """The rows of the nuclei of an image, each by column."""
    for entries in zip(*image.nuclei.values(), strict=True):
        yield {"image": image.name, **dict(zip(image.nuclei, entries, strict=True))}


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


def _text(value: Value | str) -> Value | str:
    """A number with eight digits, a whole one in full, None as an empty cell."""
    return f"{value:.8g}" if isinstance(value, float) else value
