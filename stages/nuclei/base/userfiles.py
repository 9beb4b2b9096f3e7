"""The user's own files that parameters name: where they lie, and what they hold, so that a change of that is seen."""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from nuclei.base.errors import InputError

IMAGENET = "imagenet"  # the one value of train.encoder_weights that is neither null nor a file


def outer_repository(workspace: Path) -> Path:
    """The folder that relative paths in params.yaml start from.

    That is the workspace, except in a temporary one: `dvc exp run --temp` and `--queue` run the stages in a
    clone under `<repository>/.dvc/tmp/exps/`, which lacks every file that git and DVC do not track, so the user's
    data among them. There, it is `<repository>`.
    """
    folders = workspace.parts
    for depth in range(1, len(folders) - 2):
        if folders[depth : depth + 3] == (".dvc", "tmp", "exps"):
            return Path(*folders[:depth])
    return workspace


def absolute(given: str, workspace: Path) -> Path:
    """The absolute path that a parameter means, in a workspace given by its absolute path; nothing need be there."""
    try:
        path = Path(given).expanduser()
    except RuntimeError:  # no home folder is known
        path = Path(given)
    return Path(os.path.abspath(outer_repository(workspace) / path))  # noqa: PTH100 - resolve() follows links


def exists(path: Path) -> bool:
    """Whether something is there; False for a name that nothing can have."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def check_apart(parameter: str, path: Path, workspace: Path, outputs: Iterable[str]) -> None:
    """Refuse what the pipeline writes as its input: DVC deletes the outputs of a stage before it runs."""
    own = [outer_repository(workspace) / output for output in outputs]
    for place in {path, path.resolve()}:
        if any(place.is_relative_to(output) or output.is_relative_to(place) for output in own):
            raise InputError(
                f"`{parameter}` is, or holds, what the pipeline itself writes",
                file=path,
                expected="a place apart from " + ", ".join(outputs),
                fix="move it to a place of its own and give that",
            )


def encoder_weights(given: str | None, workspace: Path) -> Path | None:
    """The absolute path of the file that train.encoder_weights names, or None where it names none."""
    return None if given in (None, IMAGENET) else absolute(str(given), workspace)


def describe(
    parameter: str,
    path: Path | None,
    workspace: Path,
    outputs: Iterable[str],
    *,
    expected: str,
    keywords: Sequence[str] = (),
) -> dict[str, str] | None:
    """What decides a file's content, and nothing of where it lies; None where the parameter names no file.

    Args:
        parameter: its dotted name.
        path: absolute, of the file.
        workspace: the absolute path of the folder that the pipeline runs in.
        outputs: what the pipeline itself writes, relative to the workspace: never its own input.
        expected: what the parameter may be.
        keywords: what it may be besides a path, one of which a wrong path may be a misspelling of.

    Raises:
        InputError: the file is not there, is no file, or is one that the pipeline writes.
    """
    if path is None:
        return None
    if not exists(path) or not path.is_file():
        close = difflib.get_close_matches(path.name.lower(), keywords, n=1, cutoff=0.6)
        fix = f"did you mean {close[0]}?" if close else f"correct `{parameter}` in params.yaml, or -S {parameter}=..."
        got = "a folder" if exists(path) else "nothing there"
        raise InputError(f"`{parameter}` names no file", file=path, got=got, expected=expected, fix=fix)
    check_apart(parameter, path, workspace, outputs)
    with path.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest()}
