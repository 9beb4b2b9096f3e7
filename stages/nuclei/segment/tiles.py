"""The network's maps of the tiles of a large image, kept in files from the first block that needs them to the last.

A tile reaches into several blocks, and is predicted once. Its maps are kept at the network's scale, so that they take
the same room whatever the size of the nuclei.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nuclei.base.files import replacing
from nuclei.network.inference import TileGrid
from nuclei.segment.blocks import Block

Predict = Callable[[slice, slice], NDArray[np.float32]]


class Tiles:
    """The tiles of one image.

    Args:
        grid: where they lie.
        blocks: in the order in which they are segmented.
        folder: of the files.
        predict: returns the maps (C, h, w) of the tile at these rows and columns, at any scale.
    """

    def __init__(self, grid: TileGrid, blocks: list[Block], folder: Path, predict: Predict) -> None:
        self._grid, self._folder, self._predict = grid, folder, predict
        self._last = {self._path(*tile): block.number for block in blocks for tile in grid.tiles(block.seen)}

    def maps(self, block: Block) -> NDArray[np.float32]:
        """The maps (C, H, W) of what a block is segmented with: to the last bit those of the whole image."""
        return self._grid.blend(self._tile, block.seen)

    def drop(self, block: Block) -> None:
        """Delete the tiles that no block after this one needs."""
        for tile in self._grid.tiles(block.seen):
            path = self._path(*tile)
            if self._last[path] == block.number:
                path.unlink(missing_ok=True)

    def _tile(self, rows: slice, cols: slice) -> NDArray[np.float32]:
        path = self._path(rows, cols)
        if not path.exists():
            with replacing(path) as temporary, temporary.open("wb") as file:
                np.save(file, self._predict(rows, cols))
        maps: NDArray[np.float32] = np.load(path)
        return maps

    def _path(self, rows: slice, cols: slice) -> Path:
        return self._folder / f"{rows.start}_{cols.start}.npy"
