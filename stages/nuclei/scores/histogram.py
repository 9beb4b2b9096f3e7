"""Histograms of the predicted probability, and the scores that rank pixels by it.

The stored probabilities have 65,536 levels, so the histogram of nucleus and background pixels loses nothing: AUC and
average precision computed from it are exact, and it takes 1 MB for any number of images. Both are written here because
a bootstrap needs them for thousands of histograms at once; scikit-learn, which takes one at a time and 250 times as
long, is what the tests compare them with.

AUC is NaN where the truth has no nucleus or no background, average precision where it has no nucleus.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nuclei.scores.metrics import Values, ratio

LEVELS = 65_536  # of a stored probability: uint16, the probability times 65,535


def score_histogram(truth: NDArray[np.bool_], scores: NDArray[np.uint16]) -> NDArray[np.int64]:
    """Count the pixels at each level: (2, LEVELS) int64, background first, nucleus second.

    The histogram of several images is the sum of theirs.

    Args:
        truth: (H, W) bool, True = nucleus.
        scores: (H, W) uint16, the probability of nucleus times 65,535.
    """
    counts = np.bincount((scores + np.int64(LEVELS) * truth).ravel(), minlength=2 * LEVELS)
    return counts.astype(np.int64).reshape(2, LEVELS)


def _log_odds_edges(steps: int) -> NDArray[np.int64]:
    odds = np.exp(np.linspace(-1, 1, steps) * np.log(2 * LEVELS))
    return np.unique(np.rint((LEVELS - 1) * odds / (1 + odds)).astype(np.int64))


COARSE = _log_odds_edges(1536)  # the first level of each coarse bin


def coarse(histogram: NDArray[np.int64]) -> NDArray[np.int64]:
    """Merge the LEVELS bins of (..., 2, LEVELS) into about a thousand, evenly spaced in log-odds.

    A network's probabilities crowd near 0 and 1; there the bins are as narrow as the levels. The bootstrap holds the
    histograms of all images at once, which at full resolution would take 1 MB an image.
    """
    return np.add.reduceat(histogram, COARSE, axis=-1)


def auc(histogram: NDArray[Any]) -> Values:
    """Area under the ROC curve: P(nucleus above background) + P(equal) / 2 (Mann and Whitney, 1947).

    Args:
        histogram: (..., 2, bins), background first, nucleus second, by ascending probability.

    Returns:
        (...) float64.
    """
    background, nucleus = np.moveaxis(np.asarray(histogram, dtype=np.float64), -2, 0)
    below = np.cumsum(background, axis=-1) - background / 2
    return ratio((nucleus * below).sum(axis=-1), nucleus.sum(axis=-1) * background.sum(axis=-1))


def average_precision(histogram: NDArray[Any]) -> Values:
    """Precision at each level, averaged with the gain in recall there as weight: scikit-learn's definition.

    Args and Returns:
        As for `auc`.
    """
    background, nucleus = np.moveaxis(np.asarray(histogram, dtype=np.float64), -2, 0)
    tp, fp = (np.cumsum(counts[..., ::-1], axis=-1)[..., ::-1] for counts in (nucleus, background))
    weighted = nucleus * np.nan_to_num(ratio(tp, tp + fp))  # no pixel has a level above the highest that occurs
    return ratio(weighted.sum(axis=-1), nucleus.sum(axis=-1))
