"""The tiles of a large image, in files while blocks need them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nuclei.network.inference import TileGrid
from nuclei.segment.blocks import Block, overlap, plan
from nuclei.segment.tiles import Tiles

GRID = TileGrid(300, 260, 90, 20)


@pytest.mark.parametrize("block_px", [40, 110])
def test_each_tile_is_predicted_once_enlarged_as_in_the_whole_image_and_deleted_after_its_last_block(
    tmp_path: Path, block_px: int
) -> None:
    predicted: list[tuple[int, int]] = []

    def predict(rows: slice, cols: slice) -> np.ndarray:
        predicted.append((rows.start, cols.start))
        return np.random.default_rng(rows.start * 1000 + cols.start).random((2, 27, 27), np.float32)

    whole = GRID.blend(predict)
    once, predicted[:] = sorted(predicted), []
    blocks = plan(GRID.height, GRID.width, block_px, 15)
    done: list[Block] = []
    tiles = Tiles(GRID, blocks, tmp_path, predict, done.__contains__)
    kept = []
    for block in blocks:
        np.testing.assert_array_equal(tiles.maps(block), whole[:, *block.seen])
        done.append(block)
        tiles.drop(block)
        kept.append(len(list(tmp_path.iterdir())))
    assert sorted(predicted) == once
    assert kept[-1] == 0
    assert max(kept) < len(once)


def test_a_tile_whose_file_is_gone_or_cut_short_is_predicted_again(tmp_path: Path) -> None:
    predicted: list[tuple[int, int]] = []

    def predict(rows: slice, cols: slice) -> np.ndarray:
        predicted.append((rows.start, cols.start))
        return np.random.default_rng(rows.start * 1000 + cols.start).random((2, 27, 27), np.float32)

    blocks = plan(GRID.height, GRID.width, 110, 15)
    tiles = Tiles(GRID, blocks, tmp_path, predict, lambda block: False)
    maps, once = tiles.maps(blocks[0]), list(predicted)
    first, second, *_ = sorted(tmp_path.iterdir())
    first.unlink()
    second.write_bytes(second.read_bytes()[:40])
    np.testing.assert_array_equal(tiles.maps(blocks[0]), maps)
    assert len(predicted) == len(once) + 2
    np.testing.assert_array_equal(tiles.maps(blocks[0]), maps)
    assert len(predicted) == len(once) + 2


def test_the_overlap_grows_with_the_nuclei_within_limits() -> None:
    assert [overlap(diameter) for diameter in (None, 25, 100, 1000)] == [256, 256, 300, 512]
