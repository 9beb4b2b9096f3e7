"""Label maps of any size as OME-Zarr 0.5 or OME-TIFF: uint32 in tiles, with a pyramid, written a part at a time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr
from numpy.typing import NDArray
from yaozarrs import v05

LABELS = {"ome-zarr": "_labels.ome.zarr", "ome-tiff": "_labels.ome.tif"}  # how the label maps of each format end
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


def write_tiff(path: Path, levels: list[Any], pixel_size_um: float | None) -> None:
    """Write levels that are filled as one OME-TIFF, the coarser ones as SubIFDs of the finest, a tile at a time."""
    size = {f"PhysicalSize{axis}": pixel_size_um for axis in "XY"} if pixel_size_um else {}
    units = {f"PhysicalSize{axis}Unit": "µm" for axis in "XY"} if pixel_size_um else {}
    with tifffile.TiffWriter(path, bigtiff=True, ome=True, byteorder="<") as writer:
        for number, level in enumerate(levels):
            writer.write(
                _tiles(level),
                shape=level.shape,
                dtype=np.uint32,
                tile=(CHUNK_PX, CHUNK_PX),
                compression="zlib",
                photometric="minisblack",
                subifds=0 if number else len(levels) - 1,
                subfiletype=1 if number else 0,
                metadata=None if number else {"axes": "YX", **size, **units},
            )


def _tiles(level: Any) -> Iterator[NDArray[np.uint32]]:
    """The tiles of a level, in reading order, those at its right and lower side filled up with background."""
    for row in range(0, level.shape[0], CHUNK_PX):
        for col in range(0, level.shape[1], CHUNK_PX):
            tile = np.zeros((CHUNK_PX, CHUNK_PX), np.uint32)
            part = level[row : row + CHUNK_PX, col : col + CHUNK_PX]
            tile[: part.shape[0], : part.shape[1]] = part
            yield tile
