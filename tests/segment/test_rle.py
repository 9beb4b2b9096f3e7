"""Kaggle's run-length format."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nuclei.segment.rle import encode


def decode(lines: list[str], shape: tuple[int, int]) -> np.ndarray:
    """The label map of encoded nuclei, pixel by pixel: the reader that the competition's rules describe."""
    labels = np.zeros(shape, np.uint16)
    for label, line in enumerate(lines, start=1):
        numbers = [int(number) for number in line.split()]
        for start, length in zip(numbers[::2], numbers[1::2], strict=True):
            for pixel in range(start - 1, start - 1 + length):
                labels[pixel % shape[0], pixel // shape[0]] = label
    return labels


def test_pixels_are_counted_down_the_columns_from_one() -> None:
    labels = np.array([[1, 0, 2], [1, 0, 2], [0, 1, 0]])
    assert encode(labels) == ["1 2 6 1", "7 2"]


def test_a_run_that_reaches_into_the_next_column_is_one_run() -> None:
    assert encode(np.array([[0, 1], [1, 0]])) == ["2 2"]


def test_no_nuclei_make_no_lines() -> None:
    assert encode(np.zeros((3, 4), np.uint16)) == []


@given(hnp.arrays(np.uint16, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 5)))
def test_decoding_gives_the_label_map_back(labels: np.ndarray) -> None:
    _, dense = np.unique(np.append(0, labels), return_inverse=True)
    np.testing.assert_array_equal(decode(encode(labels), labels.shape), dense[1:].reshape(labels.shape))
