"""What each worker of `prepare` does: write the RGB image and the label map of one sample."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from nuclei.base.errors import InputError
from nuclei.base.params import Prepare
from nuclei.images.io import modality, read_image, read_labels, read_mask, write_labels, write_rgb
from nuclei.images.marks import is_marked
from nuclei.images.records import image_path, label_path
from nuclei.prepare.annotations import Annotation, Defect, from_binary_masks, from_label_map, from_masks, from_outlines
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
        one, unchanged = chosen(sample, task.members)
        if one != sample:
            what = "outlines were" if one.outlines else "the label map was" if one.labels else "the masks were"
            defects.append(Defect("choice among several annotations", 1, 0, f"{what} taken"))
        if unchanged:
            defects.append(Defect("unchanged results of segment.py", 1, 0, "kept"))
        annotation = _annotated(one, task, (height, width))
        labels, structure = annotation.labels, annotation.structure
        defects += annotation.defects
        write_labels(label_path(task.folder, sample.id), labels)
        row |= {"nuclei": structure.nuclei, "foreground": f"{np.count_nonzero(labels) / labels.size:.6f}"}
    row |= {"modality": modality(image.rgb), "source": sample.image}
    digest = hashlib.sha256(repr(image.rgb.shape).encode() + image.rgb.tobytes()).digest()
    return Prepared(row, defects, structure, digest)


def _annotated(sample: Sample, task: Task, shape: tuple[int, int]) -> Annotation:
    """Read the one annotation of a sample as prepare.binary_masks says."""
    mode, limit = task.params.binary_masks, task.params.max_image_px
    files = [task.members[name] for name in sample.files[1:]]
    first = files[0]
    if sample.outlines:
        annotation = from_outlines(str(first), first.read(), shape)
    elif mode == "components":
        masks = ((str(file), read_binary(file.read(), name=str(file), max_px=limit)) for file in files)
        return from_binary_masks(masks, shape)
    elif sample.masks:
        masks = ((str(file), read_mask(file.read(), name=str(file), max_px=limit)) for file in files)
        annotation = from_masks(masks, shape)
    else:
        annotation = from_label_map(str(first), read_labels(first.read(), name=str(first), max_px=limit), shape)
    if mode == "error" and annotation.structure.looks_binary:
        raise annotation.structure.error(first)
    return annotation


def chosen(sample: Sample, members: dict[str, Member]) -> tuple[Sample, bool]:
    """The sample with one annotation, where it has several: the one that was drawn, or corrected, by hand.

    segment.py marks the files that it writes, and the mark does not fit a file that was changed since. If none was
    changed they all hold the same nuclei, and the label map is taken.

    Returns:
        The sample, and whether its annotation is a file that segment.py wrote and nobody has changed.

    Raises:
        InputError: several annotations were drawn or corrected by hand.
    """
    whole = (*([sample.labels] if sample.labels else []), *sample.outlines)
    edited = [name for name in whole if not is_marked(members[name].read(), PurePosixPath(name).suffix.lower())]
    by_hand = [*sample.masks[:1], *edited]
    if len(by_hand) > 1:
        raise InputError(
            "an image has several annotations that were drawn or corrected by hand",
            file=str(members[sample.image]),
            got=", ".join(by_hand),
            expected="one, beside any number of files as segment.py wrote them",
            fix="keep the one with the right nuclei, and move the others elsewhere",
        )
    if sample.masks:
        return replace(sample, labels=None, outlines=()), False
    taken = (edited or whole)[0]
    if taken == sample.labels:
        return replace(sample, outlines=()), not edited
    return replace(sample, labels=None, outlines=(taken,)), not edited


def opened(archive: Path, params: Prepare) -> Archive:
    """Open an archive within the bounds that the parameters set."""
    max_member_bytes = BYTES_PER_PX * params.max_image_px + HEADER_BYTES
    return Archive(archive, max_bytes=params.max_archive_bytes, max_member_bytes=max_member_bytes)


def tasks(archive: Archive, samples: Iterable[Sample], folder: Path, params: Prepare) -> Iterator[Task]:
    """One task for each sample."""
    for sample in samples:
        yield Task(sample, {name: archive.member(name) for name in sample.files}, folder, params)
