"""Score the files of a prediction against the prepared truth, and write every table of it.

The foreground that Dice, IoU, precision, recall, F1, accuracy and the confusion matrix judge is the predicted label
map > 0: what a user gets, after thresholds and the removal of small objects. AUC, average precision, ROC,
precision-recall and calibration judge the stored probabilities. AP, PQ, AJI, precision and recall of nuclei, splits and
merges judge its instances.

A score of an image is averaged over the images that have one; a pooled one (`..._pooled`, and those that aggregate.py
names) is computed from counts over all images, so that a crowded image weighs more. reports/metrics_ci.json has an
interval for both kinds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nuclei.base import files
from nuclei.base.errors import InputError
from nuclei.base.parallel import ordered_map
from nuclei.base.progress import track
from nuclei.evaluate import aggregate
from nuclei.evaluate.aggregate import COLUMNS, DIGITS, NUMBERS, TP_COLUMNS, Columns
from nuclei.evaluate.bootstrap import intervals
from nuclei.images.io import read_labels, read_scores
from nuclei.images.records import MODALITIES, Record, label_path, read_part, score_path
from nuclei.scores.matching import PERCENT, match
from nuclei.scores.metrics import (
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

FEW_PX = 2 * 10**8  # are scored sooner than worker processes have started
RESCORE = "run `dvc repro evaluate`, which predicts and scores them all"
GROUP_COLUMNS = [
    *("part", "grouping", "group", "images", "map_undefined", "nuclei"),
    *("dice", "iou", "map", "ap50", "pq", "recall50", "recall75", "splits", "merges"),
]

Row = dict[str, Any]


@dataclass(frozen=True)
class ImageScore:
    """What one image adds to the tables.

    Attributes:
        row: of COLUMNS, NaN where a score is undefined.
        histogram: (2, LEVELS) uint32, see `metrics.score_histogram`.
        areas, hits: of each true nucleus, see `matching.Matches`.
    """

    row: Row
    histogram: NDArray[np.uint32]
    areas: NDArray[np.int64]
    hits: NDArray[np.int64]


@dataclass(frozen=True)
class PartScore:
    """The images of one part: rows, their numeric columns, and what was counted beside them.

    Attributes:
        histogram: (2, LEVELS) int64, of all pixels.
        histograms: (images, 2, bins) int64, the coarse ones of each image.
        areas, hits: of all true nuclei.
        owners: the index of the image of each true nucleus.
    """

    rows: list[Row]
    columns: Columns
    histogram: NDArray[np.int64]
    histograms: NDArray[np.int64]
    areas: NDArray[np.int64]
    hits: NDArray[np.int64]
    owners: NDArray[np.intp]


def score_folder(
    *,
    prepared: Path,
    predictions: Path,
    split: Path,
    parts: Sequence[str],
    reports: Path,
    seed: int,
    resamples: int,
    workers: int | None = None,
) -> None:
    """Score the images of some parts of a split and write the reports; the number of workers changes no byte.

    Args:
        prepared: with labels/ and index.csv, the truth.
        predictions: with labels/ and scores/ of every image of the parts.
        split: the split.csv.
        parts: val, test or both.
        reports: gets metrics.json, metrics_ci.json, per_image.csv, by_group.csv, classification_report.csv,
            confusion.csv, roc.csv, precision_recall.csv, ap.csv and calibration.csv.
        seed, resamples: of the bootstrap.
        workers: processes; if None one a core, and none beside this one for little work.

    Raises:
        InputError: a part has no image, or a truth or prediction is missing, unreadable or of the wrong shape.
    """
    records = {part: read_part(prepared, split, part) for part in parts}
    for part, found in records.items():
        if not found:
            fix = f"change split.{part}_fraction or the list in params.yaml"
            raise InputError(f"no image is in the part {part}: there is nothing to score", file=split, fix=fix)
    _check_complete(predictions, [record for found in records.values() for record in found])
    scores = _score(records, prepared, predictions, workers=workers)
    edges = _size_edges(np.concatenate([score.areas for score in scores.values()]))

    def write(name: str, columns: list[str], rows_of: Any) -> None:
        rows = [{"part": part, **row} for part, score in scores.items() for row in rows_of(score)]
        files.write_rows(reports / f"{name}.csv", columns, [_cells(row) for row in rows])

    write("per_image", COLUMNS, lambda score: score.rows)
    write("by_group", GROUP_COLUMNS, partial(_by_group, edges=edges))
    write("classification_report", ["part", "class", "precision", "recall", "f1", "support"], _report)
    write("confusion", ["part", "actual", "predicted", "pixels"], _confusion)
    write("ap", ["part", "iou", "ap", "ap_pooled", "precision", "recall", "f1"], _ap)
    for name, columns, points in (
        ("roc", ["threshold", "fpr", "tpr"], roc_points),
        ("precision_recall", ["threshold", "recall", "precision"], precision_recall_points),
        ("calibration", ["low", "high", "mean_score", "fraction_positive", "pixels"], calibration),
    ):
        write(name, ["part", *columns], partial(_points, columns=columns, points=points))
    ci = {part: _intervals(score, resamples=resamples, seed=seed) for part, score in scores.items()}
    files.write_json(reports / "metrics_ci.json", ci)
    files.write_json(reports / "metrics.json", {part: _metrics(score) for part, score in scores.items()})


def score_image(record: Record, part: str, *, prepared: Path, predictions: Path) -> ImageScore:
    """Score the files of one image.

    Raises:
        InputError: one is missing, unreadable, or not of the shape of the truth.
    """
    truth = read_labels(label_path(prepared, record.id))
    label_file, score_file = label_path(predictions, record.id), score_path(predictions, record.id)
    predicted, scores = read_labels(label_file), read_scores(score_file)
    for file, what, found in ((label_file, "label map", predicted), (score_file, "score map", scores)):
        if found.shape != truth.shape:
            raise InputError(
                f"a predicted {what} has another shape than its truth",
                file=file,
                got="{} x {}".format(*found.shape),
                expected="{} x {}".format(*truth.shape),
                fix=RESCORE,
            )
    pixels, matches = pixel_counts(truth > 0, predicted > 0), match(truth, predicted)
    histogram = score_histogram(truth > 0, scores)
    row = {
        "id": record.id,
        "part": part,
        "modality": record.modality,
        "height": truth.shape[0],
        "width": truth.shape[1],
        "nuclei": matches.truth,
        "nuclei_predicted": matches.predicted,
        "median_area_px": np.median(matches.areas) if matches.truth else np.nan,
        "tp": pixels.tp,
        "fp": pixels.fp,
        "fn": pixels.fn,
        "tn": pixels.tn,
        "dice": pixels.dice,
        "iou": pixels.iou,
        "precision": pixels.precision,
        "recall": pixels.recall,
        "map": matches.map,
        "ap50": matches.ap[0],
        "ap75": matches.ap[5],
        "sq": matches.sq,
        "rq": matches.rq,
        "pq": matches.pq,
        "aji": matches.aji,
        "count_error": abs(matches.predicted - matches.truth),
        "splits": matches.splits,
        "merges": matches.merges,
        "nucleus_precision": matches.precision,
        "nucleus_recall": matches.recall,
        **_ranking(histogram),
        "iou_sum": matches.iou_sum,
        "aji_intersection": matches.aji_intersection,
        "aji_union": matches.aji_union,
        **dict(zip(TP_COLUMNS, matches.tp, strict=True)),
    }
    return ImageScore(
        row=_plain(row),
        histogram=histogram.astype(np.uint32),  # no image has 2**32 pixels
        areas=matches.areas,
        hits=matches.hits,
    )


def _check_complete(predictions: Path, records: Sequence[Record]) -> None:
    paths = [find(predictions, record.id) for record in records for find in (label_path, score_path)]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        got = f"{len(paths) - len(missing)} of {len(paths)} label and score maps"
        raise InputError("a prediction is missing", file=missing[0], got=got, expected="all of them", fix=RESCORE)


def _score(
    records: Mapping[str, Sequence[Record]], prepared: Path, predictions: Path, *, workers: int | None
) -> dict[str, PartScore]:
    tasks = [(record, part) for part, found in records.items() for record in found]
    if workers is None and sum(record.height * record.width for record, _ in tasks) < FEW_PX:
        workers = 1
    score = partial(_score_task, prepared=prepared, predictions=predictions)
    images = track(ordered_map(score, tasks, workers=workers), what="score", total=len(tasks))
    return {part: _gathered(islice(images, len(found))) for part, found in records.items()}


def _score_task(task: tuple[Record, str], prepared: Path, predictions: Path) -> ImageScore:
    return score_image(*task, prepared=prepared, predictions=predictions)


def _gathered(images: Iterable[ImageScore]) -> PartScore:
    """Sum up the images of a part while they come, so that no histogram outlives its image."""
    rows, histograms, areas, hits = [], [], [], []
    total = np.zeros((2, LEVELS), dtype=np.int64)
    for image in images:
        rows.append(image.row)
        total += image.histogram
        histograms.append(coarse(image.histogram.astype(np.int64)))
        areas.append(image.areas)
        hits.append(image.hits)
    return PartScore(
        rows=rows,
        columns={column: np.array([row[column] for row in rows], dtype=np.float64) for column in NUMBERS},
        histogram=total,
        histograms=np.stack(histograms),
        areas=np.concatenate(areas),
        hits=np.concatenate(hits),
        owners=np.repeat(np.arange(len(areas)), [len(of_image) for of_image in areas]),
    )


def _ranking(histogram: NDArray[Any]) -> dict[str, Any]:
    return {"auc": auc(histogram), "average_precision": average_precision(histogram)}


def _metrics(score: PartScore) -> dict[str, float | int]:
    values = {**aggregate.metrics(score.columns), **_ranking(score.histogram)}
    return {**aggregate.rounded(values), "images": len(score.rows), "nuclei": len(score.areas)}


def _intervals(score: PartScore, *, resamples: int, seed: int) -> dict[str, Row]:
    """Intervals of all metrics; those of AUC and average precision from the images' coarse histograms.

    What these put the two off by, at most 0.001, is known from all images together, and taken off again.
    """
    images, bins = len(score.rows), score.histograms.shape[-1]
    histograms = score.histograms.reshape(images, -1).astype(np.float64)
    exact, rough = _ranking(score.histogram), _ranking(coarse(score.histogram))

    def statistics(weights: NDArray[np.int64]) -> dict[str, Any]:
        drawn = _ranking((weights @ histograms).reshape(-1, 2, bins))
        ranking = {name: np.minimum(1, values - rough[name] + exact[name]) for name, values in drawn.items()}
        return {**aggregate.metrics(score.columns, weights), **ranking}

    undefined = aggregate.undefined(score.columns)
    found = intervals(statistics, images, resamples=resamples, seed=seed, undefined=undefined)
    return {
        name: {
            "low": round(low, DIGITS),
            "high": round(high, DIGITS),
            "images": images,
            "nuclei": len(score.areas),
            "undefined": undefined.get(name, 0),
        }
        for name, (low, high) in found.items()
    }


def _pixels(score: PartScore) -> PixelCounts:
    return PixelCounts(*(int(score.columns[name].sum()) for name in ("tp", "fp", "fn", "tn")))


def _report(score: PartScore) -> list[Row]:
    """scikit-learn's classification report of the pixels."""
    nucleus = _pixels(score)
    background = nucleus.inverted
    classes = {"background": background, "nucleus": nucleus}
    names = ("precision", "recall", "f1")
    support = np.array([counts.tp + counts.fn for counts in classes.values()])
    values = np.array([[getattr(counts, name) for name in names] for counts in classes.values()])  # (2, 3)
    weighted = ratio((np.where(support[:, None] > 0, values, 0) * support[:, None]).sum(axis=0), support.sum())
    rows = [*classes, "macro avg", "weighted avg"]
    table = np.vstack([values, values.mean(axis=0), weighted])
    supports = [*support, support.sum(), support.sum()]
    return [
        {"class": row, **dict(zip(names, cells, strict=True)), "support": int(count)}
        for row, cells, count in zip(rows, table, supports, strict=True)
    ]


