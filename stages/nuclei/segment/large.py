"""A large image of a batch: segmented by blocks, with a table of its own, and noted in the manifest when it is done.

The steps can be taken by several processes: `unfinished`, `prepare_large`, `by_blocks.segment_blocks`, `write_large`.
"""

from __future__ import annotations

import csv
import hashlib
import json
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from nuclei.base.errors import InputError
from nuclei.base.files import remove
from nuclei.segment.assembling import Nuclei, assemble
from nuclei.segment.batch import Batch, LargeOptions, rois_path, rounded
from nuclei.segment.blocks import BLOCK_PX
from nuclei.segment.by_blocks import segment_blocks
from nuclei.segment.finding import Image
from nuclei.segment.manifest import Segmented
from nuclei.segment.multiscale import LABELS
from nuclei.segment.prepared import Prepared, prepare, scratch_of
from nuclei.segment.rois import Features
from nuclei.segment.table import nuclei_text

NUCLEI = "_nuclei.csv"


def segment_large(batch: Batch, image: Image, large: LargeOptions) -> None:
    """Segment an image by blocks, unless it is finished.

    Writes NAME_labels.ome.zarr or .ome.tif, the nuclei in NAME_nuclei.csv, and their outlines in NAME.geojson if asked.
    Whether the image has changed is told by its size and the time of its last change, of an OME-Zarr by those of each
    of its files, not by its content.

    Raises:
        InputError: the image can not be read, the options do not apply to it, or a result would replace a file of the
            user's.
    """
    key = unfinished(batch, image, large)
    if key is not None:
        start = time.perf_counter()
        prepared = prepare_large(batch, image, large)
        segment_blocks(batch.segmenter, prepared)
        write_large(batch, image, prepared, key, time.perf_counter() - start)


def unfinished(batch: Batch, image: Image, large: LargeOptions) -> str | None:
    """What decides the results of an image that is to be segmented; None if it is finished.

    The model is not used, only its hash. `batch.manifest` is that of the folder, which knows the tables that earlier
    runs wrote.

    Raises:
        InputError: the options do not apply to a large image, or a table would replace a file of the user's.
    """
    options = batch.options
    if "imagej" in options.rois:
        fix = "--rois geojson, which QuPath opens, or leave it out"
        raise InputError("a large image has no ROIs for ImageJ", file=image.path, got="--rois imagej", fix=fix)
    if options.reading.z is not None:
        raise InputError("a large image has no slices", file=image.path, got="--z", fix="leave the option out")
    decides = [*_state(image.path), batch.model, asdict(options), asdict(large)]
    key = hashlib.sha256(json.dumps(decides).encode()).hexdigest()
    labels, tables = _labels_path(batch, image, large), _tables(batch, image)
    if batch.manifest.is_finished(image.stem, key) and all(path.exists() for path in (labels, *tables)):
        remove(scratch_of(labels))  # if the run that finished it was killed before it did
        return None
    if not batch.force:
        batch.manifest.check_unchanged(tables)
    return key


def prepare_large(batch: Batch, image: Image, large: LargeOptions) -> Prepared:
    """As `prepare`, with the options of the batch.

    Raises:
        InputError: the image can not be read, or its label map would replace a file of the user's.
    """
    options = batch.options
    return prepare(
        batch.segmenter, image.path, _labels_path(batch, image, large),
        reading=options.reading, diameter=options.diameter,
        min_score=options.min_score, min_best_score=options.min_best_score,
        block_px=large.block_px or BLOCK_PX, force=batch.force,
    )  # fmt: skip


def write_large(batch: Batch, image: Image, prepared: Prepared, key: str, seconds: float) -> None:
    """Write the results of an image whose blocks are all done, note it in the manifest, and delete the blocks.

    Args:
        batch: the run.
        image: it.
        prepared: as `prepare_large` returned it.
        key: as `unfinished` returned it.
        seconds: that it took so far.

    Raises:
        InputError: the image can not be opened.
    """
    start = time.perf_counter()
    table, *outlines = _tables(batch, image)
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

        summary, notes = assemble(prepared, add)
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
            seconds=seconds + time.perf_counter() - start,
        )
    )
    batch.manifest.finish(image.stem, key)
    remove(prepared.scratch)


def _state(path: Path) -> list[Any]:
    """The size and the time of the last change of a file, or of each file in a folder, with its relative path."""
    if path.is_dir():  # its own time stays as it is when chunks in it are written again
        files = sorted(file for file in path.rglob("*") if file.is_file())
        return [[file.relative_to(path).as_posix(), *_state(file)] for file in files]
    state = path.stat()
    return [state.st_size, state.st_mtime_ns]


def _labels_path(batch: Batch, image: Image, large: LargeOptions) -> Path:
    return batch.out / f"{image.stem}{LABELS[large.labels]}"


def _tables(batch: Batch, image: Image) -> list[Path]:
    """The table of the nuclei, and the files of their outlines."""
    return [batch.out / f"{image.stem}{NUCLEI}", *(rois_path(image, batch.out, kind) for kind in batch.options.rois)]
