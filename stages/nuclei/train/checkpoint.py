"""Checkpoints of an unfinished training: the folder that each belongs in, and how it is written and read.

They are scratch files, not outputs: DVC would reset an output to an older version before the stage runs again. The
folder is named by a hash of everything that decides the result. A run with a changed parameter, image, split or line
of code therefore starts from the beginning, and an interrupted run that is started again unchanged resumes. The
checkpoints of the last few trainings are kept, so that a parameter can be changed and changed back; each takes five
times the space of the model.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from nuclei.base import files
from nuclei.network.model import check_sums, save_tensors
from nuclei.train.provenance import versions

FOLDER = Path("data/.resume")
PACKAGE = Path(__file__).parents[1]
KEPT = 3  # interrupted trainings that can still be resumed


def key(decides: object, inputs: Iterable[Path]) -> str:
    """Hash what decides a result: plain values, file contents, this project's loaded code, the versions of packages."""
    digest = hashlib.sha256(json.dumps([decides, versions()], sort_keys=True).encode())
    for path in [*inputs, *_code()]:
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:32]


def _code() -> list[Path]:
    """The running script and every loaded module of this package, whichever room it is in."""
    loaded = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    modules = {Path(file) for file in loaded if file and PACKAGE in Path(file).parents}
    return sorted(modules | {Path(sys.argv[0])} if Path(sys.argv[0]).suffix == ".py" else modules)


class Checkpoint:
    """The checkpoint of one training; each new one replaces the last."""

    def __init__(self, key: str, folder: Path = FOLDER) -> None:
        self.folder = folder / key
        self.path = self.folder / "checkpoint.pt"

    def start(self) -> None:
        """Mark its folder as the newest, and remove all but the `KEPT` newest."""
        self.folder.mkdir(parents=True, exist_ok=True)
        os.utime(self.folder)
        newest = sorted(self.folder.parent.iterdir(), key=lambda folder: folder.stat().st_mtime_ns, reverse=True)
        for folder in newest[KEPT:]:
            files.remove(folder)

    def save(self, state: dict[str, Any]) -> None:
        """Write tensors and plain values; a run that is killed meanwhile leaves the previous checkpoint."""
        with files.replacing(self.path) as temporary:
            save_tensors(state, temporary)

    def load(self) -> dict[str, Any] | None:
        """Read what `save` wrote; None if there is no checkpoint or it is damaged."""
        if not self.path.exists():
            return None
        try:
            check_sums(self.path)
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            if not isinstance(state, dict):
                raise TypeError(f"it holds a {type(state).__name__}")
        except Exception as error:  # a damaged scratch file must not keep training from starting
            print(f"the checkpoint can not be read and is not used: {self.path}: {error}", file=sys.stderr)
            return None
        return state

    def remove(self) -> None:
        """Delete it, once the training is complete."""
        files.remove(self.folder)
