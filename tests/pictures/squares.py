"""What the tests of pictures draw."""

from __future__ import annotations

import numpy as np

DARK = np.full((20, 20, 3), 20, np.uint8)
BRIGHT = np.full((20, 20, 3), 220, np.uint8)


def squares(*corners: tuple[int, int], side: int = 5, shape: tuple[int, int] = (20, 20)) -> np.ndarray:
    """Squares of labels 1, 2, ... with their upper left pixels at the corners."""
    labels = np.zeros(shape, np.uint16)
    for label, (row, col) in enumerate(corners, start=1):
        labels[row : row + side, col : col + side] = label
    return labels
