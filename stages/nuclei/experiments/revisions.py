"""What git tracks of one revision or DVC experiment: metrics, per-image scores, parameters and training."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from nuclei.base.errors import InputError
from nuclei.evaluate import aggregate
from nuclei.evaluate.aggregate import Columns

METRICS, PER_IMAGE, PARAMS = "reports/metrics.json", "reports/per_image.csv", "params.yaml"
RUN, HISTORY = "reports/run.js", "reports/history.csv"

Number = float | None  # None: undefined


@dataclass(frozen=True)
class Snapshot:
    """The tracked results of one revision.

    Attributes:
        name: as the user gave it, with the commit.
        metrics: by part, then by name.
        parameters: every leaf of params.yaml by its dotted name, as JSON.
        images: for each part, the ids and the numeric columns of its rows in the per-image table.
        modalities: for each part, the modality of each image in the same order; "" where the table has none.
        families: for each part, the family of each image in the same order; "" where the table has none.
        groups: for each part, the group of each image in the same order; a part is absent where the table has no
            groups, because it was written before they were recorded.
        training: when, where and for how long the model was trained (see train/provenance.py); empty where that is not
            recorded, or is recorded of another training than the one whose learning curves the revision has.
        started: the parameters of the parent commit, which for a DVC experiment is the one that it started from; None
            where they can not be read.
    """

    name: str
    metrics: Mapping[str, Mapping[str, Number]]
    parameters: Mapping[str, str]
    images: Mapping[str, tuple[list[str], Columns]]
    modalities: Mapping[str, list[str]]
    families: Mapping[str, list[str]]
    groups: Mapping[str, list[str]]
    training: Mapping[str, Any]
    started: Mapping[str, str] | None = None


def read_revision(revision: str, folder: Path) -> Snapshot:
    """Read a branch, tag or commit of the repository that `folder` is in, or a DVC experiment by its name.

    A path with a separator, like `../other` or `runs/fold0`, that leads to a folder with reports is read as another
    working tree.

    Raises:
        InputError: there is no such revision, or it lacks a report or has one that can not be read.
    """
    if {os.sep, os.altsep} & set(revision) and (folder / revision / METRICS).is_file():
        return replace(read_working_tree(folder / revision), name=revision)
    commit = _commit(revision, folder)

    def read(path: str) -> bytes | None:
        shown = _git(folder, "show", f"{commit}:./{path}")
        return None if shown.returncode else shown.stdout

    def missing(path: str) -> InputError:
        fix = "compare with a revision whose reports were committed after `dvc repro`"
        return InputError(f"the revision {revision} has no {path}", file=path, got=commit[:9], fix=fix)

    snapshot = _snapshot(f"{revision} ({commit[:9]})", read, missing)
    before = _git(folder, "show", f"{commit}^:./{PARAMS}")
    try:
        started = None if before.returncode else _parameters(_text(before.stdout), "")
    except InputError:  # a fault of the parent does not concern the revision that was asked for
        started = None
    return replace(snapshot, started=started)


def read_working_tree(folder: Path) -> Snapshot:
    """Read the files in `folder`, committed or not.

    Raises:
        InputError: a report is absent or can not be read.
    """

    def read(path: str) -> bytes | None:
        return (folder / path).read_bytes() if (folder / path).is_file() else None

    def missing(path: str) -> InputError:
        fix = "run from the repository's root, after `dvc repro`"
        return InputError("a report is missing", file=folder / path, fix=fix)

    return _snapshot("the working tree", read, missing)


def experiments_of(revision: str, folder: Path) -> list[str]:
    """The names of the DVC experiments that started from a revision, in alphabetical order."""
    baseline = _commit(revision, folder)
    return sorted(name for _, start, name in _experiments(folder) if start == baseline)


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        raise InputError("git is not installed", fix="install it: the comparison reads what git tracks") from None


def _commit(revision: str, folder: Path) -> str:
    """The hash of a revision that git knows, or of the DVC experiment of that name."""
    found = _git(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if not found.returncode:
        return found.stdout.decode().strip()
    commits = [commit for commit, _, name in _experiments(folder) if name == revision]
    if len(commits) > 1:
        fix = "give its hash: " + ", ".join(commit[:9] for commit in commits)
        raise InputError(f"{len(commits)} experiments have the name {revision}", fix=fix)
    if not commits:
        raise InputError(
            "there is no such revision",
            got=revision,
            expected="a branch, tag, commit, DVC experiment (`dvc exp list --all-commits`) or path of another clone",
            fix=_advice(folder),
        )
    return commits[0]


def _experiments(folder: Path) -> list[tuple[str, str, str]]:
    """Every DVC experiment of this clone: its commit, the commit that it started from, and its name."""
    listed = _git(folder, "for-each-ref", "--format=%(objectname) %(refname)", "refs/exps")
    if listed.returncode:
        said = listed.stderr.decode(errors="replace").strip()
        raise InputError("git can not read this folder", file=folder.resolve(), got=said)
    # DVC stores an experiment as refs/exps/<first 2 digits of the commit it started from>/<other 38>/<name>
    refs = re.findall(r"^(\w+) refs/exps/([0-9a-f]{2})/([0-9a-f]{38})/(.+)$", listed.stdout.decode(), re.MULTILINE)
    return [(commit, start + rest, name) for commit, start, rest, name in refs]


def _advice(folder: Path) -> str:
    """How to get a revision that this clone does not have."""
    if _git(folder, "rev-parse", "--is-shallow-repository").stdout.strip() == b"true":
        everything = '"+refs/heads/*:refs/remotes/origin/*"'
        return f"this clone is shallow, fetch what it lacks: git fetch --unshallow origin {everything}"
    return "list the branches with git branch --all; fetch a colleague's experiment with dvc exp pull origin NAME"


def _snapshot(name: str, read: Callable[[str], bytes | None], missing: Callable[[str], InputError]) -> Snapshot:
    def text(path: str) -> str:
        content = read(path)
        if content is None:
            raise missing(path)
        return _text(content)

    where = f"{{}} of {name}".format
    try:
        metrics = json.loads(text(METRICS))
        values = [value for section in metrics.values() for value in section.values()]
        if not all(value is None or isinstance(value, int | float) for value in values):
            raise ValueError("a metric is not a number")
    except (AttributeError, ValueError) as error:
        raise InputError("the metrics can not be read", file=where(METRICS), got=error) from None
    rows, columns = aggregate.numbers(text(PER_IMAGE), where(PER_IMAGE))
    images, modalities, families, groups = {}, {}, {}, {}
    parts = np.array([row["part"] for row in rows])
    for part in dict.fromkeys(parts.tolist()):
        of_part = [row for row in rows if row["part"] == part]
        ids = [row["id"] for row in of_part]
        if len(set(ids)) < len(ids):
            raise InputError("an image is listed twice in the per-image table", file=where(PER_IMAGE), got=part)
        images[part] = ids, aggregate.chosen(columns, parts == part)
        modalities[part] = [row.get("modality") or "" for row in of_part]
        families[part] = [row.get("family") or "" for row in of_part]
        if "group" in rows[0]:
            groups[part] = [row["group"] for row in of_part]
            if not all(groups[part]):
                got = f"{ids[groups[part].index('')]} in {part}"
                raise InputError("an image has no group in the per-image table", file=where(PER_IMAGE), got=got)
    training = _training(read(RUN), read(HISTORY))
    parameters = _parameters(text(PARAMS), name)
    return Snapshot(name, metrics, parameters, images, modalities, families, groups, training)


def _training(run: bytes | None, history: bytes | None) -> dict[str, Any]:
    """The facts in run.js, a script of one assignment whose value is JSON; empty if they are of another training."""
    if run is None or history is None:
        return {}
    script = _text(run)
    try:
        facts = json.loads(script[script.index("{") : script.rindex("}") + 1])
    except ValueError:
        return {}
    return facts if facts.get("history_sha256") == hashlib.sha256(history).hexdigest() else {}


def _text(content: bytes) -> str:
    return content.decode("utf-8", errors="replace")


def _parameters(text: str, name: str) -> dict[str, str]:
    try:
        return _leaves(YAML(typ="safe").load(text))  # as DVC reads it
    except YAMLError as error:
        raise InputError("the parameters are not valid YAML", file=f"{PARAMS} of {name}", got=error) from None


def _leaves(value: object, prefix: str = "") -> dict[str, str]:
    """Every leaf by its dotted name. Not `params.load`: other revisions may have parameters unknown to this code."""
    if not isinstance(value, dict):
        return {prefix: json.dumps(value, ensure_ascii=False, default=str)}
    leaves: dict[str, str] = {}
    for name, item in value.items():
        leaves |= _leaves(item, f"{prefix}.{name}" if prefix else str(name))
    return leaves
