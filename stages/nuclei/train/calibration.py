"""What the network's maps say for each nucleus, and which nuclei are true: from predictions of annotated images."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nuclei.images.io import read_labels
from nuclei.network.confidence import Confidence, evidence, fit
from nuclei.network.segmenter import Segmenter
from nuclei.scores.matching import is_true

Seen = tuple[NDArray[np.float64], NDArray[np.bool_]]


def fitted(images: Iterable[tuple[Path, Path]], segmenter: Segmenter) -> Confidence | None:
    """Fit `Confidence` to the nuclei of some images; None if there are too few.

    Args:
        images: for each, the `.npy` file of the network's output, (1 + C, H, W), and the file of its true label map.
        segmenter: with its thresholds.
    """
    seen = [of_image(segmenter, np.load(maps).astype(np.float32), read_labels(truth)) for maps, truth in images]
    return fit(*joined(seen))


def of_image(segmenter: Segmenter, maps: NDArray[np.float32], truth: NDArray[np.integer]) -> Seen:
    """For each nucleus found in an image, what `evidence` returns, (n, 2), and whether it is true, (n,) bool."""
    labels = segmenter.label(maps)
    return evidence(segmenter.settings.instance_target, labels, maps), is_true(truth, labels)


def joined(seen: Iterable[Seen]) -> Seen:
    """The nuclei of several images together."""
    both = list(seen)
    return np.concatenate([of[0] for of in both]), np.concatenate([of[1] for of in both])
