"""Decide who is in train, val and test: here, and nowhere else.

Reads:      data/prepared, and the CSV that split.list names
Writes:     data/split.csv
Parameters: seed, split
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from nuclei import files, splitting
from nuclei.errors import run
from nuclei.images import read_rgb
from nuclei.params import load
from nuclei.progress import track
from nuclei.records import PARTS, image_path, read_index

PREPARED, SPLIT = Path("data/prepared"), Path("data/split.csv")


def main() -> None:
    params = load()
    settings = params.split
    records = read_index(PREPARED)
    thumbnails = [
        splitting.thumbnail(read_rgb(image_path(PREPARED, record.id)))
        for record in track(records, what="compare images", total=len(records))
    ]
    shapes = [(record.height, record.width) for record in records]
    groups = splitting.duplicate_groups(np.array(thumbnails), shapes, settings.duplicate_similarity)
    if settings.list is None:
        fractions = {"val": settings.val_fraction, "test": settings.test_fraction}
        parts = splitting.split(records, groups, fractions, params.seed)
    else:
        rows = files.read_rows(settings.list, ["id", "part"], fix="split.list names a CSV with a header: id,part")
        parts = splitting.listed(records, rows, settings.list)

    rows_out = [
        {"id": record.id, "part": parts[record.id], "group": group}
        for record, group in zip(records, groups.tolist(), strict=True)
    ]
    files.write_rows(SPLIT, ["id", "part", "group"], rows_out)
    report(parts, groups.tolist(), [record.id for record in records])


def report(parts: dict[str, str], groups: list[int], ids: list[str]) -> None:
    """Say how many images each part has, and how many near-duplicates there are and where."""
    sizes = Counter(parts.values())
    print(", ".join(f"{sizes[part]} {part}" for part in PARTS))
    several = {group for group, count in Counter(groups).items() if count > 1}
    alike = sum(group in several for group in groups)
    across = sum(len({parts[id] for id, g in zip(ids, groups, strict=True) if g == group}) > 1 for group in several)
    print(f"{len(several)} groups of near-duplicates hold {alike} images; {across} groups lie in more than one part")


if __name__ == "__main__":
    run(main)
