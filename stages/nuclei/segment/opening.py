"""The planes of an image file that are segmented one by one, each as the network sees it and as the file stores it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nuclei.images.io import read_image


@dataclass(frozen=True)
class Plane:
    """One image to segment.

    Attributes:
        suffix: what tells it from the other planes of its file, added to the name of its results; "" for the only one.
        rgb: (H, W, 3) uint8, as the network reads it.
        stored: (H, W) or (H, W, C), the values in the file, of any real type: intensities are measured on them.
        channels: the names of the C channels of `stored`; empty where the file gives none.
        pixel_size_um: side of a pixel in µm; None if unknown.
        notes: what was chosen or left out while reading, for the user.
    """

    suffix: str
    rgb: NDArray[np.uint8]
    stored: NDArray[Any]
    channels: tuple[str, ...] = ()
    pixel_size_um: float | None = None
    notes: tuple[str, ...] = ()


def planes(path: Path) -> Iterator[Plane]:
    """Yield the planes of an image file.

    Raises:
        InputError: the file can not be read; see `read_image`.
    """
    read = read_image(path)
    notes = (f"{read.missing_px} pixels without a finite value were taken as black",) if read.missing_px else ()
    yield Plane("", read.rgb, read.stored, notes=notes)
