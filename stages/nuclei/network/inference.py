"""The network applied to an image of any size, in overlapping tiles if the image is large."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from nuclei.network.model import NucleusNet
from nuclei.network.normalisation import to_tensor
from nuclei.network.sizing import resized_maps, zoomed_image

STRIDE = 32  # the network halves its input five times
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
    tile_px, overlap_px = max(int(tile_px / zoom), 1), int(overlap_px / zoom)
    total: NDArray[np.float32] | None = None
    weights = np.zeros((height, width), np.float32)
    for rows, cols in _tiles(height, width, tile_px, overlap_px):
        tile = rgb[rows, cols]
        maps = resized_maps(_predict_tile(net, zoomed_image(tile, zoom), flips, precision), tile.shape[:2])
        if maps.shape[1:] == (height, width):
            return maps
        ramp = _ramp(rows, height, overlap_px)[:, None] * _ramp(cols, width, overlap_px)[None, :]
        total = np.zeros((len(maps), height, width), np.float32) if total is None else total
        total[:, rows, cols] += maps * ramp
        weights[rows, cols] += ramp
    assert total is not None, "an image has at least one tile"
    return total / weights


def _predict_tile(net: NucleusNet, rgb: NDArray[np.uint8], flips: bool, precision: torch.dtype) -> NDArray[np.float32]:
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


def _tiles(height: int, width: int, tile_px: int, overlap_px: int) -> Iterator[tuple[slice, slice]]:
    for row in _starts(height, tile_px, overlap_px):
        for col in _starts(width, tile_px, overlap_px):
            yield slice(row, min(row + tile_px, height)), slice(col, min(col + tile_px, width))


def _starts(size: int, tile_px: int, overlap_px: int) -> list[int]:
    """Evenly spaced starts of the fewest tiles that cover `size` and overlap by at least `overlap_px`."""
    if size <= tile_px:
        return [0]
    count = -(-(size - overlap_px) // (tile_px - overlap_px))
    return [round(start) for start in np.linspace(0, size - tile_px, count)]


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
