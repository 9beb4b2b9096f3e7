"""The project's name, version, authors and licence, which stand in CITATION.cff and nowhere else."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from nuclei.base.errors import InputError

FILE = Path("CITATION.cff")
HERE = Path(__file__).resolve().parents[3]  # the repository
FIX = "get the file again: git checkout CITATION.cff"


@dataclass(frozen=True)
class Citation:
    """What CITATION.cff says that other files repeat.

    Attributes:
        title: of the project.
        version: as in the git tag `v1.0.0`, without the v.
        authors: their names.
        licence: its SPDX identifier.
    """

    title: str
    version: str
    authors: tuple[str, ...]
    licence: str


def read(path: Path = FILE) -> Citation:
    """Read CITATION.cff.

    Raises:
        InputError: the file is absent, not YAML, or lacks one of these fields.
    """
    try:
        said = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
        citation = Citation(
            title=str(said["title"]),
            version=str(said["version"]),
            authors=tuple(str(author["name"]) for author in said["authors"]),
            licence=str(said["license"]),
        )
    except FileNotFoundError:
        raise InputError("the citation file is missing", file=path, fix=FIX) from None
    except (YAMLError, UnicodeDecodeError, KeyError, TypeError) as error:
        expected = "title, version, authors (each with a name) and license"
        raise InputError(
            "the citation file can not be read", file=path, got=error, expected=expected, fix=FIX
        ) from None
    if not re.fullmatch(r"\d+\.\d+\.\d+", citation.version):
        raise InputError("the version is wrong", file=path, got=citation.version, expected="three numbers, as 1.0.0")
    return citation


@functools.cache
def version() -> str:
    """The version of this program; raise InputError as `read` does."""
    return read(HERE / FILE).version
