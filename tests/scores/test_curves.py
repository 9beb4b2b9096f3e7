"""Curves of a histogram against scikit-learn's of the pixels; thinning; calibration by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from nuclei.scores.curves import calibration, precision_recall_points, roc_points
from nuclei.scores.histogram import LEVELS, score_histogram


def random_case(seed: int, levels: int = LEVELS) -> tuple[NDArray[np.bool_], NDArray[np.uint16]]:
    """A truth (H, W) and scores of so many levels that are higher in its nuclei."""
    rng = np.random.default_rng(seed)
    truth = rng.random((40, 50)) < 0.3
    score = 1 / (1 + np.exp(-rng.normal(np.where(truth, 1.0, -1.0), 1.5)))
    return truth, (np.floor(score * levels) * ((LEVELS - 1) // (levels - 1))).astype(np.uint16)


def test_roc_points_lie_on_scikit_learns_curve() -> None:
    truth, scores = random_case(2, levels=64)
    points = roc_points(score_histogram(truth, scores))
    fpr, tpr, thresholds = roc_curve(truth.ravel(), scores.ravel(), drop_intermediate=False)
    theirs = {round(t): (f, p) for t, f, p in zip(thresholds[1:], fpr[1:], tpr[1:], strict=True)}
    assert points[0].tolist() == pytest.approx([LEVELS / (LEVELS - 1), 0, 0])
    assert points[-1, 1:].tolist() == [1, 1]
    for threshold, x, y in points[1:]:
        assert theirs[round(threshold * (LEVELS - 1))] == pytest.approx((x, y))


def test_precision_recall_points_lie_on_scikit_learns_curve() -> None:
    truth, scores = random_case(2, levels=64)
    points = precision_recall_points(score_histogram(truth, scores))
    precision, recall, thresholds = precision_recall_curve(truth.ravel(), scores.ravel())
    theirs = {int(t): (r, p) for t, r, p in zip(thresholds, recall, precision, strict=False)}
    assert points[0, 0] * (LEVELS - 1) == pytest.approx(scores.max())
    for threshold, x, y in points:
        assert theirs[round(threshold * (LEVELS - 1))] == pytest.approx((x, y))


def test_curves_of_many_points_are_thinned_evenly_and_keep_their_ends() -> None:
    truth, scores = random_case(5)
    points = roc_points(score_histogram(truth, scores), most=50)
    assert 40 <= len(points) <= 50
    assert points[0, 1:].tolist() == [0, 0]
    assert points[-1, 1:].tolist() == [1, 1]
    steps = np.hypot(*np.diff(points[:, 1:], axis=0).T)
    assert steps.max() < 3 * np.median(steps)


def test_calibration_counts_each_pixel_in_the_bin_of_its_score() -> None:
    scores = np.array([[0, 3276, 3277, 13_107, 65_534, 65_535]], np.uint16)  # 0.05 is 3276.75, 0.2 is 13,107
    truth = np.array([[0, 1, 1, 1, 1, 0]], bool)
    table = calibration(score_histogram(truth, scores))
    assert table.shape == (20, 5)
    assert table[0].tolist() == pytest.approx([0, 0.05, 1638 / 65_535, 0.5, 2])
    assert table[1].tolist() == pytest.approx([0.05, 0.1, 3277 / 65_535, 1, 1])
    assert table[-1].tolist() == pytest.approx([0.95, 1, 65_534.5 / 65_535, 0.5, 2])
    assert table[4].tolist() == pytest.approx([0.2, 0.25, 0.2, 1, 1])
    assert np.isnan(table[2, 2:4]).all()
    assert table[:, 4].sum() == 6


def test_there_is_no_curve_where_a_class_is_missing() -> None:
    scores = np.arange(9, dtype=np.uint16).reshape(3, 3)
    background, nucleus = (score_histogram(np.full((3, 3), truth), scores) for truth in (False, True))
    assert roc_points(background).shape == roc_points(nucleus).shape == (0, 3)
    assert precision_recall_points(background).shape == (0, 3)
    assert precision_recall_points(nucleus)[:, 2].tolist() == [1] * 9
