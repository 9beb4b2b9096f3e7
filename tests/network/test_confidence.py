"""Scores of nuclei: what they are made of, and that they are the frequencies with which nuclei are true."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import expit

from nuclei.network.confidence import FEWEST, Confidence, evidence, fit

LABELS = hnp.arrays(np.uint16, (8, 9), elements=st.integers(0, 3))
MAPS = hnp.arrays(np.float32, (2, 8, 9), elements=st.floats(0, 1, width=32))
SCORE = Confidence(-1.0, 1.5, 2.0)


def dense(labels: np.ndarray) -> np.ndarray:
    return np.unique(np.append(labels, 0), return_inverse=True)[1][:-1].reshape(labels.shape)


@settings(max_examples=50)
@given(LABELS, MAPS, st.permutations([1, 2, 3]))
def test_scores_are_probabilities_that_do_not_depend_on_order_or_direction(
    labels: np.ndarray, maps: np.ndarray, order: list[int]
) -> None:
    labels = dense(labels)
    count = int(labels.max())
    scores = SCORE.scores(evidence("distance", labels, maps))
    assert scores.shape == (count,) and ((scores >= 0) & (scores <= 1)).all()
    number = np.array([0, *(of for of in order if of <= count)])
    renumbered = SCORE.scores(evidence("distance", number[labels], maps))
    np.testing.assert_allclose(renumbered[number[1:] - 1], scores, rtol=1e-5)
    mirrored = SCORE.scores(evidence("distance", labels[:, ::-1], maps[:, :, ::-1]))
    np.testing.assert_allclose(mirrored, scores, rtol=1e-5)


@settings(max_examples=50)
@given(LABELS, MAPS, st.integers(1, 3), st.floats(0.1, 0.9))
def test_a_nucleus_of_higher_probability_has_a_score_that_is_not_lower(
    labels: np.ndarray, maps: np.ndarray, chosen: int, factor: float
) -> None:
    labels = dense(labels)
    fainter = maps.copy()
    fainter[0][labels == chosen] *= np.float32(factor)
    alone = np.where(labels == chosen, np.uint16(1), np.uint16(0))  # without neighbours the depth is 1
    before, after = (SCORE.scores(evidence("distance", alone, of)) for of in (maps, fainter))
    assert (after <= before).all()


def test_the_evidence_of_two_nuclei_that_touch_is_their_probability_and_the_depth_of_the_cut() -> None:
    labels = np.array([[1, 1, 2, 2, 0, 3]])
    foreground = np.array([[0.9, 0.7, 0.5, 0.7, 0.1, 0.8]], np.float32)
    seen = evidence("none", labels, foreground[None])
    np.testing.assert_allclose(expit(seen[:, 0]), [0.8, 0.6, 0.8], rtol=1e-5)
    np.testing.assert_allclose(seen[:, 1], [1 - 0.5 / 0.9, 1 - 0.5 / 0.7, 1], rtol=1e-5)


def test_the_fitted_scores_are_the_fractions_of_true_nuclei() -> None:
    random = np.random.default_rng(0)
    seen = np.stack([random.normal(0, 2, 20_000), random.uniform(0, 1, 20_000)], axis=1)
    chance = expit(-1 + 0.7 * seen[:, 0] + 1.3 * seen[:, 1])
    true = random.uniform(size=len(seen)) < chance
    found = fit(seen, true)
    assert found is not None
    assert (found.intercept, found.foreground, found.depth) == pytest.approx((-1, 0.7, 1.3), abs=0.1)
    scores = found.scores(seen)
    for low in (0.1, 0.4, 0.7):
        inside = (scores >= low) & (scores < low + 0.2)
        assert true[inside].mean() == pytest.approx(scores[inside].mean(), abs=0.03)


def test_of_too_few_nuclei_of_a_kind_nothing_is_fitted() -> None:
    seen, true = np.zeros((100, 2)), np.arange(100) < FEWEST - 1
    assert fit(seen, true) is None and fit(seen, ~true) is None


def test_of_a_network_that_is_surer_of_false_nuclei_nothing_is_fitted() -> None:
    seen = np.stack([np.linspace(-2, 2, 100), np.ones(100)], axis=1)
    assert fit(seen, seen[:, 0] < 0) is None and fit(seen, seen[:, 0] > 0) is not None


def test_without_a_nucleus_there_is_no_score() -> None:
    assert SCORE.scores(evidence("distance", np.zeros((4, 5), np.uint16), np.zeros((2, 4, 5), np.float32))).shape == (
        0,
    )
