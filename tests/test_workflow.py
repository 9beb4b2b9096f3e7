"""What CI does on a pull request: the comment that it writes, and whose code it runs."""

from __future__ import annotations

import os
import re
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
def pull_request(tmp_path: Path) -> Path:
    """A checkout that has an `origin` with reports on main, and better ones of its own."""
    origin, checkout = tmp_path / "origin", tmp_path / "checkout"
    origin.mkdir()
    git(origin, "init", "-q", "-b", "main")
    report(origin)
    git(origin, "add", ".")
    git(origin, "commit", "-q", "-m", "main")
    git(tmp_path, "clone", "-q", str(origin), str(checkout))
    report(checkout, 0.05)
    (checkout / "stages").symlink_to(ROOT / "stages")
    (checkout / ".venv/bin").mkdir(parents=True)
    executable(checkout / ".venv/bin/python", f'exec "{sys.executable}" "$@"')
    executable(checkout / ".venv/bin/dvc", 'echo "dvc $*" >> dvc.log')
    return checkout


def executable(path: Path, command: str) -> None:
    path.write_text(f"#!/bin/sh\n{command}\n")
    path.chmod(0o755)


def comment(checkout: Path) -> str:
    """Run the step that writes the comment as GitHub does; return the comment."""
    script = steps("report")["Write the report"]["run"]
    environment = {
        **os.environ,
        "BASE": "main",
        "GITHUB_STEP_SUMMARY": str(checkout / "summary.md"),
        "GITHUB_SERVER_URL": "https://git.example",
        "GITHUB_REPOSITORY": "someone/nuclei",
        "GITHUB_RUN_ID": "7",
    }
    done = subprocess.run(
        ["bash", "-e", "-c", script], cwd=checkout, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    text = (checkout / "report.md").read_text()
    assert (checkout / "summary.md").read_text() == text
    return text


def test_the_comment_is_the_comparison_and_says_that_the_data_is_synthetic(pull_request: Path) -> None:
    text = comment(pull_request)
    assert text.startswith("# On synthetic data: the built-in sample, against `main`\n")
    assert "## the working tree against origin/main (" in text
    assert re.search(r"^\| dice \| 30 \| .* \| better \|$", text, re.MULTILINE)
    assert "report-plots/index.html" in text
    assert "`report` of [this run](https://git.example/someone/nuclei/actions/runs/7): open" in text
    assert (pull_request / "dvc.log").read_text() == "dvc plots diff origin/main --out report-plots\n"


def test_a_base_without_reports_is_told_in_the_comment(pull_request: Path) -> None:
    origin = pull_request.parent / "origin"
    git(origin, "rm", "-q", "-r", "reports")
    git(origin, "commit", "-q", "-m", "no reports yet")
    git(pull_request, "fetch", "-q")
    executable(pull_request / ".venv/bin/dvc", "exit 255")
    text = comment(pull_request)
    assert "This run can not be compared with `main`:\n\n```\nerror: the revision origin/main has no reports/" in text
    assert "The curves of `main` can not be drawn" in text


def test_the_base_is_there_to_compare_with_without_asking_again() -> None:
    (checkout,) = [step for step in CI["jobs"]["report"]["steps"] if "checkout" in step.get("uses", "")]
    assert checkout["with"]["fetch-depth"] == 0  # every branch


def test_the_comment_is_what_the_pull_request_gets() -> None:
    post = steps("report")["Comment on the pull request"]
    assert "-F report.md" in post["run"]
    assert "${{" not in post["run"] + steps("report")["Write the report"]["run"]  # names of branches are never code


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_pinned_by_its_commit(path: Path) -> None:
    used = re.findall(r"^\s*(?:- )?uses: *(\S+)", path.read_text(), re.MULTILINE)
    assert used
    for action in used:
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action), action


def test_a_job_may_write_no_more_than_the_comment() -> None:
    assert CI["permissions"] == {"contents": "read"}
    granted = {name: job.get("permissions", {}) for name, job in CI["jobs"].items()}
    assert granted == {"test": {}, "report": {"contents": "read", "pull-requests": "write"}}
    checkouts = [step for job in CI["jobs"].values() for step in job["steps"] if "checkout" in step.get("uses", "")]
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)
