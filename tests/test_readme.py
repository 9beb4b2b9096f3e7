"""README.md and docs/: the figures are the committed ones, and every command, link and import leads somewhere."""

from __future__ import annotations

import ast
import csv
import functools
import importlib.util
import json
import re
import shlex
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from dvc.cli.parser import get_main_parser

from conftest import ROOT
from nuclei.base import params
from nuclei.experiments.repeats import MEAN

README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
METRICS = ("dice", "iou", "map", "ap50", "pq", "f1_weighted", "auc_mean")
MODALITY_METRICS = ("dice", "iou", "map", "ap50", "pq")
FAMILY_METRICS = ("dice", "iou", "map", "ap50")
PROGRAMS = ("make", "python", "dvc", "pytest", "bash")
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def table(page: Path) -> list[list[str]]:
    """The rows, cell by cell, of the table below the mark in a page."""
    text = page.read_text().split("<!-- results:")[1].split("\n\n")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@functools.cache
def repeats() -> list[dict[str, str]]:
    """The committed table of three seeds."""
    with (ROOT / "reports/bbbc038/repeats.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@functools.cache
def folds(name: str = "folds.csv") -> dict[tuple[str, str], dict[str, str]]:
    """The committed rows of a table of folds, of the cross-validation or another, by stratum and metric."""
    with (ROOT / "reports/bbbc038" / name).open(newline="") as file:
        return {(row["stratum"], row["metric"]): row for row in csv.DictReader(file)}


def scored(stratum: str, metrics: Sequence[str], name: str = "folds.csv") -> list[str]:
    """What a table shows of a stratum: its images and groups, then each metric with its interval, if it has one."""
    rows = [folds(name)[stratum, metric] for metric in metrics]
    spans = [f" [{float(row['low']):.3f}, {float(row['high']):.3f}]" if row["low"] else "" for row in rows]
    cells = [f"{float(row['value']):.3f}{span}" for row, span in zip(rows, spans, strict=True)]
    return [f"{rows[0]['images']}, {rows[0]['groups']}", *cells]


def code(page: Path) -> list[tuple[str, str]]:
    """The language and the text of each block of code."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    """The words of every command of a page, in blocks of code and in the text."""
    blocks = "\n".join(text for language, text in code(page) if not language).replace("\\\n", " ")
    prose = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    lines = [*re.split(r"\n|&&", blocks), *re.findall(rf"`((?:{'|'.join(PROGRAMS)}) [^`]+)`", prose)]
    found = []
    for line in lines:
        words = shlex.split(line, comments=True)
        while words and re.match(r"\w+=", words[0]):  # a variable of the environment
            del words[0]
        if words and words[0] in PROGRAMS:
            found.append(words)
    return found


def check_make(arguments: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([\w-]+):(?!=)", makefile, re.MULTILINE))
    for word in arguments:
        name, is_variable, _ = word.partition("=")
        assert f"$({name})" in makefile if is_variable else name in targets


def check_script(arguments: list[str]) -> None:
    if arguments[0] != "-m":
        text = (ROOT / arguments[0]).read_text()
        for module in re.findall(r"^from (nuclei[.\w]*) import", text, re.MULTILINE):  # which may add options
            path = ROOT / "stages" / f"{module.replace('.', '/')}.py"
            text += path.read_text() if path.exists() else ""
        for option in (word.partition("=")[0] for word in arguments[1:] if word.startswith("--")):
            assert f'"{option}"' in text or f'"{option[2:]}"' in text, f"{arguments[0]} has no {option}"


def check_dvc(arguments: list[str]) -> None:
    get_main_parser().parse_args(arguments)  # ends with SystemExit where DVC does not take it
    changes = [arguments[at + 1] for at, word in enumerate(arguments) if word == "-S"]
    check_parameters(dict(change.split("=", 1) for change in changes), ranges="--queue" in arguments)


def check_parameters(changes: dict[str, str], *, ranges: bool = False) -> None:
    """Every name is one of params.yaml and takes the value; with `ranges` the values are DVC's grammar, left alone."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    for name, value in changes.items():
        *sections, leaf = name.split(".")
        place = functools.reduce(lambda of, section: of[section], sections, values)
        assert leaf in place, f"params.yaml has no {name}"
        if not ranges:
            place[leaf] = yaml.safe_load(value)
    params.checked(params.Params, values, "params.yaml")


@every_page
def test_every_command_of_a_page_names_what_there_is(page: Path) -> None:
    for program, *arguments in commands(page):
        if program == "make":
            check_make(arguments)
        elif program == "python":
            check_script(arguments)
        elif program == "dvc":
            check_dvc(arguments)
        else:
            assert (ROOT / arguments[0]).exists()


@every_page
def test_every_name_that_a_page_imports_from_the_library_is_there(page: Path) -> None:
    for text in (text for language, text in code(page) if language == "python"):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("nuclei"):
                module = importlib.import_module(str(node.module))
                for name in (alias.name for alias in node.names):
                    assert hasattr(module, name) or importlib.util.find_spec(f"{node.module}.{name}")


@every_page
def test_every_local_link_and_picture_of_a_page_is_there(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)]+)\)", page.read_text())
    for path, _, heading in (link.partition("#") for link in links):
        target = page.parent / path if path else page
        assert target.exists(), path
        headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE) if heading else []
        assert not heading or heading in [title.lower().replace(" ", "-") for title in headings]


@every_page
def test_a_page_begins_with_the_command(page: Path) -> None:
    lines = page.read_text().splitlines()
    assert lines[0].startswith("# ")
    first = next(number for number, line in enumerate(lines) if line.startswith("```"))
    assert first == 2 if page != README else first < 31


