"""Pixel scores against scikit-learn and segmentation_models_pytorch, and by hand at the edges."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nuclei.scores.metrics import (
    COARSE,
    LEVELS,
    PixelCounts,
    auc,
    average_precision,
    calibration,
    coarse,
    pixel_counts,
    precision_recall_points,
    ratio,
    roc_points,
    score_histogram,
)

NAMES = ("dice", "iou", "precision", "recall", "f1", "f1_weighted")


def random_case(seed: int, nucleus: float = 0.3, levels: int = LEVELS) -> tuple[NDArray[np.bool_], NDArray[np.uint16]]:
    """A truth (H, W) and scores that know something of it, with ties where there are few levels."""
    rng = np.random.default_rng(seed)
    truth = rng.random((40, 50)) < nucleus
    score = 1 / (1 + np.exp(-rng.normal(np.where(truth, 1.0, -1.0), 1.5)))
    return truth, (np.floor(score * levels) * ((LEVELS - 1) // max(levels - 1, 1))).astype(np.uint16)


@pytest.mark.parametrize("seed", range(5))
def test_pixel_scores_equal_scikit_learn(seed: int) -> None:
    from sklearn import metrics as sk

    truth, scores = random_case(seed)
    predicted = scores > 30_000
    counts = pixel_counts(truth, predicted)
    true, guess = truth.ravel(), predicted.ravel()
    assert counts.dice == pytest.approx(sk.f1_score(true, guess))
    assert counts.iou == pytest.approx(sk.jaccard_score(true, guess))
    assert counts.precision == pytest.approx(sk.precision_score(true, guess))
    assert counts.recall == pytest.approx(sk.recall_score(true, guess))
    assert counts.f1_weighted == pytest.approx(sk.f1_score(true, guess, average="weighted"))
    assert counts.accuracy == pytest.approx(sk.accuracy_score(true, guess))
    assert [[counts.tn, counts.fp], [counts.fn, counts.tp]] == sk.confusion_matrix(true, guess).tolist()


def test_pixel_scores_equal_segmentation_models_pytorch() -> None:
    torch = pytest.importorskip("torch")
    from segmentation_models_pytorch import metrics as smp

    cases = [random_case(seed, nucleus=0.1 * (seed + 1)) for seed in range(4)]
    truths, guesses = np.stack([case[0] for case in cases]), np.stack([case[1] > 40_000 for case in cases])
    stats = smp.get_stats(torch.tensor(guesses)[:, None], torch.tensor(truths)[:, None].long(), mode="binary")
    ours = [pixel_counts(truth, guess) for truth, guess in zip(truths, guesses, strict=True)]
    pooled = ours[0] + ours[1] + ours[2] + ours[3]
    for name, theirs in {"dice": smp.f1_score, "iou": smp.iou_score, "accuracy": smp.accuracy}.items():
        assert getattr(pooled, name) == pytest.approx(float(theirs(*stats, reduction="micro")), abs=1e-6)
        per_image = np.mean([getattr(counts, name) for counts in ours])
        assert per_image == pytest.approx(float(theirs(*stats, reduction="micro-imagewise")), abs=1e-6)


@pytest.mark.parametrize("levels", [2, 7, 256, LEVELS])
@pytest.mark.parametrize("nucleus", [0.02, 0.5])
def test_auc_and_average_precision_equal_scikit_learn_with_ties_too(levels: int, nucleus: float) -> None:
    from sklearn import metrics as sk

    truth, scores = random_case(3, nucleus, levels)
    histogram = score_histogram(truth, scores)
    assert auc(histogram) == pytest.approx(sk.roc_auc_score(truth.ravel(), scores.ravel()), abs=1e-12)
    assert average_precision(histogram) == pytest.approx(
        sk.average_precision_score(truth.ravel(), scores.ravel()), abs=1e-12
    )


def test_histograms_of_images_sum_to_that_of_all_pixels() -> None:
    cases = [random_case(seed) for seed in range(3)]
    together = score_histogram(np.stack([truth for truth, _ in cases]), np.stack([scores for _, scores in cases]))
    assert np.array_equal(sum(score_histogram(*case) for case in cases), together)
    assert together.sum() == 3 * 40 * 50
    assert together[1].sum() == sum(truth.sum() for truth, _ in cases)


def test_coarse_histograms_keep_every_pixel_and_nearly_every_rank() -> None:
    truth, scores = random_case(1)
    histogram = score_histogram(truth, scores)
    assert COARSE[0] == 0
    assert COARSE[-1] == LEVELS - 1
    assert coarse(histogram).shape == (2, len(COARSE))
    assert np.array_equal(coarse(histogram).sum(axis=1), histogram.sum(axis=1))
    assert auc(coarse(histogram)) == pytest.approx(auc(histogram), abs=1e-4)
    assert average_precision(coarse(histogram)) == pytest.approx(average_precision(histogram), abs=1e-2)


def test_many_histograms_are_scored_at_once_as_one_by_one() -> None:
    several = np.stack([coarse(score_histogram(*random_case(seed))) for seed in range(4)])
    assert np.array_equal(auc(several), [auc(one) for one in several])
    assert np.array_equal(average_precision(several), [average_precision(one) for one in several])


def test_roc_points_lie_on_scikit_learns_curve() -> None:
    from sklearn.metrics import roc_curve

    truth, scores = random_case(2, levels=64)
    points = roc_points(score_histogram(truth, scores))
    fpr, tpr, thresholds = roc_curve(truth.ravel(), scores.ravel(), drop_intermediate=False)
    theirs = {round(t): (f, p) for t, f, p in zip(thresholds[1:], fpr[1:], tpr[1:], strict=True)}
    assert points[0].tolist() == pytest.approx([LEVELS / (LEVELS - 1), 0, 0])
    assert points[-1, 1:].tolist() == [1, 1]
    for threshold, x, y in points[1:]:
        assert theirs[round(threshold * (LEVELS - 1))] == pytest.approx((x, y))


def test_precision_recall_points_lie_on_scikit_learns_curve() -> None:
    from sklearn.metrics import precision_recall_curve

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


def test_two_pixels_of_three_give_known_scores() -> None:
    counts = pixel_counts(np.array([[1, 1, 0, 0]]) > 0, np.array([[1, 0, 1, 0]]) > 0)
    assert counts == PixelCounts(tp=1, fp=1, fn=1, tn=1)
    assert [getattr(counts, name) for name in NAMES] == pytest.approx([1 / 2, 1 / 3, 1 / 2, 1 / 2, 1 / 2, 1 / 2])


NAN = float("nan")


@pytest.mark.parametrize(
    ("truth", "predicted", "expected"),
    [
        pytest.param([0, 0], [0, 0], [NAN, NAN, NAN, NAN, NAN, 1], id="nothing in either"),
        pytest.param([0, 0], [0, 1], [0, 0, 0, NAN, 0, 2 / 3], id="no nucleus in the truth"),
        pytest.param([0, 1], [0, 0], [0, 0, NAN, 0, 0, 1 / 3], id="none in the prediction"),
        pytest.param([1, 1], [1, 1], [1, 1, 1, 1, 1, 1], id="nucleus everywhere"),
        pytest.param([1], [1], [1, 1, 1, 1, 1, 1], id="one pixel"),
        pytest.param([1], [0], [0, 0, NAN, 0, 0, 0], id="one pixel, missed"),
    ],
)
def test_edges_are_what_the_module_says(truth: list[int], predicted: list[int], expected: list[float]) -> None:
    counts = pixel_counts(np.array([truth]) > 0, np.array([predicted]) > 0)
    assert [getattr(counts, name) for name in NAMES] == pytest.approx(expected, nan_ok=True)
    assert counts.accuracy == np.mean(np.equal(truth, predicted))


@pytest.mark.parametrize(("truth", "undefined"), [(False, (True, True)), (True, (True, False))])
def test_ranking_is_undefined_where_a_class_is_missing(truth: bool, undefined: tuple[bool, bool]) -> None:
    histogram = score_histogram(np.full((3, 3), truth), np.arange(9, dtype=np.uint16).reshape(3, 3))
    assert (np.isnan(auc(histogram)), np.isnan(average_precision(histogram))) == undefined
    assert roc_points(histogram).shape == (0, 3)
    assert (len(precision_recall_points(histogram)) == 0) == (not truth)


def test_masks_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the truth is \(2, 2\), the prediction \(2, 3\)"):
        pixel_counts(np.zeros((2, 2), bool), np.zeros((2, 3), bool))


counts_of = st.integers(0, 10**9)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(counts_of, counts_of, counts_of, counts_of), min_size=1, max_size=5))
def test_formulas_of_arrays_equal_those_of_numbers(rows: list[tuple[int, int, int, int]]) -> None:
    together = PixelCounts(*np.array(rows, dtype=np.float64).T)
    for name in (*NAMES, "accuracy"):
        apart = [getattr(PixelCounts(*row), name) for row in rows]
        np.testing.assert_allclose(getattr(together, name), apart, rtol=1e-12)


def test_a_ratio_over_zero_is_undefined() -> None:
    assert np.isnan(ratio(0, 0))
    np.testing.assert_array_equal(ratio(np.array([1, 0]), np.array([2, 0])), [0.5, np.nan])


def test_scoring_imports_no_torch() -> None:
    code = "import sys; sys.path.insert(0, 'stages'); import nuclei.scoring; sys.exit('torch' in sys.modules)"
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
