"""What each worker of `prepare` does: write the RGB image and the label map of one sample."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nuclei.base.params import Prepare
from nuclei.images.io import modality, read_image, read_labels, read_mask, write_labels, write_rgb
from nuclei.images.records import image_path, label_path
from nuclei.prepare.annotations import Annotation, Defect, from_binary_masks, from_label_map, from_masks
from nuclei.prepare.archives import Archive, Member
from nuclei.prepare.binary import Structure, read_binary
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
    """The result for one sample: its row of index.csv, the defects and structure of its annotation, a pixel hash."""

    row: Row
    defects: list[Defect]
    structure: Structure
    digest: bytes


def prepare_one(task: Task) -> Prepared:
    """Write the image and, if it is annotated, the label map of one sample."""
    sample = task.sample
    file = task.members[sample.image]
    image = read_image(file.read(), name=str(file), max_px=task.params.max_image_px, channel=task.params.channel)
    height, width = image.rgb.shape[:2]
    write_rgb(image_path(task.folder, sample.id), image.rgb)
    row: Row = {"id": sample.id, "height": height, "width": width}
    defects: list[Defect] = []
    structure = Structure()
    defects += [Defect("choice among several planes", 1, 0, note) for note in image.notes]
    if image.missing_px:
        defects.append(Defect("pixels without a value", 1, image.missing_px, "set to 0"))
    if sample.annotated:
        annotation = _annotated(task, (height, width))
        labels, structure = annotation.labels, annotation.structure
        defects += annotation.defects
        write_labels(label_path(task.folder, sample.id), labels)
        row |= {"nuclei": structure.nuclei, "foreground": f"{np.count_nonzero(labels) / labels.size:.6f}"}
    row |= {"modality": modality(image.rgb), "source": sample.image}
    digest = hashlib.sha256(repr(image.rgb.shape).encode() + image.rgb.tobytes()).digest()
    return Prepared(row, defects, structure, digest)


def _annotated(task: Task, shape: tuple[int, int]) -> Annotation:
    """Read the annotation of a sample as prepare.binary_masks says."""
    sample, mode, limit = task.sample, task.params.binary_masks, task.params.max_image_px
    files = [task.members[name] for name in (sample.masks if sample.labels is None else (sample.labels,))]
    if mode == "components":
        masks = ((str(file), read_binary(file.read(), name=str(file), max_px=limit)) for file in files)
        return from_binary_masks(masks, shape)
    if sample.labels is None:
        masks = ((str(file), read_mask(file.read(), name=str(file), max_px=limit)) for file in files)
        annotation = from_masks(masks, shape)
    else:
        annotation = from_label_map(
            str(files[0]), read_labels(files[0].read(), name=str(files[0]), max_px=limit), shape
        )
    if mode == "error" and annotation.structure.looks_binary:
        raise annotation.structure.error(files[0])
    return annotation


def opened(archive: Path, params: Prepare) -> Archive:
    """Open an archive within the bounds that the parameters set."""
    max_member_bytes = BYTES_PER_PX * params.max_image_px + HEADER_BYTES
    return Archive(archive, max_bytes=params.max_archive_bytes, max_member_bytes=max_member_bytes)


def tasks(archive: Archive, samples: Iterable[Sample], folder: Path, params: Prepare) -> Iterator[Task]:
    """One task for each sample."""
    for sample in samples:
        names = (sample.image, *sample.masks, *([sample.labels] if sample.labels else []))
        yield Task(sample, {name: archive.member(name) for name in names}, folder, params)
