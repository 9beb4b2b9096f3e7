"""Open an image file of any format as `Stack`s, and read a plane of it as it is stored and as the network sees it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nuclei.base.errors import InputError
from nuclei.images.decoding import damage_named, decoded
from nuclei.images.intensity import to_eight_bit
from nuclei.images.microscopes import READERS, microscope_stacks
from nuclei.images.stacks import RGB, Reading, Stack, Z, read_slice
from nuclei.images.tiff import SIGNATURES
from nuclei.images.tiff_stacks import tiff_stacks


@dataclass(frozen=True)
class ImageFile:
    """An image that was read from a file.

    Attributes:
        rgb: (H, W, 3) uint8.
        stored: (H, W), or (H, W, C) where there are several channels, the values that the file stores, without alpha
            and with a palette applied.
        missing_px: pixels with a value that is not finite (NaN, infinity), which became 0.
        notes: what was chosen or taken for granted, such as one of several channels.
    """

    rgb: NDArray[np.uint8]
    stored: NDArray[Any]
    missing_px: int
    notes: tuple[str, ...] = ()


@contextmanager
def stacks(source: Path | bytes, name: str, max_px: int, reading: Reading) -> Iterator[list[Stack]]:
    """Open an image file and yield the fields of view in it, which can be read while the block lasts.

    Args:
        source: path of the file, or its contents, which can not be those of ND2, CZI and LIF.
        name: what errors call the file.
        max_px: largest height times width accepted.
        reading: tells what the pages of a TIFF are that does not say so itself.

    Raises:
        InputError: the file is missing, of another format, damaged, too large, or of a kind that is not supported. What
            the stacks read is checked in the same way.
    """
    with ExitStack() as closing:
        with damage_named(name):
            found = closing.enter_context(_opened(source, name, max_px, reading))
        yield [replace(stack, read=_checked(stack, name)) for stack in found]


def read_plane(stack: Stack, time: int, taken: Z | int, channel: int | None, name: str) -> ImageFile:
    """Read a slice of a stack, or what "max" or "best" make of all slices, at one time.

    Values of 8 bits are kept, those of fewer scaled to 8, all others rescaled by `to_eight_bit`; where white is zero
    the image is inverted. Gray is repeated in three channels.

    Args:
        stack: from `stacks`, which is still open.
        time: counted from 0.
        taken: index of a slice, from 0, "max" or "best".
        channel: index of the one that becomes `rgb`, from 0; None: the colours of a colour image.
        name: what errors call the file.
    """
    stored = read_slice(stack, time, taken, channel)
    values, missing_px = stored if channel is None else np.ascontiguousarray(stored[..., channel]), 0
    if values.dtype != np.uint8:
        values, missing_px = to_eight_bit(values, name)
    elif stack.bits < 8:
        values = np.rint(np.arange(256) * (255 / (2**stack.bits - 1))).astype(np.uint8)[values]
    if stack.white_is_zero:
        values = 255 - values
    if values.ndim == 2:
        values = np.repeat(values[:, :, None], 3, axis=2)
    return ImageFile(np.ascontiguousarray(values), stored[..., 0] if stored.shape[2] == 1 else stored, missing_px)


def missing(name: str | Path) -> InputError:
    """The error for a path that is no file."""
    return InputError("an image file is missing", file=name)


def _opened(source: Path | bytes, name: str, max_px: int, reading: Reading) -> AbstractContextManager[list[Stack]]:
    if isinstance(source, Path):
        try:
            with source.open("rb") as file:
                start = file.read(max(map(len, SIGNATURES)))
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise missing(name) from None
        except PermissionError:
            raise InputError("an image file may not be read", file=name, fix="check its permissions") from None
        if source.suffix.lower() in READERS:
            return microscope_stacks(source, name, max_px)
    else:
        start = source[: max(map(len, SIGNATURES))]
    if start.startswith(SIGNATURES):
        return tiff_stacks(source, name, max_px, reading)
    return _single(source.read_bytes() if isinstance(source, Path) else source, name, max_px)


@contextmanager
def _single(data: bytes, name: str, max_px: int) -> Iterator[list[Stack]]:
    """A PNG, JPEG or BMP."""
    pixels = decoded(data, name, max_px)
    values = pixels.values if pixels.palette is None else pixels.palette[pixels.values]
    colour = values.ndim == 3
    values = values if colour else values[:, :, None]

    def read(time: int, number: int, channels: Sequence[int]) -> NDArray[Any]:
        return values[..., list(channels)] if len(channels) < values.shape[2] else values

    # a palette has colours of 8 bits
    bits = pixels.bits if pixels.palette is None else 8
    yield [Stack(RGB if colour else ("",), read, colour=colour, bits=bits, white_is_zero=pixels.white_is_zero)]


def _checked(stack: Stack, name: str) -> Any:
    def read(time: int, number: int, channels: Sequence[int]) -> NDArray[Any]:
        with damage_named(name):
            return stack.read(time, number, channels)

    return read
