"""The network applied to an image of any size, in overlapping tiles if the image is large."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from nuclei.network.model import NucleusNet
from nuclei.network.normalisation import to_tensor
from nuclei.network.runtime import STRIDE
from nuclei.network.sizing import resized_maps, zoomed_image

FLIPS: tuple[tuple[int, ...], ...] = ((), (-1,), (-2,), (-2, -1))


@torch.inference_mode()
def predict_maps(
    net: NucleusNet,
    rgb: NDArray[np.uint8],
    *,
    tile_px: int,
    overlap_px: int,
    flips: bool,
    zoom: float,
    precision: torch.dtype,
) -> NDArray[np.float32]:
    """Run the network over an image and return probabilities and maps at the image's own resolution.

    Tiles are blended with weights that fall off linearly across the overlap; an image that fits in one tile is
    predicted whole, padded by mirroring to a multiple of 32. Each tile is cut out first and rescaled afterwards, so
    that the rescaled image is never in memory as a whole.

    Args:
        net: on any device, in evaluation mode.
        rgb: (H, W, 3) uint8, normalised.
        tile_px, overlap_px: side and overlap of the tiles, in pixels after rescaling; `tile_px` a multiple of 32.
        flips: average over the image, its two mirror images and its rotation by 180 degrees.
        zoom: the factor by which the image is rescaled for the network; 1 leaves it unchanged.
        precision: torch.float32, or the dtype for autocast.

    Returns:
        (1 + C, H, W) float32: the foreground's probability, then the second head's activated maps.
    """
    height, width = rgb.shape[:2]
    grid = tile_grid(height, width, tile_px, overlap_px, zoom)
    return grid.blend(
        lambda rows, cols: predict_tile(net, rgb[rows, cols], flips=flips, zoom=zoom, precision=precision)
    )


@torch.inference_mode()
def predict_tile(
    net: NucleusNet, rgb: NDArray[np.uint8], *, flips: bool, zoom: float, precision: torch.dtype
) -> NDArray[np.float32]:
    """Run the network over one tile (H, W, 3), normalised; return its maps at the network's scale. See `predict_maps`.

    Returns:
        (1 + C, h, w) float32, of the size that `zoomed_image` gives the tile.
    """
    return _predict(net, zoomed_image(rgb, zoom), flips, precision)


def _predict(net: NucleusNet, rgb: NDArray[np.uint8], flips: bool, precision: torch.dtype) -> NDArray[np.float32]:
    """(H, W, 3) of any size to (1 + C, H, W)."""
    device = next(net.parameters()).device
    height, width = rgb.shape[:2]
    down, right = -height % STRIDE, -width % STRIDE
    # mirroring can add fewer pixels than there are: a smaller image repeats its last row or column instead
    mode = "reflect" if down < height and right < width else "replicate"
    tile = F.pad(to_tensor(rgb)[None].to(device), (0, right, 0, down), mode=mode)
    tile = tile.contiguous(memory_format=torch.channels_last)
    views = FLIPS if flips else FLIPS[:1]
    mean = torch.zeros(())
    with torch.autocast(device.type, precision, enabled=precision != torch.float32):
        for axes in views:
            maps = net.predict(tile.flip(axes)).flip(axes)
            mean = maps / len(views) + mean.to(maps.device)
    return mean[0, :, :height, :width].float().cpu().numpy()


@dataclass(frozen=True)
class TileGrid:
    """The overlapping tiles that cover an image: the fewest, all of one size, as small as they can be.

    Attributes:
        height, width: of the image, in pixels.
        tile_px, overlap_px: the longest side of a tile, and the least overlap of neighbours, in pixels of the image.
    """

    height: int
    width: int
    tile_px: int
    overlap_px: int

    def spans(self, axis: int) -> list[slice]:
        """The tiles along the rows (axis 0) or the columns (1)."""
        return _spans((self.height, self.width)[axis], self.tile_px, self.overlap_px)

    def tiles(self, window: tuple[slice, slice]) -> Iterator[tuple[slice, slice]]:
        """The rows and columns of the tiles that reach into a window, in reading order."""
        yield from product(*(filter(partial(_meets, side), self.spans(axis)) for axis, side in enumerate(window)))

    def blend(
        self, predict: Callable[[slice, slice], NDArray[np.float32]], window: tuple[slice, slice] | None = None
    ) -> NDArray[np.float32]:
        """The maps of the image, or of a window of it, from those of the tiles.

        A window is predicted from the tiles that reach into it, wherever it lies: its maps are, to the last bit, those
        of the whole image.

        Args:
            predict: returns the maps (C, h, w) of the tile at these rows and columns, at any scale: they are resized.
            window: rows and columns.

        Returns:
            (C, H, W) float32, of the window's size.
        """
        rows, cols = window or (slice(0, self.height), slice(0, self.width))
        total: NDArray[np.float32] | None = None
        weights = np.zeros((rows.stop - rows.start, cols.stop - cols.start), np.float32)
        tiles = list(self.tiles((rows, cols)))
        for tile_rows, tile_cols in tiles:
            here = _common(rows, tile_rows), _common(cols, tile_cols)
            there = _common(tile_rows, rows), _common(tile_cols, cols)
            size = tile_rows.stop - tile_rows.start, tile_cols.stop - tile_cols.start
            maps = resized_maps(predict(tile_rows, tile_cols), size, there)
            if len(tiles) == 1:
                return maps
            ramp = np.outer(
                _ramp(tile_rows, self.height, self.overlap_px)[there[0]],
                _ramp(tile_cols, self.width, self.overlap_px)[there[1]],
            )
            total = np.zeros((len(maps), *weights.shape), np.float32) if total is None else total
            total[:, *here] += maps * ramp
            weights[here] += ramp
        assert total is not None, "an image has at least one tile"
        total /= weights
        return total


def tile_grid(height: int, width: int, tile_px: int, overlap_px: int, zoom: float) -> TileGrid:
    """The tiles of an image that is rescaled by `zoom`; `tile_px` and `overlap_px` are those after rescaling."""
    return TileGrid(height, width, max(int(tile_px / zoom), 1), int(overlap_px / zoom))


def _meets(one: slice, other: slice) -> bool:
    return one.start < other.stop and other.start < one.stop


def _common(frame: slice, other: slice) -> slice:
    """The part of `frame` that lies in `other`, counted from the beginning of `frame`."""
    return slice(max(frame.start, other.start) - frame.start, min(frame.stop, other.stop) - frame.start)


def _spans(size: int, tile_px: int, overlap_px: int) -> list[slice]:
    """The fewest spans of at most `tile_px` that cover `size` and overlap by at least `overlap_px`.

    Of those, the shortest, of one length and evenly spaced: 1,240 px take two of 684 px rather than two of 1,024 px.
    """
    count = max(-(-(size - overlap_px) // (tile_px - overlap_px)), 1)
    length = -(-(size + (count - 1) * overlap_px) // count)
    starts = [round(start) for start in np.linspace(0, size - length, count)]
    return [slice(start, start + length) for start in starts]


def _ramp(span: slice, size: int, overlap_px: int) -> NDArray[np.float32]:
    """Weights along one side of a tile: 1 inside, falling towards a neighbour, never 0."""
    length = span.stop - span.start
    ramp = np.ones(length, np.float32)
    slope = (np.arange(overlap_px, dtype=np.float32) + 1) / (overlap_px + 1)
    if span.start > 0:
        ramp[:overlap_px] = slope
    if span.stop < size:
        ramp[length - overlap_px :] *= slope[::-1]
    return ramp
