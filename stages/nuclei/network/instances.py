"""What the second head of the network learns, and how its maps and the foreground become a label map.

A target turns a label map into a map that a network can learn; `label` goes the other way. It reads the map as a
landscape that is high in the middle of a nucleus and low between two of them, and cuts the foreground along the valleys
that are deep enough.

| target   | each pixel says                                          | after                                 |
|----------|----------------------------------------------------------|---------------------------------------|
| border   | whether it lies between two nuclei that (nearly) touch   | winners of the Data Science Bowl 2018 |
| distance | how far inside its nucleus it lies: 1 in the middle      | Bai and Urtasun 2017, deep watershed  |
| none     | nothing: the landscape is the distance to the background | distance-transform watershed          |

A nucleus is an 8-connected piece of one label, in the maps as in the result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.measure import label as connected_pieces
from skimage.morphology import local_maxima
from skimage.segmentation import watershed

Labels = NDArray[Any]  # (H, W) of any integer type, 0 = background
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

CRUMB_PX = 5  # smaller pieces that break off a nucleus are dropped; the smallest nucleus of the real data has 21
BORDER_PX = 2  # a border pixel is at most this far from two nuclei
CORE = 0.75  # of the distance to the own edge: from here on a pixel is no border, however small the nucleus is
NEAR_PX = 4  # around the nuclei the loss counts fully, for the predicted foreground will reach there
FAR_WEIGHT = 0.1  # and farther away this much, so that the maps are quiet in the background
SMOOTHING_PX = 0.7  # of a landscape, so that noise and plateaus make no valleys


@dataclass(frozen=True)
class Target:
    """A map that the second head can learn.

    Attributes:
        name: as in `train.instances` of params.yaml.
        loss: between the sigmoid of the head's output and the map, pixel by pixel, weighted by `loss_weight`.
        encode: (H, W) labels -> (1, H, W) float32 in [0, 1].
    """

    name: str
    loss: Literal["bce", "l1"]
    encode: Callable[[Labels], Floats]


@dataclass(frozen=True)
class Thresholds:
    """How sure is sure enough; found by the search on val and stored beside the weights.

    Attributes:
        foreground: probability from which a pixel belongs to a nucleus.
        seed: in [0, 1]; two peaks of the landscape are two nuclei where the way between them falls below this
            fraction of the lower one. 0 cuts nothing, so that "none" gives connected components; more cuts more.
        min_area_px: a smaller nucleus joins the neighbour with which it shares the highest pass; without a
            neighbour it is dropped.
    """

    foreground: float
    seed: float
    min_area_px: int


def relabel(labels: Labels) -> Labels:
    """Number a label map anew, 1..n in reading order, after a crop or a transform has cut its nuclei.

    Each 8-connected piece of a label becomes a nucleus of its own: nothing that can still be seen joins the pieces,
    so no network could learn that they are one. A piece under `CRUMB_PX` pixels that broke off a larger one becomes
    background; a nucleus of which no larger piece is left stays, however small.

    Returns:
        (H, W) uint16, or uint32 for more than 65,535 nuclei.
    """
    pieces = _pieces(labels)
    area = np.bincount(pieces.ravel())
    crumbs = area < CRUMB_PX
    if crumbs[1:].any():
        owner = np.zeros(len(area), np.int64)
        owner[pieces.ravel()] = np.unique(labels, return_inverse=True)[1].ravel()
        largest = np.zeros(owner.max() + 1, np.int64)
        np.maximum.at(largest, owner, area)
        crumbs &= area < largest[owner]
    return _numbered(pieces, ~crumbs)


def label(target: str, foreground: Floats, maps: Floats | None, thresholds: Thresholds) -> Labels:
    """Tell the nuclei of one image apart.

    Args:
        target: a name in `TARGETS`, or "none".
        foreground: (H, W) float32, the probability of belonging to any nucleus.
        maps: (1, H, W) float32 in [0, 1], as `Target.encode` makes them; None for "none".
        thresholds: see `Thresholds`.

    Returns:
        (H, W) uint16, or uint32 for more than 65,535 nuclei: 0 = background, nuclei 1..n in reading order, each
        8-connected, none outside `foreground >= thresholds.foreground`.

    Raises:
        ValueError: the target is unknown, or the maps are not of its shape.
    """
    return Parting(target, foreground, maps, thresholds.foreground).label(thresholds.seed, thresholds.min_area_px)


class Parting:
    """One image cut at one foreground threshold into as many pieces as there are peaks, to be joined to nuclei.

    The cutting takes the time and knows only the foreground's threshold: whoever tries many of the others, as the
    search does, makes one of these and calls `label` for each.

    Args:
        target, foreground, maps: as for `label`.
        threshold: of the foreground.

    Raises:
        ValueError: as `label`.
    """

    def __init__(self, target: str, foreground: Floats, maps: Floats | None, threshold: float) -> None:
        if target not in ("none", *TARGETS):
            raise ValueError(f"target: got {target!r}, expected one of {['none', *TARGETS]}")
        got, expected = None if maps is None else maps.shape, None if target == "none" else (1, *foreground.shape)
        if got != expected:
            raise ValueError(f"maps of target {target!r}: got {got}, expected {expected}")
        self.inside = foreground >= threshold
        if not self.inside.any():
            return
        if maps is None:
            landscape = _edge_distance(_pieces(self.inside))
        else:
            landscape = foreground * (1 - maps[0] if target == "border" else maps[0])
        smooth = cv2.GaussianBlur(np.where(self.inside, landscape, np.float32(0)), (0, 0), SMOOTHING_PX)
        self.basins = _Basins(smooth.astype(np.float32, copy=False), self.inside)

    def label(self, seed: float, min_area_px: int) -> Labels:
        """The label map at these thresholds: see `label` and `Thresholds`."""
        if not self.inside.any():
            return np.zeros(self.inside.shape, np.uint16)
        pieces = _pieces(self.basins.joined(seed, min_area_px))
        return _numbered(pieces, np.bincount(pieces.ravel()) >= min_area_px)


def _pieces(labels: Labels) -> Labels:
    """The 8-connected pieces of each label, numbered 1..n in reading order of their first pixels."""
    pieces: Labels = connected_pieces(labels, background=0, connectivity=2)
    return pieces


def _numbered(labels: Labels, keep: Mask) -> Labels:
    """Number the labels for which `keep[label]` holds 1..n in their order, and drop the others."""
    kept = keep.copy()
    kept[0] = False
    number = np.cumsum(kept) * kept
    return number.astype(np.uint16 if number.max() <= np.iinfo(np.uint16).max else np.uint32)[labels]


class _Basins:
    """`inside` cut along every valley of a landscape: a watershed from every peak, whose cuts can be undone.

    Args:
        landscape: (H, W) float32, high in the middle of a nucleus.
        inside: (H, W) bool, what is cut.
    """

    def __init__(self, landscape: Floats, inside: Mask) -> None:
        # lower all around, so that every piece of `inside` has a peak, however flat it is and high its neighbours
        alone = np.pad(np.where(inside, landscape, np.float32(-1)), 1, constant_values=-1)
        peaks = _pieces(local_maxima(alone, connectivity=2))[1:-1, 1:-1]
        self.labels = watershed(-landscape, markers=peaks, connectivity=2, mask=inside)
        count = int(self.labels.max()) + 1
        peak = np.zeros(count, np.float32)
        np.maximum.at(peak, self.labels.ravel(), landscape.ravel())
        self.peak = peak.tolist()
        self.area_px = np.bincount(self.labels.ravel(), minlength=count).tolist()
        self.passes = [side.tolist() for side in _passes(self.labels, landscape)]

    def joined(self, seed: float, min_area_px: int) -> Labels:
        """Undo the cuts that are not deep enough.

        Two basins meet at a pass, the highest point of the ridge between them. From the highest pass to the lowest,
        the two that meet there are joined when the pass is at least `seed` times as high as the lower of their peaks,
        or when the basin of that peak has less than `min_area_px`. (The dynamics of Grimaud 1992, as a
        ratio: a network that is unsure of a nucleus lowers its peak and its passes alike.)
        """
        peak, area_px = self.peak, self.area_px.copy()
        owner = list(range(len(peak)))  # a forest: each basin points to one that it was joined with, a root to itself

        def root(basin: int) -> int:
            while owner[basin] != basin:
                owner[basin] = basin = owner[owner[basin]]
            return basin

        for one, other, saddle in zip(*self.passes, strict=True):
            high, low = root(one), root(other)
            if peak[high] < peak[low]:
                high, low = low, high
            if high != low and (saddle >= seed * peak[low] or area_px[low] < min_area_px):
                owner[low] = high
                area_px[high] += area_px[low]
        return np.array([root(basin) for basin in range(len(owner))])[self.labels]


def _passes(basins: Labels, landscape: Floats) -> tuple[Labels, Labels, Floats]:
    """The pairs of basins that touch, and the height at which each pair meets, from the highest to the lowest."""
    ones, others, heights = [], [], []
    for here, there in (
        (np.s_[:, :-1], np.s_[:, 1:]),
        (np.s_[:-1], np.s_[1:]),
        (np.s_[:-1, :-1], np.s_[1:, 1:]),
        (np.s_[:-1, 1:], np.s_[1:, :-1]),
    ):
        meet = (basins[here] != basins[there]) & (basins[here] > 0) & (basins[there] > 0)
        ones.append(basins[here][meet])
        others.append(basins[there][meet])
        heights.append(np.minimum(landscape[here][meet], landscape[there][meet]))
    one, other, saddle = np.concatenate(ones), np.concatenate(others), np.concatenate(heights)
    lower, upper = np.minimum(one, other), np.maximum(one, other)
    order = np.lexsort((upper, lower, -saddle))
    first = np.sort(np.unique((lower.astype(np.int64) * (basins.max() + 1) + upper)[order], return_index=True)[1])
    return lower[order][first], upper[order][first], saddle[order][first]


def _disc(radius_px: int) -> NDArray[np.uint8]:
    """A disc as a window for OpenCV; OpenCV's own ellipse differs between rows and columns."""
    row, col = np.ogrid[-radius_px : radius_px + 1, -radius_px : radius_px + 1]
    return (row**2 + col**2 <= (radius_px + 0.5) ** 2).astype(np.uint8)


