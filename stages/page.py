"""Write one self-contained page of the scores, the figures and the worst, median and best images.

Reads:      reports/*.json, reports/*.csv, reports/figures, data/prepared, data/predictions, data/split.csv,
            data/source.json, requirements.in, requirements.txt, CITATION.cff
Writes:     reports/index.html
Parameters: plot; all others, because the page lists them

It is a stage of its own because of DVC's run cache: an output that git tracks keeps its stage out of the cache unless
it is a metric or a plot, and DVC does not accept HTML as a plot. `plot`, which takes longer, stays in the cache.
"""

from __future__ import annotations

from pathlib import Path

from nuclei.base import citation, files
from nuclei.base.errors import InputError, run
from nuclei.base.params import Params, load
from nuclei.images.records import REMAKE, read_index
from nuclei.report import drawing, figures, gallery, page, tables

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
        for name, (title, note) in headings(drawing.NAMES[part]).items()
    ]
    dark = list(figures.draw(reports, dpi=params.plot.dpi, dark=True))
    light = [drawing.stored(picture, FIGURES) for picture in dark]
    files.write_text(PAGE, page.render(reports, light, dark, sections, facts))


def read_facts(params: Params) -> page.Facts:
    source = files.read_json(SOURCE, REMAKE)
    if not isinstance(source, dict) or source.get("kind") not in page.SOURCES:
        raise InputError("the data source is unknown", file=SOURCE, got=source, expected=list(page.SOURCES), fix=REMAKE)
    return page.Facts(
        version=citation.read().version,
        source=source,
        records=read_index(PREPARED),
        split=files.read_rows(SPLIT, ["id", "part", "group"], REMAKE),
        defects=files.read_rows(PREPARED / "annotations.csv", ["id", "defect", "count", "pixels", "action"], REMAKE),
        versions=page.pins(REQUIREMENTS.with_suffix(".in"), REQUIREMENTS),
        params=params,
        history_sha256=files.sha256(REPORTS / "history.csv"),
    )


def headings(part: str) -> dict[str, tuple[str, str]]:
    """The sections of the gallery: title and note."""
    ranked = f"of the {part} images by mAP."
    return {
        "worst": ("Worst", f"The worst {ranked}"),
        "median": ("Median", f"The median {ranked}"),
        "best": ("Best", f"The best {ranked}"),
        "modalities": ("One of each modality", f"The median {part} image of each modality, by mAP."),
    }


if __name__ == "__main__":
    run(main)
