"""Write one self-contained page that holds the numbers, the figures and the images worth looking at.

Reads:      reports/*.json, reports/*.csv, reports/figures, data/prepared, data/predictions, data/split.csv,
            data/source.json, requirements.in, requirements.txt
Writes:     reports/index.html
Parameters: plot; the others are shown

It is a stage of its own because DVC takes a page of HTML for no plot, and what is in git but neither a metric nor a
plot keeps its stage out of the run cache: `plot`, which draws for longer, stays in it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from nuclei.base import files
from nuclei.base.errors import InputError, run
from nuclei.base.params import Params, load
from nuclei.images.records import REMAKE, read_index
from nuclei.report import figures, gallery, page, tables

REPORTS, PREPARED, PREDICTIONS = Path("reports"), Path("data/prepared"), Path("data/predictions")
SPLIT, SOURCE, REQUIREMENTS = Path("data/split.csv"), Path("data/source.json"), Path("requirements.txt")
FIGURES, PAGE = REPORTS / "figures", REPORTS / "index.html"


def main() -> None:
    params = load()
    reports = tables.read(REPORTS)
    facts = read_facts(params)
    per_image = reports.table("per_image")
    part, chosen = gallery.choose(per_image, params.plot.gallery_images)
    images = gallery.reader(PREPARED, PREDICTIONS)
    sections = [
        page.Section(title, note, gallery.cases(per_image, chosen[name], images))
        for name, (title, note) in headings(figures.NAMES[part]).items()
    ]
    dark = list(figures.draw(reports, dpi=params.plot.dpi, dark=True))
    light = [figures.stored(picture, FIGURES) for picture in dark]
    files.write_text(PAGE, page.render(reports, light, dark, sections, facts))


def read_facts(params: Params) -> page.Facts:
    source = files.read_json(SOURCE, REMAKE)
    if not isinstance(source, dict) or source.get("kind") not in page.SOURCES:
        raise InputError("the data source is unknown", file=SOURCE, got=source, expected=list(page.SOURCES), fix=REMAKE)
    return page.Facts(
        source=source,
        records=read_index(PREPARED),
        split=files.read_rows(SPLIT, ["id", "part", "group"], REMAKE),
        defects=files.read_rows(PREPARED / "annotations.csv", ["id", "defect", "count", "pixels", "action"], REMAKE),
        versions=page.pins(REQUIREMENTS.with_suffix(".in"), REQUIREMENTS),
        params=params,
        history_sha256=hashlib.sha256((REPORTS / "history.csv").read_bytes()).hexdigest(),
    )


def headings(part: str) -> dict[str, tuple[str, str]]:
    """The sections of the gallery: title and note."""
    ranked = f"of the {part} images by mAP."
    return {
        "worst": ("Worst", f"The worst {ranked}"),
        "median": ("Median", f"The middle {ranked}"),
        "best": ("Best", f"The best {ranked}"),
        "modalities": ("One of each modality", f"The median {part} image of each modality, by mAP."),
    }


if __name__ == "__main__":
    run(main)
