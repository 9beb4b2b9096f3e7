"""A large image divided into blocks, each of which keeps the nuclei that belong to it.

A block is segmented together with an overlap on each side, and keeps the nuclei whose middle lies in the block itself,
which is the rule of StarDist (Weigert et al., 2020). Every nucleus has exactly one middle, so none is lost or counted
twice, and nothing has to be stitched, as long as every cluster of touching nuclei is smaller than the overlap.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

BLOCK_PX = 2048  # with the largest overlap a block is labelled in less than 1 GiB
OVERLAP_PX = (256, 512)  # least and most on each side of a block; a nucleus of up to twice the overlap is seen whole
OVERLAP_DIAMETERS = 3


@dataclass(frozen=True)
class Block:
    """A block of an image.

    Attributes:
        number: from 0, in reading order.
        rows, cols: what the block is responsible for, in pixels of the image; the blocks of an image share no pixel.
        seen_rows, seen_cols: what it is segmented with: the overlap on each side is added.
    """

    number: int
    rows: slice
    cols: slice
    seen_rows: slice
    seen_cols: slice

    @property
    def seen(self) -> tuple[slice, slice]:
        return self.seen_rows, self.seen_cols

    @property
    def inner(self) -> tuple[slice, slice]:
        """The block itself within what it is segmented with."""
        row, col = self.seen_rows.start, self.seen_cols.start
        return slice(self.rows.start - row, self.rows.stop - row), slice(self.cols.start - col, self.cols.stop - col)


def overlap(diameter_px: float | None) -> int:
    """What a block sees beyond its sides, for nuclei of this diameter: `OVERLAP_DIAMETERS` within `OVERLAP_PX`."""
    return round(min(max(OVERLAP_DIAMETERS * (diameter_px or 0), OVERLAP_PX[0]), OVERLAP_PX[1]))


def plan(height: int, width: int, block_px: int, overlap_px: int) -> list[Block]:
    """Divide an image into blocks of `block_px` squared, smaller ones at its right and lower side, in reading order."""
    rows, cols = (
        [slice(start, min(start + block_px, size)) for start in range(0, size, block_px)] for size in (height, width)
    )
    return [
        Block(number, row, col, _wider(row, height, overlap_px), _wider(col, width, overlap_px))
        for number, (row, col) in enumerate(product(rows, cols))
    ]


def _wider(span: slice, size: int, overlap_px: int) -> slice:
    return slice(max(span.start - overlap_px, 0), min(span.stop + overlap_px, size))


@dataclass(frozen=True)
class Owned:
    """The nuclei that belong to a block.

    Attributes:
        labels: (H, W) of what the block was segmented with: 0 = background, 1..n its nuclei, in their order before.
        kept: (all,) bool, which of the nuclei that the block was segmented with these are.
        cut: how many of them belong to a cluster of touching nuclei that reaches beyond what the block was segmented
            with, so that their outlines may differ from those in the whole image.
    """

    labels: NDArray[Any]
    kept: NDArray[np.bool_]
    cut: int


def owned(block: Block, labels: NDArray[Any], height: int, width: int) -> Owned:
    """Keep the nuclei of a block: those in which the middle of the bounding box lies in the block.

    Args:
        block: it.
        labels: (H, W) of `block.seen`, 0 = background, 1..n the nuclei.
        height, width: of the whole image.
    """
    rows, cols = block.inner
    clusters = cv2.connectedComponents((labels > 0).astype(np.uint8), connectivity=8)[1]
    beyond = np.zeros(int(clusters.max()) + 1, bool)
    for inside, edge in (
        (block.seen_rows.start > 0, clusters[0]),
        (block.seen_rows.stop < height, clusters[-1]),
        (block.seen_cols.start > 0, clusters[:, 0]),
        (block.seen_cols.stop < width, clusters[:, -1]),
    ):
        if inside:
            beyond[edge] = True
    keep = np.zeros(int(labels.max()) + 1, bool)
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        row, col = ((side.start + side.stop - 1) // 2 for side in box)
        keep[label] = rows.start <= row < rows.stop and cols.start <= col < cols.stop
    number = (np.cumsum(keep) * keep).astype(labels.dtype)
    mine = number[labels]
    beyond[0] = False  # the background
    return Owned(mine, keep[1:], len(np.unique(mine[beyond[clusters] & (mine > 0)])))


def neighbours(blocks: list[Block], block: Block) -> Iterator[Block]:
    """The blocks whose overlap meets that of `block`, itself among them."""
    for other in blocks:
        if all(one.start < two.stop and two.start < one.stop for one, two in zip(block.seen, other.seen, strict=True)):
            yield other
