"""Scores of instances: match predicted nuclei with true ones, count, and compute AP, PQ, AJI, splits and merges.

Two instances match when the intersection over union (IoU) of their pixels reaches a threshold t: IoU >= t, as in
StarDist and COCO. For t > 0.5 no instance can match two others. At exactly 0.5 it can: then the two are its two halves,
and neither of them matches anything else. Either one of them may be taken, so the matching is the largest possible at
every threshold without solving an assignment problem. Thresholds are compared in integers, so that 3/5 reaches 0.60.

Edge cases: if neither truth nor prediction has nuclei, every score is NaN, since there is nothing to score; if only one
of them has, AP, PQ, RQ and AJI are 0. SQ is NaN without a match, recall without a true instance, precision without a
predicted one. A single pixel is a valid instance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nuclei.scores.metrics import ratio

PERCENT = np.arange(50, 100, 5)  # the ten IoU thresholds, in hundredths
DENSE = 2**22  # values below it are counted with an array of all of them, larger ones by sorting
Integers = NDArray[Any]


@dataclass(frozen=True)
class Matches:
    """Counts of one image; their sums over images give the pooled scores.

    Attributes:
        truth, predicted: numbers of instances.
        areas: (truth,) int64, pixels of each true instance, by ascending label.
        hits: (truth,) int64, the number of thresholds (0 to 10) at which each true instance is matched.
        iou_sum: sum of the IoU of all pairs that match at 0.50.
        aji_intersection, aji_union: pixels, see `aji`.
        splits: true nuclei that contain more than half of the area of each of two or more predicted ones.
        merges: predicted nuclei that contain more than half of the area of each of two or more true ones: the
            criterion of the Cell Tracking Challenge (Matula et al., 2015, doi:10.1371/journal.pone.0144959). Splits
            are the same with truth and prediction exchanged.

    Example:
        >>> truth = np.array([[1, 1, 0, 2, 2]])
        >>> matches = match(truth, np.array([[1, 1, 0, 0, 2]]))
        >>> matches.tp[0], matches.ap[0], matches.tp[1], round(matches.map, 2)
        (np.int64(2), np.float64(1.0), np.int64(1), 0.4)
    """

    truth: int
    predicted: int
    areas: NDArray[np.int64]
    hits: NDArray[np.int64]
    iou_sum: float
    aji_intersection: int
    aji_union: int
    splits: int
    merges: int

    @property
    def tp(self) -> NDArray[np.int64]:
        """(10,) int64: matched pairs at each threshold of PERCENT."""
        matched: NDArray[np.int64] = (self.hits[:, None] > np.arange(len(PERCENT))).sum(axis=0, dtype=np.int64)
        return matched

    @property
    def fp(self) -> NDArray[np.int64]:
        """(10,) int64: predicted instances without a match."""
        return self.predicted - self.tp

    @property
    def fn(self) -> NDArray[np.int64]:
        """(10,) int64: true instances without a match."""
        return self.truth - self.tp

    @property
    def ap(self) -> NDArray[np.float64]:
        """(10,) float64: TP / (TP + FP + FN), the competition's "precision" at each threshold."""
        scores: NDArray[np.float64] = ratio(self.tp, self.truth + self.predicted - self.tp)
        return scores

    @property
    def map(self) -> float:
        """Mean of `ap` over the ten thresholds: the score of the 2018 Data Science Bowl for one image."""
        return float(self.ap.mean())

    @property
    def precision(self) -> float:
        """Fraction of the predicted instances that match at 0.50."""
        return float(ratio(self.tp[0], self.predicted))

    @property
    def recall(self) -> float:
        """Fraction of the true instances that match at 0.50."""
        return float(ratio(self.tp[0], self.truth))

    @property
    def sq(self) -> float:
        """Segmentation quality: mean IoU of the pairs that match at 0.50 (Kirillov et al., 2019)."""
        return float(ratio(self.iou_sum, self.tp[0]))

    @property
    def rq(self) -> float:
        """Recognition quality: TP / (TP + FP / 2 + FN / 2) at 0.50, the F1 of the instances."""
        return float(ratio(2 * self.tp[0], self.truth + self.predicted))

    @property
    def pq(self) -> float:
        """Panoptic quality: SQ times RQ, and 0 where nothing matches (Kirillov et al., 2019)."""
        return float(ratio(2 * self.iou_sum, self.truth + self.predicted))

    @property
    def aji(self) -> float:
        """Aggregated Jaccard index (Kumar et al., 2017, algorithm 1).

        Each true instance is paired with the predicted one of highest IoU, which may be paired several times. The
        pixels of all intersections are divided by the pixels of all unions plus those of the unpaired instances, true
        and predicted. If several have the highest IoU, the lowest label is taken; the paper leaves this open.
        """
        return float(ratio(self.aji_intersection, self.aji_union))


@dataclass(frozen=True)
class Overlaps:
    """The instances of two label maps, and the pairs of them that share at least one pixel.

    Attributes:
        true_labels, predicted_labels: (T,) and (P,), ascending.
        true_areas, predicted_areas: (T,) and (P,) int64, in pixels.
        t, p: (N,) int64, the pairs, by ascending true, then predicted label: indices into the lists above.
        shared, union: (N,) int64, pixels of each pair.
        matched: (M,) int64, indices of the pairs that match at IoU 0.50, each instance in one of them at most.
        predicted_inside: (N,) bool, the predicted instance lies in the true one by more than half of its own area.
        true_inside: (N,) bool, the same with the roles exchanged.
        split: (T,) bool, true instances that contain two or more predicted ones in this sense.
        merged: (P,) bool, predicted instances that contain two or more true ones.
    """

    true_labels: Integers
    predicted_labels: Integers
    true_areas: NDArray[np.int64]
    predicted_areas: NDArray[np.int64]
    t: NDArray[np.int64]
    p: NDArray[np.int64]
    shared: NDArray[np.int64]
    union: NDArray[np.int64]
    matched: NDArray[np.int64]
    predicted_inside: NDArray[np.bool_]
    true_inside: NDArray[np.bool_]
    split: NDArray[np.bool_]
    merged: NDArray[np.bool_]


