"""From what an annotator drew to one label map an image, with an account of what was wrong.

What was drawn is kept as it is, wherever a label map can hold it: a nucleus in several pieces stays one nucleus.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nuclei.base.errors import InputError

Labels = NDArray[np.uint16 | np.uint32]  # (H, W), 0 = background


@dataclass(frozen=True)
class Defect:
    """What is wrong with the annotation of one image.

    Attributes:
        defect: "overlapping masks", "hidden masks", "empty masks" or "nuclei in pieces"; `prepare` adds
            "duplicate image".
        count: how many masks, nuclei or images are concerned.
        pixels: how many pixels are.
        action: what was done about it.
    """

    defect: str
    count: int
    pixels: int
    action: str


def from_masks(masks: Iterable[tuple[str, NDArray[np.bool_]]], shape: tuple[int, int]) -> tuple[Labels, list[Defect]]:
    """Combine masks of one nucleus each into a label map.

    Labels follow the order of the masks. A pixel of two masks goes to the smaller nucleus, which can spare it less;
    of two equally large ones to the later. Empty masks are dropped, and so are those that lose every pixel to smaller
    ones, as all but the last of identical masks do.

    Args:
        masks: what errors call each, and (H, W) bool; only the part that holds a nucleus is kept in memory.
        shape: height and width of the image.

    Returns:
        (H, W) uint16, or uint32 above 65,535 nuclei, with consecutive labels; and what was wrong.

    Raises:
        InputError: a mask has another shape than the image. It is not dropped, because it may be all the masks that
            belong to another image.
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
    """Check a label map (H, W) and number its labels from 1 on, in their order; it may hold none.

    Raises:
        InputError: it has another shape than the image.
    """
    _check_shape(name, labels.shape, shape)
    labels = _consecutive(labels)
    return labels, _pieces(labels)


def _check_shape(name: str, got: tuple[int, ...], expected: tuple[int, int]) -> None:
    if got != expected:
        raise InputError(
            "a mask has not the shape of its image",
            file=name,
            got=" x ".join(map(str, got)),
            expected=" x ".join(map(str, expected)),
            fix="if it belongs to another image, move it there; if not, remove it",
        )


def _consecutive(labels: NDArray[np.unsignedinteger]) -> Labels:
    """Labels 1..n in the order of the old ones, in the smallest type."""
    high = int(labels.max(initial=0))
    if high <= labels.size:  # a table of all labels is faster than sorting the pixels
        present = np.bincount(labels.ravel(), minlength=1) > 0
        present[0] = False
        new = np.cumsum(present) * present
        index = labels
    else:
        values, index = np.unique(labels, return_inverse=True)
        new = np.arange(len(values)) + (values[0] != 0)
    kind = np.uint16 if new.max() < 2**16 else np.uint32
    return np.asarray(new.astype(kind)[index].reshape(labels.shape))


def _pieces(labels: Labels) -> list[Defect]:
    """Nuclei that do not hang together, not even by a corner; `pixels` are those outside the largest pieces."""
    count = pixels = 0
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        nucleus = (labels[box] == label).view(np.uint8)
        pieces, _, stats, _ = cv2.connectedComponentsWithStats(nucleus, connectivity=8)
        if pieces > 2:  # the background is one
            areas = stats[1:, cv2.CC_STAT_AREA]
            count, pixels = count + 1, pixels + int(areas.sum() - areas.max())
    return [Defect("nuclei in pieces", count, pixels, "kept as one nucleus each")] if count else []
