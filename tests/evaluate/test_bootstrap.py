"""Intervals: their coverage in a simulation, their seed, and their edges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nuclei.evaluate import bootstrap
from nuclei.evaluate.bootstrap import interval, intervals
from nuclei.scores.metrics import ratio


def mean_interval(scores: NDArray[np.float64], *, resamples: int = 600, seed: int = 0) -> tuple[float, float]:
    return intervals(
        lambda weights: {"mean": weights @ scores / len(scores)}, len(scores), resamples=resamples, seed=seed
    )["mean"]


@pytest.mark.parametrize(
    ("images", "low", "high"),
    [(7, 0.885, 0.965), (14, 0.89, 0.965), (67, 0.91, 0.98)],  # 0.924, 0.927, 0.944, three standard errors around
)
def test_intervals_hold_the_mean_of_skewed_scores_as_often_as_they_say(images: int, low: float, high: float) -> None:
    rng = np.random.default_rng(1)
    truth = 8 / (8 + 1.2)  # the mean of beta(8, 1.2), which looks like the Dice of images
    found = [mean_interval(rng.beta(8, 1.2, images), seed=number) for number in range(500)]
    assert low <= np.mean([one[0] <= truth <= one[1] for one in found]) <= high


def test_intervals_hold_a_pooled_ratio_as_often_as_they_say() -> None:
    rng = np.random.default_rng(2)
    hits = 0
    for number in range(400):
        nuclei = rng.geometric(0.05, 40)
        found = rng.binomial(nuclei, rng.beta(9, 3, 40))  # a recall of 0.75, another one in each image

        def recall(weights: NDArray[np.int64], found: Any = found, nuclei: Any = nuclei) -> dict[str, Any]:
            return {"recall": ratio(weights @ found, weights @ nuclei)}

        low, high = intervals(recall, 40, resamples=600, seed=number)["recall"]
        hits += low <= 0.75 <= high
    assert 0.91 <= hits / 400 <= 0.98


def test_intervals_agree_with_scipys_percentile_bootstrap_for_many_images() -> None:
    from scipy.stats import bootstrap as scipy_bootstrap

    scores = np.random.default_rng(3).beta(8, 2, 400)
    theirs = scipy_bootstrap((scores,), np.mean, n_resamples=6000, method="percentile", rng=4).confidence_interval
    assert mean_interval(scores, resamples=6000) == pytest.approx((theirs.low, theirs.high), abs=0.0015)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    scores = np.random.default_rng(0).random(20)
    assert mean_interval(scores, seed=5) == mean_interval(scores, seed=5)
    assert mean_interval(scores, seed=5) != mean_interval(scores, seed=6)


def test_blocks_of_resamples_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = np.random.default_rng(0).random(20)
    whole = mean_interval(scores)
    monkeypatch.setattr(bootstrap, "BLOCK", 20 * 7)
    assert mean_interval(scores) == whole


def test_each_resample_draws_as_many_images_as_there_are() -> None:
    seen: list[NDArray[np.int64]] = []

    def statistics(weights: NDArray[np.int64]) -> dict[str, Any]:
        seen.append(weights)
        return {"none": weights.sum(axis=1) * 0.0}

    intervals(statistics, 9, resamples=123, seed=0)
    weights = np.concatenate(seen)
    assert weights.shape == (123, 9)
    assert (weights.sum(axis=1) == 9).all()
    assert weights.std() > 0.5


@pytest.mark.parametrize("images", [0, 1])
def test_fewer_than_two_images_have_no_interval(images: int) -> None:
    found = intervals(lambda weights: {"mean": weights.sum(axis=-1) * 1.0}, images, resamples=100, seed=0)
    assert np.isnan(found["mean"]).all()


def test_undefined_resamples_are_left_out_and_undefined_images_widen() -> None:
    values = np.append(np.linspace(0, 1, 1001), np.nan)
    low, high = interval(values, 50)
    assert low == pytest.approx(0.02118, abs=1e-5)  # by the normal distribution, at sqrt(50 / 49) * t(0.025, 49)
    assert high == pytest.approx(1 - low)
    assert interval(values, 5)[0] < low
    assert np.isnan(interval(np.full(10, np.nan), 50)).all()


def test_equal_scores_have_an_interval_of_one_point() -> None:
    assert mean_interval(np.full(8, 0.5)) == (0.5, 0.5)