def _confusion(score: PartScore) -> list[Row]:
    counts = _pixels(score)
    cells = {
        ("background", "background"): counts.tn,
        ("background", "nucleus"): counts.fp,
        ("nucleus", "background"): counts.fn,
        ("nucleus", "nucleus"): counts.tp,
    }
    return [{"actual": actual, "predicted": predicted, "pixels": n} for (actual, predicted), n in cells.items()]


def _ap(score: PartScore) -> list[Row]:
    """At each IoU: AP as the mean over images and of all nuclei together, and what else follows from the latter."""
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


def _points(score: PartScore, columns: list[str], points: Any) -> list[Row]:
    rows = [dict(zip(columns, row, strict=True)) for row in points(score.histogram)]
    return [{**row, "pixels": int(row["pixels"])} if "pixels" in row else row for row in rows]


def _size_edges(areas: NDArray[np.int64]) -> NDArray[np.int64]:
    """The areas, in pixels, that divide the nuclei of all parts into quarters, each the largest of its quarter."""
    if not len(areas):
        return np.empty(0, dtype=np.int64)
    return np.unique(np.quantile(areas, [0.25, 0.5, 0.75], method="inverted_cdf")).astype(np.int64)


def _size_names(edges: NDArray[np.int64]) -> list[str]:
    """Names of the classes that the edges make: "up to 90 px", "91 to 200 px", ..., "over 400 px"."""
    if not len(edges):
        return ["any size"]
    between = [f"{low + 1} to {high} px" for low, high in pairwise(edges)]
    return [f"up to {edges[0]} px", *between, f"over {edges[-1]} px"]


