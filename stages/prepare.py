"""Unpack the archives into one RGB image and one label map per image.

Reads data/raw/stage1_train.zip and, where there is one, data/raw/stage1_test.zip.
Writes data/prepared/ (images/, labels/, index.csv, annotations.csv: defects of the annotations) and
data/unlabelled/ (images/, index.csv).
Parameters: prepare.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path

from nuclei.base.errors import run
from nuclei.base.files import replacing, write_rows
from nuclei.base.machine import cores
from nuclei.base.parallel import ordered_map
from nuclei.base.params import Prepare, load
from nuclei.base.progress import track
from nuclei.images.records import COLUMNS, UNLABELLED_COLUMNS
from nuclei.prepare.annotations import Defect
from nuclei.prepare.archives import Archive
from nuclei.prepare.binary import Structure
from nuclei.prepare.layouts import Sample, check_annotated, ignored, samples
from nuclei.prepare.unpacking import Prepared, Row, opened, prepare_one, tasks

RAW, PREPARED, UNLABELLED = Path("data/raw"), Path("data/prepared"), Path("data/unlabelled")
IMAGE_S, MASK_S = 0.01, 0.001  # approximate seconds for one image and one mask
WORKER_S = 3.0  # seconds of work that are worth starting another process for


def main(workers: int | None = None) -> None:
    params = load().prepare
    prepare_labelled(RAW / "stage1_train.zip", PREPARED, params, workers)
    prepare_unlabelled(RAW / "stage1_test.zip", UNLABELLED, params, workers)


def prepare_labelled(archive: Path, target: Path, params: Prepare, workers: int | None) -> None:
    index = opened(archive, params)
    found = samples(index.files, archive)
    check_annotated(found, index.files, archive)
    with replacing(target) as folder:
        rows: list[Row] = []
        defects: list[Row] = []
        first: dict[bytes, object] = {}
        structures = [Structure()]
        for done in prepared(index, found, folder, params, workers):
            rows.append(done.row)
            defects += [{"id": done.row["id"], **asdict(defect)} for defect in done.defects]
            structures.append(done.structure)
            same = first.setdefault(done.digest, done.row["id"])
            if same != done.row["id"]:
                defects.append(
                    {"id": done.row["id"], **asdict(Defect("duplicate image", 1, 0, f"kept; same as {same}"))}
                )
        total = Structure(*map(sum, zip(*structures, strict=True)))
        if params.binary_masks == "error" and total.looks_binary:
            raise total.error(archive)
        write_rows(folder / "index.csv", COLUMNS, rows)
        write_rows(folder / "annotations.csv", ["id", *(field.name for field in fields(Defect))], defects)
    print(summary(rows, defects))
    print(layout(found, ignored(index.files, found)))


def prepare_unlabelled(archive: Path, target: Path, params: Prepare, workers: int | None) -> None:
    with replacing(target) as folder:
        (folder / "images").mkdir(parents=True)
        rows: list[Row] = []
        if archive.exists():
            index = opened(archive, params)
            # masks are not read here
            bare = [Sample(sample.id, sample.image) for sample in samples(index.files, archive)]
            rows = [done.row for done in prepared(index, bare, folder, params, workers)]
        write_rows(folder / "index.csv", UNLABELLED_COLUMNS, rows)
    print(f"{len(rows)} images without masks")


def prepared(
    archive: Archive, found: list[Sample], folder: Path, params: Prepare, workers: int | None
) -> Iterator[Prepared]:
    """Write every sample, on all cores, and yield the results in the order of the ids."""
    work_s = IMAGE_S * len(found) + MASK_S * sum(len(sample.masks) for sample in found)
    workers = min(workers or cores(), 1 + int(work_s / WORKER_S))
    results = ordered_map(prepare_one, tasks(archive, found, folder, params), workers=workers)
    yield from track(results, what="prepare", total=len(found))


def summary(rows: list[Row], defects: list[Row]) -> str:
    """The images by modality, and each kind of defect on a line of its own."""
    modalities = Counter(str(row["modality"]) for row in rows)
    kinds = ", ".join(f"{count} {modality}" for modality, count in modalities.most_common())
    lines = [f"{len(rows)} images ({kinds}), {sum(int(str(row['nuclei'])) for row in rows)} nuclei"]
    for kind in sorted({(str(defect["defect"]), str(defect["action"])) for defect in defects}):
        same = [defect for defect in defects if (defect["defect"], defect["action"]) == kind]
        count, pixels = (sum(int(str(defect[column])) for defect in same) for column in ("count", "pixels"))
        lines.append(f"  {count} {kind[0]}, {pixels} pixels, in {len(same)} images: {kind[1]}")
    return "\n".join(lines)


def layout(found: list[Sample], others: list[str]) -> str:
    """How the files were read: an example of each kind of annotation, and the files that were ignored."""
    pairs = {
        "a label map": [(sample.labels, sample.image) for sample in found if sample.labels],
        "outlines": [(sample.outlines[0], sample.image) for sample in found if sample.outlines],
    }
    lines = [
        f"  {len(of_kind)} with {kind}, such as {of_kind[0][0]} for {of_kind[0][1]}"
        for kind, of_kind in pairs.items()
        if of_kind
    ]
    if with_masks := sum(bool(sample.masks) for sample in found):
        lines.append(f"  {with_masks} with one mask for each nucleus")
    if others:
        lines.append(f"  files ignored: {len(others)}, such as {others[0]}")
    return "\n".join(lines)


if __name__ == "__main__":
    run(main)
