"""From an 8-bit image to the network's input: percentile normalisation, then ImageNet's mean and standard deviation."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nuclei.network.model import MEAN, STD

LIGHTEST_BLACK = 0.35  # of the white level; the low percentile of most colour images is below it


def normalise_percentiles(rgb: NDArray[np.uint8], low: float, high: float) -> NDArray[np.uint8]:
    """Map the `low` and `high` percentiles of all values of an image to 0 and 255, linearly, and clip.

    The three channels share one mapping, so colours keep their hue. An image of one value becomes black. In an image
    with a light background and few nuclei the low percentile belongs to the background too, and mapping it to 0 would
    amplify noise until it looks like nuclei. There the black level is at most `LIGHTEST_BLACK` of the white level.

    Args:
        rgb: (H, W, 3) uint8.
        low, high: percentiles, 0 to 100.
    """
    return percentile_table(np.bincount(rgb.reshape(-1), minlength=256), low, high)[rgb]


def percentile_table(counts: NDArray[np.integer], low: float, high: float) -> NDArray[np.uint8]:
    """What `normalise_percentiles` maps each of the values 0 to 255 to.

    Args:
        counts: (256,), how often an image holds each value, over all channels.
        low, high: percentiles, 0 to 100.

    Returns:
        (256,) uint8.
    """
    cumulative = np.cumsum(counts) / counts.sum() * 100
    bottom = float(np.searchsorted(cumulative, low, side="right"))  # so that 0 is the smallest value
    top = float(min(np.searchsorted(cumulative, high), np.flatnonzero(counts)[-1]))  # 100 the largest
    dark_background = np.searchsorted(cumulative, 50) - bottom < (top - bottom) / 4
    if not dark_background:
        bottom = min(bottom, LIGHTEST_BLACK * top)
    table = (np.arange(256) - bottom) / max(top - bottom, 1) * 255
    return np.clip(np.rint(table), 0, 255).astype(np.uint8)


def to_tensor(rgb: NDArray[np.uint8]) -> Tensor:
    """Turn (H, W, 3) uint8 into the (3, H, W) float32 that the network takes."""
    image = np.moveaxis(rgb, 2, 0).astype(np.float32, order="C")
    image /= 255
    image -= np.array(MEAN, np.float32)[:, None, None]
    image /= np.array(STD, np.float32)[:, None, None]
    return torch.from_numpy(image)
