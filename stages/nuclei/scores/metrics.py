"""Scores of pixels: counts of two masks, and the ratios that follow from them.

Counts add up over images, and each ratio is computed once: from the counts of one image, or from their sum. Every
formula takes numbers or arrays, so the same code scores one image, a whole part or thousands of bootstrap resamples.

Where a ratio is 0 / 0 there is nothing to score, and the result is NaN, neither 0 nor 1:

    =========================  ======================================
    no nucleus in the truth    recall is NaN
    none in the prediction     precision is NaN
    neither in either          Dice, IoU and F1 are NaN as well
    =========================  ======================================

If something is predicted where the truth has no nucleus, Dice, IoU, F1 and precision are 0. Accuracy is always defined.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = Any  # a number, or an array of numbers; the formulas broadcast


def ratio(numerator: Values, denominator: Values) -> Values:
    """`numerator / denominator`, NaN where the denominator is 0."""
    denominator = np.asarray(denominator, dtype=np.float64)
    return np.divide(numerator, np.where(denominator == 0, np.nan, denominator))[()]


@dataclass(frozen=True)
class PixelCounts:
    """The confusion matrix of the pixels of one image or of many; each count may be an array, one entry per resample.

    Attributes:
        tp: nucleus pixels predicted as nucleus.
        fp: background pixels predicted as nucleus.
        fn: nucleus pixels predicted as background.
        tn: background pixels predicted as background.

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
        """Dice coefficient (Dice, 1945), 2 TP / (2 TP + FP + FN): the F1 of the class nucleus."""
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
        """Harmonic mean of precision and recall, which equals Dice."""
        return self.dice

    @property
    def f1_weighted(self) -> Values:
        """Mean F1 of nucleus and background, weighted by their pixels in the truth: scikit-learn's "weighted" F1."""
        nucleus, background = self.tp + self.fn, self.fp + self.tn
        of_nucleus = np.where(nucleus == 0, 0.0, nucleus * self.dice)  # a class without pixels has no weight
        of_background = np.where(background == 0, 0.0, background * self.inverted.dice)
        return ratio(of_nucleus + of_background, nucleus + background)

    @property
    def accuracy(self) -> Values:
        """Fraction of all pixels that are classified correctly."""
        return ratio(self.tp + self.tn, self.tp + self.fp + self.fn + self.tn)

    @property
    def inverted(self) -> PixelCounts:
        """The same counts with background as the positive class."""
        return PixelCounts(tp=self.tn, fp=self.fn, fn=self.fp, tn=self.tp)


def pixel_counts(truth: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> PixelCounts:
    """Count the pixels of two masks of the same shape, (H, W) bool, True = nucleus.

    Raises:
        ValueError: the shapes differ.
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"the truth is {truth.shape}, the prediction {predicted.shape}: they must have one shape")
    tp = int(np.count_nonzero(truth & predicted))
    fp = int(np.count_nonzero(predicted)) - tp
    fn = int(np.count_nonzero(truth)) - tp
    return PixelCounts(tp, fp, fn, truth.size - tp - fp - fn)