def _edge_distance(pieces: Labels) -> Floats:
    """The distance in pixels to the own edge, which lies half a pixel outside the outermost pixels' centres.

    0 in the background. The border of the image is no edge: what lies behind it may be the same nucleus.
    """
    values = pieces.astype(np.float32)  # OpenCV has no 32-bit integers here; exact up to 2**24
    window = np.ones((3, 3), np.uint8)
    inner = (cv2.dilate(values, window) == values) & (cv2.erode(values, window) == values)
    if inner.all():  # one nucleus, or none, fills the image: there is no edge to measure from
        return np.where(pieces > 0, np.float32(0.5), np.float32(0))
    to_outermost = cv2.distanceTransform(inner.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # the last bit of what OpenCV returns changes from call to call; the squares are whole numbers
    distance = np.sqrt(np.rint(np.square(to_outermost))) + np.float32(0.5)
    return np.where(pieces > 0, distance, np.float32(0))


def _depth(pieces: Labels) -> Floats:
    """The distance to the own edge as a fraction of the nucleus's largest: (H, W) float32 in [0, 1]."""
    distance = _edge_distance(pieces)
    deepest = np.full(pieces.max() + 1, 0.5, np.float32)
    np.maximum.at(deepest, pieces.ravel(), distance.ravel())
    return (distance / deepest[pieces]).astype(np.float32, copy=False)


def _encode_border(labels: Labels) -> Floats:
    pieces = _pieces(labels)
    values = pieces.astype(np.float32)
    highest = cv2.dilate(values, _disc(BORDER_PX))
    lowest = cv2.erode(np.where(pieces > 0, values, np.float32(2**24)), _disc(BORDER_PX))
    return ((highest > lowest) & (_depth(pieces) < CORE))[None].astype(np.float32)


def _encode_distance(labels: Labels) -> Floats:
    return _depth(_pieces(labels))[None]


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
