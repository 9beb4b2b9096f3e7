"""One sample of an archive to one RGB image and one label map: what each worker of `prepare` does."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from nuclei.annotations import Defect, from_label_map, from_masks
from nuclei.archives import Archive, Sample
from nuclei.images import modality, read_labels, read_mask, read_rgb, write_labels, write_rgb
from nuclei.params import Prepare
from nuclei.records import image_path, label_path

Row = dict[str, object]
BYTES_PER_PX = 16  # four channels of 32 bit: no file of an image needs more
HEADER_BYTES = 2**20


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
