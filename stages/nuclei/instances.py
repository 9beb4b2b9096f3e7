"""What the second head of the network learns, and how its maps and the foreground become a label map.

A target turns a label map into maps that a network can learn (`encode`) and says where its loss counts (`weight`).
`label` goes the other way: it finds one seed in each nucleus and grows the seeds to the edge of the foreground.

| target   | maps | each pixel says                                       | after                                  |
|----------|------|-------------------------------------------------------|----------------------------------------|
| border   | 1    | whether it lies between two touching nuclei           | winners of the Data Science Bowl 2018  |
| distance | 1    | how far inside its nucleus it lies, 1 in the middle   | Bai and Urtasun 2017, deep watershed   |
| flows    | 2    | in which direction (row, col) its nucleus's centre is | Stringer et al. 2021, Cellpose         |
| none     | 0    | nothing: the shape of the foreground has to do        | distance-transform watershed           |

A nucleus is an 8-connected piece of one label; the seeds are 4-connected, so that a diagonal line parts them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.measure import label as connected_pieces
from skimage.segmentation import watershed

Labels = NDArray[np.integer]
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

CRUMB_PX = 5  # smaller pieces that break off a nucleus in a transform are dropped; the smallest real nucleus has 21 px
BORDER_PX = 2  # from a border pixel to the farther of the two nuclei
CORE = 0.75  # of the distance to the own edge: from here on a pixel is never border, however small the nucleus
NEAR_PX = 4  # around the nuclei the loss counts fully: the predicted foreground reaches there
FAR_WEIGHT = 0.1  # and elsewhere this much, so that the maps are quiet in the background
STEPS = 7  # the flow is followed for 2**STEPS pixels


@dataclass(frozen=True)
class Target:
    """One kind of map that the second head can learn.

    Attributes:
        name: as in `train.instances` of params.yaml.
        channels: C, the number of maps.
        loss: between the activated maps and `encode`, pixel by pixel, averaged with the weights of `weight`.
        activation: what the head's raw output goes through, in training and before `label`.
        encode: (H, W) labels -> (C, H, W) float32 in [0, 1] for sigmoid, in [-1, 1] for tanh.
        weight: (H, W) labels -> (H, W) float32 in [0, 1], how much each pixel's loss counts.
    """

    name: str
    channels: int
    loss: Literal["bce", "l1", "mse"]
    activation: Literal["sigmoid", "tanh"]
    encode: Callable[[Labels], Floats]
    weight: Callable[[Labels], Floats]


@dataclass(frozen=True)
class Thresholds:
    """How sure is sure enough; found by the search on val and stored beside the weights.

    Attributes:
        foreground: probability from which a pixel belongs to a nucleus.
        seed: height in [0, 1] from which a pixel belongs to a seed; more splits more.
        min_area_px: smaller nuclei are dropped.
    """

    foreground: float
    seed: float
    min_area_px: int


def relabel(labels: Labels) -> Labels:
    """Give every 8-connected piece of a label a number of its own, 1..n, after a crop or a transform.

    Pieces that nothing visible joins are nuclei of their own: no network could know that they belong together.
    A piece under `CRUMB_PX` that broke off a larger one becomes background; a nucleus that small as a whole stays.
    """
    pieces, count = connected_pieces(labels, background=0, connectivity=2, return_num=True)
    area = np.bincount(pieces.ravel(), minlength=count + 1)
    if count and area[1:].min() < CRUMB_PX:
        owner = np.zeros(count + 1, np.int64)
        owner[pieces.ravel()] = np.unique(labels, return_inverse=True)[1].ravel()
        largest = np.zeros(owner.max() + 1, np.int64)
        np.maximum.at(largest, owner, area)
        keep = (area >= CRUMB_PX) | (area == largest[owner])
        return _numbered(pieces, keep)
    return _numbered(pieces, np.ones(count + 1, bool))


def label(target: str, foreground: Floats, maps: Floats | None, thresholds: Thresholds) -> Labels:
    """Tell the nuclei of one image apart.

    Args:
        target: a name of `TARGETS`, or "none".
        foreground: (H, W) float32 probabilities.
        maps: (C, H, W) float32, activated, as `Target.encode` makes them; None for "none".
        thresholds: see `Thresholds`.

    Returns:
        (H, W) uint16, or uint32 for more than 65,535 nuclei: 0 = background, nuclei 1..n in reading order of
        their first pixel, each 8-connected, none outside `foreground >= thresholds.foreground`.
    """
    inside = foreground >= thresholds.foreground
    if maps is None:
        height = _normalised_distance(connected_pieces(inside, connectivity=2))
        labels = _grown(height > thresholds.seed, height, inside)
    elif target == "flows":
        labels = _followed(maps, inside)
    elif target == "border":
        height = foreground * (1 - maps[0])
        labels = _grown(height > thresholds.seed, height, inside)
    else:
        labels = _grown(maps[0] > thresholds.seed, maps[0], inside)
    return _numbered(labels, np.bincount(labels.ravel()) >= thresholds.min_area_px)


def _grown(seeds: Mask, height: Floats, inside: Mask) -> Labels:
    """Number the seeds and flood `inside` from them, from high to low; a piece without a seed is one nucleus."""
    markers, count = connected_pieces(seeds & inside, connectivity=1, return_num=True)
    pieces = connected_pieces(inside, connectivity=2)
    seeded = np.zeros(pieces.max() + 1, bool)
    seeded[pieces[markers > 0]] = True
    bare = inside & ~seeded[pieces]
    markers[bare] = pieces[bare] + count
    return watershed(-height, markers, connectivity=2, mask=inside)


def _followed(flows: Floats, inside: Mask) -> Labels:
    """Follow the flow from every pixel of `inside`; pixels that end in one place are one nucleus."""
    rows, cols = np.indices(inside.shape, dtype=np.float32)
    drift = (flows * inside).astype(np.float32)
    for _ in range(STEPS):  # twice as far each time: first here, then on from where that leads
        row, col = rows + drift[0], cols + drift[1]
        drift = drift + np.stack([cv2.remap(d, col, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for d in drift])
    ends = np.rint(np.stack([rows, cols]) + drift).astype(np.intp)[:, inside]
    ends = np.clip(ends, 0, np.array(inside.shape)[:, None] - 1)
    hits = np.zeros(inside.shape, np.uint8)
    hits[tuple(ends)] = 1
    places = connected_pieces(cv2.dilate(hits, np.ones((3, 3), np.uint8)), connectivity=2)
    labels = np.zeros(inside.shape, np.int64)
    labels[inside] = places[tuple(ends)]
    return connected_pieces(labels, background=0, connectivity=2)


def _numbered(labels: Labels, keep: Mask) -> Labels:
    """Drop the labels that `keep[label]` does not name and number the rest 1..n in their order."""
    keep = keep.copy()
    keep[0] = False
    new = np.cumsum(keep) * keep
    return new.astype(np.uint16 if new.max() <= np.iinfo(np.uint16).max else np.uint32)[labels]


def _edge_distance(pieces: Labels) -> Floats:
    """The distance in pixels to the nearest pixel of the own edge, plus 1; 0 in the background."""
    values = pieces.astype(np.float32)  # OpenCV knows no 32-bit integers here; exact up to 2**24
    window = np.ones((3, 3), np.uint8)
    inner = (cv2.dilate(values, window) == values) & (cv2.erode(values, window) == values) & (pieces > 0)
    if inner.all():
        return np.full(pieces.shape, 0.5, np.float32)
    return (cv2.distanceTransform(inner.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) + 0.5) * (pieces > 0)


def _normalised_distance(pieces: Labels) -> Floats:
    """The distance to the own edge over its largest value in the nucleus: (H, W) float32 in [0, 1]."""
    distance = _edge_distance(pieces)
    deepest = np.full(pieces.max() + 1, 0.5, np.float32)
    np.maximum.at(deepest, pieces.ravel(), distance.ravel())
    return distance / deepest[pieces]


def _encode_border(labels: Labels) -> Floats:
    pieces = connected_pieces(labels, background=0, connectivity=2)
    values = pieces.astype(np.float32)
    window = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * BORDER_PX + 1, 2 * BORDER_PX + 1))
    highest = cv2.dilate(values, window)
    lowest = cv2.erode(np.where(pieces == 0, np.float32(2**24), values), window)
    border = (highest > lowest) & (_normalised_distance(pieces) < CORE)
    return border[None].astype(np.float32)


def _encode_distance(labels: Labels) -> Floats:
    return _normalised_distance(connected_pieces(labels, background=0, connectivity=2))[None]


def _encode_flows(labels: Labels) -> Floats:
    pieces, count = connected_pieces(labels, background=0, connectivity=2, return_num=True)
    flows = np.zeros((2, *pieces.shape), np.float32)
    if not count:
        return flows
    rows, cols = np.nonzero(pieces)
    owner = pieces[rows, cols]
    area = np.bincount(owner, minlength=count + 1).clip(1)
    mean = np.stack([np.bincount(owner, axis, minlength=count + 1) / area for axis in (rows, cols)])
    away = (rows - mean[0, owner]) ** 2 + (cols - mean[1, owner]) ** 2
    order = np.lexsort((away, owner))
    centre = order[np.searchsorted(owner[order], np.arange(count + 1)).clip(max=len(order) - 1)]  # nearest to the mean
    vector = np.stack([rows[centre[owner]] - rows, cols[centre[owner]] - cols]).astype(np.float32)
    flows[:, rows, cols] = vector / np.maximum(np.hypot(*vector), 1)
    return flows


def _weight_near(labels: Labels) -> Floats:
    """1 on the nuclei and close around them, `FAR_WEIGHT` elsewhere."""
    window = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * NEAR_PX + 1, 2 * NEAR_PX + 1))
    return np.where(cv2.dilate((labels > 0).astype(np.uint8), window) > 0, 1, FAR_WEIGHT).astype(np.float32)


def _weight_inside(labels: Labels) -> Floats:
    """1 on the nuclei, 0 elsewhere: the background has no centre."""
    return (labels > 0).astype(np.float32)


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("border", 1, "bce", "sigmoid", _encode_border, _weight_near),
        Target("distance", 1, "l1", "sigmoid", _encode_distance, _weight_near),
        Target("flows", 2, "l1", "tanh", _encode_flows, _weight_inside),
    )
}