def overlaps(truth: Integers, predicted: Integers) -> Overlaps:
    """Find which instances of two label maps overlap, match, are split or merged; arguments and errors as `match`."""
    if truth.shape != predicted.shape:
        raise ValueError(f"the truth is {truth.shape}, the prediction {predicted.shape}: they must be alike")
    true_labels, true_areas = _instances(truth)
    predicted_labels, predicted_areas = _instances(predicted)
    t, p, shared = _shared(truth, predicted)
    t, p = np.searchsorted(true_labels, t), np.searchsorted(predicted_labels, p)
    union = true_areas[t] + predicted_areas[p] - shared
    matched = np.flatnonzero(2 * shared >= union)
    matched = matched[np.unique(t[matched], return_index=True)[1]]  # of two halves one
    matched = matched[np.unique(p[matched], return_index=True)[1]]
    predicted_inside, true_inside = 2 * shared > predicted_areas[p], 2 * shared > true_areas[t]
    return Overlaps(
        true_labels,
        predicted_labels,
        true_areas,
        predicted_areas,
        t,
        p,
        shared,
        union,
        matched,
        predicted_inside,
        true_inside,
        split=np.bincount(t[predicted_inside], minlength=len(true_labels)) >= 2,
        merged=np.bincount(p[true_inside], minlength=len(predicted_labels)) >= 2,
    )


def match(truth: Integers, predicted: Integers) -> Matches:
    """Match the instances of two label maps.

    Args:
        truth, predicted: (H, W) integers of the same shape, 0 = background; labels may have gaps and go up to
            4,294,967,295.

    Raises:
        ValueError: the shapes differ, or a label is negative.
    """
    pairs = overlaps(truth, predicted)
    t, p, shared, union, matched = pairs.t, pairs.p, pairs.shared, pairs.union, pairs.matched
    hits = np.zeros(len(pairs.true_labels), dtype=np.int64)
    hits[t[matched]] = np.count_nonzero(100 * shared[matched, None] >= PERCENT * union[matched, None], axis=1)

    best = np.lexsort((p, -shared / union, t))
    best = best[np.unique(t[best], return_index=True)[1]]  # of each true instance the pair of highest IoU
    alone = np.ones(len(pairs.true_labels), dtype=bool)
    alone[t[best]] = False
    unused = np.ones(len(pairs.predicted_labels), dtype=bool)
    unused[p[best]] = False
    return Matches(
        truth=len(pairs.true_labels),
        predicted=len(pairs.predicted_labels),
        areas=pairs.true_areas,
        hits=hits,
        iou_sum=float((shared[matched] / union[matched]).sum()),
        aji_intersection=int(shared[best].sum()),
        aji_union=int(union[best].sum() + pairs.true_areas[alone].sum() + pairs.predicted_areas[unused].sum()),
        splits=int(np.count_nonzero(pairs.split)),
        merges=int(np.count_nonzero(pairs.merged)),
    )


def is_true(truth: Integers, predicted: Integers) -> NDArray[np.bool_]:
    """Which predicted instances, (P,) by ascending label, match a true one at IoU 0.50; arguments as for `match`."""
    pairs = overlaps(truth, predicted)
    found = np.zeros(len(pairs.predicted_labels), dtype=bool)
    found[pairs.p[pairs.matched]] = True
    return found


def _instances(labels: Integers) -> tuple[Integers, NDArray[np.int64]]:
    """The labels that occur, ascending, and the pixels of each."""
    if labels.min(initial=0) < 0:
        raise ValueError(f"a label map holds the label {labels.min()}: labels start at 0, the background")
    return _occurrences(labels[labels > 0].astype(np.uint64), int(labels.max(initial=0)))


def _shared(truth: Integers, predicted: Integers) -> tuple[Integers, Integers, NDArray[np.int64]]:
    """Labels of the instances that share pixels, by ascending true, then predicted label; and how many they share."""
    both = (truth > 0) & (predicted > 0)
    base = int(predicted.max(initial=0)) + 1
    # two labels below 2**32 fit into one 64-bit integer
    codes = truth[both].astype(np.uint64) * np.uint64(base) + predicted[both].astype(np.uint64)
    values, counts = _occurrences(codes, int(truth.max(initial=0)) * base + base)
    t, p = np.divmod(values.astype(np.uint64), np.uint64(base))
    return t, p, counts


def _occurrences(values: Integers, high: int) -> tuple[Integers, NDArray[np.int64]]:
    """The distinct values, ascending, and how often each occurs; no value exceeds `high`."""
    if high < DENSE:
        counts = np.bincount(values.astype(np.int64))
        distinct: Integers = np.flatnonzero(counts)
        return distinct.astype(np.uint64), counts[distinct].astype(np.int64)
    distinct, counts = np.unique(values, return_counts=True)
    return distinct, counts.astype(np.int64)
