"""How the network's maps become a label map: a watershed over the foreground whose shallow cuts are undone.

The maps are read as a landscape that is high in the middle of a nucleus and low between two of them. With the target
`distance` it is foreground times distance, with `border` foreground times one minus border, and without a second head
the distance to the background (a distance-transform watershed). The foreground is cut along every valley of it, and
neighbouring basins are merged again where the saddle between them is nearly as high as the lower of their peaks.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from skimage.morphology import local_maxima
from skimage.segmentation import watershed

from nuclei.network.components import Floats, Labels, Mask, components, edge_distance, renumber
from nuclei.network.targets import TARGETS

SMOOTHING_PX = 0.7  # of a landscape, so that noise and plateaus make no valleys


@dataclass(frozen=True)
class Thresholds:
    """The decision thresholds: found by the search on val and stored beside the weights.

    Attributes:
        foreground: probability from which a pixel belongs to a nucleus.
        saddle_ratio: in [0, 1]; two peaks of the landscape are two nuclei if the saddle between them is lower than
            this fraction of the lower peak. 0 cuts nothing, so that "none" gives connected components.
        min_area_px: a smaller nucleus is merged into the neighbour with which it shares the highest saddle; without
            a neighbour it is dropped.
    """

    foreground: float
    saddle_ratio: float
    min_area_px: int


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
    return OverSegmentation(target, foreground, maps, thresholds.foreground).label(
        thresholds.saddle_ratio, thresholds.min_area_px
    )


def landscape(target: str, foreground: Floats, maps: Floats) -> Floats:
    """Combine both heads' maps, (H, W) and (1, H, W), into one in [0, 1] that is high in the middle of a nucleus."""
    return foreground * (1 - maps[0] if target == "border" else maps[0])


class OverSegmentation:
    """The foreground of one image at one threshold, cut into one basin for each peak of the landscape.

    Cutting takes most of the time and depends on the foreground threshold alone, so the search, which tries many
    values of the other two, makes one of these and calls `label` for each pair.

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
        heights = edge_distance(components(self.inside)) if maps is None else landscape(target, foreground, maps)
        smooth = cv2.GaussianBlur(np.where(self.inside, heights, np.float32(0)), (0, 0), SMOOTHING_PX)
        self.basins = _Basins(smooth.astype(np.float32, copy=False), self.inside)

    def label(self, saddle_ratio: float, min_area_px: int) -> Labels:
        """The label map at these thresholds: see `label` and `Thresholds`."""
        if not self.inside.any():
            return np.zeros(self.inside.shape, np.uint16)
        parts = components(self.basins.merged(saddle_ratio, min_area_px))
        return renumber(parts, np.bincount(parts.ravel()) >= min_area_px)


class _Basins:
    """A watershed of `inside` from every peak of a landscape, whose basins can be merged again.

    Args:
        landscape: (H, W) float32, high in the middle of a nucleus.
        inside: (H, W) bool, what is cut.
    """

    def __init__(self, landscape: Floats, inside: Mask) -> None:
        # lower outside, so that every component of `inside` has a peak, even where it is flat and its neighbours high
        isolated = np.pad(np.where(inside, landscape, np.float32(-1)), 1, constant_values=-1)
        peaks = components(local_maxima(isolated, connectivity=2))[1:-1, 1:-1]
        self.labels = watershed(-landscape, markers=peaks, connectivity=2, mask=inside)
        count = int(self.labels.max()) + 1
        peak = np.zeros(count, np.float32)
        np.maximum.at(peak, self.labels.ravel(), landscape.ravel())
        self.peak = peak.tolist()
        self.area_px = np.bincount(self.labels.ravel(), minlength=count).tolist()
        self.saddles = [side.tolist() for side in saddles(self.labels, landscape)]

    def merged(self, saddle_ratio: float, min_area_px: int) -> Labels:
        """Merge basins that are separated by a shallow valley.

        The saddle of two basins is the highest point of the border between them. From the highest saddle to the
        lowest, its two basins are merged if it is at least `saddle_ratio` times as high as the lower of their peaks,
        or if the basin of the lower peak has fewer than `min_area_px` pixels. This is the dynamics of Grimaud (1992)
        as a ratio: where a network is uncertain of a nucleus, it lowers the peak and the saddles in proportion.
        """
        peak, area_px = self.peak, self.area_px.copy()
        owner = list(range(len(peak)))  # union-find: each basin points to one that it was merged into, a root to itself

        def root(basin: int) -> int:
            while owner[basin] != basin:
                owner[basin] = basin = owner[owner[basin]]
            return basin

        for one, other, saddle in zip(*self.saddles, strict=True):
            high, low = root(one), root(other)
            if peak[high] < peak[low]:
                high, low = low, high
            if high != low and (saddle >= saddle_ratio * peak[low] or area_px[low] < min_area_px):
                owner[low] = high
                area_px[high] += area_px[low]
        return np.array([root(basin) for basin in range(len(owner))])[self.labels]


def saddles(basins: Labels, landscape: Floats) -> tuple[Labels, Labels, Floats]:
    """The pairs of basins that touch, and the height of the saddle of each pair, from the highest to the lowest."""
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
    pair = lower.astype(np.int64) * (int(basins.max()) + 1) + upper
    first = np.sort(np.unique(pair[order], return_index=True)[1])
    return lower[order][first], upper[order][first], saddle[order][first]
