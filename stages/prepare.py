"""Unpack the archives into one RGB image and one label map an image.

Reads data/raw/stage1_train.zip and, where there is one, data/raw/stage1_test.zip.
Writes data/prepared/ (images/, labels/, index.csv, annotations.csv: what was wrong with the annotations) and
data/unlabelled/ (images/, index.csv).
Parameters: prepare.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path

import numpy as np
from nuclei.annotations import Defect, from_label_map, from_masks
from nuclei.archives import Archive, Sample, samples
from nuclei.errors import InputError, run
from nuclei.files import replacing, write_rows
from nuclei.images import modality, read_labels, read_mask, read_rgb, write_labels, write_rgb
from nuclei.machine import cores
from nuclei.parallel import ordered_map
from nuclei.params import Prepare, load
from nuclei.progress import track
from nuclei.records import COLUMNS, UNLABELLED_COLUMNS, image_path, label_path

RAW, PREPARED, UNLABELLED = Path("data/raw"), Path("data/prepared"), Path("data/unlabelled")
Row = dict[str, object]
BYTES_PER_PX = 16  # four channels of 32 bit: no file of an image needs more
HEADER_BYTES = 2**20
IMAGES_PER_WORKER = 8  # to start another worker for fewer would take longer than it saves


@dataclass(frozen=True)
class Task:
    """One sample to unpack from `archive` into `folder`."""

    archive: Path
    sample: Sample
    folder: Path
    params: Prepare


@dataclass(frozen=True)
class Prepared:
    """What is known of a sample after it was written: its row, its defects, and a hash of its pixels."""

    row: Row
    defects: list[Defect]
    digest: bytes


def main(workers: int | None = None) -> None:
    params = load().prepare
    prepare_labelled(RAW / "stage1_train.zip", PREPARED, params, workers)
    prepare_unlabelled(RAW / "stage1_test.zip", UNLABELLED, params, workers)


def prepare_labelled(archive: Path, target: Path, params: Prepare, workers: int | None) -> None:
    found = samples(opened(archive, params).files, archive)
    bare = [sample.image for sample in found if not sample.annotated]
    if bare:
        raise InputError(
            f"{len(bare)} of {len(found)} images have no masks",
            file=archive,
            got=", ".join(bare[:3]) + (", ..." if len(bare) > 3 else ""),
            expected="ID/masks/*.png for ID/images/ID.png, or masks/NAME.tif for images/NAME.png",
            fix="give an image without nuclei one mask that is all zero; put images to be predicted in stage1_test.zip",
        )
    with replacing(target) as folder:
        rows: list[Row] = []
        defects: list[Row] = []
        first: dict[bytes, object] = {}
        for done in prepared(archive, found, folder, params, workers):
            rows.append(done.row)
            defects += [{"id": done.row["id"], **asdict(defect)} for defect in done.defects]
            same = first.setdefault(done.digest, done.row["id"])
            if same != done.row["id"]:
                defects.append(
                    {"id": done.row["id"], **asdict(Defect("duplicate image", 1, 0, f"kept; same as {same}"))}
                )
        write_rows(folder / "index.csv", COLUMNS, rows)
        write_rows(folder / "annotations.csv", ["id", *(field.name for field in fields(Defect))], defects)
    print(summary(rows, defects))


def prepare_unlabelled(archive: Path, target: Path, params: Prepare, workers: int | None) -> None:
    found = samples(opened(archive, params).files, archive) if archive.exists() else []
    with replacing(target) as folder:
        (folder / "images").mkdir(parents=True)
        bare = [Sample(sample.id, sample.image) for sample in found]  # masks would not be looked at
        rows = [done.row for done in prepared(archive, bare, folder, params, workers)]
        write_rows(folder / "index.csv", UNLABELLED_COLUMNS, rows)
    print(f"{len(rows)} images without masks")


def prepared(
    archive: Path, found: list[Sample], folder: Path, params: Prepare, workers: int | None
) -> Iterator[Prepared]:
    """Write every sample, on all cores, and yield what is known of each, in the order of their ids."""
    tasks = (Task(archive, sample, folder, params) for sample in found)
    results = ordered_map(prepare_one, tasks, workers=min(workers or cores(), 1 + len(found) // IMAGES_PER_WORKER))
    yield from track(results, what="prepare", total=len(found))


def prepare_one(task: Task) -> Prepared:
    """Write the image and, where there is an annotation, the label map of one sample."""
    sample, limit = task.sample, task.params.max_image_px
    archive = opened(task.archive, task.params)
    rgb = read_rgb(archive.read(sample.image), name=archive.name(sample.image), max_px=limit)
    height, width = rgb.shape[:2]
    row: Row = {"id": sample.id, "height": height, "width": width}
    defects: list[Defect] = []
    write_rgb(image_path(task.folder, sample.id), rgb)
    if sample.annotated:
        if sample.labels is not None:
            name = archive.name(sample.labels)
            drawn = read_labels(archive.read(sample.labels), name=name, max_px=limit)
            labels, defects = from_label_map(name, drawn, (height, width))
        else:
            named = ((archive.name(mask), archive.read(mask)) for mask in sample.masks)
            masks = ((name, read_mask(data, name=name, max_px=limit)) for name, data in named)
            labels, defects = from_masks(masks, (height, width))
        write_labels(label_path(task.folder, sample.id), labels)
        row |= {"nuclei": int(labels.max()), "foreground": f"{np.count_nonzero(labels) / labels.size:.6f}"}
    row |= {"modality": modality(rgb), "source": sample.image}
    return Prepared(row, defects, hashlib.sha256(repr(rgb.shape).encode() + rgb.tobytes()).digest())


@lru_cache(maxsize=1)
def opened(archive: Path, params: Prepare) -> Archive:
    """The archive, opened once in each process."""
    max_member_bytes = BYTES_PER_PX * params.max_image_px + HEADER_BYTES
    return Archive(archive, max_bytes=params.max_archive_bytes, max_member_bytes=max_member_bytes)


def summary(rows: list[Row], defects: list[Row]) -> str:
    """What was found, in a few lines."""
    modalities = Counter(str(row["modality"]) for row in rows)
    kinds = ", ".join(f"{count} {modality}" for modality, count in modalities.most_common())
    lines = [f"{len(rows)} images ({kinds}), {sum(int(str(row['nuclei'])) for row in rows)} nuclei"]
    for kind in sorted({(str(defect["defect"]), str(defect["action"])) for defect in defects}):
        same = [defect for defect in defects if (defect["defect"], defect["action"]) == kind]
        count, pixels = (sum(int(str(defect[column])) for defect in same) for column in ("count", "pixels"))
        lines.append(f"  {count} {kind[0]}, {pixels} pixels, in {len(same)} images: {kind[1]}")
    return "\n".join(lines)


if __name__ == "__main__":
    run(main)
