"""The reports of hand-drawn images whose scores are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from drawn import IMAGES, REPORTS, draw, leave_out, of_one_group, rows, score

from nuclei.evaluate import aggregate
from nuclei.evaluate.aggregate import COLUMNS, DIGITS
from nuclei.images.io import write_labels
from nuclei.images.records import label_path
from nuclei.scores.histogram import LEVELS


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("nuclei.evaluate.bootstrap.FEWEST_GROUPS", 2)  # the drawn images are few
    return draw(tmp_path)


def test_the_metrics_of_hand_drawn_images_are_known(folder: Path) -> None:
    val = json.loads((score(folder) / "metrics.json").read_text())["val"]
    # pixels: a 5 TP, 1 FN, 4 TN; b 4 TN; c 4 TP, 1 FP, 1 TN. b has nothing to score, and drops out of the means
    expected = {
        "dice": (10 / 11 + 8 / 9) / 2,
        "iou": (5 / 6 + 4 / 5) / 2,
        "dice_pooled": 18 / 20,
        "iou_pooled": 9 / 11,
        "precision": 9 / 10,
        "recall": 9 / 10,
        "f1": 9 / 10,
        "accuracy": 18 / 20,
        # nuclei: a matches at IoU 1 and 1/2; c: 3 is half matched to one of 1 and 2, 4 is wrong: 1 of 3 at 0.50
        "map": ((1 + 9 / 3) / 10 + (1 / 3) / 10) / 2,
        "ap50": (1 + 1 / 3) / 2,
        "ap75": (1 / 3 + 0) / 2,
        "ap50_pooled": 3 / 5,
        "ap75_pooled": 1 / 7,
        "pq": (1.5 / 2 + 0.5 / 2) / 2,
        "sq": (0.75 + 0.5) / 2,
        "rq": (1 + 1 / 2) / 2,
        "aji": (5 / 6 + (2 + 2) / (4 + 4 + 1)) / 2,
        "nucleus_precision": (2 / 2 + 1 / 2) / 2,
        "nucleus_recall": (2 / 2 + 1 / 2) / 2,
        # 3 of 4 true and of 4 predicted nuclei match, at IoU 1, 1/2 and 1/2
        "pq_pooled": (1 + 0.5 + 0.5) / 4,
        "sq_pooled": (1 + 0.5 + 0.5) / 3,
        "rq_pooled": 3 / 4,
        "aji_pooled": (5 + 4) / (6 + 9),
        "nucleus_precision_pooled": 3 / 4,
        "nucleus_recall_pooled": 3 / 4,
        "count_error": 0,
        "splits": 0,
        "merges": 100 / 4,
        "images": 3,
        "nuclei": 4,
    }
    assert {name: val[name] for name in expected} == pytest.approx(expected, abs=10**-DIGITS)
    # 9 of 10 nucleus pixels and 1 of 10 others have the higher of two scores
    assert val["auc"] == pytest.approx(0.9)
    assert val["average_precision"] == pytest.approx(0.9 * 0.9 + 0.1 * 0.5)
    # a: 5 of 6 nucleus pixels lie above all others, 1 ties; c: its 4 lie above one of 2 others and tie with one
    assert val["auc_mean"] == pytest.approx((5.5 / 6 + 1.5 / 2) / 2, abs=10**-DIGITS)
    assert val["average_precision_mean"] == pytest.approx((5 / 6 + 6 / 10 / 6 + 4 / 5) / 2, abs=10**-DIGITS)


def test_the_parts_are_scored_apart(folder: Path) -> None:
    test = json.loads((score(folder) / "metrics.json").read_text())["test"]
    # d: a nucleus in halves, one of them a match; e: a match at IoU 0.70, a miss; one too many, one too few
    assert (test["splits"], test["merges"], test["count_error"]) == (33.333333, 0, 1)
    assert (test["ap50"], test["ap75"], test["images"], test["nuclei"]) == (0.5, 0, 2, 3)
    stratum = rows(folder / "reports", "by_stratum", "test")[0]
    assert (stratum["recall50"], stratum["recall75"]) == ("0.666667", "0.0")
    large = rows(folder / "reports", "by_stratum", "test")[-1]
    assert (large["stratum"], large["nuclei"], large["recall50"], large["recall75"]) == ("over 4 px", "1", "1.0", "0.0")


def test_every_image_has_a_row_and_an_undefined_score_an_empty_cell(folder: Path) -> None:
    reports = score(folder)
    assert (reports / "per_image.csv").read_text().splitlines()[0] == ",".join(COLUMNS)
    table = {row["id"]: row for row in rows(reports, "per_image")}
    assert list(table) == ["a", "b", "c", "d", "e"]
    undefined = ("dice", "map", "pq", "aji", "median_area_px", "nucleus_precision", "nucleus_recall", "auc")
    assert [table["b"][name] for name in undefined] == [""] * 8
    assert [table["d"][name] for name in ("nucleus_precision", "nucleus_recall")] == ["0.5", "1.0"]
    assert [table["e"][name] for name in ("nucleus_precision", "nucleus_recall")] == ["1.0", "0.5"]
    assert [table["c"][name] for name in ("iou_sum", "aji_intersection", "aji_union")] == ["0.5", "4", "9"]
    assert [table["a"][name] for name in ("auc", "average_precision")] == ["0.916667", "0.933333"]
    assert [table["a"][name] for name in ("tp", "fp", "fn", "tn")] == ["5", "0", "1", "4"]
    assert [table["a"][name] for name in ("median_area_px", "dice", "tp50", "tp55")] == ["3.0", "0.909091", "2", "1"]


def test_the_pooled_scores_of_nuclei_equal_stardists(folder: Path) -> None:
    stardist = pytest.importorskip("stardist.matching")
    for part, metrics in json.loads((score(folder) / "metrics.json").read_text()).items():
        truth, predicted = (
            [np.array([image[column]]) for image in IMAGES.values() if image[0] == part] for column in (2, 3)
        )
        theirs = stardist.matching_dataset(truth, predicted, thresh=0.5, by_image=False, show_progress=False)
        names = {
            "pq_pooled": "panoptic_quality",
            "sq_pooled": "mean_matched_score",
            "rq_pooled": "f1",
            "nucleus_precision_pooled": "precision",
            "nucleus_recall_pooled": "recall",
            "ap50_pooled": "accuracy",
        }
        for ours, name in names.items():
            assert metrics[ours] == pytest.approx(getattr(theirs, name), abs=10**-DIGITS)


def test_the_metrics_follow_from_the_per_image_table(folder: Path) -> None:
    reports = score(folder)
    _, columns = aggregate.numbers((reports / "per_image.csv").read_text(), "per_image.csv")
    val = aggregate.chosen(columns, np.array([True, True, True, False, False]))
    reported = json.loads((reports / "metrics.json").read_text())["val"]
    for name, value in aggregate.rounded(aggregate.metrics(val)).items():
        assert reported[name] == value


def test_intervals_count_images_groups_and_undefined_images_and_need_two_groups(folder: Path) -> None:
    leave_out(folder, "e")
    found = json.loads((score(folder) / "metrics_ci.json").read_text())
    metrics = json.loads((folder / "reports/metrics.json").read_text())
    assert set(found["val"]) == set(metrics["val"]) - {"images", "groups", "nuclei"}
    assert found["val"]["dice"].keys() == {"low", "high", "images", "groups", "nuclei", "undefined"}
    for name, missing in (("dice", 1), ("auc", 0), ("auc_mean", 1), ("pq_pooled", 0)):
        counts = [found["val"][name][count] for count in ("images", "groups", "nuclei", "undefined")]
        assert counts == [3, 2, 4, missing]
    for name, interval in found["val"].items():
        assert interval["low"] <= metrics["val"][name] <= interval["high"]
    only = {"low": None, "high": None, "images": 1, "groups": 1, "nuclei": 1, "undefined": 0}
    assert found["test"]["dice"] == only


def test_images_of_one_group_have_no_interval_and_their_metrics_stand(folder: Path) -> None:
    of_one_group(folder, "a", "b", "c")
    found = json.loads((score(folder) / "metrics_ci.json").read_text())["val"]
    assert (
        {interval["low"] for interval in found.values()} == {interval["high"] for interval in found.values()} == {None}
    )
    assert json.loads((folder / "reports/metrics.json").read_text())["val"]["groups"] == 1
    assert json.loads((folder / "reports/metrics.json").read_text())["val"]["dice"] == pytest.approx(0.89899, abs=1e-5)


def test_images_of_one_group_are_drawn_together(folder: Path) -> None:
    apart = json.loads((score(folder) / "metrics_ci.json").read_text())["val"]["accuracy"]
    assert {apart["low"], apart["high"]} == {round(13 / 14, DIGITS), round(5 / 6, DIGITS)}  # a and b, or c alone
    of_one_group(folder, "b", "c")
    other = json.loads((score(folder, "other") / "metrics_ci.json").read_text())["val"]["accuracy"]
    assert {other["low"], other["high"]} == {0.9}  # a alone, b and c together: 9 of 10 pixels each


def test_histograms_in_blocks_give_the_same_intervals(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = (score(folder) / "metrics_ci.json").read_text()
    monkeypatch.setattr("nuclei.evaluate.reports.BLOCK", 2)  # three images are in two blocks
    assert (score(folder, "other") / "metrics_ci.json").read_text() == whole


def test_the_classification_report_equals_scikit_learns(folder: Path) -> None:
    from sklearn.metrics import classification_report, confusion_matrix

    reports = score(folder)
    truth, predicted = (
        np.concatenate([np.array(image[column]) > 0 for image in IMAGES.values() if image[0] == "val"])
        for column in (2, 3)
    )
    theirs = classification_report(truth, predicted, target_names=["background", "nucleus"], output_dict=True)
    for row in rows(reports, "classification_report", "val"):
        for ours, name in (
            ("precision", "precision"),
            ("recall", "recall"),
            ("f1", "f1-score"),
            ("support", "support"),
        ):
            assert float(row[ours]) == pytest.approx(theirs[row["class"]][name], abs=1e-6)
    pixels = [int(row["pixels"]) for row in rows(reports, "confusion", "val")]
    assert pixels == confusion_matrix(truth, predicted).ravel().tolist()


def test_curves_pass_through_the_points_that_the_scores_have(folder: Path) -> None:
    reports = score(folder)
    roc = [[float(row[name]) for name in ("threshold", "fpr", "tpr")] for row in rows(reports, "roc", "val")]
    high, low = (round(level / (LEVELS - 1), DIGITS) for level in (60_000, 5_000))
    assert roc == [[1.000015, 0, 0], [high, 0.1, 0.9], [low, 1, 1]]
    assert [float(row["recall"]) for row in rows(reports, "precision_recall", "val")] == [0.9, 1]
    pixels = [int(row["pixels"]) for row in rows(reports, "calibration", "val")]
    assert (len(pixels), sum(pixels), pixels[1], pixels[18]) == (20, 20, 10, 10)


def test_ap_at_half_and_three_quarters_equals_the_metrics(folder: Path) -> None:
    reports = score(folder)
    metrics = json.loads((reports / "metrics.json").read_text())["val"]
    table = {row["iou"]: row for row in rows(reports, "ap", "val")}
    assert len(table) == 10
    for iou, name in (("0.5", "ap50"), ("0.75", "ap75")):
        assert float(table[iou]["ap"]) == metrics[name]
        assert float(table[iou]["ap_pooled"]) == metrics[f"{name}_pooled"]
    assert [float(table["0.5"][name]) for name in ("precision", "recall", "f1")] == [0.75, 0.75, 0.75]


def test_the_seed_moves_the_intervals_alone(folder: Path) -> None:
    of_one_group(folder, "a")
    one, two = (score(folder, str(seed), seed=seed, resamples=5) for seed in (1, 2))
    differing = [name for name in REPORTS if (one / name).read_bytes() != (two / name).read_bytes()]
    assert differing == ["metrics_ci.json"]


def test_parts_without_any_nucleus_are_scored_as_undefined(folder: Path) -> None:
    for name, (_, _, truth, _) in IMAGES.items():
        for kind in ("prepared", "predictions"):
            write_labels(label_path(folder / kind, name), np.zeros((1, len(truth)), np.uint16))
    val = json.loads((score(folder) / "metrics.json").read_text())["val"]
    assert [val[name] for name in ("dice", "dice_pooled", "map", "pq", "auc", "splits")] == [None] * 6
    assert (val["accuracy"], val["f1_weighted"], val["nuclei"]) == (1, 1, 0)
    assert json.loads((folder / "reports/metrics_ci.json").read_text())["val"]["dice"]["undefined"] == 3
    assert [row["stratum"] for row in rows(folder / "reports", "by_stratum", "val")] == [
        "fluorescence",
        "tissue",
        "x",
        "y",
        "no nuclei",
    ]
    weighted = rows(folder / "reports", "classification_report", "val")[-1]
    assert (weighted["class"], weighted["f1"], weighted["support"]) == ("weighted avg", "1.0", "20")
    assert rows(folder / "reports", "roc") == []
