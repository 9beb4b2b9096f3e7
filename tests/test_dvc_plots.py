"""The templates of `dvc plots`: each is filled with a report and draws two experiments in one picture."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from dvc_render.vega import VegaRenderer

import made_up

TEMPLATES = made_up.ROOT / ".dvc/plots"
USES = [  # template, report, x, y
    ("curve", "roc", "fpr", "tpr"),
    ("curve", "precision_recall", "recall", "precision"),
    ("curve", "ap", "iou", "ap"),
    ("curve", "calibration", "mean_score", "fraction_positive"),
    ("confusion_counts", "confusion", "predicted", "actual"),
    ("histogram", "per_image", "dice", "dice"),
    ("dots", "by_stratum", "dice", "stratum"),
    ("dots", "classification_report", "f1", "class"),
    ("history", "history", "epoch", "val_loss"),
    ("threshold_search", "search", "saddle_ratio", "map"),
]


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_up.finished_run(tmp_path_factory.mktemp("dvc"), images=8, side_px=64) / "reports"


def filled(reports: Path, template: str, report: str, x: str, y: str) -> dict[str, Any]:
    """The Vega-Lite specification that DVC makes of a report in two experiments."""
    with (reports / f"{report}.csv").open() as file:
        rows = list(csv.DictReader(file))
    points = [{**row, "rev": rev, "filename": f"{report}.csv", "field": y} for rev in ("main", "new") for row in rows]
    ys = [{"filename": f"{report}.csv", "field": y}]
    renderer = VegaRenderer(
        points, report, template=template, template_dir=TEMPLATES, x=x, y=y, anchors_y_definitions=ys, title="Title"
    )
    return renderer.get_filled_template()


def fields(spec: Any) -> set[str]:
    """Every field that a specification reads from the data."""
    if isinstance(spec, list):
        return set().union(*map(fields, spec))
    if not isinstance(spec, dict):
        return set()
    own = {spec["field"]} if isinstance(spec.get("field"), str) else set()
    return own.union(*(fields(value) for name, value in spec.items() if name != "data"))


def made(spec: Any) -> set[str]:
    """Every field that its transforms make."""
    if isinstance(spec, list):
        return set().union(*map(made, spec))
    if not isinstance(spec, dict):
        return set()
    names = spec.get("as", [])
    return {names} if isinstance(names, str) else set(names).union(*(made(v) for k, v in spec.items() if k != "data"))


@pytest.mark.parametrize(("template", "report", "x", "y"), USES)
def test_a_report_fills_its_template_to_the_last_anchor(reports, template, report, x, y):
    spec = filled(reports, template, report, x, y)
    assert "<DVC_METRIC" not in json.dumps(spec)
    assert spec["title"]["text"] == "Title"


@pytest.mark.parametrize(("template", "report", "x", "y"), USES)
def test_a_template_reads_only_fields_that_its_report_has(reports, template, report, x, y):
    spec = filled(reports, template, report, x, y)
    assert fields(spec) - made(spec) <= set(spec["data"]["values"][0])


@pytest.mark.parametrize(("template", "report", "x", "y"), USES)
def test_two_experiments_differ_by_colour_or_stand_beside_each_other(reports, template, report, x, y):
    text = json.dumps(
        {name: value for name, value in filled(reports, template, report, x, y).items() if name != "data"}
    )
    assert '"domain": ["main", "new"]' in text or '"column": {"field": "rev"' in text


def test_every_template_is_in_use():
    assert {path.stem for path in TEMPLATES.glob("*.json")} == {template for template, *_ in USES}
