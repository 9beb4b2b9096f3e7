"""A large image of a batch: segmented by blocks, with a table of its own, and noted in the manifest when it is done."""

from __future__ import annotations

import csv
import hashlib
import json
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

from nuclei.base.errors import InputError
from nuclei.segment.batch import Batch, LargeOptions, rois_path, rounded
from nuclei.segment.blocks import BLOCK_PX
from nuclei.segment.by_blocks import Nuclei, segment_slide
from nuclei.segment.finding import Image
from nuclei.segment.manifest import Segmented
from nuclei.segment.multiscale import LABELS
from nuclei.segment.rois import Features
from nuclei.segment.table import nuclei_text

NUCLEI = "_nuclei.csv"


def segment_large(batch: Batch, image: Image, large: LargeOptions) -> None:
    """Segment an image by blocks, unless it is finished.

    Writes NAME_labels.ome.zarr or .ome.tif, the nuclei in NAME_nuclei.csv, and their outlines in NAME.geojson if asked.
    Whether the image has changed is told by its size and the time of its last change, not by its content.

    Raises:
        InputError: the image can not be read, the options do not apply to it, or a result would replace a file of the
            user's.
    """
    options, out = batch.options, batch.out
    if "imagej" in options.rois:
        fix = "--rois geojson, which QuPath opens, or leave it out"
        raise InputError("a large image has no ROIs for ImageJ", file=image.path, got="--rois imagej", fix=fix)
    if options.reading.z is not None:
        raise InputError("a large image has no slices", file=image.path, got="--z", fix="leave the option out")
    start = time.perf_counter()
    labels, table = out / f"{image.stem}{LABELS[large.labels]}", out / f"{image.stem}{NUCLEI}"
    outlines = [rois_path(image, out, kind) for kind in options.rois]
    state = image.path.stat()
    decides = [state.st_size, state.st_mtime_ns, batch.model, asdict(options), asdict(large)]
    key = hashlib.sha256(json.dumps(decides).encode()).hexdigest()
    if batch.manifest.is_finished(image.stem, key) and all(path.exists() for path in (labels, table, *outlines)):
        return
    if not batch.force:
        batch.manifest.check_unchanged([table, *outlines])
    with ExitStack() as files:

        def opened(path: Path) -> TextIO:
            temporary = files.enter_context(batch.manifest.replacing(path))
            return files.enter_context(temporary.open("w", encoding="utf-8", newline=""))

        table_file = opened(table)
        writer = csv.writer(table_file, lineterminator="\n")
        collections = [Features(opened(path), image.name) for path in outlines]

        def add(nuclei: Nuclei) -> None:
            if not table_file.tell():
                writer.writerow(nuclei.measured)
            writer.writerows(nuclei_text(nuclei.measured))
            values = {name: rounded(column) for name, column in nuclei.measured.items() if name != "label"}
            for features in collections:
                features.add(nuclei.labels, values, first=nuclei.first, top_px=nuclei.top_px, left_px=nuclei.left_px)

        summary, notes = segment_slide(
            batch.segmenter, image.path, labels, add,
            reading=options.reading, diameter=options.diameter, min_score=options.min_score,
            block_px=large.block_px or BLOCK_PX,
            force=batch.force,
        )  # fmt: skip
        for features in collections:
            features.end()
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
