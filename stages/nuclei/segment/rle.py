"""Kaggle's run-length format: one nucleus a line, runs counted down the columns from 1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def encode(labels: NDArray[np.integer]) -> list[str]:
    """Encode every nucleus of a label map.

    Args:
        labels: (H, W), 0 = background.

    Returns:
        One line for each label, in ascending order: `start length start length ...`, where pixels are numbered from
        1, down the first column, then down the next.
    """
    pixels = np.concatenate([[0], labels.ravel(order="F"), [0]]).astype(np.int64)
    edges = np.flatnonzero(np.diff(pixels))  # a run lies between two successive edges
    starts, lengths, owners = edges[:-1], np.diff(edges), pixels[edges[:-1] + 1]
    order = np.argsort(owners, kind="stable")
    runs = np.stack([starts + 1, lengths], axis=1)[order]
    owners = owners[order]
    runs, owners = runs[owners > 0], owners[owners > 0]
    groups = np.split(runs, np.flatnonzero(np.diff(owners)) + 1) if len(owners) else []
    return [" ".join(map(str, group.ravel())) for group in groups]
