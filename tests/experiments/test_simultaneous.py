"""Intervals for many differences at once: the family-wise error under the null, and what a real effect needs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t as student

from nuclei.experiments.simultaneous import Simultaneous, simultaneous

EXPERIMENTS, GROUPS, RESAMPLES = 30, 25, 400


def study(rng: np.random.Generator, effects: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Differences of experiments from one baseline on 25 groups, and the same on resamples: (k,) and (r, k)."""
    baseline = rng.normal(0, 1, (GROUPS, 1))  # shared, so all differences correlate
    scores = effects + rng.normal(0, 1, (GROUPS, len(effects))) - baseline
    drawn = rng.multinomial(GROUPS, np.full(GROUPS, 1 / GROUPS), size=RESAMPLES)
    return scores.mean(axis=0), drawn @ scores / GROUPS


def found(differences: np.ndarray, resampled: np.ndarray) -> Simultaneous:
    return simultaneous(differences, resampled, np.full(len(differences), float(GROUPS)))


def test_under_the_null_one_in_twenty_leaderboards_has_a_false_difference_and_without_correction_half_have() -> None:
    rng = np.random.default_rng(0)
    together = alone = 0
    for _ in range(400):
        differences, resampled = study(rng, np.zeros(EXPERIMENTS))
        intervals = found(differences, resampled)
        together += bool(((intervals.low > 0) | (intervals.high < 0)).any())
        each = [found(differences[[k]], resampled[:, [k]]) for k in range(EXPERIMENTS)]
        alone += any(of.low[0] > 0 or of.high[0] < 0 for of in each)
    assert together / 400 < 0.08  # 0.05 expected, within 3 standard errors
    assert alone / 400 > 0.3


def test_a_real_effect_is_still_found_among_many() -> None:
    effects = np.zeros(EXPERIMENTS)
    effects[3] = 1.5
    intervals = found(*study(np.random.default_rng(1), effects))
    assert intervals.low[3] > 0
    assert intervals.low[3] < 1.5 < intervals.high[3]


def test_a_single_difference_has_its_t_interval() -> None:
    scores = np.random.default_rng(2).normal(0, 1, GROUPS)
    drawn = np.random.default_rng(3).multinomial(GROUPS, np.full(GROUPS, 1 / GROUPS), size=20_000)
    intervals = simultaneous(scores.mean(keepdims=True), (drawn @ scores / GROUPS)[:, None], np.array([GROUPS]))
    half = student.ppf(0.975, GROUPS - 1) * scores.std(ddof=1) / np.sqrt(GROUPS)
    assert intervals.high[0] - scores.mean() == pytest.approx(half, rel=0.03)


def test_an_interval_excludes_zero_exactly_where_its_adjusted_p_is_below_a_twentieth() -> None:
    rng = np.random.default_rng(4)
    for _ in range(20):
        intervals = found(*study(rng, rng.normal(0, 0.8, 10)))
        excludes = (intervals.low > 0) | (intervals.high < 0)
        clear = np.abs(intervals.p - 0.05) > 0.01  # resamples are counted, so p moves in steps
        assert (excludes == (intervals.p < 0.05))[clear].all()


def test_equal_runs_have_an_interval_of_no_width_and_change_no_other() -> None:
    differences, resampled = study(np.random.default_rng(5), np.zeros(3))
    alone = found(differences, resampled)
    with_equal = found(np.append(differences, 0.0), np.column_stack([resampled, np.zeros(RESAMPLES)]))
    assert (with_equal.low[3], with_equal.high[3], with_equal.p[3]) == (0, 0, 1)
    assert with_equal.low[:3] == pytest.approx(alone.low)


def test_a_single_group_has_no_interval_and_an_undefined_resample_is_left_out() -> None:
    differences, resampled = study(np.random.default_rng(6), np.zeros(2))
    resampled[:5, 0] = np.nan
    intervals = simultaneous(differences, resampled, np.array([float(GROUPS), 1.0]))
    assert np.isfinite(intervals.low[0])
    assert np.isnan([intervals.low[1], intervals.high[1], intervals.p[1]]).all()
