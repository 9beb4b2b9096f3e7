"""Draw the report: figures, and one self-contained page that holds them, the numbers and the images worth looking at.

Reads:      reports/*.json, reports/*.csv, data/prepared, data/predictions, data/split.csv, data/source.json,
            requirements.in, requirements.txt
Writes:     reports/figures, reports/index.html
Parameters: plot; the others are shown
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from nuclei import figures, files, gallery, page, tables
from nuclei.errors import InputError, run
from nuclei.images import read_labels, read_rgb, write_rgb
from nuclei.overlays import Labels, Rgb
from nuclei.params import Params, load
from nuclei.records import REMAKE, image_path, label_path, read_index

REPORTS, PREPARED, PREDICTIONS = Path("reports"), Path("data/prepared"), Path("data/predictions")
SPLIT, SOURCE, REQUIREMENTS = Path("data/split.csv"), Path("data/source.json"), Path("requirements.txt")
FIGURES, PAGE = REPORTS / "figures", REPORTS / "index.html"


def main() -> None:
    params = load()
    reports = tables.read(REPORTS)
    facts = read_facts(params)
    per_image = reports.table("per_image")
    part, chosen = gallery.choose(per_image, params.plot.gallery_images)
    sections = [
        page.Section(title, note, gallery.cases(per_image, chosen[name], images))
        for name, (title, note) in headings(figures.NAMES[part]).items()
    ]
    light, dark = (list(figures.draw(reports, dpi=params.plot.dpi, dark=dark)) for dark in (False, True))
    with files.replacing(FIGURES) as folder:
        folder.mkdir()
        for picture in light:
            (folder / f"{picture.name}.png").write_bytes(picture.png)
        for name, ids in chosen.items():
            if ids:
                write_rgb(folder / f"{name}.png", gallery.sheet(ids, per_image, images))
    files.write_text(PAGE, page.render(reports, light, dark, sections, facts))


def images(id: str) -> tuple[Rgb, Labels, Labels]:
    """The RGB image, the true and the predicted label map of one image."""
    rgb, truth = read_rgb(image_path(PREPARED, id)), read_labels(label_path(PREPARED, id))
    predicted = read_labels(label_path(PREDICTIONS, id))
    if predicted.shape != truth.shape:
        raise InputError(
            "a prediction has another size than its image",
            file=label_path(PREDICTIONS, id),
            got="{} x {}".format(*predicted.shape),
            expected="{} x {}".format(*truth.shape),
            fix=REMAKE,
        )
    return rgb, truth, predicted


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
