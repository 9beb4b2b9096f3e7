"""Join runs of one recipe: seeds into mean and deviation, folds into one test set: python stages/repeats.py RUN RUN...

Reads:  reports/metrics.json, reports/per_image.csv and params.yaml of each; no data, no DVC cache, no network
Writes: the CSV given by --output. Runs that differ only in `seed`: mean, interval and standard deviation of every
        metric, over all images and by modality (reports/repeats.csv). Runs that differ only in `split.fold`, all folds
        of a cross-validation: every metric over all images, by modality, family and size (reports/folds.csv)
"""

from __future__ import annotations

import argparse
from pathlib import Path

from nuclei.base import files
from nuclei.base.errors import run
from nuclei.experiments import repeats
from nuclei.experiments.revisions import read_revision

SHOWN = ("dice", "iou", "map", "ap50", "pq")


def main() -> None:
    arguments = _arguments()
    runs = [read_revision(name, Path()) for name in arguments.runs]
    folds = repeats.differing(runs) == repeats.FOLD
    columns, rows = repeats.join(runs) if folds else repeats.spread(runs)
    output = arguments.output or Path("reports") / ("folds.csv" if folds else "repeats.csv")
    files.write_rows(output, columns, rows)
    shown = [row for row in rows if row["metric"] in SHOWN]
    names = [row["stratum"] if folds else f"{row['part']:5}{row['modality']}" for row in shown]
    width = max(map(len, names), default=0)
    for what, row in zip(names, shown, strict=True):
        print(f"{what:{width}} {row['images']:4} images {row['groups']:4} groups  {row['metric']:5} {_score(row)}")


def _score(row: repeats.Row) -> str:
    value = row.get("value", row.get("mean"))
    interval = "" if row["low"] == "" else f" [{row['low']:.4f}, {row['high']:.4f}]"
    deviation = f", standard deviation {row['std']:.4f}" if row.get("std", "") != "" else ""
    return "undefined" if value == "" else f"{value:.4f}{interval}{deviation}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    what = "DVC experiment, branch, tag, commit or path of another clone"
    parser.add_argument("runs", nargs="+", metavar="run", help=what)
    parser.add_argument("-o", "--output", type=Path, help="(reports/repeats.csv, or reports/folds.csv)")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
