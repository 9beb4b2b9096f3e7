"""Annotations to one label map per image, with a record of their defects.

Annotations are kept as drawn, as far as a label map allows: a nucleus of several components stays one nucleus.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage import measure
from skimage.segmentation import relabel_sequential

from nuclei.base.errors import InputError
from nuclei.images.io import check_background
from nuclei.images.outlines import Region, read_outlines
from nuclei.prepare.binary import Mask, Structure

LEAST_BACKGROUND = 0.2  # of the image; in BBBC038 the least is 0.41
Labels = NDArray[np.uint16 | np.uint32]  # (H, W), 0 = background


@dataclass(frozen=True)
class Defect:
    """What is wrong with the annotation of one image.

    Attributes:
        defect: "overlapping masks", "hidden masks", "empty masks", "divided nuclei", "components of
            binary masks", "objects that are no nuclei", "little background", "pixels without a value" or
            "duplicate image". Not defects, but no less to be known: "choice among several planes", "choice among
            several annotations" and "unchanged results of segment.py".
        count: number of masks, nuclei or images that have it.
        pixels: number of pixels affected.
        action: what was done about it.
    """

    defect: str
    count: int
    pixels: int
    action: str


class Annotation(NamedTuple):
    """The annotation of one image.

    Attributes:
        labels: (H, W) uint16, or uint32 above 65,535 nuclei; 0 is background, nuclei are 1..n.
        defects: what was wrong with it.
        structure: in how many parts the nuclei are.
    """

    labels: Labels
    defects: list[Defect]
    structure: Structure


def from_masks(masks: Iterable[tuple[str, Mask]], shape: tuple[int, int]) -> Annotation:
    """Combine masks of one nucleus each into a label map.

    Labels follow the order of the masks. A pixel covered by two masks goes to the smaller nucleus, because it is the
    larger part of that one; if both are equally large, to the later one. Empty masks are dropped, and so are masks that
    lose all their pixels to smaller ones. Of identical masks the last is kept.

    Args:
        masks: pairs of the name that errors use and the mask, (H, W) bool; only its bounding box is kept in memory.
        shape: height and width of the image.

    Raises:
        InputError: a mask differs from the image in shape. It is not dropped, because the masks of two images may have
            been swapped.
    """
    nuclei = []
    for name, mask in masks:
        _check_shape(name, mask.shape, shape)
        col, row, width, height = cv2.boundingRect(mask.view(np.uint8))
        box = slice(row, row + height), slice(col, col + width)
        nuclei.append(Region(box, mask[box].copy()))
    return _combined(nuclei, shape)


def from_outlines(name: str, data: bytes, shape: tuple[int, int]) -> Annotation:
    """Combine the regions in a file of outlines as `from_masks` does masks; see `outlines.read_outlines`.

    Raises:
        InputError: the file can not be read, holds no nucleus, or a region lies outside the image; or a region looks
            like the background.
    """
    outlines = read_outlines(data, name, shape)
    annotation = _combined(outlines.regions, shape)
    check_background(annotation.labels, name, "a file of outlines")
    defects = [
        Defect("objects that are no nuclei", count, 0, f"{kind}: ignored") for kind, count in outlines.ignored.items()
    ]
    return annotation._replace(defects=[*annotation.defects, *defects])


def _combined(regions: list[Region], shape: tuple[int, int]) -> Annotation:
    """A label map of regions that may overlap or be empty; see `from_masks`."""
    nuclei = [region for region in regions if region.inside.any()]
    empty = len(regions) - len(nuclei)
    areas = np.array([np.count_nonzero(nucleus) for _, nucleus in nuclei], np.int64)
    labels, contested = np.zeros(shape, np.uint32), np.zeros(shape, np.bool_)
    for index in np.argsort(-areas, kind="stable"):
        box, nucleus = nuclei[index]
        contested[box] |= nucleus & (labels[box] > 0)
        labels[box][nucleus] = index + 1
    defects = []
    if empty:
        defects.append(Defect("empty masks", empty, 0, "dropped"))
    if contested.any():
        left = np.bincount(labels.ravel(), minlength=len(nuclei) + 1)[1:]
        losers, pixels = int((left < areas).sum()), int(contested.sum())
        defects.append(Defect("overlapping masks", losers, pixels, "pixels given to the smaller nucleus"))
        if not left.all():
            defects.append(Defect("hidden masks", int((left == 0).sum()), int(areas[left == 0].sum()), "dropped"))
    return _annotation(labels, defects)


def from_label_map(name: str, labels: Labels, shape: tuple[int, int]) -> Annotation:
    """Check a label map (H, W) and renumber its labels 1..n in their order; it may be empty.

    Raises:
        InputError: it differs from the image in shape, or its background is not 0.
    """
    _check_shape(name, labels.shape, shape)
    check_background(labels, name)
    return _annotation(labels, [])


def from_binary_masks(masks: Iterable[tuple[str, Mask]], shape: tuple[int, int]) -> Annotation:
    """Make a nucleus of each 8-connected component of binary masks; where masks overlap or touch, they are joined.

    Args:
        masks: pairs of the name that errors use and the mask, (H, W) bool.
        shape: height and width of the image.

    Raises:
        InputError: a mask differs from the image in shape.
    """
    joined = np.zeros(shape, np.bool_)
    for name, mask in masks:
        _check_shape(name, mask.shape, shape)
        joined |= mask
    count, labels = cv2.connectedComponents(joined.view(np.uint8), connectivity=8)
    pixels = int(np.count_nonzero(joined))
    defects = [Defect("components of binary masks", count - 1, pixels, "each became a nucleus")] if pixels else []
    return _annotation(labels.astype(np.uint32), defects)


def _check_shape(name: str, got: tuple[int, ...], expected: tuple[int, int]) -> None:
    if got != expected:
        raise InputError(
            "a mask does not have the shape of its image",
            file=name,
            got=" x ".join(map(str, got)),
            expected=" x ".join(map(str, expected)),
            fix="if it belongs to another image, move it there; if not, remove it",
        )


def _annotation(labels: NDArray[np.unsignedinteger], defects: list[Defect]) -> Annotation:
    """Number the labels consecutively, and add the defects of the label map as a whole."""
    consecutive = relabel_sequential(labels)[0]
    kept = np.asarray(consecutive.astype(np.uint16 if consecutive.max(initial=0) < 2**16 else np.uint32))
    nuclei, components = int(kept.max(initial=0)), measure.label(kept, background=0, connectivity=2)
    areas = np.bincount(components.ravel())[1:]
    label_of = np.zeros(len(areas) + 1, np.int64)
    label_of[components.ravel()] = kept.ravel()
    largest = np.zeros(nuclei + 1, np.int64)
    np.maximum.at(largest, label_of[1:], areas)
    divided = int(np.count_nonzero(np.bincount(label_of[1:], minlength=1) > 1))
    if divided:  # the pixels are those outside the largest component of each
        pixels = int(areas.sum() - largest.sum())
        defects = [*defects, Defect("divided nuclei", divided, pixels, "kept as one nucleus each")]
    background = int(np.count_nonzero(kept == 0))
    if background < LEAST_BACKGROUND * kept.size:
        defects = [*defects, Defect("little background", 1, background, "kept")]
    return Annotation(kept, defects, Structure(nuclei, divided, len(areas)))
