"""A large image of a batch: segmented by blocks, with a table of its own, and noted in the manifest when it is done."""

from __future__ import annotations

import csv
import hashlib
import json
import time
from dataclasses import asdict

from nuclei.base.errors import InputError
from nuclei.segment.batch import Batch
from nuclei.segment.blocks import BLOCK_PX
from nuclei.segment.by_blocks import LABELS, segment_slide
from nuclei.segment.finding import Image
from nuclei.segment.manifest import Segmented, check_unchanged
from nuclei.segment.measurements import Column
from nuclei.segment.table import nuclei_text

NUCLEI = "_nuclei.csv"


def segment_large(batch: Batch, image: Image, block_px: int | None) -> None:
    """Segment an image by blocks, unless it is finished: NAME_labels.ome.zarr, and its nuclei in NAME_nuclei.csv.

    Whether it has changed is told by its size and the time of its last change, not by its content, which may be large.

    Raises:
        InputError: the image can not be read, the options do not apply to it, or a result would replace a file of the
            user's.
    """
    reading = batch.options.reading
    if batch.options.rois or reading.channel is not None or reading.z is not None:
        got = "--rois, --channel or --z"
        raise InputError("a large image is segmented as it is", file=image.path, got=got, fix="leave the option out")
    start = time.perf_counter()
    labels, table = batch.out / f"{image.stem}{LABELS}", batch.out / f"{image.stem}{NUCLEI}"
    state = image.path.stat()
    decides = [state.st_size, state.st_mtime_ns, batch.model, asdict(batch.options), block_px]
    key = hashlib.sha256(json.dumps(decides).encode()).hexdigest()
    if batch.manifest.is_finished(image.stem, key) and labels.exists() and table.exists():
        return
    if not batch.force:
        check_unchanged([table], batch.out)
    with batch.manifest.replacing(table) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")

        def add(nuclei: dict[str, Column]) -> None:
            if not file.tell():
                writer.writerow(nuclei)
            writer.writerows(nuclei_text(nuclei))

        summary, notes = segment_slide(
            batch.segmenter, image.path, labels, add,
            diameter_px=batch.options.diameter_px, block_px=block_px or BLOCK_PX, force=batch.force,
        )  # fmt: skip
    batch.manifest.add(
        Segmented(
            stem=image.stem,
            name=image.name,
            file=image.stem,
            key=key,
            summary=summary,
            nuclei={},
            channels=(),
            pixel_size_um=None,
            notes=tuple(notes),
            seconds=time.perf_counter() - start,
        )
    )
    batch.manifest.finish(image.stem, key)
