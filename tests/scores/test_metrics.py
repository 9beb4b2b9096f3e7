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

from nuclei.scores.metrics import PixelCounts, pixel_counts, ratio

NAMES = ("dice", "iou", "precision", "recall", "f1", "f1_weighted")
NAN = float("nan")


def random_masks(seed: int, nucleus: float = 0.3) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """A truth (H, W) and a prediction that is right in most pixels."""
    rng = np.random.default_rng(seed)
    truth = rng.random((40, 50)) < nucleus
    return truth, truth ^ (rng.random(truth.shape) < 0.2)


def test_pixel_scores_equal_scikit_learn() -> None:
    from sklearn import metrics as sk

    truth, predicted = random_masks(0)
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

    cases = [random_masks(seed, nucleus=0.1 * (seed + 1)) for seed in range(4)]
    truths, guesses = np.stack([case[0] for case in cases]), np.stack([case[1] for case in cases])
    stats = smp.get_stats(torch.tensor(guesses)[:, None], torch.tensor(truths)[:, None].long(), mode="binary")
    ours = [pixel_counts(truth, guess) for truth, guess in zip(truths, guesses, strict=True)]
    pooled = ours[0] + ours[1] + ours[2] + ours[3]
    for name, theirs in {"dice": smp.f1_score, "iou": smp.iou_score, "accuracy": smp.accuracy}.items():
        assert getattr(pooled, name) == pytest.approx(float(theirs(*stats, reduction="micro")), abs=1e-6)
        per_image = np.mean([getattr(counts, name) for counts in ours])
        assert per_image == pytest.approx(float(theirs(*stats, reduction="micro-imagewise")), abs=1e-6)


def test_four_pixels_one_of_each_kind_give_known_scores() -> None:
    counts = pixel_counts(np.array([[1, 1, 0, 0]]) > 0, np.array([[1, 0, 1, 0]]) > 0)
    assert counts == PixelCounts(tp=1, fp=1, fn=1, tn=1)
    assert [getattr(counts, name) for name in NAMES] == pytest.approx([1 / 2, 1 / 3, 1 / 2, 1 / 2, 1 / 2, 1 / 2])


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


def test_importing_the_scores_imports_no_torch() -> None:
    modules = "curves, histogram, matching, metrics"
    code = f"import sys; from nuclei.scores import {modules}; sys.exit('torch' in sys.modules)"
    stages = Path(__file__).resolve().parents[2] / "stages"
    assert subprocess.run([sys.executable, "-c", code], cwd=stages, check=False).returncode == 0
