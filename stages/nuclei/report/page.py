"""The report as one self-contained HTML page: numbers, figures, gallery and tables, in the template beside this file.

Equal inputs give an equal page: it contains no date, revision, path or machine name. Those of the training are in
run.js beside it, which the browser loads; see train/provenance.py.
"""

from __future__ import annotations

import base64
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from nuclei.base.errors import InputError
from nuclei.base.params import Params
from nuclei.images.records import Record
from nuclei.pictures.verdicts import ERRORS
from nuclei.report.drawing import NAMES, Picture
from nuclei.report.gallery import SCORES, Case
from nuclei.report.tables import METRICS, STRATUM_SCORES, Metric, Reports, Table

TEMPLATE = "page.html.j2"
HEADLINE = ("dice", "iou", "map", "ap50", "pq")
UNDEFINED = "\N{EN DASH}"
AMOUNTS = {"images", "groups", "nuclei"}  # in metrics.json, but not metrics
DIGITS = {"auc": 4, "auc_mean": 4, "count_error": 2, "splits": 2, "merges": 2}  # decimals; all other metrics have three
GROUPINGS = {
    "modality": "modality",
    "family": "family: image size, modality and background",
    "size": "the median area of the nuclei of an image",
    "nucleus size": "the area of the nucleus itself",
}
SOURCES = {
    "sample": "a synthetic sample, drawn by this project",
    "bbbc038": "BBBC038, Broad Bioimage Benchmark Collection: stage 1 of the 2018 Data Science Bowl",
    "kaggle": "stage 1 of the 2018 Data Science Bowl, from Kaggle",
    "path": "the user's own files",
}
PER_IMAGE = {  # columns of the table of images, and their headings
    "part": "part",
    "modality": "modality",
    "height": "height (px)",
    "width": "width (px)",
    "nuclei": "true nuclei",
    "nuclei_predicted": "predicted nuclei",
    "dice": "Dice",
    "iou": "IoU",
    "map": "mAP",
    "ap50": "AP50",
    "pq": "PQ",
    "splits": "splits",
    "merges": "merges",
}


@dataclass(frozen=True)
class Section:
    """A section of the gallery: heading, note and cases."""

    title: str
    note: str
    cases: list[Case]


@dataclass(frozen=True)
class Facts:
    """Data and settings of the run: source.json, index, split, annotation defects, pinned versions and parameters."""

    version: str  # of this project
    source: Mapping[str, Any]
    records: Sequence[Record]
    split: Sequence[Mapping[str, str]]  # rows of split.csv
    defects: Sequence[Mapping[str, str]]  # rows of annotations.csv
    versions: Mapping[str, str]
    params: Params
    history_sha256: str  # of history.csv; run.js belongs to this training if it names the same


