"""The model card: what a model was trained on and how, how well it does, and what it is not for.

The card says nothing that differs between two runs which are equal to the last bit, such as when they ran, so that two
such runs write the same card.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from nuclei.base import files
from nuclei.base.citation import Citation
from nuclei.base.errors import InputError
from nuclei.images.records import MODALITIES, PARTS, REMAKE, read_index
from nuclei.network.segmenter import Settings
from nuclei.network.sizing import LARGEST_ZOOM, SMALLEST_ZOOM

MEAN = "mean of the families"  # the stratum of that row in the table of repeats.py
NAME = "MODEL.md"
METRICS = {"dice": "Dice", "iou": "IoU", "map": "mAP", "ap50": "AP50", "pq": "PQ"}
FEW_IMAGES = 20  # a modality with fewer training images is named as one that the model has hardly seen
SOURCES = {
    "sample": "the built-in sample: synthetic images drawn by this pipeline",
    "bbbc038": "stage1_train of the 2018 Data Science Bowl, image set BBBC038 of the Broad Institute (CC0 1.0)",
    "kaggle": "stage1_train of the 2018 Data Science Bowl, from Kaggle (CC0 1.0)",
    "path": "the user's own data",
}
CORRECTED = {  # archives that are known by their hash
    "9621d6d0ccc22e02ec4b44e443d09282d64ba6bec3079cd9c64e37f2d2e5bf2a": "stage1_train of the 2018 Data Science Bowl "
    "with the community's corrections of the annotations (`kaggle-dsbowl-2018-dataset-fixes`, CC0 1.0)",
}


@dataclass(frozen=True)
class Part:
    """One part of the split: its name, and how much of everything is in it."""

    name: str
    images: int
    groups: int
    nuclei: int
    modalities: Mapping[str, int]  # images of each of MODALITIES


@dataclass(frozen=True)
class Score:
    """The scores of some images of one part.

    Attributes:
        part, stratum: `test` and `all`, or a modality.
        images, groups: how many.
        metrics: for each of METRICS its value and the low and high end of its 95 % interval, NaN where there is none.
    """

    part: str
    stratum: str
    images: int
    groups: int
    metrics: Mapping[str, tuple[float, float, float]]


@dataclass(frozen=True)
class Run:
    """What a workspace of the pipeline knows of the model that was trained in it.

    Attributes:
        recipe: the parameters that it was trained with, by their dotted names.
        data: what it was trained on, in words.
        synthetic: whether that was the built-in sample.
        parts: of the split.
        scores: of val and test, over all images and by modality; none where every image is a training image.
        machine: what reports/run.js says of the training, None where that is not of this model.
    """

    recipe: Mapping[str, Any]
    data: str
    synthetic: bool
    parts: list[Part]
    scores: list[Score]
    machine: Mapping[str, Any] | None


def write(
    path: Path,
    settings: Settings,
    citation: Citation,
    run: Run | None,
    described: Sequence[Path],
    folds: Mapping[str, Sequence[Score]] = MappingProxyType({}),
    notes: str = "",
) -> None:
    """Write the card of a model.

    Args:
        path: of the card.
        settings: of the model.
        citation: of the project.
        run: what is known of the model's training; None for nothing.
        described: the model's files, whose hashes the card gives.
        folds: tables of other trainings of the recipe, as `read_folds` returns them, by the names of their files.
        notes: Markdown on the training and the scores, for a model of which no run is known.
    """
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    environment.filters["score"] = _score
    template = environment.get_template("card.md.j2")
    text = template.render(
        citation=citation,
        settings=settings,
        run=run,
        hashes={file.name: files.sha256(file) for file in described},
        metrics=METRICS,
        modalities=MODALITIES,
        folds=folds,
        notes=notes.strip(),
        zooms=(SMALLEST_ZOOM, LARGEST_ZOOM),
        rescaled=None if settings.diameter_px is None else _rescaled(settings.diameter_px),
        rare=[] if run is None else _rare(run.parts),
    )
    files.write_text(path, text)


def read_run(workspace: Path, weights_sha256: str, recipe: Mapping[str, Any]) -> Run:
    """Gather what the workspace in which a model was trained knows of it.

    Args:
        workspace: with data/ and reports/ as the stages up to evaluate leave them.
        weights_sha256: of the model's U-Net.
        recipe: the parameters, nested as in params.yaml.

    Raises:
        InputError: a file is missing or is not what the pipeline writes.
    """
    source_path = workspace / "data/source.json"
    source = files.read_json(source_path, REMAKE)
    if not isinstance(source, dict) or source.get("kind") not in SOURCES:
        raise InputError("the data source is unknown", file=source_path, got=source, expected=list(SOURCES), fix=REMAKE)
    parts = _parts(workspace)
    # where every image is a training image, the reports are of an earlier model
    left_out = any(part.images for part in parts if part.name != "train")
    return Run(
        recipe=_leaves(recipe),
        data=_described(source),
        synthetic=source["kind"] == "sample",
        parts=parts,
        scores=_scores(workspace / "reports") if left_out else [],
        machine=_machine(workspace / "reports/run.js", weights_sha256),
    )


def read_folds(path: Path) -> list[Score]:
    """Read a table that stages/repeats.py joined from folds: the scores over all images, by modality and by family.

    Raises:
        InputError: the file is missing, or is not such a table.
    """
    fix = "give the table that python stages/repeats.py wrote of the folds of a cross-validation"
    rows = files.read_rows(path, ["grouping", "stratum", "images", "groups", "metric", "value", "low", "high"], fix)
    found: dict[tuple[str, str], dict[str, dict[str, str]]] = {}
    for row in rows:
        if row["grouping"] in ("all", "modality", "family"):
            found.setdefault((row["grouping"], row["stratum"]), {})[row["metric"]] = row
    try:
        return [
            Score(
                part=grouping,
                stratum=f"family {stratum}" if grouping == "family" and stratum != MEAN else stratum,
                images=int(of["dice"]["images"]),
                groups=int(of["dice"]["groups"]),
                metrics={name: (_number(of[name]["value"]), *_bounds(of[name])) for name in METRICS},
            )
            for (grouping, stratum), of in found.items()
        ]
    except (KeyError, ValueError) as error:
        raise InputError("the table of folds can not be read", file=path, got=repr(error), fix=fix) from None


def _described(source: Mapping[str, Any]) -> str:
    archive = source.get("stage1_train.zip", {}).get("sha256", "")
    if archive in CORRECTED:
        return f"{CORRECTED[archive]}, SHA-256 `{archive}`"
    return SOURCES[source["kind"]] + (f", SHA-256 `{archive}`" if archive else "")


def _parts(workspace: Path) -> list[Part]:
    records = {record.id: record for record in read_index(workspace / "data/prepared")}
    rows = files.read_rows(workspace / "data/split.csv", ["id", "part", "group"], REMAKE)
    found = []
    for part in PARTS:
        members = [row for row in rows if row["part"] == part and row["id"] in records]
        looks = Counter(records[row["id"]].modality for row in members)
        nuclei = sum(records[row["id"]].nuclei for row in members)
        groups = len({row["group"] for row in members})
        found.append(Part(part, len(members), groups, nuclei, {name: looks[name] for name in MODALITIES}))
    return found


def _scores(reports: Path) -> list[Score]:
    """The scores of each part, over all images and by modality."""
    values, ci = (files.read_json(reports / name, REMAKE) for name in ("metrics.json", "metrics_ci.json"))
    columns = ["part", "grouping", "stratum", "images", "groups"]
    columns += [f"{metric}{bound}" for metric in METRICS for bound in ("", "_low", "_high")]
    rows = files.read_rows(reports / "by_stratum.csv", columns, REMAKE)
    found = []
    try:
        for part in values:
            between = ci[part]["dice"]
            metrics = {name: (_number(values[part][name]), *_bounds(ci[part][name])) for name in METRICS}
            found.append(Score(part, "all", int(between["images"]), int(between["groups"]), metrics))
            for row in rows:
                if row["part"] == part and row["grouping"] == "modality":
                    metrics = {
                        name: (_number(row[name]), _number(row[f"{name}_low"]), _number(row[f"{name}_high"]))
                        for name in METRICS
                    }
                    found.append(Score(part, row["stratum"], int(row["images"]), int(row["groups"]), metrics))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError("the metrics can not be read", file=reports, got=repr(error), fix=REMAKE) from None
    return found


def _bounds(interval: Mapping[str, Any]) -> tuple[float, float]:
    return _number(interval["low"]), _number(interval["high"])


def _number(value: str | float | None) -> float:
    """A number of a report, NaN where a cell is empty or null."""
    return float("nan") if value in (None, "") else float(value)


def _machine(path: Path, weights_sha256: str) -> dict[str, Any] | None:
    """The facts of a training that reports/run.js holds: one JSON object, assigned to a variable."""
    if not path.exists():
        return None
    text = path.read_text(encoding="utf-8")
    try:
        facts = json.loads(text[text.index("{") : text.rindex("}") + 1])
        return facts if facts["weights_sha256"] == weights_sha256 else None
    except (ValueError, KeyError) as error:
        raise InputError("the facts of the training can not be read", file=path, got=error, fix=REMAKE) from None


def _rescaled(diameter_px: float) -> tuple[int, int]:
    """The smallest and the largest diameter that are rescaled to `diameter_px` in full, in pixels."""
    return round(diameter_px / LARGEST_ZOOM), round(diameter_px / SMALLEST_ZOOM)


def _rare(parts: list[Part]) -> list[tuple[str, int]]:
    training = parts[PARTS.index("train")].modalities
    return [(name, training[name]) for name in MODALITIES if training[name] < FEW_IMAGES]


def _leaves(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by their dotted names."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _leaves(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return found


def _score(values: tuple[float, float, float]) -> str:
    value, low, high = values
    if not np.isfinite(value):
        return ""
    return f"{value:.3f}" + (f" [{low:.3f}, {high:.3f}]" if np.isfinite(low) else "")
