"""Scores of pixels: counts and their ratios, and histograms of the foreground probability with their curves.

What is counted can be summed over images, and every ratio is computed once, from counts or from their sums. The
functions take numbers and arrays alike, so that one formula serves one image, all images, and a bootstrap.

Where a ratio is 0 / 0 there is nothing to score, and the result is NaN, neither 0 nor 1:

    =========================  =======================================================
    no nucleus in the truth    recall, AUC and average precision are NaN
    none in the prediction     precision is NaN
    neither in either          Dice, IoU, F1 are NaN too; accuracy is 1
    nucleus in every pixel     AUC is NaN: there is no background to rank below it
    =========================  =======================================================

A truth without nuclei in which something is predicted has Dice, IoU and precision 0; accuracy is always defined.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVELS = 65_536  # of a stored score: uint16, the probability times 65,535
Values = Any  # a number, or an array of numbers; the formulas broadcast


def ratio(numerator: Values, denominator: Values) -> Values:
    """`numerator / denominator`, NaN where the denominator is 0."""
    denominator = np.asarray(denominator, dtype=np.float64)
    return np.divide(numerator, np.where(denominator == 0, np.nan, denominator))[()]


@dataclass(frozen=True)
class PixelCounts:
    """Pixels by truth and prediction, of one image or summed over many; or arrays of such counts.

    Attributes:
        tp: nucleus, predicted as such.
        fp: background predicted as nucleus.
        fn: nucleus predicted as background.
        tn: background, predicted as such.

    Example:
        >>> counts = pixel_counts(np.array([[1, 1, 0]]) > 0, np.array([[1, 0, 0]]) > 0)
        >>> counts.dice, counts.iou
        (0.6666666666666666, 0.5)
    """

    tp: Values
    fp: Values
    fn: Values
    tn: Values

    def __add__(self, other: PixelCounts) -> PixelCounts:
        return PixelCounts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn)

    @property
    def dice(self) -> Values:
        """Dice (1945), 2 TP / (2 TP + FP + FN): the F1 of the pixels of class nucleus."""
        return ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def iou(self) -> Values:
        """Intersection over union (Jaccard, 1912), TP / (TP + FP + FN)."""
        return ratio(self.tp, self.tp + self.fp + self.fn)

    @property
    def precision(self) -> Values:
        """TP / (TP + FP)."""
        return ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> Values:
        """TP / (TP + FN)."""
        return ratio(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> Values:
        """Harmonic mean of precision and recall, which is Dice."""
        return self.dice

    @property
    def f1_weighted(self) -> Values:
        """Mean of the F1 of both classes, each weighted by its pixels in the truth, as in scikit-learn."""
        nucleus, background = self.tp + self.fn, self.fp + self.tn
        of_nucleus = np.where(nucleus == 0, 0.0, nucleus * self.dice)  # a class without pixels has no weight
        of_background = np.where(background == 0, 0.0, background * self.inverted.dice)
        return ratio(of_nucleus + of_background, nucleus + background)

    @property
    def accuracy(self) -> Values:
        """Fraction of all pixels that are right."""
        return ratio(self.tp + self.tn, self.tp + self.fp + self.fn + self.tn)

    @property
    def inverted(self) -> PixelCounts:
        """The same counts with background as the class that is sought."""
        return PixelCounts(tp=self.tn, fp=self.fn, fn=self.fp, tn=self.tp)


def pixel_counts(truth: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> PixelCounts:
    """Count the pixels of two masks of the same shape, (H, W) bool, True = nucleus."""
    if truth.shape != predicted.shape:
        raise ValueError(f"the truth is {truth.shape}, the prediction {predicted.shape}: they must be alike")
    tp = int(np.count_nonzero(truth & predicted))
    fp = int(np.count_nonzero(predicted)) - tp
    fn = int(np.count_nonzero(truth)) - tp
    return PixelCounts(tp, fp, fn, truth.size - tp - fp - fn)


def score_histogram(truth: NDArray[np.bool_], scores: NDArray[np.uint16]) -> NDArray[np.int64]:
    """How many pixels have each score: (2, LEVELS) int64, first the background's, then the nuclei's.

    Histograms of many images are summed: the curves of all pixels then need 1 MB, however many there are.

    Args:
        truth: (H, W) bool, True = nucleus.
        scores: (H, W) uint16, the probability of nucleus times 65,535.
    """
    counts = np.bincount((scores + np.int64(LEVELS) * truth).ravel(), minlength=2 * LEVELS)
    return counts.astype(np.int64).reshape(2, LEVELS)


def _log_odds_edges(steps: int) -> NDArray[np.int64]:
    odds = np.exp(np.linspace(-1, 1, steps) * np.log(2 * LEVELS))
    return np.unique(np.rint((LEVELS - 1) * odds / (1 + odds)).astype(np.int64))


COARSE = _log_odds_edges(1536)  # the first score of each bin


def coarse(histogram: NDArray[np.int64]) -> NDArray[np.int64]:
    """Merge the LEVELS bins of (..., 2, LEVELS) into about a thousand, evenly spaced in log-odds.

    A network's scores crowd near 0 and 1, where the bins stay as fine as the scores are. For a bootstrap over
    images, which needs every image's histogram at once.
    """
    return np.add.reduceat(histogram, COARSE, axis=-1)


def auc(histogram: NDArray[Any]) -> Values:
    """Area under the ROC curve, exact for the scores as binned: P(nucleus above background) + P(equal) / 2.

    Mann and Whitney (1947). NaN where a class has no pixels.

    Args:
        histogram: (..., 2, bins), by ascending score: background, nucleus.
    """
    negatives, positives = _classes(histogram)
    below = np.cumsum(negatives, axis=-1) - negatives / 2
    return ratio((positives * below).sum(axis=-1), positives.sum(axis=-1) * negatives.sum(axis=-1))


def average_precision(histogram: NDArray[Any]) -> Values:
    """Sum of the precision at each score, weighted by the gain in recall there: scikit-learn's definition.

    NaN where the truth has no nucleus. Arguments as for `auc`.
    """
    negatives, positives = _classes(histogram)
    tp, fp = _from_above(positives), _from_above(negatives)
    gained = positives * np.nan_to_num(ratio(tp, tp + fp))  # above the highest score neither has pixels
    return ratio(gained.sum(axis=-1), positives.sum(axis=-1))


def roc_points(histogram: NDArray[Any], most: int = 400) -> NDArray[np.float64]:
    """The ROC curve from (0, 0) to (1, 1), at most `most` points evenly spaced along it.

    Args:
        histogram: (2, LEVELS).
        most: points.

    Returns:
        (n, 3) float64: threshold (a pixel counts as nucleus from this probability up; the first one is just above
        1), false positive rate, true positive rate. No point where a class has no pixels.
    """
    thresholds, tp, fp = _counts_by_threshold(histogram)
    if not (tp[-1] and fp[-1]):
        return np.empty((0, 3))
    return _thinned(np.stack([thresholds, fp / fp[-1], tp / tp[-1]], axis=1), most)


def precision_recall_points(histogram: NDArray[Any], most: int = 400) -> NDArray[np.float64]:
    """The precision-recall curve from the highest score that occurs down, as `roc_points`.

    Returns:
        (n, 3) float64: threshold, recall, precision. No point where the truth has no nucleus.
    """
    thresholds, tp, fp = _counts_by_threshold(histogram)
    if not tp[-1]:
        return np.empty((0, 3))
    some = tp + fp > 0
    points = np.stack([thresholds, tp / tp[-1], ratio(tp, tp + fp)], axis=1)
    return _thinned(points[some], most)


def calibration(histogram: NDArray[Any], bins: int = 20) -> NDArray[np.float64]:
    """How often pixels of each predicted probability are nuclei (a reliability diagram; DeGroot and Fienberg, 1983).

    Returns:
        (bins, 5) float64: low and high of the bin, mean probability, fraction of nucleus pixels, pixels. The means
        are NaN where there are none.
    """
    score = np.arange(LEVELS)
    edges = np.searchsorted(score * bins, np.arange(bins) * (LEVELS - 1))  # 1 belongs to the last bin
    negatives, positives = _classes(histogram)
    pixels = np.add.reduceat(negatives + positives, edges)
    means = ratio(np.add.reduceat((negatives + positives) * score, edges), pixels * (LEVELS - 1))
    fractions = ratio(np.add.reduceat(positives, edges), pixels)
    low = np.arange(bins) / bins
    return np.stack([low, np.arange(1, bins + 1) / bins, means, fractions, pixels], axis=1)


def _classes(histogram: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    counts = np.asarray(histogram, dtype=np.float64)
    return counts[..., 0, :], counts[..., 1, :]


def _from_above(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pixels at or above each score."""
    return np.cumsum(counts[..., ::-1], axis=-1)[..., ::-1]


def _counts_by_threshold(histogram: NDArray[Any]) -> tuple[NDArray[np.float64], ...]:
    """Threshold, TP and FP, each (LEVELS + 1,), from the threshold above every score down to 0."""
    negatives, positives = _classes(histogram)
    thresholds = np.arange(LEVELS, -1, -1) / (LEVELS - 1)
    tp, fp = (np.append(0.0, np.cumsum(counts[::-1])) for counts in (positives, negatives))
    return thresholds, tp, fp


def _thinned(points: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    """At most `most` of the points (n, 3), evenly spaced along the curve of columns 1 and 2, with both ends."""
    steps = np.hypot(np.diff(points[:, 1]), np.diff(points[:, 2]))
    length = np.append(0.0, np.cumsum(steps))
    chosen = np.searchsorted(length, np.linspace(0, length[-1], most))
    return points[np.unique(chosen)]
