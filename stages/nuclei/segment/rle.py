"""Kaggle's run-length format: one nucleus a line, runs counted down the columns from 1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nuclei.base.errors import InputError


def encode(labels: NDArray[np.integer]) -> list[str]:
    """Encode every nucleus of a label map.

    Args:
        labels: (H, W), 0 = background.

    Returns:
        For each label in increasing order `start length start length ...`: pixels are numbered from 1, top to
        bottom, then left to right, as the competition counts them.
    """
    pixels = np.concatenate([[0], labels.ravel(order="F"), [0]]).astype(np.int64)
    edges = np.flatnonzero(np.diff(pixels))  # a run starts after each, and ends at the next
    starts, lengths, owners = edges[:-1], np.diff(edges), pixels[edges[:-1] + 1]
    order = np.argsort(owners, kind="stable")
    runs = np.stack([starts + 1, lengths], axis=1)[order]
    owners = owners[order]
    runs, owners = runs[owners > 0], owners[owners > 0]
    groups = np.split(runs, np.flatnonzero(np.diff(owners)) + 1) if len(owners) else []
    return [" ".join(map(str, group.ravel())) for group in groups]


def decode(lines: Sequence[str], shape: tuple[int, int]) -> NDArray[np.uint32]:
    """Make the label map of encoded nuclei, the first of which becomes 1.

    Args:
        lines: as `encode` returns them; an empty one is a label without pixels.
        shape: (H, W).

    Raises:
        InputError: a line is not pairs of positive numbers within the image.
    """
    labels = np.zeros(shape[0] * shape[1], np.uint32)
    for label, line in enumerate(lines, start=1):
        try:
            runs = np.array(line.split(), dtype=np.int64).reshape(-1, 2)
        except ValueError:
            raise InputError("a run-length line is not pairs of numbers", got=line[:60]) from None
        if len(runs) and (runs.min() < 1 or (runs.sum(axis=1) - 1).max() > labels.size):
            raise InputError("a run leaves the image", got=line[:60], expected=f"pixels 1 to {labels.size}")
        for start, length in runs:
            labels[start - 1 : start - 1 + length] = label
    return labels.reshape(shape, order="F")
