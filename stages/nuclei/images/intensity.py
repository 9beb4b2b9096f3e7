"""Map intensities of any type to 8 bits, without a copy of the whole image in floating point."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nuclei.base.errors import InputError

PERCENTILES = (0.1, 99.9)  # instead of minimum and maximum, so that hot or dead pixels do not decide the contrast
SAMPLE = 2**24  # values from which percentiles are taken: all, or a random sample of a larger image
BLOCK = 2**20  # values rescaled at a time


def to_eight_bit(values: NDArray[Any], name: str) -> tuple[NDArray[np.uint8], int]:
    """Rescale integers or floats linearly so that `PERCENTILES` of all finite values become 0 and 255.

    Of more than `SAMPLE` values the percentiles are those of a random sample with a fixed seed, whose ranks are off by
    less than 0.01 %. If both are equal, minimum and maximum take their place; a constant image becomes 0. NaN and
    infinity become 0.

    Args:
        values: (H, W) or (H, W, C) integers or floats.
        name: what errors call the file.

    Returns:
        The rescaled values, and the number of pixels that have a value which is not finite.

    Raises:
        InputError: the values are neither integers nor floats, none is finite, or their range exceeds float64.
    """
    if values.dtype.kind not in "uif":
        raise InputError("an image holds values that are not intensities", file=name, got=values.dtype)
    finite, missing_px = values.reshape(-1), 0
    if values.dtype.kind == "f" and not (is_finite := np.isfinite(values)).all():
        finite = values[is_finite]
        missing_px = int(np.count_nonzero(~is_finite.reshape(*values.shape[:2], -1).all(axis=2)))
        if not finite.size:
            raise InputError("an image holds no finite value", file=name, got="NaN or infinity everywhere")
    low, high = _range(finite, name)
    rescaled = np.empty(values.shape, np.uint8)
    source, target = values.reshape(-1), rescaled.reshape(-1)
    for start in range(0, source.size, BLOCK):
        block = source[start : start + BLOCK].astype(np.float64)
        if missing_px:
            block[~np.isfinite(block)] = low
        target[start : start + BLOCK] = rescaled_block(block, low, high)
    return rescaled, missing_px


def contrast(low: float, high: float, least: float, most: float) -> tuple[float, float]:
    """The two values that become 0 and 255: the percentiles `PERCENTILES`, or the extremes where those are equal.

    They are equal in an image with few bright pixels on a constant background, and in a constant one.
    """
    return (low, high) if high > low else (least, most)


def rescaled_block(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """Rescale values linearly so that `low` becomes 0 and `high` 255, round, and clip; if both are equal, to 0."""
    scale = 255 / (high - low) if high > low else 0.0
    rescaled: NDArray[np.float64] = np.rint(np.clip((values - low) * scale, 0, 255))
    return rescaled


def _range(values: NDArray[Any], name: str) -> tuple[float, float]:
    """The two values that become 0 and 255."""
    least, most = float(values.min()), float(values.max())
    if values.size > SAMPLE:
        values = values[np.random.default_rng(0).integers(0, values.size, SAMPLE)]
    with np.errstate(over="ignore", invalid="ignore"):
        low, high = np.percentile(values.astype(np.float64), PERCENTILES, overwrite_input=True).tolist()
        low, high = contrast(low, high, least, most)
        if not np.isfinite([most - least, 255 / (high - low) if high > low else 0.0]).all():
            got = f"{least:g} to {most:g}"
            raise InputError("an image holds values too large or too small for arithmetic", file=name, got=got)
    return low, high
