"""Draw the figures: scores, curves, learning curves, and sheets of the worst, median and best images.

Reads:      reports/*.json, reports/*.csv, data/prepared, data/predictions
Writes:     reports/figures
Parameters: plot
"""

from __future__ import annotations

from pathlib import Path

from nuclei.base import files
from nuclei.base.errors import run
from nuclei.base.params import load
from nuclei.images.io import write_rgb
from nuclei.report import figures, gallery, tables

REPORTS, PREPARED, PREDICTIONS = Path("reports"), Path("data/prepared"), Path("data/predictions")
FIGURES = REPORTS / "figures"


def main() -> None:
    plot = load().plot
    reports = tables.read(REPORTS)
    per_image = reports.table("per_image")
    _, chosen = gallery.choose(per_image, plot.gallery_images)
    images = gallery.reader(PREPARED, PREDICTIONS)
    with files.replacing(FIGURES) as folder:
        folder.mkdir()
        for picture in figures.draw(reports, dpi=plot.dpi):
            (folder / f"{picture.name}.png").write_bytes(picture.png)
        for name, ids in chosen.items():
            if ids:
                write_rgb(folder / f"{name}.png", gallery.sheet(ids, per_image, images))


if __name__ == "__main__":
    run(main)
