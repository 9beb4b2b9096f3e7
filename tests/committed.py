"""Made-up reports in a git repository, as `compare.py` and its siblings read them, and a way to run those scripts."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import json
import subprocess
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from joblib.externals.loky import get_reusable_executor

from nuclei.base import errors, files
from nuclei.evaluate import aggregate
from nuclei.evaluate.aggregate import COLUMNS, NUMBERS

SCORES = [name for name in aggregate.MEANS.values() if name != "count_error"]
IMAGES = [f"image{number:02}" for number in range(30)]


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def run_here(script: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script of stages/ in `folder`, in this process: without the start of another Python."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    code: object = 0
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch("sys.argv", [script, *arguments]),
    ):
        get_reusable_executor().shutdown()  # worker processes stay in the folder in which they were started
        try:
            errors.run(importlib.import_module(script).main)
        except SystemExit as end:
            code = end.code
            if isinstance(code, str):
                print(code, file=err)
    for stream in (out, err):
        stream.flush()
    said = [stream.buffer.getvalue().decode() for stream in (out, err)]
    return subprocess.CompletedProcess([script, *arguments], code if isinstance(code, int) else 1, *said)


def report(folder: Path, better: float = 0.0, *, images: list[str] = IMAGES, **params: Any) -> None:
    """Write reports of a val part: pixels, nuclei and scores that `better` moves, some images more than others.

    Two images with consecutive numbers are one group.
    """
    rng, rows = np.random.default_rng(0), []
    for name in images:
        number = int(name[5:])
        quality = float(np.clip(0.6 + rng.normal(0, 0.1) + better * (1 + 0.3 * np.sin(number)), 0, 1))
        tp, found = round(1000 * quality), round(50 * quality)
        row = dict.fromkeys(NUMBERS, 0.0)
        row |= {"height": 50, "width": 50, "tp": tp, "fn": 1000 - tp, "fp": 100, "tn": 1400}
        row |= {"nuclei": 50, "nuclei_predicted": 50, "splits": 50 - found, "count_error": 50 - found}
        row |= {column: found for column in aggregate.TP_COLUMNS}
        row |= {"iou_sum": 0.8 * found, "aji_intersection": tp, "aji_union": 1100}
        row |= dict.fromkeys(SCORES, round(quality, 6))
        rows.append(
            {
                "id": name,
                "part": "val",
                "group": number // 2,
                "family": f"family {number % 3}",
                "modality": "tissue",
                **row,
            }
        )
    files.write_rows(folder / "reports/per_image.csv", COLUMNS, rows)
    _, columns = aggregate.numbers((folder / "reports/per_image.csv").read_text(), "")
    metrics = aggregate.rounded(aggregate.metrics(columns)) | {"auc": 0.9 + better, "images": len(rows), "nuclei": 1}
    files.write_json(folder / "reports/metrics.json", {"val": metrics})
    values = {"epochs": 5, "train": {"learning_rate": 0.001, "augment": {"blur": 0.2}}} | params
    (folder / "params.yaml").write_text(json.dumps(values))


def trained(folder: Path, **facts: Any) -> None:
    """Write learning curves, and the facts of their training as train writes them."""
    history = folder / "reports/history.csv"
    history.write_text("epoch\n1\n")
    sha256 = hashlib.sha256(history.read_bytes()).hexdigest()
    known = {"weights_sha256": "aa", "cpu": "A", "device": "cpu", "threads": 2, "precision": "32-true", "seconds": 60.0}
    known |= {"versions": {"torch": "2.0"}, "history_sha256": sha256}
    (folder / "reports/run.js").write_text(f"window.trainingRun = {json.dumps(known | facts)};\n")


def change_rows(folder: Path, changes: dict[str, dict[str, object]]) -> None:
    """Change cells of the per-image table, by image and column."""
    path = folder / "reports/per_image.csv"
    rows = files.read_rows(path, COLUMNS, fix="")
    files.write_rows(path, COLUMNS, [row | changes.get(row["id"], {}) for row in rows])
