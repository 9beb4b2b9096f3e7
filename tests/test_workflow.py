"""What CI does on a pull request: the comment that it writes, and whose code it runs."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from committed import git, report
from conftest import ROOT

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
CI = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())


def steps(job: str) -> dict[str, dict[str, Any]]:
    """The named steps of a job."""
    return {step["name"]: step for step in CI["jobs"][job]["steps"] if "name" in step}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository whose pipeline writes the scores that the file `quality` names, and reports of another machine."""
    folder = tmp_path / "repository"
    shutil.copytree(ROOT / "stages", folder / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "pipeline.py").write_text(PIPELINE)
    (folder / "quality").write_text("0.0")
    report(folder, -0.2)
    (folder / "reports/run.js").write_text("trained elsewhere")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "main")
    return folder


PIPELINE = """
import pathlib, sys
from committed import report
runs = pathlib.Path(sys.argv[1])
pathlib.Path("reports").mkdir(exist_ok=True)
if not runs.exists():
    pathlib.Path("reports/run.js").write_text("trained here")  # the next run takes the training from the run cache
runs.open("a").write("ran ")
report(pathlib.Path(), float(pathlib.Path("quality").read_text()))
"""


def change(repository: Path, quality: str = "") -> None:
    """Commit a change of the pipeline, or an empty commit."""
    if quality:
        (repository / "quality").write_text(quality)
    git(repository, "commit", "-q", "-a", "--allow-empty", "-m", "change")


def comment(repository: Path, dvc: str = 'mkdir -p "$6"; echo "$*" > "$6/dvc.log"') -> str:
    """The report on the last commit; how often the pipeline ran is in `runs` beside the repository."""
    beside = repository.parent
    (beside / "bin").mkdir(exist_ok=True)
    for name, code in {"dvc": dvc, "python": f'exec "{sys.executable}" "$@"'}.items():
        (beside / "bin" / name).write_text(f"#!/bin/sh\n{code}\n")
        (beside / "bin" / name).chmod(0o755)
    path = os.pathsep.join([str(beside / "bin"), os.environ["PATH"]])
    pipeline = shlex.join(["python", "pipeline.py", str(beside / "runs")])
    command = [".github/report.py", "HEAD^", "HEAD", "-o", beside / "out", "--store", beside / "store"]
    subprocess.run(
        [sys.executable, ROOT / command[0], *command[1:], "--pipeline", pipeline],
        cwd=repository,
        env={
            **os.environ,
            "PATH": path,
            "PYTHONPATH": os.pathsep.join(str(ROOT / name) for name in ("tests", "stages")),
        },
        check=True,
    )
    return (beside / "out/report.md").read_text()


def test_an_empty_commit_makes_no_difference_whatever_machine_the_committed_reports_are_of(repository: Path) -> None:
    change(repository)
    text = comment(repository)
    assert text.startswith("# On synthetic data: the built-in sample\n\nBase `")
    assert "**No difference: every score is the same.**" in text
    assert re.search(r"^\| dice \| 30 \| .* \| no difference shown \|$", text, re.MULTILINE)
    assert (repository.parent / "runs").read_text() == "ran ran "
    assert (repository.parent / "out/plots/dvc.log").read_text().startswith("plots diff base head --out ")
    assert (repository.parent / "out/reports/run.js").read_text() == "trained here"


def test_a_change_that_makes_the_model_worse_is_called_worse(repository: Path) -> None:
    change(repository, "-0.05")
    text = comment(repository)
    assert "**worse: val.dice, val.map**" in text
    assert re.search(r"^\| dice \| 30 \| .* \| worse \|$", text, re.MULTILINE)


def test_a_base_that_ran_on_this_kind_of_machine_before_is_not_run_again(repository: Path) -> None:
    change(repository)
    comment(repository)
    change(repository, "0.05")
    assert "**Not worse: dice, map**" in comment(repository)
    assert (repository.parent / "runs").read_text() == "ran ran ran "


def test_a_base_that_does_not_run_or_has_no_reports_is_told_in_the_comment(repository: Path) -> None:
    git(repository, "rm", "-q", "-r", "reports")
    change(repository, "none")
    change(repository, "0.0")
    text = comment(repository, dvc="exit 255")
    assert "The base does not run here" in text and "could not convert string to float" in text
    assert "These two can not be compared:\n\n```\nerror: the revision base has no reports/" in text
    assert "The curves of the two can not be drawn together." in text


def test_the_base_and_the_head_of_a_pull_request_are_there_to_be_run() -> None:
    (checkout,) = [step for step in CI["jobs"]["report"]["steps"] if "checkout" in step.get("uses", "")]
    assert checkout["with"]["fetch-depth"] == 0  # every commit


def test_the_comment_is_what_the_pull_request_gets_and_no_name_of_a_branch_is_run_as_code() -> None:
    assert "-F report/report.md" in steps("report")["Comment on the pull request"]["run"]
    for job in CI["jobs"].values():
        assert not any("${{" in step.get("run", "") for step in job["steps"])


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_pinned_by_its_commit(path: Path) -> None:
    used = re.findall(r"^\s*(?:- )?uses: *(\S+)", path.read_text(), re.MULTILINE)
    assert used
    for action in used:
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action), action


def test_a_job_may_write_no_more_than_the_comment() -> None:
    assert CI["permissions"] == {"contents": "read"}
    granted = {name: job.get("permissions", {}) for name, job in CI["jobs"].items()}
    assert granted == {"test": {}, "windows-and-macos": {}, "report": {"contents": "read", "pull-requests": "write"}}
    checkouts = [step for job in CI["jobs"].values() for step in job["steps"] if "checkout" in step.get("uses", "")]
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)
