"""AUC and average precision of histograms against scikit-learn on the pixels, and where they are undefined."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from nuclei.scores.histogram import COARSE, LEVELS, auc, average_precision, coarse, score_histogram


def random_case(seed: int, nucleus: float = 0.3, levels: int = LEVELS) -> tuple[NDArray[np.bool_], NDArray[np.uint16]]:
    """A truth (H, W) and scores that tend to be higher in its nuclei, with ties if there are few levels."""
    rng = np.random.default_rng(seed)
    truth = rng.random((40, 50)) < nucleus
    score = 1 / (1 + np.exp(-rng.normal(np.where(truth, 1.0, -1.0), 1.5)))
    return truth, (np.floor(score * levels) * ((LEVELS - 1) // max(levels - 1, 1))).astype(np.uint16)


@pytest.mark.parametrize("levels", [2, 7, 256, LEVELS])
@pytest.mark.parametrize("nucleus", [0.02, 0.5])
def test_auc_and_average_precision_equal_scikit_learn_with_and_without_ties(levels: int, nucleus: float) -> None:
    truth, scores = random_case(3, nucleus, levels)
    histogram = score_histogram(truth, scores)
    assert auc(histogram) == pytest.approx(roc_auc_score(truth.ravel(), scores.ravel()), abs=1e-12)
    assert average_precision(histogram) == pytest.approx(
        average_precision_score(truth.ravel(), scores.ravel()), abs=1e-12
    )


def test_histograms_of_images_sum_to_that_of_all_pixels() -> None:
    cases = [random_case(seed) for seed in range(3)]
    together = score_histogram(np.stack([truth for truth, _ in cases]), np.stack([scores for _, scores in cases]))
    assert np.array_equal(sum(score_histogram(*case) for case in cases), together)
    assert together.sum() == 3 * 40 * 50
    assert together[1].sum() == sum(truth.sum() for truth, _ in cases)


def test_coarse_histograms_keep_every_pixel_and_change_the_scores_little() -> None:
    truth, scores = random_case(1)
    histogram = score_histogram(truth, scores)
    assert COARSE[0] == 0
    assert COARSE[-1] == LEVELS - 1
    assert coarse(histogram).shape == (2, len(COARSE))
    assert np.array_equal(coarse(histogram).sum(axis=1), histogram.sum(axis=1))
    assert auc(coarse(histogram)) == pytest.approx(auc(histogram), abs=1e-4)
    assert average_precision(coarse(histogram)) == pytest.approx(average_precision(histogram), abs=1e-2)


def test_many_histograms_at_once_score_as_each_alone() -> None:
    several = np.stack([coarse(score_histogram(*random_case(seed))) for seed in range(4)])
    assert np.array_equal(auc(several), [auc(one) for one in several])
    assert np.array_equal(average_precision(several), [average_precision(one) for one in several])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), min_size=1, max_size=12))
def test_reversing_the_ranking_gives_one_minus_auc(pixels: list[tuple[bool, int]]) -> None:
    truth, level = (np.array([column]) for column in zip(*pixels, strict=True))
    forward, backward = (
        auc(score_histogram(truth, scores.astype(np.uint16))) for scores in (level, LEVELS - 1 - level)
    )
    assert forward == pytest.approx(1 - backward, nan_ok=True)


@pytest.mark.parametrize(("truth", "undefined"), [(False, (True, True)), (True, (True, False))])
def test_ranking_is_undefined_where_a_class_is_missing(truth: bool, undefined: tuple[bool, bool]) -> None:
    histogram = score_histogram(np.full((3, 3), truth), np.arange(9, dtype=np.uint16).reshape(3, 3))
    assert (np.isnan(auc(histogram)), np.isnan(average_precision(histogram))) == undefined
