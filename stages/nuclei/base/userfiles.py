"""User files named in params.yaml: where they are, and a hash of their content, so that DVC notices a change."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from nuclei.base import files
from nuclei.base.errors import InputError

MODEL_SETTINGS = "model.json"  # every folder of a model holds it
IMAGENET = "imagenet"  # the one value of train.encoder_weights that is neither null nor a file


def outer_repository(workspace: Path) -> Path:
    """The folder to which relative paths in params.yaml refer.

    That is the workspace, except in a temporary one: `dvc exp run --temp` and `--queue` run the stages in a clone under
    `<repository>/.dvc/tmp/exps/`, which has only the files tracked by git or DVC, and so lacks the user's data. There,
    relative paths refer to `<repository>`.
    """
    folders = workspace.parts
    for depth in range(1, len(folders) - 2):
        if folders[depth : depth + 3] == (".dvc", "tmp", "exps"):
            return Path(*folders[:depth])
    return workspace


def absolute(given: str, workspace: Path) -> Path:
    """Make a path from params.yaml absolute; `workspace` is absolute itself, and the path need not exist."""
    try:
        path = Path(given).expanduser()
    except RuntimeError:  # no home folder is known
        path = Path(given)
    return Path(os.path.abspath(outer_repository(workspace) / path))  # noqa: PTH100 - resolve() follows links


def exists(path: Path) -> bool:
    """Whether the path exists; False if its name is invalid."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def check_apart(parameter: str, path: Path, workspace: Path, outputs: Iterable[str]) -> None:
    """Refuse an input that the pipeline also writes: DVC deletes the outputs of a stage before running it."""
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
    """The absolute path of the file given as train.encoder_weights; None if it is null or "imagenet"."""
    return None if given in (None, IMAGENET) else absolute(str(given), workspace)


def start_model(given: str | None, workspace: Path) -> Path | None:
    """The absolute path of the folder given as train.start_from; None if it is null."""
    return None if given is None else absolute(given, workspace)


def model_files(model: Path) -> list[Path]:
    """The files that decide what a model predicts: of a folder, weights and settings, not its card; or the file."""
    return sorted(path for path in model.iterdir() if path.suffix in (".json", ".pth")) if model.is_dir() else [model]


def describe_model(
    parameter: str, folder: Path | None, workspace: Path, outputs: Iterable[str]
) -> dict[str, dict[str, str]] | None:
    """The SHA-256 of each of the `model_files` by its name; None if `folder` is None. Arguments as for `describe`.

    Raises:
        InputError: there is no folder with a model.json, or the pipeline writes it.
    """
    if folder is None:
        return None
    if not exists(folder / MODEL_SETTINGS):
        got = "nothing there" if not exists(folder) else f"no {MODEL_SETTINGS} in it" if folder.is_dir() else "a file"
        fix = f"correct `{parameter}` in params.yaml, or -S {parameter}=..."
        expected = "null, or the folder of a model, such as models/nuclei"
        raise InputError(f"`{parameter}` names no model", file=folder, got=got, expected=expected, fix=fix)
    check_apart(parameter, folder, workspace, outputs)
    return {path.name: {"sha256": files.sha256(path)} for path in model_files(folder)}


def describe(
    parameter: str,
    path: Path | None,
    workspace: Path,
    outputs: Iterable[str],
    *,
    expected: str,
    keywords: Sequence[str] = (),
) -> dict[str, str] | None:
    """The SHA-256 of a file, which identifies its content wherever it lies; None if `path` is None.

    Args:
        parameter: dotted name of the parameter that names the file.
        path: absolute path of the file, or None if the parameter names none.
        workspace: absolute path of the folder in which the pipeline runs.
        outputs: paths that the pipeline writes, relative to the workspace; the file must not be among them.
        expected: valid values of the parameter, for the error message.
        keywords: values other than paths; if the file is missing, the error suggests the most similar one.

    Raises:
        InputError: the path is missing, not a file, or written by the pipeline.
    """
    if path is None:
        return None
    if not exists(path) or not path.is_file():
        close = difflib.get_close_matches(path.name.lower(), keywords, n=1, cutoff=0.6)
        fix = f"did you mean {close[0]}?" if close else f"correct `{parameter}` in params.yaml, or -S {parameter}=..."
        got = "a folder" if exists(path) else "nothing there"
        raise InputError(f"`{parameter}` names no file", file=path, got=got, expected=expected, fix=fix)
    check_apart(parameter, path, workspace, outputs)
    return {"sha256": files.sha256(path)}
