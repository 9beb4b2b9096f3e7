"""Rescaling: how large the nuclei of an image are, and the image rescaled until they have the diameter of training.

Cellpose (Stringer et al., 2021) does this with a diameter that the user gives or that a regression on the image's style
estimates; here it is measured in first predictions of the image and of reduced copies (see segmenter.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

SMALLEST_ZOOM = 0.1  # nuclei ten times as large as in training
LARGEST_ZOOM = 4.0  # above it interpolation adds pixels but no detail
AS_SURE = 0.85  # of the sureness of the surest look; between 0.8 and 0.9 hardly anything changes
AGREE = 1.3  # ratio of the diameters in two looks that are said to agree
ENLARGED = 0.8  # of the diameter of training: an image with smaller nuclei is looked at enlarged
INVERTED = "light background: segmented inverted, because the model is surer of the nuclei there"
SAME_SCALE = 1.1  # ratio of two scales that the network need not see apart: training varies the scale by more


def diameter(labels: NDArray[Any]) -> float | None:
    """The area-weighted median diameter of the nuclei: half of their area lies in smaller ones.

    Unlike the plain median it hardly changes with the number of fragments.

    Args:
        labels: (H, W) of any integer type, 0 = background.

    Returns:
        In pixels, of the circle of the same area; None without a nucleus.
    """
    return diameter_of(np.unique(labels[labels > 0], return_counts=True)[1])


def diameter_of(areas_px: NDArray[Any]) -> float | None:
    """What `diameter` returns, from the areas of the nuclei, (n,) in pixels."""
    if not len(areas_px):
        return None
    areas = np.sort(areas_px)
    covered = np.cumsum(areas)
    middle = areas[np.searchsorted(covered, covered[-1] / 2)]
    return float(2 * np.sqrt(middle / np.pi))


def sureness(labels: NDArray[Any], landscape: NDArray[np.float32]) -> float:
    """How certain the network is of the nuclei: the mean of their highest values, weighted by their areas.

    A network sees nuclei of the wrong size as fragments or clumps, in whose middle it is less certain.

    Args:
        labels: (H, W) of any integer type, 0 = background.
        landscape: (H, W) float32 in [0, 1], see `labelling.landscape`.

    Returns:
        In [0, 1]; 0 without a nucleus.
    """
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    if not areas.any():
        return 0.0
    peaks = np.zeros(len(areas), np.float32)
    np.maximum.at(peaks, labels.ravel(), landscape.ravel())
    return float(np.average(peaks, weights=areas))


def most_plausible(looks: Sequence[tuple[float, float, float | None]], target_px: float) -> float | None:
    """The diameter of the nuclei according to several looks at one image at different scales.

    The surest look alone can be wrong: in a strongly reduced copy, a cluster looks like one nucleus that nobody could
    be surer of. But what is measured of a cluster changes with the scale, and what is measured of nuclei does not.
    So of the looks whose sureness is at least `AS_SURE` of the highest, those count whose diameter a look at the next
    scale confirms within a factor of `AGREE`, or all if none is confirmed; and of these the one that shows nuclei
    nearest to the diameter of training, the scale at which the network can tell them apart.

    Off by more than 1.5 times, on images of families that the networks had not seen, without bright-field, and by the
    surest look alone in brackets: 3 of 177 (11); enlarged 2 and 4 times, 1 of 70 (3) and 2 of 68 (2); reduced to half,
    7 of 70 (9). With the model of the repository on the 664 images that it was trained on: 8 (22).

    Args:
        looks: the scale of each, ascending, its `sureness`, and the diameter in pixels of the image; None without
            nuclei.
        target_px: the diameter of training.

    Returns:
        In pixels of the image; None if no look shows nuclei.
    """
    seen = [(zoom, sure, found) for zoom, sure, found in looks if found is not None]
    if not seen:
        return None
    diameters = np.array([found for _, _, found in seen])
    agree = np.abs(np.diff(np.log(diameters))) < np.log(AGREE)
    confirmed = np.append(agree, False) | np.append(False, agree)
    sures = np.array([sure for _, sure, _ in seen])
    counts = sures >= AS_SURE * sures.max()
    if (counts & confirmed).any():
        counts &= confirmed
    away = np.abs(np.log(np.array([zoom for zoom, _, _ in seen]) * diameters / target_px))
    return float(diameters[np.where(counts, away, np.inf).argmin()])


def is_worth_a_look(zoom: float, looks: Sequence[tuple[float, float, float | None]], target_px: float) -> bool:
    """Whether an image that was looked at at smaller scales is to be looked at at this one too.

    Where half the scale shows nuclei that are smaller than `ENLARGED` of the diameter of training at the scale of the
    image, the next look is at the enlarged image. A look is not worth its time either where the last one shows nuclei
    of at least that size, the one before confirms their diameter, and none was much surer.

    Against all looks at all images, of families that the networks had not seen, that changes the diameter by more than
    a tenth in 6 of 285, of which 9 instead of 10 are off by more than 1.5 times; enlarged twice in none of 263 (4 and
    4); reduced to half in 2 of 285 (17 and 18). The looks see 23, 29 and 25 % fewer pixels.

    Args:
        zoom: a scale, as in segmenter.LOOKS.
        looks: as for `most_plausible`, at least one.
        target_px: the diameter of training.
    """
    last, sure, found = looks[-1]
    if found is None:
        return zoom <= 1
    small = found < ENLARGED * target_px
    if zoom > 1 or (zoom == 1 and small):
        return small and zoom > 1
    before = looks[-2][2] if len(looks) > 1 else None
    confirmed = before is not None and abs(np.log(found / before)) < np.log(AGREE)
    large_enough = last * found >= ENLARGED * target_px
    return not (confirmed and large_enough and sure >= AS_SURE * max(sure for _, sure, _ in looks))


def zoom_to(target_px: float, diameter_px: float | None) -> float:
    """The factor that rescales nuclei of `diameter_px` to `target_px`, within limits; 1 if `diameter_px` is None."""
    if diameter_px is None:
        return 1.0
    return min(max(target_px / diameter_px, SMALLEST_ZOOM), LARGEST_ZOOM)


@dataclass(frozen=True)
class Scale:
    """How one image is rescaled for the network.

    Example:
        >>> scale = Scale(diameter_px=60, target_px=25)
        >>> scale.zoom, scale.warning is None
        (0.4166666666666667, True)

    Attributes:
        diameter_px: of the image's nuclei; None if unknown.
        target_px: the diameter to which the images were rescaled in training; None if they were not.
        maps: (1 + C, H, W) float32, the final prediction of an image that needs no rescaling, where measuring the
            diameter has made it already; None elsewhere.
        inverted: whether the network sees the inverse of the image, because it is surer of the nuclei there.
    """

    diameter_px: float | None
    target_px: float | None
    maps: NDArray[np.float32] | None = field(default=None, repr=False, compare=False)
    inverted: bool = False

    @property
    def zoom(self) -> float:
        """The factor by which the image is rescaled."""
        if self.target_px is None or self.maps is not None:
            return 1.0
        return zoom_to(self.target_px, self.diameter_px)

    @property
    def warning(self) -> str | None:
        """What a user should know if the limits of the zoom keep the nuclei from the diameter of training."""
        if self.target_px is None or self.diameter_px is None or self.maps is not None:
            return None
        wanted = self.target_px / self.diameter_px
        if wanted == self.zoom:
            return None
        return (
            f"nuclei of {self.diameter_px:.0f} px are outside what the model was trained for: the image would have to "
            f"be rescaled by {wanted:.2f} to give them {self.target_px:g} px, but is rescaled by {self.zoom:g}, the "
            f"{'smallest' if wanted < self.zoom else 'largest'} factor, so that the network sees them at "
            f"{self.diameter_px * self.zoom:.0f} px and may miss, split or merge some"
        )

    @property
    def notes(self) -> list[str]:
        """What a user should know of how the network saw the image: `INVERTED`, and the warning."""
        inverted = [INVERTED] if self.inverted else []
        return [*inverted, self.warning] if self.warning else inverted


def fullest(rgb: NDArray[np.uint8], foreground: NDArray[np.float32], side_px: int) -> NDArray[np.uint8]:
    """The part of an image, at most `side_px` high and wide, that holds the most foreground.

    Args:
        rgb: (H, W, 3); returned as it is where it is not larger.
        foreground: (h, w), the probability in the same image at another scale.
        side_px: in pixels of `rgb`.
    """
    size = rgb.shape[:2]
    if max(size) <= side_px:
        return rgb
    part = [min(side_px, length) for length in size]
    high, wide = (
        max(round(length * seen / whole), 1) for length, seen, whole in zip(part, foreground.shape, size, strict=True)
    )
    total = cv2.integral(foreground)  # of all pixels above and to the left
    sums = total[high:, wide:] - total[:-high, wide:] - total[high:, :-wide] + total[:-high, :-wide]
    best = np.unravel_index(np.argmax(sums), sums.shape)
    top, left = (
        min(round(start * whole / seen), whole - length)
        for start, seen, whole, length in zip(best, foreground.shape, size, part, strict=True)
    )
    return rgb[top : top + part[0], left : left + part[1]]


def zoomed_image(rgb: NDArray[np.uint8], zoom: float) -> NDArray[np.uint8]:
    """Rescale (H, W, 3) by `zoom`, to whole pixels and at least one."""
    size = _size(rgb, zoom)
    if size == rgb.shape[:2]:
        return rgb
    return cv2.resize(rgb, size[::-1], interpolation=cv2.INTER_CUBIC if zoom > 1 else cv2.INTER_AREA)  # type: ignore[return-value]


def zoomed_labels(labels: NDArray[Any], zoom: float) -> NDArray[Any]:
    """Rescale (H, W) labels, uint16 or uint32, to the shape that `zoomed_image` gives, by nearest neighbour."""
    height, width = _size(labels, zoom)
    if (height, width) == labels.shape:
        return labels
    rows, cols = (
        ((np.arange(new) + 0.5) * old / new).astype(np.intp)
        for new, old in zip((height, width), labels.shape, strict=True)
    )
    return labels[rows[:, None], cols[None, :]]


def resized_maps(
    maps: NDArray[np.float32], size: tuple[int, ...], window: tuple[slice, slice] = (slice(None), slice(None))
) -> NDArray[np.float32]:
    """Resize (C, H, W) maps: averaged over each pixel's area to a smaller size, interpolated linearly to a larger.

    Args:
        maps: (C, H, W).
        size: height and width of the result.
        window: rows and columns of the result that are returned; the others are never in memory all at once.
    """
    (height, width), (rows, cols) = size, window
    if maps.shape[1:] == (height, width):
        return maps[:, rows, cols]
    if maps.shape[1] > height:
        return np.stack([cv2.resize(channel, (width, height), interpolation=cv2.INTER_AREA) for channel in maps])[
            :, rows, cols
        ]
    parts = []
    for channel in maps:  # first made wider, then higher: the same values as both at once, to the last bit
        wide = cv2.resize(channel, (width, len(channel)), interpolation=cv2.INTER_LINEAR)
        wide = np.ascontiguousarray(wide[:, cols])
        parts.append(cv2.resize(wide, (wide.shape[1], height), interpolation=cv2.INTER_LINEAR)[rows])
    return np.stack(parts)


def _size(pixels: NDArray[Any], zoom: float) -> tuple[int, int]:
    height, width = pixels.shape[:2]
    return max(round(height * zoom), 1), max(round(width * zoom), 1)
