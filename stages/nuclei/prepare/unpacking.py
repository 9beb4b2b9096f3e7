"""What each worker of `prepare` does: write the RGB image and the label map of one sample."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nuclei.base.params import Prepare
from nuclei.images.io import modality, read_labels, read_mask, read_rgb, write_labels, write_rgb
from nuclei.images.records import image_path, label_path
from nuclei.prepare.annotations import Defect, from_label_map, from_masks
from nuclei.prepare.archives import Archive, Member
from nuclei.prepare.layouts import Sample

Row = dict[str, object]
BYTES_PER_PX = 16  # four channels of 32 bits, the most that an image file needs
HEADER_BYTES = 2**20


@dataclass(frozen=True)
class Task:
    """One sample to write into `folder`; `members` holds the archive member of each path that it names."""

    sample: Sample
    members: dict[str, Member]
    folder: Path
    params: Prepare


@dataclass(frozen=True)
class Prepared:
    """The result for one sample: its row of index.csv, the defects of its annotation, and a hash of its pixels."""

    row: Row
    defects: list[Defect]
    digest: bytes


def prepare_one(task: Task) -> Prepared:
    """Write the image and, if it is annotated, the label map of one sample."""
    sample, limit = task.sample, task.params.max_image_px
    image = task.members[sample.image]
    rgb = read_rgb(image.read(), name=str(image), max_px=limit)
    height, width = rgb.shape[:2]
    row: Row = {"id": sample.id, "height": height, "width": width}
    defects: list[Defect] = []
    write_rgb(image_path(task.folder, sample.id), rgb)
    if sample.annotated:
        if sample.labels is not None:
            drawn = task.members[sample.labels]
            found = read_labels(drawn.read(), name=str(drawn), max_px=limit)
            labels, defects = from_label_map(str(drawn), found, (height, width))
        else:
            members = (task.members[mask] for mask in sample.masks)
            masks = ((str(mask), read_mask(mask.read(), name=str(mask), max_px=limit)) for mask in members)
            labels, defects = from_masks(masks, (height, width))
        write_labels(label_path(task.folder, sample.id), labels)
        row |= {"nuclei": int(labels.max()), "foreground": f"{np.count_nonzero(labels) / labels.size:.6f}"}
    row |= {"modality": modality(rgb), "source": sample.image}
    return Prepared(row, defects, hashlib.sha256(repr(rgb.shape).encode() + rgb.tobytes()).digest())


def opened(archive: Path, params: Prepare) -> Archive:
    """Open an archive within the bounds that the parameters set."""
    max_member_bytes = BYTES_PER_PX * params.max_image_px + HEADER_BYTES
    return Archive(archive, max_bytes=params.max_archive_bytes, max_member_bytes=max_member_bytes)


def tasks(archive: Archive, samples: Iterable[Sample], folder: Path, params: Prepare) -> Iterator[Task]:
    """One task for each sample."""
    for sample in samples:
        names = (sample.image, *sample.masks, *([sample.labels] if sample.labels else []))
        yield Task(sample, {name: archive.member(name) for name in names}, folder, params)
