"""The version stands in CITATION.cff, and the changelog's newest entry is of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from conftest import ROOT
from nuclei.base import citation
from nuclei.base.errors import InputError


def test_the_changelogs_newest_entry_is_of_the_version() -> None:
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest
    assert newest[1] == citation.read(ROOT / "CITATION.cff").version


def test_the_licence_is_that_of_the_licence_file() -> None:
    assert (ROOT / "LICENSE").read_text().startswith(f"{citation.read(ROOT / 'CITATION.cff').licence} License")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "the citation file is missing"),
        ("version: [", "the citation file can not be read"),
        ("version: 1.0.0", "the citation file can not be read"),
        ("{title: a, version: '1', license: MIT, authors: [{name: b}]}", "the version is wrong"),
    ],
)
def test_a_file_that_does_not_cite_is_an_error(tmp_path: Path, content: str | None, said: str) -> None:
    path = tmp_path / "CITATION.cff"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=said):
        citation.read(path)
