"""The facts of a training that git alone tracks: complete, safe to embed, and telling nothing of the user."""

from __future__ import annotations

import getpass
import hashlib
import json
import re
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from committed import git
from conftest import ROOT
from nuclei.train import provenance


def facts(folder: Path, *, resumed: bool = False) -> dict[str, Any]:
    """Write the facts of a training that has just been and read them back as a browser would."""
    history, weights = folder / "history.csv", folder / "weights.pth"
    history.write_bytes(b"epoch\n1\n")
    weights.write_bytes(b"numbers")
    started = provenance.start()
    provenance.write(
        folder / "run.js",
        started,
        history,
        weights,
        device=torch.device("cpu"),
        processes=1,
        precision="32-true",
        resumed=resumed,
    )
    text = (folder / "run.js").read_text(encoding="ascii")
    found = re.fullmatch(r"window\.trainingRun = (.*);\n", text, re.DOTALL)
    assert found
    value: dict[str, Any] = json.loads(found[1])
    return value


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "params.yaml").write_text("seed: 0\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_run_is_known_by_the_history_that_it_wrote(repository):
    assert facts(repository)["history_sha256"] == hashlib.sha256(b"epoch\n1\n").hexdigest()


def test_the_machine_the_time_and_the_versions_are_told(repository):
    found = facts(repository, resumed=True)
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", found["started"])
    assert 0 <= found["seconds"] < 60
    assert found["resumed"] is True
    assert found["device"] == "cpu"
    assert found["precision"] == "32-true"
    assert found["cores"] >= 1 <= found["threads"]
    assert found["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert all(found[name] for name in ("platform", "cpu", "versions"))


def test_a_training_says_what_it_wrote_and_what_it_promises_to_whoever_repeats_it(repository):
    found = facts(repository)
    assert found["weights_sha256"] == hashlib.sha256(b"numbers").hexdigest()
    assert f"the same bits on this kind of processor with {found['threads']} threads" in found["promise"]
    assert "in each of 2 processes, else" in provenance.promise(torch.device("cpu"), 2)
    assert "the same bits" not in provenance.promise(torch.device("cuda"), 1)


def test_a_revision_is_called_changed_where_the_code_or_a_parameter_is(repository):
    assert facts(repository)["revision"] == git(repository, "rev-parse", "HEAD")
    assert facts(repository)["changed"] is False  # the reports that this wrote are no change of the code
    (repository / "params.yaml").write_text("seed: 1\n")
    assert facts(repository)["changed"] is True


def test_outside_git_there_is_no_revision(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    found = facts(tmp_path)
    assert (found["revision"], found["changed"]) == (None, None)


def test_no_value_can_end_the_script_that_holds_it(repository, monkeypatch):
    monkeypatch.setattr(provenance, "cpu_model", lambda: "</script><b>\u2028ü")
    assert facts(repository)["cpu"] == "</script><b>\u2028ü"
    assert "<" not in (repository / "run.js").read_text()


def test_nothing_tells_who_trained_or_where(repository):
    facts(repository)
    text = (repository / "run.js").read_text()
    secrets = {str(repository), str(Path.home()), socket.gethostname(), getpass.getuser()} - {"root"}
    assert not [secret for secret in secrets if secret in text]
    assert not re.search(r"/(home|root|tmp|Users)/", text)


def test_training_writes_it(trained: Path):
    text = (trained / "reports/run.js").read_text()
    for file in ("reports/history.csv", "data/model/unet_final_model.pth"):
        assert hashlib.sha256((trained / file).read_bytes()).hexdigest() in text


def test_git_keeps_it_and_dvc_does_not_know_it():
    assert "reports/run.js" not in json.dumps(yaml.safe_load((ROOT / "dvc.yaml").read_text()))
    ignored = subprocess.run(["git", "check-ignore", "-q", "reports/run.js"], cwd=ROOT, check=False)
    assert ignored.returncode == 1
