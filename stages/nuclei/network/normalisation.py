"""From an 8-bit image to the network's input: percentile normalisation, then ImageNet's mean and standard deviation."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nuclei.network.model import MEAN, STD

LIGHTEST_BLACK = 0.35  # of the white level; the low percentile of most colour images is below it


def normalise_percentiles(
    rgb: NDArray[np.uint8], low: float, high: float, *, invert_light: bool = False
) -> NDArray[np.uint8]:
    """Map the `low` and `high` percentiles of all values of an image to 0 and 255, linearly, and clip.

    The three channels share one mapping, so colours keep their hue. An image of one value becomes white, because the
    black level is then `LIGHTEST_BLACK` of that value; one of zeros stays black, and one of ones becomes light gray.

    A gray image with a light background gets the contrast that its inverse would get. So inverted fluorescence shows
    its nuclei as clearly as the plain image does, however dim they are.

    Where neither the image nor its inverse has a dark background, and in colour, the black level is at most
    `LIGHTEST_BLACK` of the white level: in a section with few nuclei the low percentile belongs to the light background
    too, and mapping it to 0 would amplify noise until it looks like nuclei.

    Args:
        rgb: (H, W, 3) uint8.
        low, high: percentiles, 0 to 100.
        invert_light: invert a gray image with a light background, so that nuclei are bright in every gray image.
    """
    return percentile_table(_counts(rgb), low, high, gray=is_gray(rgb), invert_light=invert_light)[rgb]


def is_gray(rgb: NDArray[np.integer]) -> bool:
    """Whether the channels of an image, (H, W, C), are equal."""
    return bool((rgb == rgb[:, :, :1]).all())


def has_light_background(rgb: NDArray[np.uint8], low: float, high: float) -> bool:
    """Whether an image, (H, W, 3) uint8, is gray and its inverse has a dark background: see `percentile_table`."""
    return is_gray(rgb) and is_light(_counts(rgb), low, high)


def is_light(counts: NDArray[np.integer], low: float, high: float) -> bool:
    """Whether a gray image that holds each value so often has a light background: see `percentile_table`."""
    return not _range(counts, low, high)[2] and _range(counts[::-1], low, high)[2]


def percentile_table(
    counts: NDArray[np.integer], low: float, high: float, *, gray: bool, invert_light: bool, light: bool | None = None
) -> NDArray[np.uint8]:
    """What `normalise_percentiles` maps each of the values 0 to 255 to.

    Args:
        counts: (256,), how often an image holds each value, over all channels.
        low, high: percentiles, 0 to 100.
        gray: whether all channels of the image are equal. A gray image has a light background if its inverse has a
            dark one: if its median is in the uppermost quarter between the percentiles. (Of the 557 gray images of
            BBBC038, it lies at most 19 % of the way up in fluorescence, and at least 82 % in the 16 of bright-field.)
        invert_light: invert such an image.
        light: whether the background is light, where that is known from elsewhere; None: the counts tell.

    Returns:
        (256,) uint8.
    """
    if light is None:
        light = gray and is_light(counts, low, high)
    if light:
        bottom, top, _ = _range(counts[::-1], low, high)
        inverse = _stretched(bottom, top)[::-1]
        return inverse if invert_light else 255 - inverse
    bottom, top, dark_background = _range(counts, low, high)
    return _stretched(bottom if dark_background else min(bottom, LIGHTEST_BLACK * top), top)


def _counts(rgb: NDArray[np.uint8]) -> NDArray[np.intp]:
    return np.bincount(rgb.reshape(-1), minlength=256)


def _range(counts: NDArray[np.integer], low: float, high: float) -> tuple[float, float, bool]:
    """The two percentiles, and whether the median is in the lowest quarter between them."""
    cumulative = np.cumsum(counts) / counts.sum() * 100
    bottom = float(np.searchsorted(cumulative, low, side="right"))  # so that 0 is the smallest value
    top = float(min(np.searchsorted(cumulative, high), np.flatnonzero(counts)[-1]))  # 100 the largest
    return bottom, top, bool(np.searchsorted(cumulative, 50) - bottom < (top - bottom) / 4)


def _stretched(bottom: float, top: float) -> NDArray[np.uint8]:
    """(256,) from 0 at `bottom` to 255 at `top`."""
    table = (np.arange(256) - bottom) / max(top - bottom, 1) * 255
    return np.clip(np.rint(table), 0, 255).astype(np.uint8)


def to_tensor(rgb: NDArray[np.uint8]) -> Tensor:
    """Turn (H, W, 3) uint8 into the (3, H, W) float32 that the network takes."""
    image = np.moveaxis(rgb, 2, 0).astype(np.float32, order="C")
    image /= 255
    image -= np.array(MEAN, np.float32)[:, None, None]
    image /= np.array(STD, np.float32)[:, None, None]
    return torch.from_numpy(image)
