"""Families of images: those of one size, modality and background, as one microscope took them of one kind of specimen.

A model that has seen some images of a family finds the others easy. To leave whole families out of training shows what
it does on images from elsewhere. The rule asks only what can be read from the image:

- its size in pixels, which a camera and its binning decide;
- its modality, see prepare;
- for fluorescence, whether the background is black or gray: the 1st percentile, which is the camera's offset and the
  light that the medium scatters. In BBBC038 the groups have at most 6 gray levels or at least 9;
- for tissue, whether the background is white, purple or pink: the stain, and the white balance. In BBBC038 the channels
  of the median pixel differ by at most 28 or at least 40 levels.

Groups stay whole: their images vote on the size and the modality, and the median of their measurements counts.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import astuple, dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from nuclei.images.records import Record

GRAY_FROM = 7.5  # gray levels of 255
COLOURED_FROM = 35.0


@dataclass(frozen=True)
class Look:
    """What the family of an image depends on besides its size and modality, in levels of 255.

    Attributes:
        black_level: 1st percentile of the gray values.
        saturation: median over the pixels of the difference between the largest and the smallest channel.
        red_excess: mean of red minus mean of blue.
    """

    black_level: float
    saturation: float
    red_excess: float


def look(rgb: NDArray[np.uint8]) -> Look:
    """Measure an image, (H, W, 3) uint8."""
    red, _, blue, _ = cv2.mean(rgb)
    gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    return Look(float(np.percentile(gray, 1)), float(np.median(np.ptp(rgb, axis=2))), red - blue)


def families(records: Sequence[Record], groups: Sequence[int], looks: Sequence[Look]) -> list[str]:
    """Name the family of each image, such as "256x320 tissue on purple", from the values of its whole group.

    Args:
        records: the images.
        groups: the group of each, from `similarity.groups`.
        looks: what `look` measured of each.

    Returns:
        One name for each image, the same for all images of a group.
    """
    members = defaultdict(list)
    for number, group in enumerate(groups):
        members[group].append(number)
    names = {}
    for group, numbers in members.items():
        kinds = Counter((records[i].height, records[i].width, records[i].modality) for i in numbers)
        height, width, modality = max(sorted(kinds), key=kinds.__getitem__)
        typical = Look(*np.median([astuple(looks[i]) for i in numbers], axis=0).tolist())
        names[group] = f"{height}x{width} {modality}{_background(modality, typical)}"
    return [names[group] for group in groups]


def _background(modality: str, look: Look) -> str:
    if modality == "fluorescence":
        return " on gray" if look.black_level >= GRAY_FROM else " on black"
    if modality == "tissue":
        if look.red_excess > 0:
            return " on pink"
        return " on purple" if look.saturation >= COLOURED_FROM else " on white"
    return ""
