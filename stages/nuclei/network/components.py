"""Connected components of a label map: numbering them, dropping small ones, and each pixel's distance to its edge.

A nucleus is one 8-connected component of one label, both in what the network learns and in what it predicts.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage import measure

Labels = NDArray[Any]  # (H, W) of any integer type, 0 = background
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

SMALLEST_FRAGMENT_PX = 5  # smaller ones that break off a nucleus are dropped; the smallest nucleus of BBBC038 has 21


def components(labels: Labels) -> Labels:
    """The 8-connected components of each label, numbered 1..n in reading order of their first pixels."""
    found: Labels = measure.label(labels, background=0, connectivity=2)
    return found


def renumber(labels: Labels, keep: Mask) -> Labels:
    """Drop the labels for which `keep[label]` is False and number the others 1..n in their order.

    Returns:
        (H, W) uint16, or uint32 for more than 65,535 labels.
    """
    kept = keep.copy()
    kept[0] = False
    number = np.cumsum(kept) * kept
    return number.astype(np.uint16 if number.max() <= np.iinfo(np.uint16).max else np.uint32)[labels]


def relabel(labels: Labels) -> Labels:
    """Make each component of a label map a nucleus of its own, after a crop or a transform has cut some apart.

    Nothing in the image shows that two components belong together, so no network could learn it. A component under
    `SMALLEST_FRAGMENT_PX` pixels becomes background if its label has a larger one; otherwise it stays, however small.

    Returns:
        (H, W) uint16, or uint32 for more than 65,535 nuclei, numbered 1..n in reading order.
    """
    parts = components(labels)
    area = np.bincount(parts.ravel())
    fragment = area < SMALLEST_FRAGMENT_PX
    if fragment[1:].any():
        label_of = np.zeros(len(area), np.int64)
        label_of[parts.ravel()] = np.unique(labels, return_inverse=True)[1].ravel()
        largest = np.zeros(label_of.max() + 1, np.int64)
        np.maximum.at(largest, label_of, area)
        fragment &= area < largest[label_of]
    return renumber(parts, ~fragment)


def edge_distance(parts: Labels) -> Floats:
    """The distance in pixels from each pixel's centre to the edge of its component, 0 in the background.

    The edge runs along the outer sides of the outermost pixels, half a pixel from their centres. The border of the
    image is no edge, because the nucleus may continue beyond it.

    Args:
        parts: (H, W), each label one component, as `components` returns them.

    Returns:
        (H, W) float32.
    """
    values = parts.astype(np.float32)  # OpenCV has no 32-bit integers here; exact up to 2**24
    window = np.ones((3, 3), np.uint8)
    inner = (cv2.dilate(values, window) == values) & (cv2.erode(values, window) == values)
    if inner.all():  # one nucleus, or none, fills the image: there is no edge to measure from
        return np.where(parts > 0, np.float32(0.5), np.float32(0))
    to_outermost = cv2.distanceTransform(inner.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # the last bit of what OpenCV returns changes from call to call; the squares are whole numbers
    distance = np.sqrt(np.rint(np.square(to_outermost))) + np.float32(0.5)
    return np.where(parts > 0, distance, np.float32(0))