def _by_group(score: PartScore, edges: NDArray[np.int64]) -> list[Row]:
    """Images by modality and by the median area of their true nuclei, then the nuclei by their own area.

    The areas' classes are quarters of all true nuclei, the same for both kinds and for both parts. Groups without
    images are left out, and so is what nuclei without an image of their own can not have.
    """
    names = _size_names(edges)
    modality = np.array([row["modality"] for row in score.rows])
    median = score.columns["median_area_px"]
    size = np.where(np.isnan(median), len(names), np.searchsorted(edges, median))
    rows = [_group("modality", name, score, modality == name) for name in MODALITIES]
    rows += [_group("size", name, score, size == number) for number, name in enumerate([*names, "no nuclei"])]
    own = np.searchsorted(edges, score.areas)
    for number, name in enumerate(names):
        of_class = own == number
        hits = score.hits[of_class]
        rows.append(
            {
                "grouping": "nucleus size",
                "group": name,
                "images": len(np.unique(score.owners[of_class])),
                "map_undefined": np.nan,
                "nuclei": len(hits),
                **dict.fromkeys(["dice", "iou", "map", "ap50", "pq", "splits", "merges"], np.nan),
                "recall50": ratio(np.count_nonzero(hits > 0), len(hits)),
                "recall75": ratio(np.count_nonzero(hits > 5), len(hits)),
            }
        )
    return [row for row in rows if row["images"]]


def _group(grouping: str, name: str, score: PartScore, where: NDArray[np.bool_]) -> Row:
    columns = aggregate.chosen(score.columns, where)
    values, nuclei = aggregate.metrics(columns), columns["nuclei"].sum()
    return {
        "grouping": grouping,
        "group": name,
        "images": int(where.sum()),
        "map_undefined": int(np.isnan(columns["map"]).sum()),
        "nuclei": int(nuclei),
        **{metric: values[metric] for metric in ("dice", "iou", "map", "ap50", "pq", "splits", "merges")},
        "recall50": ratio(columns["tp50"].sum(), nuclei),
        "recall75": ratio(columns["tp75"].sum(), nuclei),
    }


def _plain(row: Mapping[str, Any]) -> Row:
    """The row with Python's own numbers, rounded as the tables hold them."""

    def plain(value: Any) -> Any:
        if isinstance(value, float | np.floating):
            return round(float(value), DIGITS)
        return int(value) if isinstance(value, np.integer) else value

    return {name: plain(value) for name, value in row.items()}


def _cells(row: Mapping[str, Any]) -> Row:
    """The row as a table holds it, with an empty cell where a score is undefined."""
    return {name: "" if value != value else value for name, value in _plain(row).items()}
