"""dvc.yaml says what the code does, and the pipeline runs from a fresh clone to the page."""

from __future__ import annotations

import ast
import graphlib
import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from clones import SMALL, dvc, make_small, running
from conftest import ROOT
from nuclei.fetch.sources import KEYWORDS

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())
LIBRARY = ROOT / "stages/nuclei"


def modules(script: Path) -> list[str]:
    """The modules of nuclei that a file imports, as `room.module`, or `room` for a name that is no module."""
    found = []
    for node in ast.walk(ast.parse(script.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "nuclei":
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            within = [
                name if (LIBRARY.parent / f"{name.replace('.', '/')}.py").exists() else node.module for name in whole
            ]
            found += [str(name).removeprefix("nuclei.") for name in within]
    return found


def rooms(script: Path) -> set[str]:
    """The rooms of nuclei whose modules a script imports, itself or through another of them."""
    found: set[str] = set()
    todo = modules(script)
    while todo:
        module = todo.pop()
        if module not in found:
            found.add(module)
            todo += modules(LIBRARY / f"{module.replace('.', '/')}.py")
    return {module.split(".")[0] for module in found}


def stated(room: str) -> set[str]:
    """The rooms that a room may import, as its docstring states."""
    said = re.search(r"^May import: (.+)\.$", (LIBRARY / room / "__init__.py").read_text(), re.MULTILINE)
    assert said, f"{room}/__init__.py does not state what it may import"
    return set() if said[1] == "nothing of ours" else set(said[1].split(", "))


ROOMS = sorted(path.parent.name for path in LIBRARY.glob("*/__init__.py"))


def names(entries: list[Any]) -> list[str]:
    return [next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries]


def md5(path: Path) -> str:
    """The hash that DVC gives a file, or a folder: of the list of its files, less what .dvcignore names."""
    if not path.is_dir():
        return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    files = sorted(file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    listed = [{"md5": md5(file), "relpath": file.relative_to(path).as_posix()} for file in files]
    return hashlib.md5(json.dumps(listed).encode(), usedforsecurity=False).hexdigest() + ".dir"


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_the_rooms_that_it_may(room: str) -> None:
    imported = {name.split(".")[0] for path in (LIBRARY / room).glob("*.py") for name in modules(path)} - {room}
    assert imported <= stated(room)


def test_every_module_is_in_a_room_and_no_room_may_import_itself_through_others() -> None:
    assert [path.name for path in LIBRARY.glob("*.py")] == ["__init__.py"]
    tuple(graphlib.TopologicalSorter({room: stated(room) for room in ROOMS}).static_order())  # raises on a circle
    assert set().union(*(stated(room) for room in ROOMS)) <= set(ROOMS)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_every_room_that_it_imports_from_and_on_no_other(stage: str) -> None:
    expected = {f"stages/nuclei/{name}" for name in {*rooms(ROOT / f"stages/{stage}.py"), "__init__.py"}}
    assert {dep for dep in STAGES[stage]["deps"] if "nuclei" in dep} == expected
    assert f"stages/{stage}.py" in STAGES[stage]["deps"]


def test_a_change_of_a_drawing_or_an_interval_trains_nothing() -> None:
    assert not {f"stages/nuclei/{room}" for room in ("evaluate", "pictures", "report", "experiments")} & set(
        STAGES["train"]["deps"]
    )


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "page"])  # the page shows all of them
def test_a_stage_declares_the_parameters_that_its_script_reads_and_no_other(stage: str) -> None:
    chains = re.findall(r"(?:\bparams|\bload\(\))\.([\w.]+)", (ROOT / f"stages/{stage}.py").read_text())
    read = {chain for chain in chains if chain.split(".")[0] in PARAMS}
    declared = set(STAGES[stage]["params"])  # a section stands for all that is in it
    assert all(any(f"{chain}.".startswith(f"{name}.") for name in declared) for chain in read), read - declared
    assert all(any(f"{chain}.".startswith(f"{name}.") for chain in read) for name in declared), declared - read


def test_every_parameter_has_a_stage_and_every_stage_a_description() -> None:
    declared = {name.split(".")[0] for stage in STAGES.values() for name in stage["params"]}
    assert declared == set(PARAMS)
    assert all(stage["desc"] for stage in STAGES.values())


def test_the_users_data_can_not_be_an_output_of_the_pipeline() -> None:
    outputs = {out for stage in STAGES.values() for out in names(stage.get("outs", []))}
    listed = next(
        ast.literal_eval(node.value)
        for node in ast.parse((ROOT / "stages/source.py").read_text()).body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "OUTPUTS"
    )
    assert {out for out in outputs if Path(out).suffix == ""} <= set(listed)
    assert PARAMS["data"] in KEYWORDS


def test_no_script_shadows_a_package() -> None:
    scripts = {path.stem for path in (ROOT / "stages").glob("*.py")}
    assert not scripts & sys.stdlib_module_names


def test_the_committed_run_is_one_of_the_committed_code() -> None:
    locked = yaml.safe_load((ROOT / "dvc.lock").read_text())["stages"]
    assert set(locked) == set(STAGES)
    entries = [entry for stage in locked.values() for entry in [*stage["deps"], *stage.get("outs", [])]]
    recorded = {entry["path"]: entry["md5"] for entry in entries if not entry["path"].startswith("data/")}
    found = {path: md5(ROOT / path) for path in recorded}
    assert found == recorded, "run `dvc repro` and commit dvc.lock and reports/ with the code"


def test_of_the_data_git_has_only_who_is_in_which_part() -> None:
    listed = subprocess.run(["git", "ls-files", "data"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert listed.split() == ["data/splits/bbbc038.csv", "data/splits/bbbc038_no_tissue.csv"]
    for path in listed.split():
        lines = (ROOT / path).read_text().splitlines()
        assert all(re.fullmatch(r"id,part|[0-9a-f]{64},(train|val|test)", line) for line in lines)
        assert len(lines) == 665


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of this repository, its parameters made small, in which the pipeline has run."""
    folder = tmp_path_factory.mktemp("a clöne with spaces") / "nuclei"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    for name in subprocess.run(
        ["git", "ls-files", "--modified", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    ).stdout.splitlines():  # what is not committed yet is tested too
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    make_small(folder)
    dvc(folder, "repro")
    subprocess.run(["git", "add", "-A"], cwd=folder, check=True)
    subprocess.run(["git", "commit", "-qm", "Run the pipeline"], cwd=folder, check=True)
    return folder


def test_the_pipeline_runs_from_a_fresh_clone_to_the_page(clone: Path) -> None:
    metrics = json.loads((clone / "reports/metrics.json").read_text())
    assert set(metrics) == {"val", "test"}
    named = "dice iou dice_pooled iou_pooled precision recall f1 f1_weighted accuracy auc average_precision"
    named += " map ap50 ap75 pq"
    assert all(set(named.split()) <= set(part) for part in metrics.values())
    assert (clone / "reports/index.html").stat().st_size > 10_000
    assert (clone / "data/submission/submission.csv").read_text().startswith("ImageId,EncodedPixels\n")
    assert len(list((clone / "data/submission/overlays").iterdir())) == SMALL["fetch"]["sample_unlabelled"]


def test_running_it_again_does_nothing_but_look_at_the_source(clone: Path) -> None:
    assert running(dvc(clone, "repro")) == ["source"]


@pytest.fixture(scope="module")
def experiment(clone: Path) -> str:
    """What DVC said while it ran the experiment `one`, two epochs instead of one; the clone is as before again."""
    said = dvc(clone, "exp", "run", "-S", "epochs=2", "--name", "one")
    subprocess.run(["git", "checkout", "-q", "."], cwd=clone, check=True)
    dvc(clone, "checkout")
    return said


def test_an_experiment_done_before_comes_from_the_run_cache(clone: Path, experiment: str) -> None:
    assert "Running stage 'train'" in experiment
    assert "Running stage 'prepare'" not in experiment
    second = dvc(clone, "exp", "run", "-S", "epochs=2")
    assert running(second) == ["source", "page"]  # see the head of dvc.yaml


def test_an_experiment_is_compared_by_its_name(clone: Path, experiment: str) -> None:
    command = [sys.executable, "stages/compare.py", "one", "HEAD", "--json"]
    found = json.loads(subprocess.run(command, cwd=clone, capture_output=True, text=True, check=True).stdout)
    assert found["base"].startswith("one (")
    assert found["parameters"] == [{"parameter": "epochs", "base": "2", "head": "1"}]
    assert [(part["part"], part["same_images"]) for part in found["parts"]] == [("val", True), ("test", True)]
    assert all(row["images"] for part in found["parts"] for row in part["metrics"] if row["metric"] == "dice_pooled")


PLOTS = (
    "ROC curve",
    "Precision and recall",
    "Confusion matrix of the pixels",
    "Learning curves",
    "AP over IoU",
)


def drawn(page: Path) -> dict[str, set[str]]:
    """The revisions that each plot of a page of `dvc plots` draws, by the plot's title."""
    found: dict[str, set[str]] = {}
    decoder = json.JSONDecoder()
    html = page.read_text(encoding="utf-8")
    for start in re.finditer(r"var spec = (?={)", html):
        spec, _ = decoder.raw_decode(html, start.end())
        title = spec.get("title", "")
        title = title.get("text", "") if isinstance(title, dict) else title
        found[title] = {point["rev"] for point in spec["data"]["values"]}
    return found


def test_dvc_draws_the_curves_of_two_revisions_in_one_picture(clone: Path, experiment: str) -> None:
    dvc(clone, "plots", "diff", "HEAD", "one", "--out", "compared")
    found = drawn(clone / "compared/index.html")
    assert {title: found.get(title) for title in PLOTS} == {title: {"HEAD", "one"} for title in PLOTS}
