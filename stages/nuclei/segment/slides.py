"""Open images that need not fit into memory: TIFF in tiles or strips, OME-TIFF with a pyramid, OME-Zarr.

Pixels are read where they are asked for, at full resolution. tifffile presents a TIFF as a Zarr array, so that one
library reads them all; yaozarrs checks the metadata of OME-Zarr.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaozarrs
import zarr
from numpy.typing import NDArray
from tifffile import PHOTOMETRIC, TiffFile, TiffFileError

from nuclei.base.errors import InputError
from nuclei.images import pixel_size
from nuclei.images.stacks import RGB, Reading, chosen_channel
from nuclei.images.tiff_stacks import described

LARGE_PX = 64 * 10**6  # an image with more is segmented by blocks
TYPES = (np.dtype(np.uint8), np.dtype(np.uint16))
COLOURS = (PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR)
UNNAMED = re.compile(r"(channel)?[\s_:#\d]*|red|green|blue|r|g|b", re.IGNORECASE)  # of channels that are colours


@dataclass(frozen=True)
class Slide:
    """An image of which any part can be read.

    Attributes:
        path: the file, or the folder of an OME-Zarr.
        height, width: in pixels.
        channels: a name for each, "" where the file gives none; `RGB` for a colour image.
        colour: whether the three channels are one colour image.
        nuclear: the index of the channel that the network sees; None: the colours.
        dtype: uint8 or uint16, in the byte order of this machine, whatever that of the file is.
        white_is_zero: whether a viewer shows 0 as white.
        pixel_size_um: side of a pixel in µm; None if unknown.
        notes: what was chosen or taken for granted, for the user.
    """

    path: Path
    height: int
    width: int
    channels: tuple[str, ...]
    colour: bool
    nuclear: int | None
    dtype: np.dtype[Any]
    white_is_zero: bool
    pixel_size_um: float | None
    notes: tuple[str, ...]
    _array: Any
    _axes: str  # of the array: Y and X, and S or C for the channels; all others have length 1

    def read(self, rows: slice, cols: slice, channel: int | None = None) -> NDArray[Any]:
        """The stored values (h, w, C) of a part, of all channels or, with C = 1, of the one with this index.

        Raises:
            InputError: the part can not be decoded.
        """
        channels = slice(0, len(self.channels)) if channel is None else slice(channel, channel + 1)
        index = tuple({"Y": rows, "X": cols, "S": channels, "C": channels}.get(axis, 0) for axis in self._axes)
        try:
            values = np.asarray(self._array[index], self.dtype)
        except Exception as error:  # decoders raise almost any exception on damaged files
            got = f"{type(error).__name__} {error}, at row {rows.start}, column {cols.start}"
            raise InputError("a part of an image can not be decoded: it is damaged", file=self.path, got=got) from None
        kept = [axis for axis in self._axes if axis in "YXSC"]
        order = [kept.index(axis) for axis in "YXSC" if axis in kept]
        return np.ascontiguousarray(values.transpose(order).reshape(rows.stop - rows.start, cols.stop - cols.start, -1))


@contextmanager
def opened(path: Path, reading: Reading) -> Iterator[Slide]:
    """Open a TIFF or an OME-Zarr, of pixels of 8 or 16 bits, in gray, colour or several channels.

    Raises:
        InputError: it can not be opened, holds something else, or has no such channel; see `chosen_channel`.
    """
    if path.is_dir():
        yield _zarr_slide(path, reading)
        return
    try:
        file = TiffFile(path)
    except (TiffFileError, ValueError, OSError) as error:
        fix = "convert it to a tiled TIFF or OME-Zarr, with bfconvert or vips"
        raise InputError("a large image can not be opened", file=path, got=error, fix=fix) from None
    with file, file.series[0].aszarr(level=0) as store:
        yield _tiff_slide(path, file, zarr.open(store, mode="r"), reading)


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


def _tiff_slide(path: Path, file: TiffFile, array: Any, reading: Reading) -> Slide:
    level = file.series[0].levels[0]
    page: Any = level.keyframe
    if page.photometric == PHOTOMETRIC.PALETTE or page.photometric == PHOTOMETRIC.SEPARATED:
        raise _refused(path, page.photometric.name, "save it as gray or RGB")
    notes: list[str] = []
    names, size = described(file, notes)
    inverted = page.photometric == PHOTOMETRIC.MINISWHITE
    colour = page.photometric in COLOURS
    return _slide(path, array, level.axes, RGB if colour else names, colour, size, inverted, reading, notes)


def _zarr_slide(path: Path, reading: Reading) -> Slide:
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
    axes = "".join(axis.name.upper() for axis in multiscale.axes)
    units = {axis.name: str(getattr(axis, "unit", None)) for axis in multiscale.axes}
    scale = dict(zip(units, finest.coordinateTransformations[0].scale, strict=True))
    height, width = (pixel_size.in_um(scale.get(axis), units.get(axis, "")) for axis in "yx")
    names = tuple(channel.label or "" for channel in metadata.omero.channels) if metadata.omero else ()
    # OME-Zarr does not say whether three channels are the colours of one image
    three = "C" in axes and array.shape[axes.index("C")] == len(RGB)
    colour = three and all(UNNAMED.fullmatch(name) for name in names)
    size = None if height is None or width is None else (height, width)
    return _slide(path, array, axes, RGB if colour else names, colour, size, False, reading, [])


def _slide(
    path: Path, array: Any, axes: str, names: Sequence[str], colour: bool, size: pixel_size.Size | None,
    white_is_zero: bool, reading: Reading, notes: list[str],
) -> Slide:  # fmt: skip
    length = dict(zip(axes, array.shape, strict=True))
    height, width = length.pop("Y", 0), length.pop("X", 0)
    samples, channels = length.pop("S", 1), length.pop("C", 1)
    if min(height, width) < 1 or math.prod(length.values()) != 1 or min(samples, channels) > 1:
        raise _refused(
            path, f"axes {axes} of {' x '.join(map(str, array.shape))}", "save one plane as an image of its own"
        )
    dtype = array.dtype.newbyteorder("=")
    if dtype not in TYPES:
        raise _refused(path, array.dtype, "save it with 8 or 16 bits")
    count = len(RGB) if colour else samples * channels
    names = tuple(names) if len(names) == count else ("",) * count
    nuclear, chosen = chosen_channel(names, colour, reading.channel, str(path))
    pixel_um, anisotropic = pixel_size.side(size, reading.pixel_size_um)
    notes = [note for note in (*notes, chosen, anisotropic) if note]
    return Slide(
        path, height, width, names, colour, nuclear, dtype, white_is_zero, pixel_um, tuple(notes), array, axes,
    )  # fmt: skip


def _refused(path: Path, got: object, fix: str) -> InputError:
    expected = "one plane of 8 or 16 bits, in gray, RGB or several channels"
    return InputError(
        "a large image is of a kind that is not read by blocks", file=path, got=got, expected=expected, fix=fix
    )
