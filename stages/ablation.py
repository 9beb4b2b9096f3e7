"""Tabulate and draw an ablation of a recipe: python stages/ablation.py RECIPE EXPERIMENT... -o FOLDER

Reads:  reports/metrics.json, reports/per_image.csv and params.yaml of each; no data, no DVC cache, no network
Writes: FOLDER/ablation.csv and FOLDER/ablation.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

from nuclei.base import files
from nuclei.base.errors import run
from nuclei.experiments import ablation
from nuclei.experiments.revisions import read_revision
from nuclei.report.drawing import render


def main() -> None:
    arguments = _arguments()
    recipe, *experiments = (read_revision(name, Path()) for name in [arguments.recipe, *arguments.experiments])
    rows = ablation.tabulate(recipe, experiments, arguments.part)
    picture = render(ablation.draw, rows, dpi=arguments.dpi)
    table, drawing = (arguments.output / f"ablation.{ending}" for ending in ("csv", "png"))
    files.write_rows(table, ablation.COLUMNS, rows)
    with files.replacing(drawing) as temporary:
        temporary.write_bytes(picture.png)
    print(f"wrote {table} and {drawing}: {len(experiments)} experiments compared with {recipe.name}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recipe", help="DVC experiment, branch, tag or commit to compare with")
    parser.add_argument("experiments", nargs="+", metavar="experiment", help="the same, each with one change")
    parser.add_argument("-o", "--output", type=Path, default=Path("reports"), help="an existing folder (reports)")
    parser.add_argument("--part", choices=["val", "test"], default="val", help="the images to compare on (val)")
    parser.add_argument("--dpi", type=int, default=120, help="resolution of the drawing (120)")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
