"""User files named in params.yaml: how paths are resolved, and how a file is described and refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from nuclei.base.errors import InputError
from nuclei.base.userfiles import absolute, describe, encoder_weights, outer_repository

OUTPUTS = ("data/split.csv", "data/model")


def described(path: Path, workspace: Path) -> dict[str, str] | None:
    return describe("a.name", path, workspace, OUTPUTS, expected="null, or a list", keywords=["null", "imagenet"])


@pytest.mark.parametrize("inside", [".dvc/tmp/exps/standalone/tmpab12", ".dvc/tmp/exps/tmpab12", ".dvc/tmp/exps/t/sub"])
def test_a_relative_path_in_a_temporary_workspace_refers_to_the_outer_repository(tmp_path: Path, inside: str) -> None:
    workspace = tmp_path / "repository" / inside
    assert outer_repository(workspace) == tmp_path / "repository"
    for place in (workspace, tmp_path / "repository"):
        assert absolute("../mine.zip", place) == tmp_path / "mine.zip"


@pytest.mark.parametrize("inside", ["", "sub", ".dvc/tmp", "exps/tmp"])
def test_any_other_folder_is_its_own_repository(tmp_path: Path, inside: str) -> None:
    assert outer_repository(tmp_path / inside) == tmp_path / inside


def test_a_file_is_described_by_its_content_alone(tmp_path: Path) -> None:
    for name in ("one.csv", "two.csv"):
        (tmp_path / name).write_bytes(b"id,part\n")
    expected = {"sha256": hashlib.sha256(b"id,part\n").hexdigest()}
    assert described(tmp_path / "one.csv", tmp_path) == described(tmp_path / "two.csv", tmp_path) == expected


def test_without_a_file_there_is_no_description(tmp_path: Path) -> None:
    assert describe("a.name", None, tmp_path, OUTPUTS, expected="") is None
    assert encoder_weights(None, tmp_path) is encoder_weights("imagenet", tmp_path) is None
    assert encoder_weights("a.pth", tmp_path) == tmp_path / "a.pth"


@pytest.mark.parametrize(("name", "meant"), [("imagnet", "imagenet"), ("ImageNet", "imagenet"), ("nul", "null")])
def test_a_mistyped_keyword_is_an_error_that_names_the_nearest(tmp_path: Path, name: str, meant: str) -> None:
    with pytest.raises(InputError, match=rf"`a.name` names no file(.|\n)*null, or a list(.|\n)*did you mean {meant}\?"):
        described(tmp_path / name, tmp_path)


@pytest.mark.parametrize(
    ("name", "got"),
    [("resnet34.pth", "nothing there"), ("no\0such", "nothing there"), ("x" * 5000, "nothing there"), ("", "a folder")],
    ids=["missing", "null byte", "long", "folder"],
)
def test_a_path_that_is_no_file_is_an_error_that_names_the_parameter(tmp_path: Path, name: str, got: str) -> None:
    with pytest.raises(InputError, match=rf"names no file(.|\n)*{got}(.|\n)*correct `a.name` in params.yaml"):
        described(tmp_path / name, tmp_path)


@pytest.mark.parametrize("name", OUTPUTS)
def test_what_the_pipeline_writes_is_refused_since_dvc_deletes_it(tmp_path: Path, name: str) -> None:
    path = tmp_path / name / "weights.pth" if Path(name).suffix == "" else tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    with pytest.raises(InputError, match="what the pipeline itself writes"):
        described(path, tmp_path)
