"""What an image file holds besides one image, channels, slices and time points, and which of them are taken."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from nuclei.base.errors import InputError

RGB = ("red", "green", "blue")
# The names of stains and labels of DNA and of chromatin, as microscopes give them to channels.
NUCLEAR = re.compile(
    r"(?<![a-z])(dapi|hoechst|dna|nuclei|nucleus|nuc|h2b|histone|syto(x|\d+)?|draq[57]|nucblue|nucred|to-?pro(-?3)?"
    r"|propidium|sybr)(?![a-z])",
    re.IGNORECASE,
)
SHOWN = 20  # channels that a message lists

Z = Literal["max", "best", "each"]


@dataclass(frozen=True)
class Reading:
    """What to take of a file that holds more than one image.

    Attributes:
        channel: of the nuclei, as a number from 1 or by its name in the file; None: found by `nuclear_channel`.
        z: of the slices the maximum of each pixel, the sharpest, each as an image of its own, or the one with this
            number, from 1; None: the maximum.
        pixel_size_um: side of a pixel in µm, instead of what the file says.
    """

    channel: int | str | None = None
    z: Z | int | None = None
    pixel_size_um: float | None = None


@dataclass(frozen=True)
class Stack:
    """The images of one field of view, all of one size, which are read one by one.

    Attributes:
        channels: a name for each, "" where the file gives none; `RGB` for a colour image.
        read: gives (H, W, N), the values that the file stores, for a time point, a slice, both counted from 0, and N
            indices of channels; upright, without alpha and with a palette applied.
        times, slices: their number.
        colour: whether the three channels are one colour image.
        bits: bits of a value that the file stores; with fewer than 8, white is 2**bits - 1.
        white_is_zero: whether a viewer shows 0 as white.
        pixel_um: height and width of a pixel in µm; None if unknown.
        number: which of several fields of view in the file it is, from 1; 0 if it is the only one.
        notes: what was taken for granted while the file was opened, for the user.
    """

    channels: tuple[str, ...]
    read: Callable[[int, int, Sequence[int]], NDArray[Any]]
    times: int = 1
    slices: int = 1
    colour: bool = False
    bits: int = 8
    white_is_zero: bool = False
    pixel_um: tuple[float, float] | None = None
    number: int = 0
    notes: tuple[str, ...] = ()


def chosen_channel(
    channels: Sequence[str], colour: bool, channel: int | str | None, name: str
) -> tuple[int | None, str]:
    """The index of the channel that shows the nuclei, None for a colour image, and a note on it, which may be empty.

    Args:
        channels, colour: as those of a `Stack`.
        channel: number from 1, or name without regard to case; None: `nuclear_channel`.
        name: what errors call the file.

    Raises:
        InputError: there is no such channel, several have the name, or it is not known which one to take.
    """
    count = len(channels)
    if channel is None:
        if colour:
            return None, ""
        if count == 1:
            return 0, ""
        found = nuclear_channel(channels)
        if found is None:
            raise _wrong_channel(
                "the file has several channels, and it is not known which one shows nuclei", channels, name
            )
        return found, f"of {count} channels, number {found + 1} is taken, which is called {channels[found]}"
    if isinstance(channel, int):
        if not 1 <= channel <= count:
            raise _wrong_channel(f"the file has no channel {channel}", channels, name)
        return channel - 1, ""
    named = [index for index, given in enumerate(channels) if given.casefold() == channel.casefold()]
    if len(named) != 1:
        number = "no channel" if not named else f"{len(named)} channels"
        raise _wrong_channel(f"the file has {number} called {channel}", channels, name)
    return named[0], ""


def nuclear_channel(channels: Sequence[str]) -> int | None:
    """The index of the only channel that is named after a stain or a label of nuclei, such as DAPI or H2B."""
    found = [index for index, given in enumerate(channels) if NUCLEAR.search(given)]
    return found[0] if len(found) == 1 else None


def sharpness(values: NDArray[Any]) -> float:
    """Variance of the Laplacian of an image (H, W), after smoothing against noise: larger, the better in focus.

    Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy, ICPR 2000.
    """
    smooth = cv2.GaussianBlur(np.nan_to_num(values.astype(np.float32), posinf=0, neginf=0), (0, 0), 1)
    return float(cv2.Laplacian(smooth, cv2.CV_32F).astype(np.float64).var())


def taken_slices(stack: Stack, z: Z | int | None, name: str) -> tuple[list[Z | int], str]:
    """What is read of the slices, and a note on it: indices from 0 of single ones, or "max" or "best" of all.

    Raises:
        InputError: there is no such slice.
    """
    if isinstance(z, int):
        if not 1 <= z <= stack.slices:
            got, expected = f"slice {z}", f"1 to {stack.slices}"
            raise InputError("the file has no such slice (Z)", file=name, got=got, expected=expected)
        return [z - 1], ""
    if stack.slices == 1:
        return [0], ""
    if z == "each":
        return list(range(stack.slices)), ""
    if z == "best":
        return ["best"], f"of {stack.slices} slices (Z), the sharpest is taken"
    return ["max"], f"of {stack.slices} slices (Z), the maximum of each pixel is taken; see --z"


def read_slice(stack: Stack, time: int, taken: Z | int, channel: int | None) -> NDArray[Any]:
    """All channels (H, W, C) of one slice at one time, or of what "max" or "best" make of all slices.

    Slices are read one after the other, and no more than two are held. "best" judges by `channel`, or by all if None.
    """
    every = range(len(stack.channels))
    if isinstance(taken, int):
        return stack.read(time, taken, every)
    if taken == "best":
        judged = every if channel is None else [channel]
        scores = [
            sum(sharpness(values) for values in np.moveaxis(stack.read(time, number, judged), -1, 0))
            for number in range(stack.slices)
        ]
        return stack.read(time, int(np.argmax(scores)), every)
    highest = stack.read(time, 0, every).copy()
    for number in range(1, stack.slices):
        np.fmax(highest, stack.read(time, number, every), out=highest)  # a number where the other is NaN
    return highest


def _wrong_channel(problem: str, channels: Sequence[str], name: str) -> InputError:
    names = [f"{number} {given or '(no name)'}" for number, given in enumerate(channels, start=1)]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    fix = (
        "choose the channel of the nuclei by number or by name: --channel for segment.py, prepare.channel for training"
    )
    return InputError(problem, file=name, got=", ".join(names[:SHOWN]) + more, fix=fix)
