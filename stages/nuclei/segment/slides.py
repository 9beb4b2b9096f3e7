"""Open images that need not fit into memory: TIFF in tiles or strips, OME-TIFF with a pyramid, OME-Zarr.

Pixels are read where they are asked for, at full resolution. tifffile presents a TIFF as a Zarr array, so that one
library reads them all; yaozarrs checks the metadata of OME-Zarr.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaozarrs
import zarr
from numpy.typing import NDArray
from tifffile import PHOTOMETRIC, TiffFile, TiffFileError, TiffPageSeries

from nuclei.base.errors import InputError

LARGE_PX = 64 * 10**6  # an image with more is segmented by blocks
MICROMETRES = {"nm": 1e-3, "nanometer": 1e-3, "µm": 1.0, "um": 1.0, "micrometer": 1.0, "mm": 1e3, "millimeter": 1e3}
TYPES = (np.dtype(np.uint8), np.dtype(np.uint16))
CHANNEL = "save the channel that shows the nuclei as an image of its own"


@dataclass(frozen=True)
class Slide:
    """An image of which any part can be read.

    Attributes:
        path: the file, or the folder of an OME-Zarr.
        height, width: in pixels.
        channels: 1 (gray) or 3 (RGB).
        dtype: uint8 or uint16.
        white_is_zero: whether a viewer shows 0 as white.
        pixel_size_um: side of a pixel in µm; None if the file does not say.
    """

    path: Path
    height: int
    width: int
    channels: int
    dtype: np.dtype[Any]
    white_is_zero: bool
    pixel_size_um: float | None
    _array: Any
    _axes: str  # of the array: Y and X, and S or C for the samples of a colour; all others have length 1

    def read(self, rows: slice, cols: slice) -> NDArray[Any]:
        """The stored values (h, w, C) of a part.

        Raises:
            InputError: the part can not be decoded.
        """
        index = tuple({"Y": rows, "X": cols, "S": slice(None), "C": slice(None)}.get(axis, 0) for axis in self._axes)
        try:
            values = np.asarray(self._array[index])
        except Exception as error:  # decoders raise almost any exception on damaged files
            got = f"{type(error).__name__} {error}, at row {rows.start}, column {cols.start}"
            raise InputError("a part of an image can not be decoded: it is damaged", file=self.path, got=got) from None
        kept = [axis for axis in self._axes if axis in "YXSC"]
        order = [kept.index(axis) for axis in "YXSC" if axis in kept]
        return np.ascontiguousarray(values.transpose(order).reshape(rows.stop - rows.start, cols.stop - cols.start, -1))


@contextmanager
def opened(path: Path) -> Iterator[Slide]:
    """Open a TIFF or an OME-Zarr, of gray or RGB pixels of 8 or 16 bits.

    Raises:
        InputError: it can not be opened, or holds something else than one such image.
    """
    if path.is_dir():
        yield _zarr_slide(path)
        return
    try:
        file = TiffFile(path)
    except (TiffFileError, ValueError, OSError) as error:
        fix = "convert it to a tiled TIFF or OME-Zarr, with bfconvert or vips"
        raise InputError("a large image can not be opened", file=path, got=error, fix=fix) from None
    with file, file.series[0].aszarr(level=0) as store:
        yield _tiff_slide(path, file.series[0].levels[0], zarr.open(store, mode="r"))


def is_large(path: Path, block_px: int | None) -> bool:
    """Whether a path is segmented by blocks: OME-Zarr, a TIFF of more than LARGE_PX pixels, any with `block_px`."""
    if path.is_dir():
        return is_zarr(path)
    if path.suffix.lower() not in (".tif", ".tiff"):
        return False
    try:
        with TiffFile(path) as file:
            page: Any = file.pages.first
            return bool(page.imagelength * page.imagewidth > (0 if block_px else LARGE_PX))
    except Exception:  # it is damaged, or no TIFF: the reader of small images says what is wrong
        return False


def is_zarr(path: Path) -> bool:
    """Whether a folder is a Zarr group, of version 2 or 3."""
    return any((path / name).exists() for name in ("zarr.json", ".zgroup"))


def _tiff_slide(path: Path, level: TiffPageSeries, array: Any) -> Slide:
    page: Any = level.keyframe
    if page.photometric == PHOTOMETRIC.PALETTE or page.photometric == PHOTOMETRIC.SEPARATED:
        raise _refused(path, page.photometric.name, "save it as gray or RGB")
    return _slide(
        path, array, level.axes, tuple(level.shape), _tiff_pixel_size(page), page.photometric == PHOTOMETRIC.MINISWHITE
    )


def _tiff_pixel_size(page: Any) -> float | None:
    """From OME-XML; a resolution tag alone is often only that of a printer."""
    ome = page.parent.ome_metadata
    if not ome:
        return None
    from xml.etree import ElementTree

    try:
        pixels = next(element for element in ElementTree.fromstring(ome).iter() if element.tag.endswith("}Pixels"))
        size = float(pixels.attrib["PhysicalSizeX"]) * MICROMETRES[pixels.attrib.get("PhysicalSizeXUnit", "µm")]
    except (ElementTree.ParseError, StopIteration, KeyError, ValueError):
        return None
    return size if size > 0 else None


def _zarr_slide(path: Path) -> Slide:
    fix = "write it as OME-Zarr 0.4 or 0.5, with bioformats2raw or ome-zarr"
    try:
        group = zarr.open_group(path, mode="r")
        attributes: Any = group.attrs
        metadata: Any = yaozarrs.validate_ome_object(dict(attributes.get("ome", attributes)))
        multiscale = metadata.multiscales[0]
        finest = multiscale.datasets[0]
        array: Any = group[finest.path]
    except Exception as error:  # Zarr and the validation raise many kinds
        raise InputError("an OME-Zarr can not be opened", file=path, got=str(error)[:300], fix=fix) from None
    axes = [axis.name.upper() for axis in multiscale.axes]
    units = {axis.name: getattr(axis, "unit", None) for axis in multiscale.axes}
    scale = dict(zip(units, finest.coordinateTransformations[0].scale, strict=True))
    unit = str(units.get("x"))
    size = scale["x"] * MICROMETRES[unit] if unit in MICROMETRES else None
    return _slide(path, array, "".join(axes), array.shape, size, False)


def _slide(path: Path, array: Any, axes: str, shape: tuple[int, ...], size: float | None, white_is_zero: bool) -> Slide:
    length = dict(zip(axes, shape, strict=True))
    height, width = length.pop("Y", 0), length.pop("X", 0)
    samples = length.pop("S", 1) * length.pop("C", 1)
    if min(height, width) < 1 or math.prod(length.values()) != 1 or samples not in (1, 3):
        raise _refused(path, f"axes {axes} of {' x '.join(map(str, shape))}", CHANNEL)
    if array.dtype not in TYPES:
        raise _refused(path, array.dtype, "save it with 8 or 16 bits")
    return Slide(path, height, width, samples, np.dtype(array.dtype), white_is_zero, size, array, axes)


def _refused(path: Path, got: object, fix: str) -> InputError:
    expected = "one gray or RGB plane of 8 or 16 bits"
    return InputError(
        "a large image is of a kind that is not read by blocks", file=path, got=got, expected=expected, fix=fix
    )
