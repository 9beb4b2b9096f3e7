"""What the planes of image files are called, found out before any is segmented: no two may have the same results."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache

from nuclei.base.errors import InputError
from nuclei.images.stacks import Reading
from nuclei.segment.finding import Image
from nuclei.segment.opening import DIGITS, LETTERS, suffixes
from nuclei.segment.slides import is_large


def check_planes(
    images: Sequence[Image], earlier: Iterable[tuple[str, str]], reading: Reading, block_px: int | None
) -> None:
    """Raise InputError if a plane would get the results of another file, of this run or of an earlier one.

    Only files are opened whose names make that possible.

    Args:
        images: to segment.
        earlier: the stem of each image that earlier runs have segmented, and that of its file.
        reading: what to take of a file that holds more than one image.
        block_px: see `is_large`.
    """
    of_stem = {image.stem: image for image in images}

    @cache
    def stems(image: Image) -> set[str]:
        return set(_stems(image, reading, block_px))

    for image in images:
        for start in _starts(image.stem):
            other = of_stem.get(start, image)
            if other is not image and len(stems(other)) > 1 and (both := stems(other) & stems(image)):
                got = f"{other.path}, {image.path}, both {min(both)}"
                raise _refused(got, "segment them into two folders")
    for stem, file in earlier:
        for start in _starts(stem):
            if start != file and start in of_stem and stem in stems(of_stem[start]):
                got = f"{of_stem[start].path}, {file} of an earlier run, both {stem}"
                raise _refused(got, "give another folder after -o")


def _stems(image: Image, reading: Reading, block_px: int | None) -> Iterator[str]:
    """What the results of the planes of a file are called; a file that can not be read has none."""
    if is_large(image.path, block_px):
        yield image.stem
        return
    with contextlib.suppress(InputError):
        for suffix in suffixes(image.path, reading):
            yield f"{image.stem}{suffix}"


def _starts(stem: str) -> Iterator[str]:
    """The stems that a file may have of which one plane has this stem."""
    yield stem
    for letter in reversed(LETTERS):
        shorter = re.sub(rf"_{letter}[0-9]{{{DIGITS},}}\Z", "", stem)
        if shorter != stem:
            yield shorter
        stem = shorter


def _refused(got: str, fix: str) -> InputError:
    return InputError("the results of two images would get the same name", got=got, fix=fix)
