"""The README's figures are the committed ones."""

from __future__ import annotations

import csv
import functools
import json
import re
import shlex
import statistics

import pytest
import yaml

from conftest import ROOT
from nuclei.base import params

README = (ROOT / "README.md").read_text()
METRICS = ("dice", "iou", "map", "ap50", "pq", "f1_weighted", "auc")
MODALITY_METRICS = ("dice", "iou", "map", "ap50", "pq")


def table(number: int) -> list[list[str]]:
    """The rows, cell by cell, of a table below the mark in the README."""
    text = README.split("<!-- results:")[1].split("\n\n")[number]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@functools.cache
def repeats() -> list[dict[str, str]]:
    """What was committed of three seeds."""
    with (ROOT / "reports/bbbc038/repeats.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def spread(modality: str) -> dict[str, dict[str, str]]:
    """The rows of the test images of a modality, by metric."""
    return {row["metric"]: row for row in repeats() if (row["part"], row["modality"]) == ("test", modality)}


def shown(row: dict[str, str]) -> str:
    return f"{float(row['mean']):.3f} ± {float(row['std']):.3f}"


def test_the_results_are_the_committed_test_metrics() -> None:
    sample, real = table(0)
    committed = json.loads((ROOT / "reports/metrics.json").read_text())["test"]
    assert sample[1:8] == [f"{committed[name]:.3f}" for name in METRICS]
    assert real[1:8] == [shown(spread("all")[name]) for name in METRICS]


def test_the_results_by_modality_are_the_committed_ones() -> None:
    rows = table(1)
    assert [row[0] for row in rows] == ["fluorescence", "tissue", "brightfield"]
    for modality, images, *cells in rows:
        committed = spread(modality)
        assert images == committed["dice"]["images"]
        assert cells == [shown(committed[name]) for name in MODALITY_METRICS]


def test_the_spread_over_seeds_is_that_of_its_own_columns() -> None:
    assert len(repeats()) > 100
    for row in repeats():
        values = [float(row[name]) for name in row if name.startswith("seed ") and row[name]]
        if len(values) == 3:
            assert float(row["mean"]) == pytest.approx(statistics.mean(values), abs=2e-6)
            assert float(row["std"]) == pytest.approx(statistics.stdev(values), abs=2e-6)


def test_the_tables_of_one_seed_are_those_of_the_spread() -> None:
    one = json.loads((ROOT / "reports/bbbc038/metrics.json").read_text())["test"]
    committed = spread("all")
    assert {name: one[name] for name in METRICS} == {name: float(committed[name]["seed 0"]) for name in METRICS}


def test_every_row_of_the_ablation_can_be_made_again() -> None:
    """Its command names parameters that there are, with values that they take, and changes what the row says."""
    with (ROOT / "reports/ablation.csv").open(newline="") as file:
        recipe, *rows = csv.DictReader(file)
    base = assigned(recipe["command"])
    assert len(rows) >= 15
    for row in rows:
        values = yaml.safe_load((ROOT / "params.yaml").read_text())
        changed = assigned(row["command"])
        assert {name: changed[name] for name in changed if changed[name] != base.get(name)} == dict(
            text.split("=", 1) for text in row["change"].split(" ")
        )
        for name, value in changed.items():
            *sections, leaf = name.split(".")
            place = functools.reduce(lambda of, section: of[section], sections, values)
            assert leaf in place
            place[leaf] = yaml.safe_load(value)
        params.checked(params.Params, values, "params.yaml")


def assigned(command: str) -> dict[str, str]:
    """The parameters that a `dvc exp run` sets, as text."""
    words = shlex.split(command)
    assert words[:3] == ["dvc", "exp", "run"]
    assert set(words[3::2]) == {"-S"}
    return dict(word.split("=", 1) for word in words[4::2])


def test_every_local_link_and_picture_of_the_readme_is_there() -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)\)", README)
    assert links
    assert all((ROOT / link).exists() for link in links)
