"""Label maps of any size as OME-Zarr 0.5: uint32 in chunks, with a pyramid, written a part at a time."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from yaozarrs import v05

CHUNK_PX = 1024
ZEROS = 0  # what a chunk that was never written holds


def create(folder: Path, height: int, width: int, pixel_size_um: float | None, name: str) -> list[Any]:
    """Make an OME-Zarr with empty levels, each half the size of the one before; return them, the finest first."""
    group = zarr.open_group(folder, mode="w", zarr_format=3)
    levels: list[Any] = []
    datasets: list[Any] = []
    factor = 1
    while True:
        shape = -(-height // factor), -(-width // factor)
        path = str(len(levels))
        levels.append(
            group.create_array(
                path, shape=shape, chunks=(CHUNK_PX, CHUNK_PX), dtype=np.uint32, fill_value=ZEROS,
                dimension_names=["y", "x"],
            )
        )  # fmt: skip
        step = factor * (pixel_size_um or 1.0)
        datasets.append({"path": path, "coordinateTransformations": [{"type": "scale", "scale": [step, step]}]})
        if max(shape) <= CHUNK_PX:
            break
        factor *= 2
    unit = {} if pixel_size_um is None else {"unit": "micrometer"}
    axes = [{"name": axis, "type": "space", **unit} for axis in "yx"]
    multiscale = {"name": name, "axes": axes, "datasets": datasets, "type": "nearest"}
    metadata: Any = {"version": "0.5", "multiscales": [multiscale], "image-label": {}}
    v05.LabelImage.model_validate(metadata)
    group.attrs["ome"] = metadata
    return levels


def add(level: Any, at: tuple[slice, slice], labels: NDArray[np.uint32]) -> None:
    """Write the nuclei of `labels` into a level where it is still background."""
    before = level[at]
    level[at] = np.where(before == ZEROS, labels, before)


def fill_pyramid(levels: list[Any]) -> None:
    """Fill each level from the finer one: every second pixel, so that labels stay labels."""
    for finer, coarser in pairwise(levels):
        for row in range(0, coarser.shape[0], CHUNK_PX):
            for col in range(0, coarser.shape[1], CHUNK_PX):
                part = finer[2 * row : 2 * (row + CHUNK_PX), 2 * col : 2 * (col + CHUNK_PX)][::2, ::2]
                coarser[row : row + part.shape[0], col : col + part.shape[1]] = part
