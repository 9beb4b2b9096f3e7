"""The instance target: the map, computed from a label map, that the second head learns so as to separate nuclei.

| target   | each pixel says                                          | after                                 |
|----------|----------------------------------------------------------|---------------------------------------|
| border   | whether it lies between two nuclei that (nearly) touch   | winners of the Data Science Bowl 2018 |
| distance | how far inside its nucleus it lies: 1 in the middle      | Bai and Urtasun 2017, deep watershed  |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from nuclei.network.components import Floats, Labels, components, edge_distance

BORDER_PX = 2  # a border pixel is at most this far from two nuclei
CORE = 0.75  # of the largest distance to the nucleus's edge: deeper pixels are never border, even in a small nucleus
NEAR_PX = 4  # around the nuclei the loss counts fully, because the predicted foreground will reach there
FAR_WEIGHT = 0.1  # and this much farther away, so that the maps stay near 0 in the background


@dataclass(frozen=True)
class Target:
    """A map that the second head can learn.

    Attributes:
        name: as in `train.instance_target` of params.yaml.
        loss: between the sigmoid of the head's output and the map, pixel by pixel, weighted by `loss_weight`.
        encode: (H, W) labels -> (1, H, W) float32 in [0, 1].
    """

    name: str
    loss: Literal["bce", "l1"]
    encode: Callable[[Labels], Floats]


def _disc(radius_px: int) -> NDArray[np.uint8]:
    """A disc as a window for OpenCV; OpenCV's own ellipse differs between rows and columns."""
    row, col = np.ogrid[-radius_px : radius_px + 1, -radius_px : radius_px + 1]
    return (row**2 + col**2 <= (radius_px + 0.5) ** 2).astype(np.uint8)


def _depth(parts: Labels) -> Floats:
    """The distance to the nucleus's edge as a fraction of its largest: (H, W) float32 in [0, 1]."""
    distance = edge_distance(parts)
    deepest = np.full(parts.max() + 1, 0.5, np.float32)
    np.maximum.at(deepest, parts.ravel(), distance.ravel())
    return (distance / deepest[parts]).astype(np.float32, copy=False)


def _encode_border(labels: Labels) -> Floats:
    parts = components(labels)
    values = parts.astype(np.float32)
    highest = cv2.dilate(values, _disc(BORDER_PX))
    lowest = cv2.erode(np.where(parts > 0, values, np.float32(2**24)), _disc(BORDER_PX))
    return ((highest > lowest) & (_depth(parts) < CORE))[None].astype(np.float32)


def _encode_distance(labels: Labels) -> Floats:
    return _depth(components(labels))[None]


def outline_distance(foreground: NDArray[np.uint8]) -> Floats:
    """The distance of each pixel's centre from the outline of the foreground, in pixels, negative outside.

    Args:
        foreground: (H, W), 0 or 1.

    Returns:
        (H, W) float32; beyond 1,000 where there is no outline.
    """
    inside, outside = (
        cv2.distanceTransform(of, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for of in (foreground, 1 - foreground)
    )
    return np.where(foreground > 0, inside - 0.5, 0.5 - outside).astype(np.float32)


def loss_weight(labels: Labels) -> Floats:
    """How much each pixel counts in a target's loss: 1 on the nuclei and around them, `FAR_WEIGHT` farther away.

    Args:
        labels: (H, W).

    Returns:
        (H, W) float32.
    """
    near = cv2.dilate((labels > 0).astype(np.uint8), _disc(NEAR_PX)) > 0
    return np.where(near, np.float32(1), np.float32(FAR_WEIGHT))


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (Target("border", "bce", _encode_border), Target("distance", "l1", _encode_distance))
}
