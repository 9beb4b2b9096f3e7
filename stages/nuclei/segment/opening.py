"""The planes of an image file that are segmented one by one, each as the network sees it and as the file stores it."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nuclei.images.io import MAX_PX
from nuclei.images.pixel_size import side
from nuclei.images.reading import read_plane, stacks
from nuclei.images.stacks import Reading, Stack, Z, chosen_channel, taken_slices

DIGITS = 3  # at least, of the numbers in names
LETTERS = "stz"  # before them: the field of view, the time point, the slice
AS_IT_IS = Reading()
ALL_SLICES: tuple[Z, ...] = ("max", "best", "each")


@dataclass(frozen=True)
class Plane:
    """One image to segment.

    Attributes:
        suffix: what tells it from the other planes of its file, added to the name of its results; "" for the only one.
            _s001 is a field of view, _t001 a time point, _z001 a slice, each counted from 1.
        rgb: (H, W, 3) uint8, as the network reads it.
        stored: (H, W) or (H, W, C), the values in the file, of any real type: intensities are measured on them.
        channels: the names of the C channels of `stored`; empty where the file gives none, and for a colour image.
        channel: the index of the one that the network sees; None for a colour image.
        pixel_size_um: side of a pixel in µm; None if unknown.
        notes: what was chosen or left out while reading, for the user; those on the whole file are on its first plane.
    """

    suffix: str
    rgb: NDArray[np.uint8]
    stored: NDArray[Any]
    channels: tuple[str, ...] = ()
    channel: int | None = None
    pixel_size_um: float | None = None
    notes: tuple[str, ...] = ()


def add_reading_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that `reading_of` takes from the command line."""
    parser.add_argument(
        "--channel",
        type=_channel,
        metavar="NUMBER|NAME",
        help="the channel that shows the nuclei, from 1 or by its name in the file (one named DAPI, Hoechst, ...)",
    )
    parser.add_argument(
        "--z",
        type=_z,
        metavar="max|best|each|NUMBER",
        help="of the slices of a z-stack: the maximum of each pixel, the sharpest, each one, or the one given (max)",
    )
    parser.add_argument("--pixel-size", type=_um, metavar="UM", help="side of a pixel in µm (that of the file)")


def reading_of(arguments: argparse.Namespace) -> Reading:
    """What the options of `add_reading_options` say."""
    return Reading(arguments.channel, arguments.z, arguments.pixel_size)


def planes(path: Path, reading: Reading = AS_IT_IS) -> Iterator[Plane]:
    """Yield the planes of an image file: each field of view, each time point, and of its slices what `reading` says.

    Planes are read when they are asked for.

    Raises:
        InputError: the file can not be read, or has no such channel or slice; see `stacks` and `chosen_channel`.
    """
    name = str(path)
    with stacks(path, name, MAX_PX, reading) as found:
        for stack in found:
            channel, chosen = chosen_channel(stack.channels, stack.colour, reading.channel, name)
            slices, reduced = taken_slices(stack, reading.z, name)
            pixel_um, anisotropic = side(stack.pixel_um, reading.pixel_size_um)
            notes = [note for note in (*stack.notes, chosen, reduced, anisotropic) if note]
            for time in range(stack.times):
                for taken in slices:
                    read = read_plane(stack, time, taken, channel, name)
                    if read.missing_px:
                        notes.append(f"{read.missing_px} pixels without a finite value were taken as black")
                    suffix = _suffix(stack, len(found), time, taken, len(slices))
                    channels = () if stack.colour or not any(stack.channels) else stack.channels
                    yield Plane(suffix, read.rgb, read.stored, channels, channel, pixel_um, tuple(notes))
                    notes = []


def suffixes(path: Path, reading: Reading = AS_IT_IS) -> Iterator[str]:
    """Yield the suffix of each of the `planes`, which are not read.

    Raises:
        InputError: the file can not be opened, or has no such slice.
    """
    with stacks(path, str(path), MAX_PX, reading) as found:
        for stack in found:
            slices, _ = taken_slices(stack, reading.z, str(path))
            for time in range(stack.times):
                for taken in slices:
                    yield _suffix(stack, len(found), time, taken, len(slices))


def _suffix(stack: Stack, fields: int, time: int, taken: Z | int, slices: int) -> str:
    """What tells a plane from the others, for each kind of which there are several."""
    numbers = (stack.number, time + 1, taken + 1 if isinstance(taken, int) else 0)
    return "".join(
        f"_{letter}{number:0{max(DIGITS, len(str(count)))}}"
        for letter, number, count in zip(LETTERS, numbers, (fields, stack.times, slices), strict=True)
        if count > 1
    )


def _channel(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _z(text: str) -> Z | int:
    for name in ALL_SLICES:
        if text == name:
            return name
    if text.isdecimal() and int(text):
        return int(text)
    raise argparse.ArgumentTypeError("give max, best, each or the number of a slice, from 1")


def _um(text: str) -> float:
    try:
        size = float(text)
    except ValueError:
        size = math.nan
    if not 0 < size < math.inf:
        raise argparse.ArgumentTypeError("give a length in µm")
    return size
