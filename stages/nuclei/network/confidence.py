"""How likely each nucleus of a label map is a true one: a score from 0 to 1, calibrated on annotated images.

Two things are seen in the network's maps: how sure it is that the pixels are foreground, and how deep the nucleus is
cut from its neighbours, which says how sure it is that they are not one. A logistic regression (Platt, 1999) makes a
probability of them: of the nuclei with a score of 0.9, about nine in ten match an annotated nucleus with an IoU of at
least 0.5. That holds for images like those that it was fitted on.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass
from scipy import ndimage
from scipy.special import expit, logit

from nuclei.base.params import CONFIG
from nuclei.network.components import Floats, Labels
from nuclei.network.labelling import landscape, saddles

SUREST = 0.999  # probabilities are clipped here, before their logarithms are taken
FEWEST = 20  # true and false nuclei each, below which nothing is fitted


@dataclass(frozen=True, config=CONFIG)
class Confidence:
    """The coefficients of the logistic regression, in the order of what `evidence` returns."""

    intercept: float
    foreground: float
    depth: float

    def scores(self, seen: NDArray[np.float64]) -> NDArray[np.float32]:
        """(n,) in [0, 1], from what `evidence` returned."""
        return expit(self.intercept + seen @ [self.foreground, self.depth]).astype(np.float32)


def evidence(target: str, labels: Labels, maps: Floats) -> NDArray[np.float64]:
    """What the maps say for each nucleus.

    Args:
        target: the second head's target, or "none".
        labels: (H, W), 0 = background, 1..n the nuclei.
        maps: (1 + C, H, W) float32, see `Segmenter.maps`.

    Returns:
        (n, 2): the logarithm of the odds of the mean foreground probability, and the depth of the cut: 1 - the highest
        saddle to a neighbour divided by the nucleus's own peak, 1 without a neighbour.
    """
    count = int(labels.max())
    numbers = np.arange(1, count + 1)
    mean = np.asarray(ndimage.mean(maps[0], labels, numbers)).reshape(count)
    heights = maps[0] if len(maps) == 1 else landscape(target, maps[0], maps[1:])
    peak = np.asarray(ndimage.maximum(heights, labels, numbers)).reshape(count)
    one, other, saddle = saddles(labels, heights)
    highest = np.zeros(count + 1)
    for side in (one, other):
        np.maximum.at(highest, side, saddle)
    depth = 1 - highest[1:] / np.maximum(peak, np.finfo(np.float32).tiny)
    return np.stack([logit(np.clip(mean, 1 - SUREST, SUREST)), depth], axis=1)


def fit(seen: NDArray[np.float64], true: NDArray[np.bool_]) -> Confidence | None:
    """Fit the regression.

    Args:
        seen: (n, 2), as `evidence` returns it.
        true: (n,), whether each nucleus is true.

    Returns:
        None with fewer than FEWEST true or false nuclei, or if nuclei of a higher probability are true less often: then
        the network does not know which are true, as after a very short training.
    """
    if min(np.count_nonzero(true), np.count_nonzero(~true)) < FEWEST:
        return None
    from sklearn.linear_model import LogisticRegression  # takes a second to import

    found = LogisticRegression().fit(seen, true)
    foreground, depth = (round(float(value), 4) for value in found.coef_[0])
    return Confidence(round(float(found.intercept_[0]), 4), foreground, depth) if foreground >= 0 else None
