"""Instance scores: hand-drawn maps with known counts, invariants, and independent implementations."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from nuclei.scores import matching
from nuclei.scores.matching import PERCENT, Matches, match

Labels = NDArray[np.integer]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

few_labels = hnp.arrays(
    np.uint16, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=8), elements=st.integers(0, 4)
)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Labels, Labels]:
    """Two small label maps of one shape, in which ties and exact halves are common."""
    truth = draw(few_labels)
    return truth, draw(hnp.arrays(np.uint16, truth.shape, elements=st.integers(0, 4)))


def draw_map(*rows: str) -> Labels:
    """A label map from text: a digit is a label, a point background."""
    return np.array([[0 if cell == "." else int(cell) for cell in row] for row in rows], np.uint16)


def shapes(seed: int, *, side: int = 96, count: int = 30) -> tuple[Labels, Labels]:
    """Random rectangles, and the same moved, grown and thinned out."""
    rng = np.random.default_rng(seed)
    truth, predicted = np.zeros((side, side), np.uint16), np.zeros((side, side), np.uint16)
    for label in range(1, count + 1):
        row, col = rng.integers(0, side - 8, 2)
        height, width = rng.integers(4, 16, 2)
        truth[row : row + height, col : col + width] = label
        if rng.random() < 0.85:
            row, col = np.maximum(0, np.add((row, col), rng.integers(-2, 3, 2)))
            height, width = np.add((height, width), rng.integers(-1, 2, 2))
            predicted[row : row + height, col : col + width] = count + 1 - label
    return truth, predicted


def test_equal_maps_match_at_every_threshold() -> None:
    labels = draw_map("11..", "11.2", "...2")
    matches = match(labels, labels)
    assert (matches.truth, matches.predicted) == (2, 2)
    assert matches.tp.tolist() == [2] * 10
    assert matches.areas.tolist() == [4, 2]
    assert (matches.map, matches.sq, matches.rq, matches.pq, matches.aji) == (1, 1, 1, 1, 1)
    assert (matches.splits, matches.merges) == (0, 0)


def test_a_shifted_square_matches_up_to_its_known_iou() -> None:
    truth, predicted = np.zeros((20, 20), np.uint16), np.zeros((20, 20), np.uint16)
    truth[5:15, 5:15] = 1
    predicted[5:15, 7:17] = 9  # 80 shared of 120: IoU 2/3
    matches = match(truth, predicted)
    assert matches.tp.tolist() == [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    assert matches.fp.tolist() == matches.fn.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 1, 1]
    assert matches.map == pytest.approx(0.4)
    assert matches.sq == matches.pq == matches.aji == pytest.approx(2 / 3)


def test_missed_and_invented_nuclei_are_counted() -> None:
    truth = draw_map("11.22", "11.22", ".....", "3....")
    predicted = draw_map("11...", "11...", ".....", "....4")
    matches = match(truth, predicted)
    assert (matches.tp[0], matches.fp[0], matches.fn[0]) == (1, 1, 2)
    assert matches.ap.tolist() == [0.25] * 10
    assert matches.rq == pytest.approx(2 / 5)
    assert matches.pq == pytest.approx(1 / (1 + 0.5 + 1))
    assert matches.aji == pytest.approx(4 / (4 + 4 + 1 + 1))
    assert matches.hits.tolist() == [10, 0, 0]


def test_a_nucleus_cut_into_halves_has_one_match_and_is_split() -> None:
    truth, predicted = draw_map("1111"), draw_map("5577")
    for one, other in ((truth, predicted), (predicted, truth)):
        matches = match(one, other)
        assert matches.tp.tolist() == [1] + [0] * 9
        assert matches.iou_sum == 0.5
    assert (match(truth, predicted).splits, match(truth, predicted).merges) == (1, 0)
    assert (match(predicted, truth).splits, match(predicted, truth).merges) == (0, 1)


@pytest.mark.parametrize(("percent", "shared", "rest"), [(p, p // 5, 20 - p // 5) for p in PERCENT.tolist()])
def test_an_iou_of_exactly_a_threshold_reaches_it(percent: int, shared: int, rest: int) -> None:
    truth = np.ones((1, shared + rest), np.uint16)
    predicted = truth.copy()
    predicted[0, shared:] = 0
    hit = percent >= PERCENT
    assert np.array_equal(match(truth, predicted).tp, hit.astype(int))


def test_a_clump_of_many_is_one_merge_and_a_touching_fragment_is_none() -> None:
    truth = draw_map("11223344", "11223344")
    assert match(truth, np.ones_like(truth)).merges == 1
    assert match(draw_map("1111112", "1111112"), draw_map("1111111", "1111112")).merges == 0  # half of 2: not more


def test_fragments_that_lie_mostly_outside_are_no_split() -> None:
    truth = draw_map("..1111..")
    assert match(truth, draw_map(".22233..")).splits == 1
    assert match(truth, draw_map("2222.333")).splits == 0  # half and a third of them inside


def test_aji_penalises_a_predicted_nucleus_that_is_paired_with_no_true_one() -> None:
    truth, predicted = draw_map("1111.", "1111.", "....."), draw_map("111..", "2221.", "....3")
    # label 1: 4 shared of 8; label 2: 3 of 8; so 4 / (8 + 3 + 1)
    assert match(truth, predicted).aji == pytest.approx(4 / 12)


@pytest.mark.parametrize(
    ("truth", "predicted", "score"),
    [
        pytest.param("....", "....", np.nan, id="nothing in either"),
        pytest.param("....", ".1..", 0, id="no nucleus in the truth"),
        pytest.param(".1..", "....", 0, id="none in the prediction"),
        pytest.param("1", "1", 1, id="one pixel"),
        pytest.param("1", ".", 0, id="one pixel, missed"),
        pytest.param("1111", "2222", 1, id="nucleus everywhere"),
    ],
)
def test_edges_are_what_the_module_says(truth: str, predicted: str, score: float) -> None:
    matches = match(draw_map(truth), draw_map(predicted))
    for name in ("map", "pq", "rq", "aji"):
        np.testing.assert_equal(getattr(matches, name), float(score), err_msg=name)
    np.testing.assert_equal(matches.sq, 1.0 if score == 1 else np.nan)
    assert not matches.splits and not matches.merges


def test_maps_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the truth is \(1, 2\), the prediction \(2, 1\)"):
        match(np.zeros((1, 2), np.uint16), np.zeros((2, 1), np.uint16))
    with pytest.raises(ValueError, match="holds the label -3"):
        match(np.array([[-3]]), np.array([[0]]))


@pytest.mark.parametrize("kind", [np.uint16, np.uint32, np.int32, np.int64])
def test_every_integer_type_counts_alike(kind: type) -> None:
    truth, predicted = shapes(0)
    assert counts(match(truth.astype(kind), predicted.astype(kind))) == counts(match(truth, predicted))


def counts(matches: Matches) -> tuple[object, ...]:
    """What no relabelling changes: AJI leaves ties open, see there."""
    return (
        *(matches.truth, matches.predicted, matches.tp.tolist(), sorted(matches.areas.tolist())),
        *(round(matches.iou_sum, 9), matches.splits, matches.merges),
    )


@pytest.mark.parametrize("factor", [1, 70_000, 100_000_000])
def test_labels_above_65535_and_with_gaps_count_alike(factor: int) -> None:
    truth, predicted = shapes(1)
    far = match(truth.astype(np.uint32) * np.uint32(factor), predicted.astype(np.uint32) * np.uint32(factor))
    near = match(truth, predicted)
    assert counts(far) == counts(near)
    assert far.aji == near.aji


def test_the_largest_labels_do_not_overflow() -> None:
    high = np.array([[2**32 - 1, 2**32 - 2, 0]], np.uint32)
    assert match(high, high).tp[0] == 2


@settings(max_examples=100, deadline=None)
@given(pairs(), st.permutations(range(1, 5)))
def test_relabelling_and_flipping_change_nothing(maps: tuple[Labels, Labels], order: list[int]) -> None:
    truth, predicted = maps
    expected = counts(match(truth, predicted))
    names = np.array([0, *(label * 1000 for label in order)], np.uint32)
    assert counts(match(names[truth], predicted)) == expected
    assert counts(match(truth, names[predicted])) == expected
    for flipped in ((truth[::-1], predicted[::-1]), (truth[:, ::-1], predicted[:, ::-1]), (truth.T, predicted.T)):
        assert counts(match(*flipped)) == expected
        assert match(*flipped).aji == pytest.approx(match(truth, predicted).aji, nan_ok=True)


@settings(max_examples=100, deadline=None)
@given(pairs())
def test_exchanging_truth_and_prediction_exchanges_the_errors(maps: tuple[Labels, Labels]) -> None:
    one, other = match(*maps), match(*maps[::-1])
    assert one.tp.tolist() == other.tp.tolist()
    assert one.fp.tolist() == other.fn.tolist()
    assert (one.splits, one.merges) == (other.merges, other.splits)


@settings(max_examples=100, deadline=None)
@given(pairs())
def test_both_ways_of_counting_labels_give_the_same(maps: tuple[Labels, Labels]) -> None:
    expected = match(*maps)
    dense, matching.DENSE = matching.DENSE, 0
    try:
        found = match(*maps)
    finally:
        matching.DENSE = dense
    assert counts(found) == counts(expected)
    np.testing.assert_equal(found.aji, expected.aji)


def check_against_stardist(truth: Labels, predicted: Labels) -> None:
    stardist = pytest.importorskip("stardist.matching")
    ours = match(truth, predicted)
    for index, theirs in enumerate(stardist.matching(truth, predicted, thresh=(PERCENT / 100).tolist())):
        assert (ours.tp[index], ours.fp[index], ours.fn[index]) == (theirs.tp, theirs.fp, theirs.fn)
        if ours.truth + ours.predicted:
            assert ours.ap[index] == pytest.approx(theirs.accuracy)
        if index == 0 and ours.truth + ours.predicted:
            assert ours.pq == pytest.approx(theirs.panoptic_quality)
            assert ours.rq == pytest.approx(theirs.f1)
            # where there is nothing to divide by, stardist says 0
            assert np.nan_to_num(ours.precision) == pytest.approx(theirs.precision)
            assert np.nan_to_num(ours.recall) == pytest.approx(theirs.recall)


@settings(max_examples=150, deadline=None)
@given(pairs())
def test_small_maps_full_of_ties_match_as_in_stardist(maps: tuple[Labels, Labels]) -> None:
    check_against_stardist(*maps)


@pytest.mark.parametrize("seed", range(10))
def test_random_nuclei_match_as_in_stardist(seed: int) -> None:
    truth, predicted = shapes(seed)
    check_against_stardist(truth, predicted)


def naive_aji(truth: Labels, predicted: Labels) -> float:
    """Algorithm 1 of Kumar et al. (2017), as it is written there."""
    used, intersection, union = set(), 0, 0
    guesses = [int(label) for label in np.unique(predicted) if label]
    for true in (truth == label for label in np.unique(truth) if label):
        ious = {label: (true & (predicted == label)).sum() / (true | (predicted == label)).sum() for label in guesses}
        best = max(ious, key=lambda label: ious[label]) if ious else 0
        if not ious or not ious[best]:
            union += true.sum()
            continue
        used.add(best)
        intersection += (true & (predicted == best)).sum()
        union += (true | (predicted == best)).sum()
    union += sum((predicted == label).sum() for label in guesses if label not in used)
    return float(intersection / union) if union else float("nan")


@settings(max_examples=150, deadline=None)
@given(pairs())
def test_aji_equals_its_definition(maps: tuple[Labels, Labels]) -> None:
    assert match(*maps).aji == pytest.approx(naive_aji(*maps), nan_ok=True)


@settings(max_examples=100, deadline=None)
@given(pairs())
def test_pq_splits_and_merges_equal_their_definitions(maps: tuple[Labels, Labels]) -> None:
    truth, predicted = maps
    true = [truth == label for label in np.unique(truth) if label]
    guesses = [predicted == label for label in np.unique(predicted) if label]
    assume(true or guesses)
    ious = np.array([[(a & b).sum() / (a | b).sum() for b in guesses] for a in true]).reshape(len(true), len(guesses))
    assume(not (ious == 0.5).any())  # with ties "the" match is not defined
    hit = ious > 0.5
    tp = hit.sum()
    matches = match(truth, predicted)
    assert matches.pq == pytest.approx(ious[hit].sum() / (tp + (len(guesses) - tp) / 2 + (len(true) - tp) / 2))
    inside = [[(a & b).sum() > 0.5 * b.sum() for b in guesses] for a in true]
    around = [[(a & b).sum() > 0.5 * a.sum() for a in true] for b in guesses]
    assert matches.splits == sum(sum(row) >= 2 for row in inside)
    assert matches.merges == sum(sum(row) >= 2 for row in around)
