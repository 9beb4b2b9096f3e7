"""The network's maps of the tiles of a large image, kept in files as long as a block needs them.

A tile reaches into several blocks, and is predicted once, also where several processes segment blocks of one image:
they share the files. A file that is missing costs another prediction of the same values and nothing else. Maps are kept
at the network's scale, so that they take the same room whatever the size of the nuclei.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from nuclei.network.inference import TileGrid
from nuclei.segment.blocks import Block

Predict = Callable[[slice, slice], NDArray[np.float32]]


class Tiles:
    """The tiles of one image.

    Args:
        grid: where they lie.
        blocks: all of the image.
        folder: of the files.
        predict: returns the maps (C, h, w) of the tile at these rows and columns, at any scale.
        is_done: whether a block is segmented, by this process or another.
    """

    def __init__(
        self, grid: TileGrid, blocks: list[Block], folder: Path, predict: Predict, is_done: Callable[[Block], bool]
    ) -> None:
        self._grid, self._folder, self._predict, self._is_done = grid, folder, predict, is_done
        self._needed_by: dict[Path, list[Block]] = defaultdict(list)
        for block in blocks:
            for tile in grid.tiles(block.seen):
                self._needed_by[self._path(*tile)].append(block)

    def maps(self, block: Block) -> NDArray[np.float32]:
        """The maps (C, H, W) of what a block is segmented with: to the last bit those of the whole image."""
        return self._grid.blend(self._tile, block.seen)

    def drop(self, block: Block) -> None:
        """Delete the tiles of a block that is done, apart from those that a block needs that is not."""
        for tile in self._grid.tiles(block.seen):
            path = self._path(*tile)
            if all(map(self._is_done, self._needed_by[path])):
                path.unlink(missing_ok=True)

    def _tile(self, rows: slice, cols: slice) -> NDArray[np.float32]:
        path = self._path(rows, cols)
        try:
            kept: NDArray[np.float32] = np.load(path)
            return kept
        except (OSError, EOFError, ValueError):  # not there, or replaced by another process over a network file system
            maps = self._predict(rows, cols)
        temporary = path.with_name(f".{path.name}.{uuid4().hex}.part")  # two processes may predict a tile at a time
        try:
            with temporary.open("xb") as file:
                np.save(file, maps)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        return maps

    def _path(self, rows: slice, cols: slice) -> Path:
        return self._folder / f"{rows.start}_{cols.start}.npy"
