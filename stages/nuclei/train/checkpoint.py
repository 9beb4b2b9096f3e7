"""Checkpoints of a training under way: where they lie, so that none is ever taken for another's, and how they are kept.

They are scratch, not an output: DVC would reset an output to an older version before the stage runs again. The folder
is named by a hash of everything that decides the result, so a changed parameter, image, split or line of code starts
afresh, and an interrupted run with none of these changed goes on where it was. That holds for who changes something and
changes it back, too: those of the last few trainings are kept, and no more, since each is five times the model.
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

FOLDER = Path("data/.resume")
PACKAGE = Path(__file__).parents[1]
KEPT = 3  # interrupted trainings that can be gone on with


def key(decides: object, inputs: Iterable[Path]) -> str:
    """Hash what decides a result: plain values, the contents of files, this project's loaded code, torch's version."""
    digest = hashlib.sha256(json.dumps([decides, torch.__version__], sort_keys=True).encode())
    for path in [*inputs, *_code()]:
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:32]


def _code() -> list[Path]:
    """The running script and every loaded module of this package, whichever room it is in."""
    loaded = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    modules = {Path(file) for file in loaded if file and PACKAGE in Path(file).parents}
    return sorted(modules | {Path(sys.argv[0])} if Path(sys.argv[0]).suffix == ".py" else modules)


class Checkpoint:
    """The one checkpoint of a training, replaced whole each time."""

    def __init__(self, key: str, folder: Path = FOLDER) -> None:
        self.folder = folder / key
        self.path = self.folder / "checkpoint.pt"

    def start(self) -> None:
        """Make its folder the newest, and remove those of others but the newest of them."""
        self.folder.mkdir(parents=True, exist_ok=True)
        os.utime(self.folder)
        newest = sorted(self.folder.parent.iterdir(), key=lambda folder: folder.stat().st_mtime_ns, reverse=True)
        for folder in newest[KEPT:]:
            files.remove(folder)

    def save(self, state: dict[str, Any]) -> None:
        """Write tensors and plain values; a run killed here leaves the checkpoint before."""
        with files.replacing(self.path) as temporary:
            save_tensors(state, temporary)

    def load(self) -> dict[str, Any] | None:
        """Read what `save` wrote, or None where there is nothing that can be read."""
        if not self.path.exists():
            return None
        try:
            check_sums(self.path)
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            if not isinstance(state, dict):
                raise TypeError(f"it holds a {type(state).__name__}")
        except Exception as error:  # whatever is wrong with a scratch file, training can start afresh
            print(f"the checkpoint can not be read and is not used: {self.path}: {error}", file=sys.stderr)
            return None
        return state

    def remove(self) -> None:
        """Forget it: the training has ended well."""
        files.remove(self.folder)
