"""Tabulate mean and standard deviation over runs that differ only in their seed: python stages/repeats.py RUN RUN...

Reads:  reports/metrics.json, reports/per_image.csv and params.yaml of each; no data, no DVC cache, no network
Writes: the CSV given by --output: mean and standard deviation of every metric, over all images and by modality
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
    rows = repeats.spread(runs)
    files.write_rows(arguments.output, repeats.columns(runs), rows)
    for row in rows:
        if row["metric"] in SHOWN:
            what = f"{row['part']:5} {row['modality']:13} {row['images']:4} images  {row['metric']:5}"
            print(what, f"{row['mean']:.4f} +- {row['std']:.4f}" if row["mean"] != "" else "undefined")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", nargs="+", metavar="run", help="DVC experiment, branch, tag or commit")
    parser.add_argument("-o", "--output", type=Path, default=Path("reports/repeats.csv"), help="(reports/repeats.csv)")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
