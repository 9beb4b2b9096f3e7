"""What the parameter `data` may be, where its files are, and a description that changes when they do."""

from __future__ import annotations

import difflib
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nuclei.base import userfiles
from nuclei.base.errors import InputError
from nuclei.base.formats import ROI_SET
from nuclei.fetch.packing import fingerprint

TRAIN, TEST = "stage1_train.zip", "stage1_test.zip"
# https://bbbc.broadinstitute.org/BBBC038: CC0, the same images as Kaggle's, no account needed. The page gives no hash;
# that of the training archive (670 images) is the one that several public projects have recorded.
BBBC038 = [
    {
        "url": f"https://data.broadinstitute.org/bbbc/BBBC038/{TRAIN}",
        "sha256": "dcb6edc2690f137406638b2309581a71522c4dff19157d118453b448dcddcb68",
    },
    {"url": f"https://data.broadinstitute.org/bbbc/BBBC038/{TEST}", "sha256": None},
]
COMPETITION = "data-science-bowl-2018"
KEYWORDS = ("sample", "bbbc038", "kaggle")
EXPECTED = (
    "sample (drawn here), bbbc038 (downloaded), kaggle (downloaded with your account), or a path: "
    f"a zip archive of images and masks, a folder with {TRAIN} in it, or a folder of images and masks"
)


def kind(data: str) -> str:
    """One of KEYWORDS, or "path". A file of the same name as a keyword is reached by "./sample"."""
    return data if data in KEYWORDS else "path"


def describe(data: str, workspace: Path, outputs: Iterable[str] = ()) -> dict[str, Any]:
    """Describe what fetch will get, so that descriptions are equal exactly when the contents are, on every machine.

    Args:
        data: the parameter.
        workspace: the absolute path of the folder that the pipeline runs in.
        outputs: paths that the pipeline writes, relative to the workspace; they are refused as its input.

    Returns:
        `kind` and, for bbbc038, `archives`, each with `url` and `sha256`; for kaggle, `competition`; for a path, a
        fingerprint (`packing.fingerprint`) under `stage1_train.zip` and, where there is one, `stage1_test.zip`.

    Raises:
        InputError: the path does not exist, is ambiguous, or holds no images.
    """
    match kind(data):
        case "bbbc038":
            return {"kind": "bbbc038", "archives": BBBC038}
        case "kaggle":
            return {"kind": "kaggle", "competition": COMPETITION}
        case "path":
            path = locate(data, workspace)
            userfiles.check_apart("data", path, workspace, outputs)
            return {"kind": "path", **{name: fingerprint(part) for name, part in parts(path).items()}}
        case keyword:
            return {"kind": keyword}


def locate(data: str, workspace: Path) -> Path:
    """The absolute path that `data` names; relative ones start from `workspace`, an absolute path.

    Raises:
        InputError: nothing is there; the message lists what `data` may be and suggests the most similar keyword.
    """
    path = userfiles.absolute(data, workspace)
    if userfiles.exists(path):
        return path
    close = difflib.get_close_matches(data.strip().lower(), KEYWORDS, n=1, cutoff=0.6)
    fix = f"did you mean {close[0]}?" if close else "correct `data` in params.yaml, or -S data=..."
    raise InputError(
        "`data` is neither a keyword nor a path that exists", file=path, got=data, expected=EXPECTED, fix=fix
    )


def parts(path: Path) -> dict[str, Path]:
    """The archive or folder from which `stage1_train.zip` and, where there is one, `stage1_test.zip` are made.

    A file is the training archive. In a folder, it is `stage1_train*.zip` or the folder `stage1_train`, and likewise
    for stage1_test; a folder without them is itself the folder of training images. Sets of ROIs, `NAME_rois.zip`, are
    annotations in such a folder.

    Raises:
        InputError: the file is not a zip archive, or more than one archive could be meant.
    """
    if not path.is_dir():
        return {TRAIN: _archive(path)}
    train, test = _part(path, "stage1_train"), _part(path, "stage1_test")
    if train is None:
        zips = [name for name in _names(path) if name.lower().endswith(".zip")]
        archives = [name for name in zips if not name.lower().endswith(ROI_SET)]
        if archives or test:
            raise _unclear(path, archives or ["stage1_test"])
        return {TRAIN: path}
    return {TRAIN: train, TEST: test} if test else {TRAIN: train}


def _part(folder: Path, stem: str) -> Path | None:
    """The archive or else the folder in `folder` whose name is `stem`, or begins with it in the case of an archive."""
    pattern = re.compile(rf"{stem}(?!_labels).*\.zip", re.IGNORECASE)  # Kaggle has stage1_train_labels.csv.zip too
    archives = [name for name in _names(folder) if pattern.fullmatch(name)]
    if len(archives) > 1:
        raise _unclear(folder, archives)
    if archives:
        return _archive(folder / archives[0])
    return folder / stem if (folder / stem).is_dir() else None


def _unclear(folder: Path, archives: list[str]) -> InputError:
    return InputError(
        "it is not clear which archive holds the training images",
        file=folder,
        got=", ".join(archives),
        expected=f"one named {TRAIN} and, if there are images without masks, one named {TEST}",
        fix="rename them, give the path of the archive itself, or move the others elsewhere",
    )


def _archive(path: Path) -> Path:
    if not path.is_file():
        raise InputError("neither a file nor a folder", file=path, expected=EXPECTED)
    if not zipfile.is_zipfile(path):
        fix = "give the folder instead of a file in it; unpack archives of other formats; copy a truncated one again"
        raise InputError("`data` is not a zip archive, or an incomplete one", file=path, expected=EXPECTED, fix=fix)
    return path


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
