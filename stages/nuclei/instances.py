"""What the second head of the network learns, and how its maps and the foreground become a label map.

A target turns a label map into maps that a network can learn (`encode`) and says where their loss counts (`weight`).
`label` goes the other way. It reads the maps as a landscape that is high in the middle of a nucleus and low between
two of them, and cuts the foreground along the valleys that are deep enough.

| target   | maps | each pixel says                                           | after                                 |
|----------|------|-----------------------------------------------------------|---------------------------------------|
| border   | 1    | whether it lies between two nuclei that (nearly) touch    | winners of the Data Science Bowl 2018 |
| distance | 1    | how far inside its nucleus it lies: 1 in the middle       | Bai and Urtasun 2017, deep watershed  |
| flows    | 2    | in which direction (row, col) the middle of its nucleus is | Stringer et al. 2021, Cellpose       |
| none     | 0    | nothing: the landscape is the distance to the background  | distance-transform watershed          |

A nucleus is an 8-connected piece of one label, in the maps as in the result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.graph import MCP_Geometric
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
DOUBLINGS = 7  # the flow is followed for 2**DOUBLINGS pixels
LOOK_AHEAD_PX = 4  # how far along a bent way the flow looks for its direction
SIGHT_SAMPLES = 8  # between a pixel and the middle of its nucleus, to see whether the straight way stays inside


@dataclass(frozen=True)
class Target:
    """One kind of map that the second head can learn.

    Attributes:
        name: as in `train.instances` of params.yaml.
        channels: C, the number of maps.
        loss: between the activated maps and `encode`, pixel by pixel, averaged with the weights of `weight`.
        activation: what the head's raw output goes through, in training and before `label`.
        encode: (H, W) labels -> (C, H, W) float32, in [0, 1] for sigmoid, in [-1, 1] for tanh.
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
        maps: (C, H, W) float32, activated, as `Target.encode` makes them; None for "none".
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
        channels = 0 if target == "none" else TARGETS[target].channels if target in TARGETS else None
        if channels is None:
            raise ValueError(f"target: got {target!r}, expected one of {['none', *TARGETS]}")
        if (None if maps is None else maps.shape) != ((channels, *foreground.shape) if channels else None):
            got = None if maps is None else maps.shape
            raise ValueError(f"maps of target {target!r}: got {got}, expected {channels} of {foreground.shape}")
        self.inside = foreground >= threshold
        self.ends: NDArray[np.intp] | None = None  # where the flow leads from each pixel inside
        if not self.inside.any():
            return
        if target == "flows" and maps is not None:
            self.ends = _ends(maps, self.inside)
            mass = np.bincount(self.ends, minlength=self.inside.size).astype(np.float32).reshape(self.inside.shape)
            landscape = _blurred(mass, 1)
            self.basins = _Basins(landscape, landscape > 0, mass)
            return
        if maps is None:
            landscape = _edge_distance(_pieces(self.inside))
        else:
            landscape = foreground * (1 - maps[0] if target == "border" else maps[0])
        smooth = _blurred(np.where(self.inside, landscape, 0), SMOOTHING_PX)
        self.basins = _Basins(smooth, self.inside, self.inside)

    def label(self, seed: float, min_area_px: int) -> Labels:
        """The label map at these thresholds: see `label` and `Thresholds`."""
        if not self.inside.any():
            return np.zeros(self.inside.shape, np.uint16)
        labels = self.basins.joined(seed, min_area_px)
        if self.ends is not None:
            labels = _gathered(labels, self.ends, self.inside)
        pieces = _pieces(labels)
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
        mass: (H, W), what each pixel adds to the area of its piece.
    """

    def __init__(self, landscape: Floats, inside: Mask, mass: NDArray[Any]) -> None:
        # lower all around, so that every piece of `inside` has a peak, however flat it is and high its neighbours
        alone = np.pad(np.where(inside, landscape, np.float32(-1)), 1, constant_values=-1)
        peaks = _pieces(local_maxima(alone, connectivity=2))[1:-1, 1:-1]
        self.labels = watershed(-landscape, markers=peaks, connectivity=2, mask=inside)
        count = int(self.labels.max()) + 1
        peak = np.zeros(count, np.float32)
        np.maximum.at(peak, self.labels.ravel(), landscape.ravel())
        self.peak = peak.tolist()
        self.mass = np.bincount(self.labels.ravel(), mass.ravel(), count).tolist()
        self.passes = [side.tolist() for side in _passes(self.labels, landscape)]

    def joined(self, seed: float, min_area_px: int) -> Labels:
        """Undo the cuts that are not deep enough.

        Two basins meet at a pass, the highest point of the ridge between them. From the highest pass to the lowest,
        the two that meet there are joined when the pass is at least `seed` times as high as the lower of their peaks,
        or when the basin of that peak holds less than `min_area_px` of mass. (The dynamics of Grimaud 1992, as a
        ratio: a network that is unsure of a nucleus lowers its peak and its passes alike.)
        """
        peak, mass = self.peak, self.mass.copy()
        owner = list(range(len(peak)))  # a forest: each basin points to one that it was joined with, a root to itself

        def root(basin: int) -> int:
            while owner[basin] != basin:
                owner[basin] = basin = owner[owner[basin]]
            return basin

        for one, other, saddle in zip(*self.passes, strict=True):
            high, low = root(one), root(other)
            if peak[high] < peak[low]:
                high, low = low, high
            if high != low and (saddle >= seed * peak[low] or mass[low] < min_area_px):
                owner[low] = high
                mass[high] += mass[low]
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


def _ends(flows: Floats, inside: Mask) -> NDArray[np.intp]:
    """Follow the flow from every pixel of `inside`: (N,) the flat index of the pixel where each way ends.

    Each round doubles the way: from where a pixel has come, it goes on as the pixel there has gone. A pixel that a
    step, rounded, has led out of the foreground stays there.
    """
    start = np.stack(np.nonzero(inside)).astype(np.float32)  # (2, N)
    limit = np.array(inside.shape)[:, None] - 1
    way = np.where(inside, flows, 0).reshape(2, -1)
    here = np.flatnonzero(inside)

    def stop() -> NDArray[np.intp]:
        row, col = np.clip(np.rint(start + way[:, here]), 0, limit).astype(np.intp)
        return row * inside.shape[1] + col

    for _ in range(DOUBLINGS):
        way[:, here] += way[:, stop()]
    return stop()


def _gathered(places: Labels, ends: NDArray[np.intp], inside: Mask) -> Labels:
    """Pixels that end in one place are one nucleus; one that ends outside joins the nucleus it touches, if any."""
    labels, arrivals = np.zeros(inside.shape, places.dtype), np.zeros(inside.shape, places.dtype)
    labels[inside] = places.ravel()[ends]
    arrivals[inside] = labels[inside] * inside.ravel()[ends]
    joined = watershed(np.zeros(inside.shape, np.uint8), markers=arrivals, connectivity=2, mask=inside)
    return np.where(joined > 0, joined, labels)


def _blurred(image: Floats, sigma_px: float) -> Floats:
    return cv2.GaussianBlur(image.astype(np.float32), (0, 0), sigma_px).astype(np.float32, copy=False)


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


def _encode_flows(labels: Labels) -> Floats:
    """Unit vectors straight to the pixel nearest to the nucleus's mean, or, where that way leaves it, around."""
    pieces = _pieces(labels)
    flows = np.zeros((2, *pieces.shape), np.float32)
    place = np.stack(np.nonzero(pieces))  # (2, N)
    owner = pieces[tuple(place)]
    count = int(pieces.max()) + 1
    mean = np.stack([np.bincount(owner, axis, count) for axis in place]) / np.bincount(owner, minlength=count).clip(1)
    order = np.lexsort((np.square(place - mean[:, owner]).sum(0), owner))
    middle = np.zeros((2, count), np.int64)
    middle[:, 1:] = place[:, order[np.searchsorted(owner[order], np.arange(1, count))]]
    way = middle[:, owner] - place
    flows[:, place[0], place[1]] = way / np.maximum(np.hypot(*way), 1)

    hidden = np.zeros(len(owner), bool)
    for part in np.arange(1, SIGHT_SAMPLES) / SIGHT_SAMPLES:
        hidden |= pieces[tuple(np.rint(place + part * way).astype(np.intp))] != owner
    for bent in np.unique(owner[hidden]):
        mine = np.stack(np.nonzero(pieces == bent))
        low, high = mine.min(1), mine.max(1) + 1
        box = np.s_[low[0] : high[0], low[1] : high[1]]
        flows[:, mine[0], mine[1]] = _way_around(pieces[box] == bent, middle[:, bent] - low)
    return flows


