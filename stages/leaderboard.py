"""Rank many experiments against one baseline, allowing for their number: python stages/leaderboard.py [NAME...]

Reads:  reports/metrics.json, per_image.csv, run.js and history.csv and params.yaml of each, and reports/noise.csv of
        this folder; no data, no DVC cache, no network
Writes: leaderboard.csv and leaderboard.html, a page that needs no other file, into the folder given by --output
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from nuclei.base import files
from nuclei.base.errors import run
from nuclei.experiments import leaderboard, noise
from nuclei.experiments.documents import Picture, as_html, as_text
from nuclei.experiments.revisions import experiments_of, read_revision
from nuclei.report.drawing import render

NOISE = Path("reports/noise.csv")


def main() -> None:
    arguments = _arguments()
    names = arguments.names or experiments_of(arguments.baseline, Path())
    baseline, *experiments = (read_revision(name, Path()) for name in [arguments.baseline, *names])
    board = leaderboard.rank(
        baseline, experiments, part=arguments.part, metric=arguments.metric, noise=noise.read(NOISE)
    )
    light, dark = (render(leaderboard.draw, board, dpi=120, dark=dark) for dark in (False, True))
    blocks = leaderboard.document(board, Picture(light.alt, light.png, dark.png))
    page = as_html(blocks, title=f"Experiments against {board.baseline}")
    files.write_rows(arguments.output / "leaderboard.csv", board.columns, board.rows)
    files.write_text(arguments.output / "leaderboard.html", page)
    table = [block for block in blocks if not isinstance(block, Picture)]
    sys.stdout.buffer.write(as_text(table).encode())  # UTF-8 whatever the locale


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    what = "DVC experiment, branch, tag, commit or path of another clone; default: all experiments of the baseline"
    parser.add_argument("names", nargs="*", metavar="name", help=what)
    parser.add_argument("--baseline", default="HEAD", help="the revision to compare with (HEAD)")
    parser.add_argument("--metric", default="map", help="the metric to rank by, as in metrics.json (map)")
    parser.add_argument("--part", choices=["val", "test"], default="val", help="the images to compare on (val)")
    parser.add_argument("-o", "--output", type=Path, default=Path("reports"), help="an existing folder (reports)")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
