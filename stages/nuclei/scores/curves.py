"""ROC, precision-recall and calibration curves of a histogram of predicted probabilities (see histogram.py).

scikit-learn draws the first two from the occupied bins, weighted by their pixels: the curve of every single pixel, in
the memory of one histogram. Its `calibration_curve` takes no weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from nuclei.scores.histogram import LEVELS
from nuclei.scores.metrics import ratio


def roc_points(histogram: NDArray[Any], most: int = 400) -> NDArray[np.float64]:
    """The ROC curve from (0, 0) to (1, 1), at most `most` points evenly spaced along it.

    Args:
        histogram: (2, LEVELS), background first, nucleus second.
        most: how many points to keep.

    Returns:
        (n, 3) float64: threshold (a pixel counts as nucleus from this probability up; the first is just above 1),
        false positive rate, true positive rate. No point if the truth has no nucleus or no background.
    """
    if not histogram.sum(axis=1).all():
        return np.empty((0, 3))
    fpr, tpr, thresholds = roc_curve(**_weighted(histogram), drop_intermediate=False)
    thresholds[0] = LEVELS / (LEVELS - 1)  # infinity in scikit-learn
    return _thinned(np.stack([thresholds, fpr, tpr], axis=1), most)


def precision_recall_points(histogram: NDArray[Any], most: int = 400) -> NDArray[np.float64]:
    """The precision-recall curve from the highest probability that occurs down, thinned as `roc_points` is.

    Returns:
        (n, 3) float64: threshold, recall, precision. No point if the truth has no nucleus.
    """
    if not histogram[1].any():
        return np.empty((0, 3))
    precision, recall, thresholds = precision_recall_curve(**_weighted(histogram))
    # the last point of scikit-learn's, recall 0 and precision 1, has no threshold
    return _thinned(np.stack([thresholds, recall[:-1], precision[:-1]], axis=1)[::-1], most)


def calibration(histogram: NDArray[Any], bins: int = 20) -> NDArray[np.float64]:
    """How often pixels of each predicted probability are nuclei (a reliability diagram; DeGroot and Fienberg, 1983).

    Returns:
        (bins, 5) float64: lower and upper end of the bin, mean probability, fraction of nucleus pixels, pixels. The
        mean and the fraction are NaN in a bin without pixels.
    """
    levels = np.arange(LEVELS)
    bin_of = np.minimum(levels * bins // (LEVELS - 1), bins - 1)  # probability 1 belongs to the last bin
    both = histogram.sum(axis=0)
    pixels, nucleus, total = (np.bincount(bin_of, counts) for counts in (both, histogram[1], both * levels))
    ends = np.arange(bins + 1) / bins
    return np.stack([ends[:-1], ends[1:], ratio(total, pixels * (LEVELS - 1)), ratio(nucleus, pixels), pixels], axis=1)


def _weighted(histogram: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """The occupied bins as scikit-learn's arguments: class, probability and number of pixels."""
    truth, level = np.nonzero(histogram)
    return {"y_true": truth, "y_score": level / (LEVELS - 1), "sample_weight": histogram[truth, level]}


def _thinned(points: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    """At most `most` of the points (n, 3), evenly spaced along the curve of columns 1 and 2, with both ends."""
    steps = np.hypot(np.diff(points[:, 1]), np.diff(points[:, 2]))
    length = np.append(0.0, np.cumsum(steps))
    kept = np.searchsorted(length, np.linspace(0, length[-1], most))
    return points[np.unique(kept)]
