"""The reports of an evaluation: metrics with their intervals, the per-image table, curves and tables of each part.

A metric is a mean over the images that have a score, or it is pooled: computed from counts over all images, so that
crowded images weigh more (those named `..._pooled`, and those that `aggregate.metrics` names).
reports/metrics_ci.json has an interval for both kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import classification_report

from nuclei.base import files
from nuclei.evaluate import aggregate, strata
from nuclei.evaluate.aggregate import COLUMNS, DIGITS, TP_COLUMNS, Row
from nuclei.evaluate.bootstrap import intervals
from nuclei.evaluate.scoring import PartScore
from nuclei.scores.curves import calibration, precision_recall_points, roc_points
from nuclei.scores.histogram import auc, average_precision, coarse
from nuclei.scores.matching import PERCENT
from nuclei.scores.metrics import ratio

Points = Callable[[NDArray[np.int64]], NDArray[np.float64]]  # of a histogram, one row per point
BLOCK = 1024  # histograms of images that are float64 at once

CURVES: dict[str, tuple[list[str], Points]] = {
    "roc": (["threshold", "fpr", "tpr"], roc_points),
    "precision_recall": (["threshold", "recall", "precision"], precision_recall_points),
    "calibration": (["low", "high", "mean_score", "fraction_positive", "pixels"], calibration),
}


def write_reports(folder: Path, scores: Mapping[str, PartScore], *, seed: int, resamples: int) -> None:
    """Write metrics.json, metrics_ci.json and every CSV table that `dvc.yaml` lists for the stage evaluate.

    Args:
        folder: where to.
        scores: of each part.
        seed, resamples: of the bootstrap.
    """

    def write(name: str, columns: list[str], rows_of: Callable[[PartScore], list[Row]]) -> None:
        rows = [{"part": part, **row} for part, score in scores.items() for row in rows_of(score)]
        files.write_rows(folder / f"{name}.csv", columns, [_cells(row) for row in rows])

    edges = strata.size_edges(np.concatenate([score.areas for score in scores.values()]))
    write("per_image", COLUMNS, lambda score: score.rows)
    write("by_stratum", strata.COLUMNS, partial(strata.rows, edges=edges, seed=seed, resamples=resamples))
    write("classification_report", ["part", "class", "precision", "recall", "f1", "support"], _classification)
    write("confusion", ["part", "actual", "predicted", "pixels"], _confusion)
    write("ap", ["part", "iou", "ap", "ap_pooled", "precision", "recall", "f1"], _ap)
    for name, (columns, points) in CURVES.items():
        write(name, ["part", *columns], partial(_curve, columns=columns, points=points))
    ci = {part: _intervals(score, resamples=resamples, seed=seed) for part, score in scores.items()}
    files.write_json(folder / "metrics_ci.json", ci)
    files.write_json(folder / "metrics.json", {part: _metrics(score) for part, score in scores.items()})


def _ranking(histogram: NDArray[Any]) -> dict[str, Any]:
    return {"auc": auc(histogram), "average_precision": average_precision(histogram)}


def _metrics(score: PartScore) -> dict[str, float | int]:
    values = {**aggregate.metrics(score.columns), **_ranking(score.histogram)}
    return {**aggregate.rounded(values), **_counts(score)}


def _counts(score: PartScore) -> dict[str, int]:
    return {"images": len(score.rows), "groups": len(np.unique(score.groups)), "nuclei": len(score.areas)}


def _intervals(score: PartScore, *, resamples: int, seed: int) -> dict[str, Row]:
    """Intervals of all metrics; those of AUC and average precision from the coarse histograms of the images.

    Coarse bins change the two by at most 0.001. All images together show by how much, and that is subtracted again.
    """
    bins = score.histograms.shape[-1]
    histograms = score.histograms.reshape(len(score.rows), -1)
    exact, rough = _ranking(score.histogram), _ranking(coarse(score.histogram))

    def statistics(weights: NDArray[np.int64]) -> dict[str, Any]:
        # block by block, since float64 takes twice the memory; sums of whole numbers are exact in any order
        blocks = range(0, len(histograms), BLOCK)
        counts = sum(weights[:, i : i + BLOCK] @ histograms[i : i + BLOCK].astype(np.float64) for i in blocks)
        drawn = _ranking(np.asarray(counts).reshape(-1, 2, bins))
        ranking = {name: np.minimum(1, values - rough[name] + exact[name]) for name, values in drawn.items()}
        return {**aggregate.metrics(score.columns, weights), **ranking}

    undefined = aggregate.undefined(score.columns)
    found = intervals(statistics, score.groups, resamples=resamples, seed=seed, undefined=undefined)
    return {
        name: {
            "low": round(low, DIGITS),
            "high": round(high, DIGITS),
            **_counts(score),
            "undefined": int(undefined[name].sum()) if name in undefined else 0,
        }
        for name, (low, high) in found.items()
    }


def _classification(score: PartScore) -> list[Row]:
    """scikit-learn's classification report of the pixels, from their counts."""
    pixels = score.pixels
    report = classification_report(
        [0, 0, 1, 1],
        [0, 1, 0, 1],
        sample_weight=[pixels.tn, pixels.fp, pixels.fn, pixels.tp],
        target_names=["background", "nucleus"],
        output_dict=True,
        zero_division=np.nan,
    )
    del report["accuracy"]  # one number, not one for each column
    return [
        {
            "class": name,
            "precision": values["precision"],
            "recall": values["recall"],
            "f1": values["f1-score"],
            "support": int(values["support"]),
        }
        for name, values in report.items()
    ]


def _confusion(score: PartScore) -> list[Row]:
    pixels = score.pixels
    cells = {
        ("background", "background"): pixels.tn,
        ("background", "nucleus"): pixels.fp,
        ("nucleus", "background"): pixels.fn,
        ("nucleus", "nucleus"): pixels.tp,
    }
    return [{"actual": actual, "predicted": predicted, "pixels": n} for (actual, predicted), n in cells.items()]


def _ap(score: PartScore) -> list[Row]:
    """At each IoU: AP as the mean over images, and AP, precision, recall and F1 of the nuclei of all images pooled."""
    nuclei, predicted = score.columns["nuclei"], score.columns["nuclei_predicted"]
    rows = []
    for percent, column in zip(PERCENT, TP_COLUMNS, strict=True):
        tp = score.columns[column]
        all_true, all_predicted, matched = nuclei.sum(), predicted.sum(), tp.sum()
        rows.append(
            {
                "iou": percent / 100,
                "ap": aggregate.mean(ratio(tp, nuclei + predicted - tp), np.ones(len(tp))),
                "ap_pooled": ratio(matched, all_true + all_predicted - matched),
                "precision": ratio(matched, all_predicted),
                "recall": ratio(matched, all_true),
                "f1": ratio(2 * matched, all_true + all_predicted),
            }
        )
    return rows


def _curve(
    score: PartScore, columns: list[str], points: Callable[[NDArray[np.int64]], NDArray[np.float64]]
) -> list[Row]:
    rows = [dict(zip(columns, row, strict=True)) for row in points(score.histogram)]
    return [{**row, "pixels": int(row["pixels"])} if "pixels" in row else row for row in rows]


def _cells(row: Mapping[str, Any]) -> Row:
    """The row as a table holds it, rounded, with an empty cell where a score is undefined."""
    return {name: "" if value != value else value for name, value in aggregate.rounded(row).items()}
