"""What a decoder hands on: the values that an image file stores, upright, and what the file says about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nuclei.base.errors import InputError

ORIENTATION = 0x0112  # number of the tag, the same in TIFF and EXIF


@dataclass(frozen=True)
class Pixels:
    """The decoded pixels of a file, without alpha.

    Attributes:
        values: (H, W), or (H, W, 3) RGB, of the type stored; with a palette, (H, W) indices into it.
        bits: bits of a value that the file stores; with fewer than 8, white is 2**bits - 1.
        palette: (N, 3) uint8 RGB colours, or None.
        white_is_zero: whether a viewer shows 0 as white and the highest value as black.
        lossy: whether the compression changes values, as JPEG does.
    """

    values: NDArray[Any]
    bits: int = 8
    palette: NDArray[np.uint8] | None = None
    white_is_zero: bool = False
    lossy: bool = False


def check_size(height: int, width: int, name: str, max_px: int) -> None:
    """Refuse an image without pixels or with more than `max_px`."""
    if height < 1 or width < 1:
        raise InputError("an image has no pixels", file=name, got=f"{height} x {width}")
    if height * width > max_px:
        got = f"{height} x {width} = {height * width} pixels"
        fix = "cut it into smaller images, or raise prepare.max_image_px"
        raise InputError("an image is too large", file=name, got=got, expected=f"at most {max_px}", fix=fix)


def upright(values: NDArray[Any], orientation: object) -> NDArray[Any]:
    """Turn (H, W, ...) as a viewer does for the orientation tag of TIFF 6.0 and EXIF; invalid ones count as 1."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return np.ascontiguousarray(values)


def without_alpha(values: NDArray[Any], name: str) -> NDArray[Any]:
    """Drop the last channel of (H, W, 2) or (H, W, 4).

    Raises:
        InputError: everything but alpha is constant, so that the picture is in the alpha channel.
    """
    colours, alpha = values[:, :, :-1], values[:, :, -1]
    if alpha.min() != alpha.max() and (colours == colours[0, 0]).all():
        fix = "save the alpha channel as a gray image"
        raise InputError("an image holds nothing outside its alpha channel", file=name, fix=fix)
    return np.ascontiguousarray(colours[:, :, 0] if colours.shape[2] == 1 else colours)
