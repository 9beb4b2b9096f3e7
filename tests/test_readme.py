"""The README's figures are the committed ones."""

from __future__ import annotations

import json
import re

import pytest

from conftest import ROOT

README = (ROOT / "README.md").read_text()
METRICS = ("dice", "iou", "map", "ap50", "pq", "f1_weighted", "auc")
FILES = {"the synthetic sample": "reports/metrics.json", "BBBC038": "reports/bbbc038/metrics.json"}


def results() -> list[list[str]]:
    table = README.split("<!-- results:")[1].split("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[3:]]


@pytest.mark.parametrize("row", results(), ids=lambda row: row[0])
def test_the_results_table_shows_the_committed_test_metrics(row: list[str]) -> None:
    file = next(file for name, file in FILES.items() if row[0].startswith(name))
    committed = json.loads((ROOT / file).read_text())["test"]
    shown = dict(zip(METRICS, row[1:], strict=False))
    assert shown == {name: f"{committed[name]:.3f}" for name in METRICS}


def test_every_local_link_and_picture_of_the_readme_is_there() -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)\)", README)
    assert links
    assert all((ROOT / link).exists() for link in links)
