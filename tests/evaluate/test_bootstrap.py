"""Intervals: how often they cover the truth in simulations, their seed, and their edges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtr
from scipy.stats import beta

from nuclei.evaluate import bootstrap
from nuclei.evaluate.bootstrap import effective_groups, interval, intervals
from nuclei.scores.metrics import ratio

TRUTH = 8 / (8 + 1.2)  # the mean of beta(8, 1.2), which is as skewed as the Dice of images
SIMULATED = 300  # data sets; a coverage of 0.95 is measured to 0.013


def mean_interval(
    scores: NDArray[np.float64], groups: NDArray[np.integer] | None = None, *, resamples: int = 600, seed: int = 0
) -> tuple[float, float]:
    """Of the mean over images, each a group of its own if none are given."""

    def mean(weights: NDArray[np.int64]) -> dict[str, Any]:
        return {"mean": weights @ scores / weights.sum(axis=1)}

    groups = np.arange(len(scores)) if groups is None else groups
    return intervals(mean, groups, resamples=resamples, seed=seed)["mean"]


def unequal_groups(count: int) -> NDArray[np.intp]:
    """The group of each image: one group of 12 images, one of 8, and others of 1 to 4."""
    sizes = [12, 8, *np.random.default_rng(7).choice([1, 1, 1, 2, 2, 3, 4], count - 2)]
    return np.repeat(np.arange(count), sizes)


def correlated_scores(groups: NDArray[np.intp], correlation: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Scores distributed as beta(8, 1.2), with this correlation, before the skew, between images of one group."""
    of_group, own = rng.standard_normal(groups.max() + 1)[groups], rng.standard_normal(len(groups))
    scores: NDArray[np.float64] = beta.ppf(ndtr(correlation**0.5 * of_group + (1 - correlation) ** 0.5 * own), 8, 1.2)
    return scores


def coverage(groups: NDArray[np.intp], correlation: float, resampled: NDArray[np.intp]) -> float:
    """In what fraction of simulated data sets the interval over `resampled` holds the true mean."""
    rng = np.random.default_rng(1)
    hits = 0
    for number in range(SIMULATED):
        low, high = mean_interval(correlated_scores(groups, correlation, rng), resampled, seed=number)
        hits += low <= TRUTH <= high
    return hits / SIMULATED


@pytest.mark.parametrize(("count", "correlation"), [(12, 0), (12, 0.7), (25, 0.3), (60, 0.7)])
def test_intervals_over_groups_hold_the_mean_of_correlated_images_as_often_as_they_say(
    count: int, correlation: float
) -> None:
    groups = unequal_groups(count)
    assert coverage(groups, correlation, groups) >= 0.92


def test_intervals_over_images_would_miss_the_mean_of_correlated_images() -> None:
    groups = unequal_groups(25)
    assert coverage(groups, 0.7, np.arange(len(groups))) < 0.75


@pytest.mark.parametrize(("images", "least"), [(7, 0.88), (67, 0.91)])
def test_intervals_hold_the_mean_of_few_and_of_many_independent_images(images: int, least: float) -> None:
    groups = np.arange(images)
    assert least <= coverage(groups, 0, groups) <= 0.98


def test_intervals_hold_a_ratio_pooled_over_correlated_images_as_often_as_they_say() -> None:
    rng = np.random.default_rng(2)
    groups = unequal_groups(25)
    hits = 0
    for number in range(SIMULATED):
        nuclei = rng.geometric(0.05, len(groups))
        found = rng.binomial(nuclei, rng.beta(9, 3, 25)[groups])  # a recall of 0.75, another one in each group

        def recall(weights: NDArray[np.int64], found: Any = found, nuclei: Any = nuclei) -> dict[str, Any]:
            return {"recall": ratio(weights @ found, weights @ nuclei)}

        low, high = intervals(recall, groups, resamples=600, seed=number)["recall"]
        hits += low <= 0.75 <= high
    assert 0.91 <= hits / SIMULATED <= 0.98


def test_intervals_agree_with_scipys_percentile_bootstrap_for_many_independent_images() -> None:
    from scipy.stats import bootstrap as scipy_bootstrap

    scores = np.random.default_rng(3).beta(8, 2, 400)
    theirs = scipy_bootstrap((scores,), np.mean, n_resamples=6000, method="percentile", rng=4).confidence_interval
    assert mean_interval(scores, resamples=6000) == pytest.approx((theirs.low, theirs.high), abs=0.0015)


