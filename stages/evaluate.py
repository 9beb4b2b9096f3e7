"""Predict validation and test images at full resolution, then score the files that were written; nothing is tuned.

Reads:      data/model, data/prepared, the rows of data/split.csv in the parts that the parameters name
Writes:     data/predictions (scores/, labels/), reports/metrics.json, metrics_ci.json, per_image.csv, by_stratum.csv,
            classification_report.csv, confusion.csv, roc.csv, precision_recall.csv, ap.csv, calibration.csv
Parameters: seed, evaluate
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nuclei.base import files
from nuclei.base.errors import InputError, run
from nuclei.base.machine import keep_freed_memory
from nuclei.base.params import load
from nuclei.base.progress import track
from nuclei.evaluate.reports import write_reports
from nuclei.evaluate.scoring import score_parts
from nuclei.images.io import read_rgb, write_labels, write_scores
from nuclei.images.records import image_path, label_path, read_part, score_path
from nuclei.network.segmenter import Segmenter

MODEL, PREPARED, SPLIT = Path("data/model"), Path("data/prepared"), Path("data/split.csv")
PREDICTIONS, REPORTS = Path("data/predictions"), Path("reports")


def main() -> None:
    params = load()
    records = [record for part in params.evaluate.parts for record in read_part(PREPARED, SPLIT, part)]
    if not records:
        fix = "stop after `dvc repro train`, whose data/model is complete; or give the split a val and a test part"
        raise InputError("there is no image to evaluate", file=SPLIT, got=f"none in {params.evaluate.parts}", fix=fix)
    keep_freed_memory()
    segmenter = Segmenter.load(MODEL, device=params.evaluate.device)
    clamped = 0
    with files.replacing(PREDICTIONS) as folder:
        for record in track(records, what="predict", total=len(records)):
            rgb = read_rgb(image_path(PREPARED, record.id))
            scale = segmenter.scale(rgb)
            clamped += scale.warning is not None
            maps = segmenter.predict(rgb, scale)
            write_scores(score_path(folder, record.id), np.rint(maps[0] * 65535).astype(np.uint16))
            write_labels(label_path(folder, record.id), segmenter.nuclei(maps)[0])
    if clamped:
        print(f"{clamped} of {len(records)} images have nuclei too large or too small for the limits of the zoom")
    scores = score_parts(prepared=PREPARED, predictions=PREDICTIONS, split=SPLIT, parts=params.evaluate.parts)
    write_reports(REPORTS, scores, seed=params.seed, resamples=params.evaluate.bootstrap_resamples)


if __name__ == "__main__":
    run(main)
