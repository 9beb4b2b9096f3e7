"""A hand-drawn folder of truths and predictions whose scores are known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nuclei.base import files
from nuclei.evaluate.reports import write_reports
from nuclei.evaluate.scoring import score_parts
from nuclei.images.io import write_labels, write_scores
from nuclei.images.records import COLUMNS as INDEX_COLUMNS
from nuclei.images.records import label_path, score_path

# id: part, modality, truth, prediction, one row of pixels each; a and b are one group, the others one each
IMAGES = {
    "a": ("val", "fluorescence", [1, 1, 1, 1, 0, 0, 2, 2, 0, 0], [1, 1, 1, 1, 0, 0, 2, 0, 0, 0]),
    "b": ("val", "tissue", [0, 0, 0, 0], [0, 0, 0, 0]),
    "c": ("val", "tissue", [1, 1, 2, 2, 0, 0], [3, 3, 3, 3, 0, 4]),
    "d": ("test", "brightfield", [7, 7, 7, 7, 0, 0], [1, 1, 2, 2, 0, 0]),
    "e": ("test", "brightfield", [1] * 10 + [0] + [2] * 4, [5] * 7 + [0] * 8),
}
FAMILIES = {"a": "x", "b": "x", "c": "y", "d": "z", "e": "z"}
GROUPS = {"a": "7", "b": "7", "c": "2", "d": "5", "e": "10"}
REPORTS = [
    *("metrics.json", "metrics_ci.json", "per_image.csv", "by_stratum.csv", "classification_report.csv"),
    *("confusion.csv", "roc.csv", "precision_recall.csv", "ap.csv", "calibration.csv"),
]


def draw(folder: Path) -> Path:
    """Write the truths, the predictions, the index and the split of IMAGES; return the folder."""
    index, split = [], []
    for name, (part, modality, truth, predicted) in IMAGES.items():
        labels, guess = np.array([truth], np.uint16), np.array([predicted], np.uint16)
        write_labels(label_path(folder / "prepared", name), labels)
        write_labels(label_path(folder / "predictions", name), guess)
        write_scores(score_path(folder / "predictions", name), np.where(guess > 0, 60_000, 5_000).astype(np.uint16))
        nuclei = len(set(truth) - {0})
        values = [name, 1, len(truth), nuclei, float((labels > 0).mean()), modality, f"{name}.png"]
        index.append(dict(zip(INDEX_COLUMNS, values, strict=True)))
        split.append({"id": name, "part": part, "group": GROUPS[name], "family": FAMILIES[name]})
    files.write_rows(folder / "prepared/index.csv", INDEX_COLUMNS, index)
    files.write_rows(folder / "split.csv", ["id", "part", "group", "family"], split)
    return folder


def score(
    folder: Path,
    reports: str = "reports",
    *,
    parts: Sequence[str] = ("val", "test"),
    workers: int = 1,
    seed: int = 0,
    resamples: int = 200,
) -> Path:
    scores = score_parts(
        prepared=folder / "prepared",
        predictions=folder / "predictions",
        split=folder / "split.csv",
        parts=parts,
        workers=workers,
    )
    write_reports(folder / reports, scores, seed=seed, resamples=resamples)
    return folder / reports


def leave_out(folder: Path, name: str) -> None:
    text = (folder / "split.csv").read_text()
    (folder / "split.csv").write_text(
        text.replace(f"{name},test", f"{name},train").replace(f"{name},val", f"{name},train")
    )


def of_one_group(folder: Path, *names: str) -> None:
    found = files.read_rows(folder / "split.csv", ["id", "part", "group", "family"], fix="")
    changed = [{**row, "group": "1"} if row["id"] in names else row for row in found]
    files.write_rows(folder / "split.csv", ["id", "part", "group", "family"], changed)


def rows(reports: Path, name: str, part: str | None = None) -> list[dict[str, str]]:
    found = files.read_rows(reports / f"{name}.csv", ["part"], fix="")
    return found if part is None else [row for row in found if row["part"] == part]
