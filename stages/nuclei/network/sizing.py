"""Nuclei of one size: how large those of an image are, and the image enlarged or reduced so that they are as trained.

Cellpose (Stringer et al., 2021) does so with a diameter that the user gives or a regression on the image's style finds;
here a prediction of the image as it is tells it (see segmenter.py).
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

SMALLEST_ZOOM = 0.6  # smaller, and the outlines of large nuclei are too coarse: 0.4 costs them .03 mAP
LARGEST_ZOOM = 2.5  # larger, and there is no more to see


def diameter(labels: NDArray[Any]) -> float | None:
    """The usual diameter of an image's nuclei: half of their area lies in smaller ones, so that fragments do not count.

    Args:
        labels: (H, W) of any integer type, 0 = background.

    Returns:
        In pixels, of the circle of the same area; None without a nucleus.
    """
    areas = np.sort(np.unique(labels[labels > 0], return_counts=True)[1])
    if not len(areas):
        return None
    covered = np.cumsum(areas)
    middle = areas[np.searchsorted(covered, covered[-1] / 2)]
    return float(2 * np.sqrt(middle / np.pi))


def zoom_to(target_px: float, diameter_px: float | None) -> float:
    """How many times to enlarge an image so that nuclei of `diameter_px` get `target_px`; 1 where it is unknown."""
    if diameter_px is None:
        return 1.0
    return min(max(target_px / diameter_px, SMALLEST_ZOOM), LARGEST_ZOOM)


def zoomed_image(rgb: NDArray[np.uint8], zoom: float) -> NDArray[np.uint8]:
    """(H, W, 3) enlarged `zoom` times, to whole pixels and at least one."""
    size = _size(rgb, zoom)
    if size == rgb.shape[:2]:
        return rgb
    return cv2.resize(rgb, size[::-1], interpolation=cv2.INTER_CUBIC if zoom > 1 else cv2.INTER_AREA)  # type: ignore[return-value]


def zoomed_labels(labels: NDArray[Any], zoom: float) -> NDArray[Any]:
    """(H, W) labels, uint16 or uint32, enlarged `zoom` times as `zoomed_image` does: the nearest pixel's."""
    height, width = _size(labels, zoom)
    if (height, width) == labels.shape:
        return labels
    rows, cols = (
        ((np.arange(new) + 0.5) * old / new).astype(np.intp)
        for new, old in zip((height, width), labels.shape, strict=True)
    )
    return labels[rows[:, None], cols[None, :]]


def resized_maps(maps: NDArray[np.float32], size: tuple[int, ...]) -> NDArray[np.float32]:
    """(C, H, W) at another height and width: the mean of what falls on a pixel, or linear between pixels."""
    height, width = size
    if maps.shape[1:] == (height, width):
        return maps
    way = cv2.INTER_AREA if maps.shape[1] > height else cv2.INTER_LINEAR
    return np.stack([cv2.resize(channel, (width, height), interpolation=way) for channel in maps])


def _size(pixels: NDArray[Any], zoom: float) -> tuple[int, int]:
    height, width = pixels.shape[:2]
    return max(round(height * zoom), 1), max(round(width * zoom), 1)
