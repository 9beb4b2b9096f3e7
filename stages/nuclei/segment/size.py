"""What the user says of the nuclei: their diameter, in pixels or in µm, and the minimum score of one."""

from __future__ import annotations

import argparse
import math
import re
from pathlib import Path
from typing import NamedTuple

from nuclei.base.errors import InputError

LEAST_PX, MOST_PX = 1, 1000


class Diameter(NamedTuple):
    """A diameter, and whether it is in µm instead of pixels."""

    value: float
    micrometres: bool = False

    def __str__(self) -> str:
        return f"{self.value:g} {'µm' if self.micrometres else 'px'}"

    def px(self, pixel_size_um: float | None, file: Path) -> float:
        """In pixels of an image whose pixels have this side.

        Raises:
            InputError: the side is needed and not known, or the diameter is not between LEAST_PX and MOST_PX.
        """
        if not self.micrometres:
            return self.value
        if pixel_size_um is None:
            fix = "give --pixel-size, or the diameter in pixels"
            raise InputError("the size of a pixel is not known", file=file, got=f"a diameter of {self}", fix=fix)
        value = self.value / pixel_size_um
        if not LEAST_PX <= value <= MOST_PX:
            got = f"{self}, which are {value:.4g} pixels of {pixel_size_um:g} µm"
            expected = f"{LEAST_PX} to {MOST_PX} pixels"
            raise InputError("the diameter does not fit the image", file=file, got=got, expected=expected)
        return value


def parse_diameter(text: str) -> Diameter:
    """What a user wrote: a number of pixels, or of µm with the unit after it, as 12um.

    Raises:
        argparse.ArgumentTypeError: it is neither, or not between LEAST_PX and MOST_PX pixels.
    """
    found = re.fullmatch(r"([0-9.eE+-]+?)\s*(px|um|\u00b5m|\u03bcm)?", text.strip())
    try:
        value = float(found[1]) if found else math.nan
    except ValueError:
        value = math.nan
    diameter = Diameter(value, bool(found and found[2] not in (None, "px")))
    if not value > 0 or not math.isfinite(value) or not (diameter.micrometres or LEAST_PX <= value <= MOST_PX):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected {LEAST_PX} to {MOST_PX} pixels, or µm, as 12um")
    return diameter


def parse_score(text: str) -> float:
    """A probability; raise argparse.ArgumentTypeError if the text is none."""
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not 0 <= score <= 1:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a number from 0 to 1")
    return score
