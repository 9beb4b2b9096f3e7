"""A large image divided into blocks, each of which keeps the nuclei that belong to it.

A block is segmented together with an overlap on each side, and keeps the nuclei whose middle lies in the block itself,
which is the rule of StarDist (Weigert et al., 2020). Every nucleus has exactly one middle, so none is lost or counted
twice, and nothing has to be stitched, as long as every cluster of touching nuclei is smaller than the overlap.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

if TYPE_CHECKING:
    from nuclei.network.inference import TileGrid

OVERLAP_PX = 256  # on each side of a block; a nucleus of up to twice this is seen whole by its block
BLOCK_PX = 4096


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


def plan(grid: TileGrid, block_px: int, overlap_px: int) -> list[Block]:
    """Divide an image into blocks of about `block_px` squared, in reading order.

    A block is a whole number of the network's tiles. It begins where it and its overlap no longer touch the
    tile before, so that this one need not be predicted again.
    """
    rows, cols = (_cuts(grid, axis, block_px, overlap_px) for axis in (0, 1))
    sides = [(row, col) for row in rows for col in cols]
    return [
        Block(number, row, col, _wider(row, grid.height, overlap_px), _wider(col, grid.width, overlap_px))
        for number, (row, col) in enumerate(sides)
    ]


def _cuts(grid: TileGrid, axis: int, block_px: int, overlap_px: int) -> list[slice]:
    size, tiles = (grid.height, grid.width)[axis], grid.spans(axis)
    together = max(round(block_px / max(grid.tile_px - grid.overlap_px, 1)), 1)
    ends = [tile.stop + overlap_px for tile in tiles[together - 1 :: together]]
    edges = [0, *(end for end in ends if end < size - overlap_px), size]
    return [slice(start, stop) for start, stop in pairwise(edges)]


def _wider(span: slice, size: int, overlap_px: int) -> slice:
    return slice(max(span.start - overlap_px, 0), min(span.stop + overlap_px, size))


@dataclass(frozen=True)
class Owned:
    """The nuclei that belong to a block.

    Attributes:
        labels: (H, W) of what the block was segmented with: 0 = background, 1..n its nuclei, in their order before.
        cut: how many of them reach an edge of that which is not the image's: a cluster larger than the overlap, whose
            outlines may differ from those in the whole image.
    """

    labels: NDArray[Any]
    cut: int


def owned(block: Block, labels: NDArray[Any], height: int, width: int) -> Owned:
    """Keep the nuclei of a block: those in which the middle of the bounding box lies in the block.

    Args:
        block: it.
        labels: (H, W) of `block.seen`, 0 = background, 1..n the nuclei.
        height, width: of the whole image.
    """
    rows, cols = block.inner
    at_edge = np.zeros(int(labels.max()) + 1, bool)
    for inside, edge in (
        (block.seen_rows.start > 0, labels[0]),
        (block.seen_rows.stop < height, labels[-1]),
        (block.seen_cols.start > 0, labels[:, 0]),
        (block.seen_cols.stop < width, labels[:, -1]),
    ):
        if inside:
            at_edge[edge] = True
    keep = np.zeros(len(at_edge), bool)
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        row, col = ((side.start + side.stop - 1) // 2 for side in box)
        keep[label] = rows.start <= row < rows.stop and cols.start <= col < cols.stop
    number = (np.cumsum(keep) * keep).astype(labels.dtype)
    return Owned(number[labels], int(np.count_nonzero(keep & at_edge)))


def neighbours(blocks: list[Block], block: Block) -> Iterator[Block]:
    """The blocks whose overlap meets that of `block`, itself among them."""
    for other in blocks:
        if all(one.start < two.stop and two.start < one.stop for one, two in zip(block.seen, other.seen, strict=True)):
            yield other
