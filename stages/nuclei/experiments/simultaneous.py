"""Intervals for several differences that hold all at once, whatever their number.

Of thirty experiments that change nothing, one or two have a 95 % interval that excludes 0. The intervals here are
wider: with probability 95 % all of them contain their true difference. Each is

    difference +- c * standard error,

where c is the 95 % quantile, over bootstrap resamples, of the largest of all standardised deviations (single-step
max-t: Westfall and Young, 1993; Romano and Wolf, 2005, doi:10.1198/016214504000000539). All differences are computed on
the same resamples, so c allows for the strong correlation of experiments that share a baseline and its images.
Bonferroni's and Holm's corrections do not, and would be wider. As in evaluate/bootstrap.py, groups of images are
resampled, and c is expanded for a small effective number of groups.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from nuclei.evaluate.bootstrap import CONFIDENCE

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Simultaneous:
    """Several intervals that hold together.

    Attributes:
        low, high: (k,), NaN where there is no interval.
        p: (k,), the p-value adjusted for the number of differences: below 0.05 where the interval excludes 0.
    """

    low: Numbers
    high: Numbers
    p: Numbers


def simultaneous(differences: Numbers, resampled: Numbers, groups: Numbers) -> Simultaneous:
    """Intervals for k differences that all hold with probability CONFIDENCE.

    Args:
        differences: (k,), on the images themselves.
        resampled: (r, k), on r resamples of the groups of images, the same resamples for all; NaN where undefined.
        groups: (k,), the effective number of groups behind each difference (bootstrap.effective_groups); 0 where there
            are too few for an interval.

    Returns:
        The intervals. There is none for a difference with one group or none. One that no resample changes, like that of
        two equal runs, has an interval of width 0 and does not count among the k.
    """
    low, high, p = (np.full(len(differences), np.nan) for _ in range(3))
    several = groups > 1
    deviations = np.abs(resampled - differences)
    error = np.sqrt(np.nanmean(deviations**2, axis=0, where=np.isfinite(deviations)))
    still = several & (error == 0)
    low[still] = high[still] = differences[still]
    p[still] = differences[still] == 0
    varied = several & (error > 0)
    if varied.any():
        d, se, n = differences[varied], error[varied], groups[varied]
        standardised = deviations[:, varied] / se
        largest = np.nanmax(standardised[np.isfinite(standardised).any(axis=1)], axis=1)
        critical = np.nanquantile(largest, CONFIDENCE)
        small = np.sqrt(n / (n - 1))  # a bootstrap of n groups underestimates the variance by (n - 1) / n
        half = -stdtrit(n - 1, ndtr(-critical)) * small * se
        low[varied], high[varied] = d - half, d + half
        normal = -ndtri(stdtr(n - 1, -np.abs(d) / (se * small)))
        p[varied] = (1 + (largest[:, None] >= normal).sum(axis=0)) / (1 + len(largest))
    return Simultaneous(low, high, p)
