"""Score the files of a prediction against the prepared truth: one row per image, and what the tables of a part need.

Dice, IoU, precision, recall, F1, accuracy and the confusion matrix judge the predicted label map > 0: the foreground
that a user gets, after thresholds and the removal of small objects. AUC, average precision, ROC, precision-recall and
calibration judge the stored probabilities. AP, PQ, AJI, nucleus precision and recall, splits and merges judge the
predicted instances.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nuclei.base.errors import InputError
from nuclei.base.parallel import ordered_map
from nuclei.base.progress import track
from nuclei.evaluate.aggregate import NUMBERS, TP_COLUMNS, Columns, Row, rounded
from nuclei.images.io import read_labels, read_scores
from nuclei.images.records import Record, label_path, read_families, read_groups, read_part, score_path
from nuclei.scores.histogram import LEVELS, auc, average_precision, coarse, score_histogram
from nuclei.scores.matching import match
from nuclei.scores.metrics import PixelCounts, pixel_counts

FEW_PX = 2 * 10**8  # fewer pixels than this are scored before worker processes have started
RESCORE = "run `dvc repro evaluate`, which predicts and scores all images"


@dataclass(frozen=True)
class ImageScore:
    """The scores of one image.

    Attributes:
        row: of aggregate.COLUMNS, NaN where a score is undefined.
        histogram: (2, LEVELS) uint32, see `score_histogram`.
        areas, hits: (nuclei,) int64, of each true nucleus, see `matching.Matches`.
    """

    row: Row
    histogram: NDArray[np.uint32]
    areas: NDArray[np.int64]
    hits: NDArray[np.int64]


@dataclass(frozen=True)
class PartScore:
    """The scores of all images of a part.

    Attributes:
        rows: one per image, as in `ImageScore`.
        columns: their numeric columns.
        groups: (images,) the group of each image, numbered from 0.
        histogram: (2, LEVELS) int64, of all pixels.
        histograms: (images, 2, bins) uint32, the coarse histogram of each image.
        areas, hits: (nuclei,) int64, of all true nuclei.
        owners: (nuclei,) the index of the image of each true nucleus.
    """

    rows: list[Row]
    columns: Columns
    groups: NDArray[np.intp]
    histogram: NDArray[np.int64]
    histograms: NDArray[np.uint32]
    areas: NDArray[np.int64]
    hits: NDArray[np.int64]
    owners: NDArray[np.intp]

    @property
    def pixels(self) -> PixelCounts:
        """The confusion matrix of all pixels."""
        return PixelCounts(*(int(self.columns[name].sum()) for name in ("tp", "fp", "fn", "tn")))


def score_parts(
    *, prepared: Path, predictions: Path, split: Path, parts: Sequence[str], workers: int | None = None
) -> dict[str, PartScore]:
    """Score every image of some parts of a split; the result does not depend on the number of workers.

    Args:
        prepared: holds labels/ and index.csv, the truth.
        predictions: holds labels/ and scores/ of every image of the parts.
        split: the path of split.csv.
        parts: val, test or both.
        workers: processes; None for one per core, or none at all where there is little to score.

    Raises:
        InputError: a part has no image, or a truth or prediction is missing, unreadable or of the wrong shape.
    """
    records = {part: read_part(prepared, split, part) for part in parts}
    for part, found in records.items():
        if not found:
            fix = f"change split.{part}_fraction or the list in params.yaml"
            raise InputError(f"no image is in the part {part}: there is nothing to score", file=split, fix=fix)
    _check_complete(predictions, [record for found in records.values() for record in found])
    of = read_groups(split), read_families(split)
    return _score(records, *of, prepared, predictions, workers=workers)


def score_image(record: Record, part: str, group: str, family: str, *, prepared: Path, predictions: Path) -> ImageScore:
    """Score the predicted label and score map of one image.

    Raises:
        InputError: a file is missing, unreadable, or not of the shape of the truth.
    """
    truth = read_labels(label_path(prepared, record.id))
    label_file, score_file = label_path(predictions, record.id), score_path(predictions, record.id)
    predicted, scores = read_labels(label_file), read_scores(score_file)
    for file, what, found in ((label_file, "label map", predicted), (score_file, "score map", scores)):
        if found.shape != truth.shape:
            raise InputError(
                f"a predicted {what} does not have the shape of its truth",
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
        "group": group,
        "family": family,
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
        "auc": auc(histogram),
        "average_precision": average_precision(histogram),
        "iou_sum": matches.iou_sum,
        "aji_intersection": matches.aji_intersection,
        "aji_union": matches.aji_union,
        **dict(zip(TP_COLUMNS, matches.tp, strict=True)),
    }
    return ImageScore(
        row=rounded(row),
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
    records: Mapping[str, Sequence[Record]],
    groups: Mapping[str, str],
    families: Mapping[str, str],
    prepared: Path,
    predictions: Path,
    *,
    workers: int | None,
) -> dict[str, PartScore]:
    tasks = [
        (record, part, groups[record.id], families[record.id]) for part, found in records.items() for record in found
    ]
    if workers is None and sum(record.height * record.width for record, *_ in tasks) < FEW_PX:
        workers = 1
    score = partial(_score_task, prepared=prepared, predictions=predictions)
    images = track(ordered_map(score, tasks, workers=workers), what="score", total=len(tasks))
    return {part: _gathered(islice(images, len(found))) for part, found in records.items()}


def _score_task(task: tuple[Record, str, str, str], prepared: Path, predictions: Path) -> ImageScore:
    return score_image(*task, prepared=prepared, predictions=predictions)


def _gathered(images: Iterable[ImageScore]) -> PartScore:
    """Collect the images of a part as they are scored, keeping the full histogram of their sum alone."""
    rows, histograms, areas, hits = [], [], [], []
    total = np.zeros((2, LEVELS), dtype=np.int64)
    for image in images:
        rows.append(image.row)
        total += image.histogram
        histograms.append(coarse(image.histogram.astype(np.int64)).astype(np.uint32))
        areas.append(image.areas)
        hits.append(image.hits)
    return PartScore(
        rows=rows,
        columns={column: np.array([row[column] for row in rows], dtype=np.float64) for column in NUMBERS},
        groups=np.unique([row["group"] for row in rows], return_inverse=True)[1],
        histogram=total,
        histograms=np.stack(histograms),
        areas=np.concatenate(areas),
        hits=np.concatenate(hits),
        owners=np.repeat(np.arange(len(areas)), [len(of_image) for of_image in areas]),
    )
