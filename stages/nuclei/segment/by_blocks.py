"""Segment one large image block by block, in memory that does not grow with it, and go on where a killed run stopped.

Each block leaves a file with its nuclei in a hidden folder beside the results. When all are there, `assembling` puts
them together. One process segments all blocks, or several share them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nuclei.base import files
from nuclei.network.segmenter import Segmenter
from nuclei.segment.blocks import Block, owned
from nuclei.segment.measurements import measure
from nuclei.segment.prepared import Prepared
from nuclei.segment.slides import Slide, opened
from nuclei.segment.survey import is_blank, read_rgb
from nuclei.segment.tiles import Tiles


@dataclass(frozen=True)
class Work:
    """What a process needs to segment blocks of an image."""

    prepared: Prepared
    slide: Slide
    segmenter: Segmenter


def segment_blocks(
    segmenter: Segmenter,
    prepared: Prepared,
    chunk: int = 0,
    chunks: int = 1,
    before: Callable[[Block], None] = lambda block: None,
) -> None:
    """Segment the blocks of a chunk that are not done; each leaves its file.

    Two processes must not have the same chunk at a time, but may have different ones. Every second chunk is taken from
    its last block to its first: processes that begin together in chunks one below the other then seldom come to a tile
    that both need at the same time, and the second to come there finds it predicted.

    Args:
        segmenter: the model.
        prepared: see `prepare`.
        chunk: from 0; the blocks are divided in reading order.
        chunks: how many there are.
        before: is called with each block that will be segmented.

    Raises:
        InputError: the image can not be read.
    """
    blocks = prepared.blocks
    mine = blocks[len(blocks) * chunk // chunks : len(blocks) * (chunk + 1) // chunks]
    with opened(prepared.path, prepared.reading) as slide:
        work = Work(prepared, slide, segmenter)
        grid = segmenter.grid(slide.height, slide.width, prepared.scale)
        tiles = Tiles(grid, blocks, prepared.scratch, partial(_predicted, work), prepared.is_done)
        for block in reversed(mine) if chunk % 2 else mine:
            if not prepared.is_done(block):
                before(block)
                _write(prepared.file(block), _segment_block(work, block, tiles.maps(block)))
            tiles.drop(block)


def _write(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    with files.replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def _segment_block(work: Work, block: Block, maps: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """The labels of a block's nuclei, their measurements in pixels of the image, and counts of its background."""
    labels, scores = work.segmenter.nuclei(maps, work.prepared.min_score, min_best_score=0)  # of all: see assembling
    mine = owned(block, labels, work.slide.height, work.slide.width)
    values = work.slide.read(*block.seen)[..., : len(work.prepared.channels)]
    outside = values[block.inner][labels[block.inner] == 0]
    size = 2 ** (8 * values.dtype.itemsize)
    background = np.stack([np.bincount(outside[:, channel], minlength=size) for channel in range(values.shape[2])])
    own = None if scores is None else scores[mine.kept]
    measured = measure(mine.labels, values, work.prepared.channels, work.slide.pixel_size_um, own)
    row, col = block.seen_rows.start, block.seen_cols.start
    for name, offset in (("row_px", row), ("col_px", col), ("top_px", row), ("left_px", col)):
        measured[name] = measured[name] + offset
    bottom, right = measured["top_px"] + measured["height_px"], measured["left_px"] + measured["width_px"]
    measured["touches_border"] = (
        (measured["top_px"] == 0) | (measured["left_px"] == 0)
        | (bottom == work.slide.height) | (right == work.slide.width)
    ).astype(np.int64)  # fmt: skip
    prefixed = {f"nuclei_{name}": column for name, column in measured.items()}
    return {"labels": mine.labels, "cut": np.array(mine.cut), "background": background, **prefixed}


def _predicted(work: Work, rows: slice, cols: slice) -> NDArray[np.float32]:
    """The maps of a tile at the network's scale; one pixel of zeros stands for a tile without nuclei."""
    rgb = read_rgb(work.slide, rows, cols, work.prepared.table)
    if is_blank(rgb, work.prepared.scale.zoom):
        return np.zeros((1 if work.segmenter.net.instance_head is None else 2, 1, 1), np.float32)
    return work.segmenter.predict_tile(rgb, work.prepared.scale)
