"""The per-image table, and how the metrics of a part follow from its rows.

A metric is either the mean of a score over the images where it is defined, or pooled: computed from counts summed over
images. Both are sums over rows. So a bootstrap resample, which draws an image several times or not at all, is a weight
for each row, and the metrics of all resamples follow from one matrix product. With all weights 1, the rows of
reports/per_image.csv give reports/metrics.json, all but `auc` and `average_precision`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nuclei.base.errors import InputError
from nuclei.scores.matching import PERCENT
from nuclei.scores.metrics import PixelCounts, Values, ratio

MEANS = {  # metrics that are means over images, and the column that is averaged
    **{name: name for name in ("dice", "iou", "map", "ap50", "ap75", "pq", "sq", "rq", "aji", "count_error")},
    **{name: name for name in ("nucleus_precision", "nucleus_recall")},
    "auc_mean": "auc",  # the metrics named auc and average_precision rank the pixels of all images together
    "average_precision_mean": "average_precision",
}
TP_COLUMNS = [f"tp{percent}" for percent in PERCENT]
TEXT_COLUMNS = ["id", "part", "group", "family", "modality"]
COLUMNS = [
    *TEXT_COLUMNS,
    *("height", "width", "nuclei", "nuclei_predicted", "median_area_px", "tp", "fp", "fn", "tn"),
    *("dice", "iou", "precision", "recall", "map", "ap50", "ap75", "sq", "rq", "pq", "aji"),
    *("count_error", "splits", "merges"),
    *("nucleus_precision", "nucleus_recall", "auc", "average_precision"),
    *("iou_sum", "aji_intersection", "aji_union"),  # see matching.Matches
    *TP_COLUMNS,  # matched nuclei at each IoU; FP = nuclei_predicted - TP, FN = nuclei - TP
]
NUMBERS = [column for column in COLUMNS if column not in TEXT_COLUMNS]
TRUTH_COLUMNS = ("height", "width", "nuclei", "tp", "fn")  # show whether two tables were scored on the same truth
LOWER_IS_BETTER = frozenset({"count_error", "splits", "merges"})
COUNTS = ("images", "groups", "nuclei")  # in metrics.json, but not scores
DIGITS = 6  # decimals in the reports

Columns = dict[str, NDArray[np.float64]]  # each (images,), NaN where undefined
Row = dict[str, Any]


def numbers(text: str, name: str) -> tuple[list[dict[str, str]], Columns]:
    """Read the content of a per_image.csv: its rows as text, and every numeric column as an array.

    A score that an older version of the code did not write yet is NaN for every image.

    Args:
        text: the content.
        name: of the file, for error messages.

    Raises:
        InputError: a column is missing that identifies the image or its truth, or a cell is not a number.
    """
    rows = list(csv.DictReader(io.StringIO(text)))
    columns: Columns = {}
    there = rows[0].keys() if rows else set()
    missing = [column for column in ("id", "part", *TRUTH_COLUMNS) if column not in there]
    if missing:
        fix = "compare with a revision that was scored by this version of the code"
        raise InputError("the per-image table lacks columns", file=name, got=", ".join(missing), fix=fix)
    for column in NUMBERS:
        if column not in there:
            columns[column] = np.full(len(rows), np.nan)
            continue
        try:
            columns[column] = np.array([float("nan" if row[column] == "" else row[column]) for row in rows])
        except (TypeError, ValueError) as error:
            raise InputError(f"the per-image table has a wrong cell in {column}", file=name, got=error) from None
    return rows, columns


def groups(rows: Sequence[Mapping[str, str]], name: str) -> NDArray[np.intp]:
    """The group of each row of a per_image.csv, (images,), numbered from 0.

    Args:
        rows: as `numbers` returns them.
        name: of the file, for error messages.

    Raises:
        InputError: the table has no groups, because an older version of the code wrote it. To resample its images as if
            they were independent would make the intervals too narrow.
    """
    without = sum(not row.get("group") for row in rows)
    if without:
        raise InputError(
            "the per-image table does not say which images belong together",
            file=name,
            got=f"{without} of {len(rows)} rows without a group",
            expected="the column group of data/split.csv",
            fix="score it again with `dvc repro evaluate`, which writes the groups",
        )
    return np.unique([row["group"] for row in rows], return_inverse=True)[1]


def metrics(columns: Columns, weights: NDArray[np.integer] | None = None) -> dict[str, Values]:
    """The metrics of the images, in the order of reports/metrics.json.

    Args:
        columns: the numeric columns of the per-image table, each (images,) float64, rounded to DIGITS decimals.
        weights: (..., images), how often each image counts; None: every image once.

    Returns:
        Each metric, with the shape of `weights` without its last axis; NaN where it is undefined. `splits` and
        `merges` are per 100 true nuclei, `count_error` is the mean of |predicted - true|. precision, recall, f1,
        f1_weighted and accuracy are of the pixels, pooled. Precision and recall of the nuclei at IoU 0.50 are
        `nucleus_precision` and `nucleus_recall`, their F1 is `rq`.
    """
    images = len(next(iter(columns.values())))
    counted = np.ones(images) if weights is None else weights.astype(np.float64)

    def pooled(column: str) -> Values:
        return counted @ columns[column]

    pixels = PixelCounts(*(pooled(name) for name in ("tp", "fp", "fn", "tn")))
    nuclei, predicted = pooled("nuclei"), pooled("nuclei_predicted")
    matched = [pooled(column) for column in TP_COLUMNS]
    ap = [ratio(tp, nuclei + predicted - tp) for tp in matched]
    iou_sum = counted @ _units(columns["iou_sum"]) / 10**DIGITS
    means = {name: mean(columns[column], counted) for name, column in MEANS.items()}
    return {
        "dice": means["dice"],
        "iou": means["iou"],
        "dice_pooled": pixels.dice,
        "iou_pooled": pixels.iou,
        "precision": pixels.precision,
        "recall": pixels.recall,
        "f1": pixels.f1,
        "f1_weighted": pixels.f1_weighted,
        "accuracy": pixels.accuracy,
        "map": means["map"],
        "ap50": means["ap50"],
        "ap75": means["ap75"],
        "map_pooled": np.mean(ap, axis=0),
        "ap50_pooled": ap[0],
        "ap75_pooled": ap[5],
        "pq": means["pq"],
        "sq": means["sq"],
        "rq": means["rq"],
        "aji": means["aji"],
        "nucleus_precision": means["nucleus_precision"],
        "nucleus_recall": means["nucleus_recall"],
        "pq_pooled": ratio(2 * iou_sum, nuclei + predicted),
        "sq_pooled": ratio(iou_sum, matched[0]),
        "rq_pooled": ratio(2 * matched[0], nuclei + predicted),
        "aji_pooled": ratio(pooled("aji_intersection"), pooled("aji_union")),
        "nucleus_precision_pooled": ratio(matched[0], predicted),
        "nucleus_recall_pooled": ratio(matched[0], nuclei),
        "count_error": means["count_error"],
        "splits": 100 * ratio(pooled("splits"), nuclei),
        "merges": 100 * ratio(pooled("merges"), nuclei),
        "auc_mean": means["auc_mean"],
        "average_precision_mean": means["average_precision_mean"],
    }


def mean(scores: NDArray[np.float64], weights: NDArray[Any]) -> Values:
    """Mean of the scores (images,) that are not NaN, each rounded to DIGITS decimals; weights as for `metrics`."""
    return ratio(weights @ _units(np.nan_to_num(scores)), weights @ np.isfinite(scores) * 10.0**DIGITS)


def _units(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """The scores as whole multiples of 10**-DIGITS.

    Their sum is exact in float64, so the order of summation, which depends on the number of cores, changes no digit.
    """
    return np.rint(scores * 10**DIGITS)


def undefined(columns: Columns) -> dict[str, NDArray[np.bool_]]:
    """For each metric that is a mean over images, (images,), whether the score of an image is undefined."""
    return {name: np.isnan(columns[column]) for name, column in MEANS.items()}


def chosen(columns: Columns, where: NDArray[np.bool_] | NDArray[np.intp]) -> Columns:
    """The columns of some of the rows."""
    return {name: values[where] for name, values in columns.items()}


def rounded(row: Mapping[str, Any]) -> Row:
    """The row in Python's own types, as the reports hold it: floats with DIGITS decimals, integers and text as is."""

    def plain(value: Any) -> Any:
        if isinstance(value, float | np.floating):
            return round(float(value), DIGITS)
        return int(value) if isinstance(value, np.integer) else value

    return {name: plain(value) for name, value in row.items()}
