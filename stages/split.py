"""Decide which images are for training, validation and testing; every later stage follows this split.

Reads:      data/prepared (images/, index.csv), and the user's own list where there is one
Writes:     data/split.csv (id, part, group, family)
Parameters: seed, split
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from nuclei.base import files, userfiles
from nuclei.base.errors import run
from nuclei.base.params import load
from nuclei.base.progress import track
from nuclei.images.io import read_rgb
from nuclei.images.records import MODALITIES, PARTS, Record, image_path, read_index
from nuclei.split.families import families, look
from nuclei.split.similarity import groups, signature
from nuclei.split.splitting import check_nuclei, divided, read_list, split, split_fold

PREPARED, SPLIT = Path("data/prepared"), Path("data/split.csv")
SHOWN = 5  # examples in a line of the summary


def main() -> None:
    params = load()
    records = read_index(PREPARED)
    images = (read_rgb(image_path(PREPARED, record.id)) for record in records)
    measured = [(signature(image), look(image)) for image in track(images, what="compare images", total=len(records))]
    grouping = groups([each for each, _ in measured], params.split.duplicate_similarity)
    found = (1 + grouping.numbers).tolist()
    names = families(records, found, [each for _, each in measured])
    group = {record.id: number for record, number in zip(records, found, strict=True)}
    family = {record.id: name for record, name in zip(records, names, strict=True)}
    path = None if params.split.list is None else userfiles.absolute(params.split.list, Path.cwd())
    settings, seed = params.split, params.seed
    val, test = settings.val_fraction, settings.test_fraction
    if path is not None:
        parts = read_list(path, set(group))
    elif settings.fold is not None:
        whole = names if settings.by == "family" else None
        fold, folds = settings.fold, settings.folds
        parts = split_fold(records, found, fold=fold, folds=folds, val_fraction=val, seed=seed, families=whole)
    else:
        parts = split(records, found, val_fraction=val, test_fraction=test, seed=seed)
    check_nuclei(parts, records, path)
    rows = ({"id": id, "part": part, "group": group[id], "family": family[id]} for id, part in parts.items())
    files.write_rows(SPLIT, ["id", "part", "group", "family"], rows)
    rejected = [f"{records[first].id} and {records[second].id}" for first, second in grouping.rejected]
    print(summary(records, parts, group, rejected))
    if settings.by == "family":
        print(left_out(parts, group, family))


def summary(records: list[Record], parts: dict[str, str], group: dict[str, int], rejected: list[str]) -> str:
    """The groups, the seams that were not trusted, and how many images of each modality each part has."""
    sizes = Counter(group.values())
    several = [size for size in sizes.values() if size > 1]
    lines = [
        f"{len(records)} images in {len(sizes)} groups; {len(several)} groups, with {sum(several)} images, "
        "hold near-duplicates or tiles of one field"
    ]
    if rejected:
        some = "; ".join(rejected[:SHOWN]) + ("; ..." if len(rejected) > SHOWN else "")
        lines.append(
            f"  {len(rejected)} pairs may be tiles of one field, but their edges match no better than edges that "
            f"cannot lie side by side; they were not grouped: {some}"
        )
    for part in PARTS:
        counts = Counter(record.modality for record in records if parts[record.id] == part)
        lines.append(f"  {part}: {counts.total()} (" + ", ".join(f"{counts[name]} {name}" for name in MODALITIES) + ")")
    across = divided(parts, group)
    if across:
        lines.append(f"  the list divides {len(across)} groups among the parts: val and test are easier for it")
    return "\n".join(lines)


def left_out(parts: dict[str, str], group: dict[str, int], family: dict[str, str]) -> str:
    """The families, and which of them are test as a whole."""
    lines = []
    for name, images in sorted(Counter(family.values()).items()):
        members = [id for id, of in family.items() if of == name]
        part = "test " if parts[members[0]] == "test" else "train"
        lines.append(f"  {part} {name}: {images} images in {len({group[id] for id in members})} groups")
    return "\n".join([f"{len(lines)} families", *lines])


if __name__ == "__main__":
    run(main)