def test_copies_of_an_image_in_one_group_add_no_information() -> None:
    scores = np.random.default_rng(0).random(20)
    once, thrice = mean_interval(scores), mean_interval(np.repeat(scores, 3), np.repeat(np.arange(20), 3))
    assert thrice == pytest.approx(once)


def test_the_numbers_that_name_the_groups_do_not_matter_but_for_their_order() -> None:
    scores, groups = np.random.default_rng(0).random(8), np.array([0, 0, 1, 2, 2, 3, 4, 5])
    assert np.isfinite(mean_interval(scores, groups)).all()
    assert mean_interval(scores, groups) == mean_interval(scores, 10 * groups - 7)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    scores = np.random.default_rng(0).random(20)
    assert mean_interval(scores, seed=5) == mean_interval(scores, seed=5)
    assert mean_interval(scores, seed=5) != mean_interval(scores, seed=6)


def test_drawing_in_blocks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, groups = np.random.default_rng(0).random(20), np.arange(20) // 2
    whole = mean_interval(scores, groups)
    monkeypatch.setattr(bootstrap, "BLOCK", 20 * 7)
    assert mean_interval(scores, groups) == whole


def test_each_resample_draws_whole_groups_as_many_as_there_are() -> None:
    seen: list[NDArray[np.int64]] = []

    def statistics(weights: NDArray[np.int64]) -> dict[str, Any]:
        seen.append(weights)
        return {"none": weights.sum(axis=1) * 0.0}

    intervals(statistics, np.array([4, 1, 4, 9, 1, 4, 5, 6]), resamples=123, seed=0)
    weights = np.concatenate(seen)
    assert weights.shape == (123, 8)
    assert (weights[:, [0, 1, 0]] == weights[:, [2, 4, 5]]).all()
    assert (weights[:, [0, 1, 3, 6, 7]].sum(axis=1) == 5).all()
    assert (weights.std(axis=0) > 0.5).all()


@pytest.mark.parametrize("groups", [[], [3], [3, 3, 3], [0, 1, 2, 3]])
def test_fewer_than_five_groups_have_no_interval(groups: list[int]) -> None:
    found = intervals(lambda weights: {"mean": weights.sum(axis=-1) * 1.0}, np.array(groups, int), resamples=9, seed=0)
    assert np.isnan(found["mean"]).all()


def test_undefined_images_widen_the_interval_and_those_of_all_groups_but_four_leave_none() -> None:
    scores, groups = np.random.default_rng(0).random(30), np.arange(30) // 2

    def found(left_out: NDArray[np.bool_]) -> tuple[float, float]:
        undefined = {"mean": left_out}
        return intervals(
            lambda weights: {"mean": weights @ scores}, groups, resamples=600, seed=0, undefined=undefined
        )["mean"]

    none, most = found(groups < 0), found(groups > 4)
    assert most[0] < none[0] < none[1] < most[1]
    assert np.isnan(found(groups > 3)).all()


def test_the_interval_is_expanded_for_the_number_of_groups_and_undefined_resamples_are_left_out() -> None:
    values = np.append(np.linspace(0, 1, 1001), np.nan)
    low, high = interval(values, np.ones(50, int))
    assert low == pytest.approx(0.02118, abs=1e-5)  # the normal distribution beyond sqrt(50 / 49) * t(0.975, 49)
    assert high == pytest.approx(1 - low)
    assert interval(values, np.full(50, 7)) == (low, high)
    assert interval(values, np.ones(5, int))[0] < low
    assert np.isnan(interval(np.full(10, np.nan), np.ones(50, int))).all()


def test_unequal_groups_count_for_fewer() -> None:
    assert effective_groups(np.array([3, 3, 3])) == 3
    assert effective_groups(np.array([4, 2, 2])) == pytest.approx(64 / 24)
    assert effective_groups(np.array([5, 0])) == 1


def test_equal_scores_have_an_interval_of_one_point() -> None:
    assert mean_interval(np.full(8, 0.5)) == (0.5, 0.5)