def test_the_readme_is_short_and_links_every_page() -> None:
    text = README.read_text()
    assert len(text.split()) <= 900
    assert set(re.findall(r"\(docs/(\w+\.md)\)", text)) >= {page.name for page in PAGES[1:]}


def test_the_results_are_the_committed_test_metrics() -> None:
    sample, real = table(README)
    committed = json.loads((ROOT / "reports/metrics.json").read_text())["test"]
    assert sample[1] == f"{committed['images']}, {committed['groups']}"
    assert sample[2:] == [f"{committed[name]:.3f}" for name in METRICS]
    assert real[1:] == scored("all", METRICS)


def test_the_results_by_modality_and_by_size_are_the_committed_ones() -> None:
    page = ROOT / "docs/results.md"
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.read_text().splitlines()]
    shown = {row[0]: row[1:] for row in rows if row[0] in {stratum for stratum, _ in folds()}}
    assert len(shown) == 7
    assert all(cells == scored(stratum, MODALITY_METRICS) for stratum, cells in shown.items())


def test_the_results_of_the_families_left_out_are_the_committed_ones() -> None:
    text = (ROOT / "docs/elsewhere.md").read_text().split("<!-- families:")[1].split("\n\n")[0]
    shown = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[3:]]
    names = {"mean of the 14 families": MEAN, "all images": "all"}
    assert len(shown) == 18
    for name, *cells in shown:
        assert cells == scored(names.get(name, name.removeprefix("all ")), FAMILY_METRICS, "families.csv")


def test_the_families_left_out_are_those_of_the_table_of_images() -> None:
    with (ROOT / "reports/bbbc038/families_per_image.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["id"] for row in rows}) == len(rows) == 664
    scores = {family: [row for row in rows if row["family"] == family] for family in {row["family"] for row in rows}}
    for metric in FAMILY_METRICS:
        means = [statistics.fmean(float(row[metric]) for row in of if row[metric]) for of in scores.values()]
        assert statistics.fmean(means) == pytest.approx(float(folds("families.csv")[MEAN, metric]["value"]), abs=2e-6)
    assert all(len({row["fold"] for row in of}) == 1 for of in scores.values())


@pytest.mark.parametrize(("table", "option"), [("finetuning", []), ("forgetting", ["--forgotten"])])
def test_what_fine_tuning_gains_and_forgets_is_the_committed_one(table: str, option: list[str]) -> None:
    text = (ROOT / "docs/training.md").read_text().split(f"<!-- {table}:")[1].split("\n\n")[0]
    script, rows = ROOT / "tests/benchmarks/finetuned.py", ROOT / f"reports/bbbc038/{table}.csv"
    printed = subprocess.run([sys.executable, script, rows, *option], capture_output=True, text=True, check=True).stdout
    assert text.split("\n", 1)[1].strip() == printed.strip()


@pytest.mark.parametrize("table", ["ingredients", "variants"])
def test_the_worth_of_each_ingredient_is_the_committed_one(table: str) -> None:
    text = (ROOT / "docs/elsewhere.md").read_text().split(f"<!-- {table}:")[1].split("\n\n")[0]
    script, rows = ROOT / "tests/benchmarks/screened.py", ROOT / f"reports/bbbc038/{table}.csv"
    printed = subprocess.run([sys.executable, script, rows], capture_output=True, text=True, check=True).stdout
    assert text.split("\n", 1)[1].strip() == printed.strip()


def test_the_calibration_is_the_committed_one() -> None:
    text = (ROOT / "docs/model.md").read_text().split("<!-- calibration:")[1].split("\n\n")[0]
    shown = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[3:]]
    with (ROOT / "reports/bbbc038/calibration.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    cells = [[row[name] for name in ("nuclei", "mean_score", "true")] for row in rows]
    assert [line[1:] for line in shown] == [
        [*after, *before] for before, after in zip(cells[:10], cells[10:], strict=True)
    ]


def test_the_folds_are_those_of_the_table_of_images() -> None:
    with (ROOT / "reports/bbbc038/per_image.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["id"] for row in rows}) == len(rows) == 664
    assert len({row["group"] for row in rows}) == int(folds()["all", "dice"]["groups"])
    for metric in ("dice", "iou", "map", "ap50", "pq"):
        value = statistics.fmean(float(row[metric]) for row in rows if row[metric])
        assert value == pytest.approx(float(folds()["all", metric]["value"]), abs=2e-6)
    together = {row["group"]: row["fold"] for row in rows}
    assert all(together[row["group"]] == row["fold"] for row in rows)


def test_the_spread_over_seeds_is_that_of_its_own_columns() -> None:
    assert len(repeats()) > 100
    for row in repeats():
        values = [float(row[name]) for name in row if name.startswith("seed ") and row[name]]
        if len(values) == 3:
            assert float(row["mean"]) == pytest.approx(statistics.mean(values), abs=2e-6)
            assert float(row["std"]) == pytest.approx(statistics.stdev(values), abs=2e-6)


def test_every_row_of_the_ablation_can_be_made_again() -> None:
    """Its command names parameters that there are, with values that they take, and changes what the row says."""
    with (ROOT / "reports/ablation.csv").open(newline="") as file:
        recipe, *rows = csv.DictReader(file)
    base = assigned(recipe["command"])
    assert len(rows) >= 15
    for row in rows:
        changed = assigned(row["command"])
        assert {name: changed[name] for name in changed if changed[name] != base.get(name)} == dict(
            text.split("=", 1) for text in row["change"].split(" ")
        )
        check_parameters(changed)


def assigned(command: str) -> dict[str, str]:
    """The parameters that a `dvc exp run` sets, as text."""
    words = shlex.split(command)
    assert words[:3] == ["dvc", "exp", "run"]
    assert set(words[3::2]) == {"-S"}
    return dict(word.split("=", 1) for word in words[4::2])