def render(
    reports: Reports, light: Sequence[Picture], dark: Sequence[Picture], gallery: Sequence[Section], facts: Facts
) -> str:
    """Return the page as HTML.

    Args:
        light, dark: the same figures for either theme, in the same order.
        gallery: the sections of the gallery; an image may be in several.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,  # ids and paths come from the user: text, never markup
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"metric": metric, "score": score, "count": count, "uri": _uri, "fraction": _fraction}
    cases = list({case.id: case for section in gallery for case in section.cases}.values())
    return environment.get_template(TEMPLATE).render(
        names=NAMES,
        parts=reports.parts(),
        synthetic=facts.source.get("kind") == "sample",
        train=facts.params.train,
        epochs=facts.params.epochs,
        source=SOURCES[facts.source["kind"]],
        fingerprints=_flat({k: v for k, v in facts.source.items() if k != "kind" and not isinstance(v, list)}),
        headline=_headline(reports),
        metrics=_metrics(reports),
        totals=[_total(part, reports.table("per_image", part)) for part in reports.parts()],
        groupings=_groupings(reports.table("by_stratum")),
        classes=reports.table("classification_report").to_dict("records"),
        figures=list(zip(light, dark, strict=True)),
        gallery=gallery,
        numbers={case.id: index for index, case in enumerate(cases, start=1)},
        cases=cases,
        scores={name: METRICS[name].title for name in SCORES},
        errors=ERRORS,
        columns=PER_IMAGE,
        scored=[name for name in PER_IMAGE if name in METRICS and name not in ("splits", "merges")],
        rows=reports.table("per_image").sort_values(["map", "id"], na_position="last").to_dict("records"),
        split=_split(facts),
        duplicates=_several(row["group"] for row in facts.split),
        divided=_several(group for group, _ in {(row["group"], row["part"]) for row in facts.split}),
        defects=_defects(facts.defects),
        params=_flat(asdict(facts.params)),
        version=facts.version,
        versions=facts.versions,
        history_sha256=facts.history_sha256,
    )


def metric(value: float, name: str) -> str:
    """A metric of metrics.json as text."""
    return UNDEFINED if math.isnan(value) else f"{value:.{DIGITS.get(name, 3)}f}"


def score(value: float) -> str:
    """A score of an image or a group as text."""
    return UNDEFINED if math.isnan(value) else f"{value:.3f}"


def count(value: float) -> str:
    """A whole number as text."""
    return UNDEFINED if math.isnan(value) else f"{value:,.0f}"


def pins(requirements_in: Path, requirements_txt: Path) -> dict[str, str]:
    """The versions in requirements.txt of the packages that requirements.in names, by name.

    Raises:
        InputError: a file is absent, or a package has no pin.
    """
    try:
        wanted = re.findall(r"^[A-Za-z0-9][\w.-]*", requirements_in.read_text(encoding="utf-8"), re.MULTILINE)
        pinned = dict(
            re.findall(r"^([\w.-]+)==([^\s;\\]+)", requirements_txt.read_text(encoding="utf-8"), re.MULTILINE)
        )
    except FileNotFoundError as error:
        raise InputError("a list of requirements is missing", file=error.filename, fix="git checkout it") from None
    missing = [name for name in wanted if name not in pinned]
    if missing:
        raise InputError("packages have no pin", file=requirements_txt, got=", ".join(missing), fix="make lock")
    return {name: pinned[name] for name in sorted(wanted)}


def _headline(reports: Reports) -> list[dict[str, Any]]:
    """The scores at the top of the page: those of test, or of val if test was not scored."""
    part = reports.parts()[-1]
    shown = [name for name in HEADLINE if name in reports.metrics[part]]
    return [{**_metric(name), **_values(reports, part, name)} for name in shown]


def _metrics(reports: Reports) -> list[dict[str, Any]]:
    """One row for each metric that a part has: the known ones in the order of METRICS, then the others."""
    present = list(dict.fromkeys(name for part in reports.parts() for name in reports.metrics[part]))
    present = [name for name in present if name not in AMOUNTS]
    order = [*(name for name in METRICS if name in present), *(name for name in present if name not in METRICS)]
    rows = []
    for name in order:
        values = [_values(reports, part, name) for part in reports.parts()]
        undefined = [f"{value['undefined']} {NAMES[value['part']]}" for value in values if value["undefined"]]
        note = f"undefined for {' and '.join(undefined)} images" if undefined else ""
        rows.append({**_metric(name), "values": values, "note": note})
    return rows


def _metric(name: str) -> dict[str, str]:
    return {"name": name, **asdict(METRICS.get(name, Metric(name, "")))}


def _values(reports: Reports, part: str, name: str) -> dict[str, Any]:
    interval = reports.intervals.get(part, {}).get(name)
    return {
        "part": part,
        "value": reports.metrics[part].get(name, math.nan),
        "interval": None if interval is None or math.isnan(interval.low) else interval,
        "undefined": interval.undefined if interval else 0,
    }


def _total(part: str, table: Table) -> dict[str, Any]:
    """The number of images and nuclei scored in one part."""
    return {
        "part": part,
        "images": len(table),
        "groups": table["group"].nunique(),
        "nuclei": int(table["nuclei"].sum()),
        "undefined": int(table["dice"].isna().sum()),
    }


def _groupings(table: Table) -> list[dict[str, Any]]:
    """The tables of by_stratum.csv, each without the score columns that are empty in it."""
    groupings = []
    for name, rows in table.groupby("grouping", sort=False):
        scores = {column: title for column, title in STRATUM_SCORES.items() if rows[column].notna().any()}
        title = GROUPINGS.get(str(name), str(name))
        undefined = bool((rows["map_undefined"] > 0).any())
        groupings.append({"title": title, "scores": scores, "undefined": undefined, "rows": rows.to_dict("records")})
    return groupings


def _split(facts: Facts) -> list[dict[str, Any]]:
    """Images and nuclei of each part, and the number of images of each modality."""
    parts = {row["id"]: row["part"] for row in facts.split}
    rows = []
    for part in ("train", "val", "test"):
        records = [record for record in facts.records if parts.get(record.id) == part]
        modalities = Counter(record.modality for record in records)
        nuclei = sum(record.nuclei for record in records)
        rows.append(
            {"part": part, "images": len(records), "nuclei": nuclei, "modalities": dict(sorted(modalities.items()))}
        )
    return rows


def _several(names: Iterable[str]) -> int:
    """How many of the names occur more than once."""
    return sum(count > 1 for count in Counter(names).values())


def _defects(rows: Iterable[Mapping[str, str]]) -> list[dict[str, Any]]:
    """The annotation defects by kind and action, the most frequent first."""
    images, count = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for row in rows:
        key = (row["defect"], row["action"])
        images[key] += 1
        count[key] += int(row["count"] or 0)
    order = sorted(images, key=lambda key: (-images[key], key))
    return [{"defect": key[0], "action": key[1], "images": images[key], "count": count[key]} for key in order]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Parameters by dotted name, with their values in YAML notation."""
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple):
            flat[prefix + name] = ", ".join(_yaml(item) for item in value)
        else:
            flat[prefix + name] = _yaml(value)
    return flat


def _yaml(value: object) -> str:
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return _private(str(value))


def _private(text: str) -> str:
    """The text; of an absolute path only its last name, because the rest describes the machine and not the run."""
    for kind in (PurePosixPath, PureWindowsPath):
        if kind(text).is_absolute() or text.startswith("~"):
            return f"…/{kind(text).name}"
    return text


def _uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _fraction(value: float) -> str:
    """A score as the width of a bar; 0 where undefined."""
    return "0" if math.isnan(value) else f"{value:.3f}"