def _way_around(nucleus: Mask, middle: NDArray[np.int64]) -> Floats:
    """(2, N) unit vectors along the shortest ways to `middle` within one nucleus, for its pixels in reading order."""
    search = MCP_Geometric(np.where(nucleus, 1.0, -1.0))  # negative: no way through
    _, step = search.find_costs([tuple(middle)])
    place = np.stack(np.nonzero(nucleus))
    taken = step[tuple(place)]
    before = place - np.where(taken >= 0, np.array(search.offsets)[taken].T, 0)
    index = np.zeros(nucleus.shape, np.intp)
    index[tuple(place)] = np.arange(place.shape[1])
    next_pixel = index[tuple(before)]
    ahead = np.arange(place.shape[1])
    for _ in range(LOOK_AHEAD_PX):
        ahead = next_pixel[ahead]
    way = place[:, ahead] - place
    return (way / np.maximum(np.hypot(*way), 1)).astype(np.float32)


def _weight_near(labels: Labels) -> Floats:
    """1 on the nuclei and around them, `FAR_WEIGHT` farther away."""
    near = cv2.dilate((labels > 0).astype(np.uint8), _disc(NEAR_PX)) > 0
    return np.where(near, np.float32(1), np.float32(FAR_WEIGHT))


def _weight_inside(labels: Labels) -> Floats:
    """1 on the nuclei, 0 elsewhere: the background has no middle to flow to."""
    return (labels > 0).astype(np.float32)


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("border", 1, "bce", "sigmoid", _encode_border, _weight_near),
        Target("distance", 1, "l1", "sigmoid", _encode_distance, _weight_near),
        Target("flows", 2, "l1", "tanh", _encode_flows, _weight_inside),
    )
}
