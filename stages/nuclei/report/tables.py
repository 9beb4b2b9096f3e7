"""The reports of train and evaluate, read and checked, and the definition of each metric."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from nuclei.base.errors import InputError
from nuclei.base.files import read_json, read_rows
from nuclei.images.records import REMAKE

PARTS = ("val", "test")

Table: TypeAlias = Any  # a pandas DataFrame; its stubs can not know the type of a column

STRATUM_SCORES = {  # scores by modality and by size, and their headings
    "dice": "Dice",
    "iou": "IoU",
    "map": "mAP",
    "ap50": "AP50",
    "pq": "PQ",
    "recall50": "found at IoU 0.50",
    "recall75": "found at IoU 0.75",
    "splits": "splits per 100 nuclei",
    "merges": "merges per 100 nuclei",
}

# Columns of text; all others hold numbers, or an empty cell where a score is undefined.
TEXT = {"id", "part", "family", "modality", "class", "actual", "predicted", "grouping", "group", "stratum"}
COLUMNS = {
    "per_image": "id part group family modality height width nuclei nuclei_predicted median_area_px dice iou precision "
    "recall map ap50 ap75 sq rq pq aji count_error splits merges",
    "classification_report": "part class precision recall f1 support",
    "confusion": "part actual predicted pixels",
    "roc": "part threshold fpr tpr",
    "precision_recall": "part threshold recall precision",
    "ap": "part iou ap ap_pooled precision recall f1",
    "calibration": "part low high mean_score fraction_positive pixels",
    "by_stratum": "part grouping stratum images groups map_undefined nuclei "
    + " ".join(f"{name} {name}_low {name}_high" for name in STRATUM_SCORES),
    "history": "epoch train_loss train_instance_loss val_loss val_dice_true_scale val_iou_true_scale learning_rate "
    "kept",
    "search": "foreground saddle_ratio min_area_px map",
}


@dataclass(frozen=True)
class Metric:
    """The title of a metric, and its definition in one sentence."""

    title: str
    meaning: str


METRICS = {
    "dice": Metric("Dice", "2 TP / (2 TP + FP + FN) of the pixels, mean over images"),
    "iou": Metric("IoU", "TP / (TP + FP + FN) of the pixels, mean over images"),
    "dice_pooled": Metric("Dice, pooled", "Dice of the pixels of all images together"),
    "iou_pooled": Metric("IoU, pooled", "IoU of the pixels of all images together"),
    "precision": Metric("Precision", "fraction of the predicted foreground pixels that are nuclei, pooled"),
    "recall": Metric("Recall", "fraction of the nuclei's pixels that are predicted, pooled"),
    "f1": Metric("F1", "harmonic mean of precision and recall, equal to Dice, pooled"),
    "f1_weighted": Metric("F1, weighted", "mean of the F1 of nuclei and background, weighted by their pixels"),
    "accuracy": Metric("Accuracy", "fraction of all pixels that are classified correctly"),
    "auc": Metric("ROC AUC", "area under the ROC curve of all pixels"),
    "average_precision": Metric("Average precision", "area under the precision-recall curve of all pixels"),
    "auc_mean": Metric("ROC AUC, mean", "area under the ROC curve of an image's pixels, mean over images"),
    "average_precision_mean": Metric(
        "Average precision, mean", "area under the precision-recall curve of an image's pixels, mean over images"
    ),
    "map": Metric("mAP", "TP / (TP + FP + FN) of the nuclei, mean over IoU 0.50 to 0.95 and over images"),
    "ap50": Metric("AP50", "TP / (TP + FP + FN) of the nuclei at IoU 0.50, mean over images"),
    "ap75": Metric("AP75", "TP / (TP + FP + FN) of the nuclei at IoU 0.75, mean over images"),
    "map_pooled": Metric("mAP, pooled", "mAP of the nuclei of all images together"),
    "ap50_pooled": Metric("AP50, pooled", "AP50 of the nuclei of all images together"),
    "ap75_pooled": Metric("AP75, pooled", "AP75 of the nuclei of all images together"),
    "pq": Metric("PQ", "panoptic quality, SQ times RQ, mean over images"),
    "sq": Metric("SQ", "segmentation quality: IoU of the nuclei that match at 0.50, mean over images"),
    "rq": Metric("RQ", "recognition quality: F1 of the nuclei at IoU 0.50, mean over images"),
    "aji": Metric("AJI", "aggregated Jaccard index of the nuclei, mean over images"),
    "nucleus_precision": Metric(
        "Precision of nuclei", "fraction of an image's predicted nuclei that match at IoU 0.50, mean over images"
    ),
    "nucleus_recall": Metric(
        "Recall of nuclei", "fraction of an image's true nuclei that are found at IoU 0.50, mean over images"
    ),
    "pq_pooled": Metric("PQ, pooled", "PQ of the nuclei of all images together"),
    "sq_pooled": Metric("SQ, pooled", "SQ of the nuclei of all images together"),
    "rq_pooled": Metric("RQ, pooled", "RQ, so F1, of the nuclei of all images together"),
    "aji_pooled": Metric("AJI, pooled", "AJI of the nuclei of all images together"),
    "nucleus_precision_pooled": Metric(
        "Precision of nuclei, pooled", "fraction of all images' predicted nuclei that match at IoU 0.50"
    ),
    "nucleus_recall_pooled": Metric(
        "Recall of nuclei, pooled", "fraction of all images' true nuclei that are found at IoU 0.50"
    ),
    "count_error": Metric(
        "Count error", "absolute difference between the predicted and the true number of nuclei, mean over images"
    ),
    "splits": Metric("Splits", "true nuclei predicted as several, per 100 nuclei"),
    "merges": Metric("Merges", "predicted nuclei that cover several true ones, per 100 nuclei"),
}


@dataclass(frozen=True)
class Interval:
    """A 95 % confidence interval over groups of images; `low` and `high` are NaN where none could be computed.

    Attributes:
        images, groups, nuclei: of the part.
        undefined: images without a score, left out.
    """

    low: float
    high: float
    images: int
    groups: int
    nuclei: int
    undefined: int


@dataclass(frozen=True)
class Reports:
    """All of reports/: `metrics[part][name]`, `intervals[part][name]`, and the tables by the names in `COLUMNS`."""

    metrics: dict[str, dict[str, float]]
    intervals: dict[str, dict[str, Interval]]
    tables: dict[str, Table]

    def table(self, name: str, part: str | None = None) -> Table:
        """A table, or the rows of one part of it."""
        table = self.tables[name]
        return table if part is None else table[table["part"] == part]

    def parts(self) -> list[str]:
        """Those of val and test that have metrics, in this order."""
        return [part for part in PARTS if part in self.metrics]


def read(folder: Path) -> Reports:
    """Read metrics.json, metrics_ci.json and the tables in `COLUMNS` from a folder like `reports`.

    Raises:
        InputError: a file is absent or malformed: not JSON or CSV, a column or a part missing, a cell not a number.
    """
    metrics = {
        part: {name: _number(value, folder / "metrics.json", name) for name, value in section.items()}
        for part, section in _sections(folder / "metrics.json").items()
    }
    intervals = {
        part: {name: _interval(value, folder / "metrics_ci.json", name) for name, value in section.items()}
        for part, section in _sections(folder / "metrics_ci.json").items()
    }
    if not any(part in metrics for part in PARTS):
        raise InputError(
            "no part has metrics", file=folder / "metrics.json", got=list(metrics), expected=list(PARTS), fix=REMAKE
        )
    found = {name: read_table(folder / f"{name}.csv", name) for name in COLUMNS}
    for name, table in found.items():
        missing = [part for part in PARTS if part in metrics and "part" in table and part not in set(table["part"])]
        if missing:
            path, got = folder / f"{name}.csv", ", ".join(sorted(set(table["part"])))
            raise InputError(f"a table has no rows of {missing[0]}", file=path, got=got, fix=REMAKE)
    return Reports(metrics, intervals, found)


def read_table(path: Path, name: str) -> Table:
    """Read one table of `COLUMNS`: text unchanged, everything else as float, NaN where a cell is empty.

    Raises:
        InputError: it is absent, has no rows, lacks a column, or a cell is not a number.
    """
    required = COLUMNS[name].split()
    rows = read_rows(path, required, fix=REMAKE)
    if not rows:
        raise InputError("a table is empty", file=path, expected="at least one row", fix=REMAKE)
    table: Table = pd.DataFrame(rows)
    for column in [column for column in table.columns if column not in TEXT or column not in required]:
        numbers = pd.to_numeric(table[column], errors="coerce")
        wrong = numbers.isna() & ~table[column].str.lower().isin(["", "nan"])
        if wrong.any():
            number = int(wrong.to_numpy().argmax())
            problem, got = f"line {number + 2}, column {column}: not a number", repr(rows[number][column])
            raise InputError(problem, file=path, got=got, fix=REMAKE)
        table[column] = numbers.astype(float)
    return table


def _sections(path: Path) -> dict[str, dict[str, Any]]:
    value = read_json(path, REMAKE)
    if not isinstance(value, dict) or not all(isinstance(section, dict) for section in value.values()):
        raise InputError(
            "metrics have the wrong shape", file=path, expected='{"val": {...}, "test": {...}}', fix=REMAKE
        )
    return value


def _number(value: object, path: Path, name: str) -> float:
    if value is None:  # NaN: undefined
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"the metric {name} is not a number", file=path, got=repr(value), fix=REMAKE)
    return float(value)


def _interval(value: object, path: Path, name: str) -> Interval:
    if not isinstance(value, dict) or not {"low", "high"} <= value.keys():
        expected = '{"low": number, "high": number, "images": count, "groups": count, "nuclei": count, ...}'
        raise InputError(
            f"the interval of {name} is malformed", file=path, got=repr(value), expected=expected, fix=REMAKE
        )
    low, high = (_number(value[side], path, name) for side in ("low", "high"))
    counts = (int(_number(value.get(count, 0), path, name)) for count in ("images", "groups", "nuclei", "undefined"))
    return Interval(low, high, *counts)
