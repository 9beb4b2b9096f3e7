"""Annotations to one label map per image, with a record of their defects.

Annotations are kept as drawn, as far as a label map allows: a nucleus of several components stays one nucleus.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import relabel_sequential

from nuclei.base.errors import InputError

Labels = NDArray[np.uint16 | np.uint32]  # (H, W), 0 = background


@dataclass(frozen=True)
class Defect:
    """What is wrong with the annotation of one image.

    Attributes:
        defect: "overlapping masks", "hidden masks", "empty masks" or "nuclei in pieces"; `prepare` adds
            "duplicate image".
        count: number of masks, nuclei or images that have it.
        pixels: number of pixels affected.
        action: what was done about it.
    """

    defect: str
    count: int
    pixels: int
    action: str


def from_masks(masks: Iterable[tuple[str, NDArray[np.bool_]]], shape: tuple[int, int]) -> tuple[Labels, list[Defect]]:
    """Combine masks of one nucleus each into a label map.

    Labels follow the order of the masks. A pixel covered by two masks goes to the smaller nucleus, because it is the
    larger part of that one; if both are equally large, to the later one. Empty masks are dropped, and so are masks that
    lose all their pixels to smaller ones. Of identical masks the last is kept.

    Args:
        masks: pairs of the name that errors use and the mask, (H, W) bool; only its bounding box is kept in memory.
        shape: height and width of the image.

    Returns:
        (H, W) uint16, or uint32 above 65,535 nuclei, with consecutive labels; and the defects.

    Raises:
        InputError: a mask differs from the image in shape. It is not dropped, because the masks of two images may have
            been swapped.
    """
    nuclei: list[tuple[tuple[slice, slice], NDArray[np.bool_]]] = []
    empty = 0
    for name, mask in masks:
        _check_shape(name, mask.shape, shape)
        col, row, width, height = cv2.boundingRect(mask.view(np.uint8))
        if width == 0:
            empty += 1
            continue
        box = slice(row, row + height), slice(col, col + width)
        nuclei.append((box, mask[box].copy()))
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
    compact = _consecutive(labels)
    return compact, defects + _pieces(compact)


def from_label_map(name: str, labels: Labels, shape: tuple[int, int]) -> tuple[Labels, list[Defect]]:
    """Check a label map (H, W) and renumber its labels 1..n in their order; it may be empty.

    Returns:
        (H, W) uint16, or uint32 above 65,535 nuclei, with consecutive labels; and the defects.

    Raises:
        InputError: it differs from the image in shape.
    """
    _check_shape(name, labels.shape, shape)
    labels = _consecutive(labels)
    return labels, _pieces(labels)


def _check_shape(name: str, got: tuple[int, ...], expected: tuple[int, int]) -> None:
    if got != expected:
        raise InputError(
            "a mask does not have the shape of its image",
            file=name,
            got=" x ".join(map(str, got)),
            expected=" x ".join(map(str, expected)),
            fix="if it belongs to another image, move it there; if not, remove it",
        )


def _consecutive(labels: NDArray[np.unsignedinteger]) -> Labels:
    """Renumber labels 1..n in their order, in the smaller of the two types that holds them."""
    consecutive = relabel_sequential(labels)[0]
    return np.asarray(consecutive.astype(np.uint16 if consecutive.max(initial=0) < 2**16 else np.uint32))


def _pieces(labels: Labels) -> list[Defect]:
    """Nuclei of several 8-connected components; `pixels` counts those outside the largest component of each."""
    count = pixels = 0
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        nucleus = (labels[box] == label).view(np.uint8)
        pieces, _, stats, _ = cv2.connectedComponentsWithStats(nucleus, connectivity=8)
        if pieces > 2:  # OpenCV counts the background too
            areas = stats[1:, cv2.CC_STAT_AREA]
            count, pixels = count + 1, pixels + int(areas.sum() - areas.max())
    return [Defect("nuclei in pieces", count, pixels, "kept as one nucleus each")] if count else []
