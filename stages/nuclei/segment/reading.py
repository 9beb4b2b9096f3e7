"""An image file as the network sees it, and as it is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nuclei.base.errors import InputError
from nuclei.images.decoding import decoded
from nuclei.images.io import MAX_PX, read_rgb


def read_image(path: Path) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """Read an image file twice over.

    Returns:
        The image that the network sees, (H, W, 3) uint8, whose contrast may have been stretched; and the values that
        the file stores, (H, W, 1) or (H, W, 3), without alpha. Three equal channels are returned as one.

    Raises:
        InputError: as `nuclei.images.io.read_rgb`.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError("an image can not be read", file=path, got=error.strerror) from None
    rgb = read_rgb(data, name=str(path))
    return rgb, _channels(decoded(data, str(path), MAX_PX, look_up=True))


def _channels(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype == np.bool_:
        values = values.astype(np.uint8)
    if values.ndim == 2:
        return values[..., None]
    channels = values[..., : 1 if values.shape[2] == 2 else 3]
    return channels[..., :1] if (channels == channels[..., :1]).all() else channels
