"""When, from which revision, for how long and on which machine a model was trained.

These facts differ between two runs whose results are equal to the last bit. In an output of DVC they would change its
hash, and every later stage would run again, so they are written to a one-line script that only git tracks. The page
loads the script from its own folder, and shows the facts only if the script names the hash of the history on the page.
"""

from __future__ import annotations

import json
import platform
import subprocess
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

from nuclei.base import files
from nuclei.base.machine import cores, cpu_model

VARIABLE = "trainingRun"  # of the page's window
CODE = ("stages", "params.yaml", "dvc.yaml", "requirements.txt")  # what decides a training, apart from the data
PACKAGES = (
    *("albumentations", "lightning-fabric", "numpy", "opencv-python-headless", "scikit-image", "scipy"),
    *("segmentation-models-pytorch", "timm", "torch", "torchvision"),
)


@dataclass(frozen=True)
class Start:
    """What is recorded when a training starts; `revision` and `changed` are None outside a git repository."""

    time: datetime
    clock: float
    revision: str | None
    changed: bool | None


def start() -> Start:
    """Record the time and the revision, which a commit may change while training runs."""
    revision = _git("rev-parse", "HEAD")
    changed = None if revision is None else bool(_git("status", "--porcelain", "--", *CODE))
    return Start(datetime.now(UTC), time.monotonic(), revision, changed)


def write(
    path: Path,
    start: Start,
    history: Path,
    weights: Path,
    *,
    device: torch.device,
    processes: int,
    precision: str,
    resumed: bool,
) -> None:
    """Write the facts of a finished training.

    Args:
        path: the script, beside the page.
        history: the file of its learning curves, whose hash tells the page which run the facts belong to.
        weights: the file of its weights, whose hash can be compared with that of another training.
        device, processes, precision: those used, never `auto`.
        resumed: whether it resumed an interrupted run, so that its seconds do not cover all epochs.
    """
    facts = {
        "history_sha256": files.sha256(history),
        "weights_sha256": files.sha256(weights),
        "promise": promise(device, processes),
        "started": start.time.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "seconds": round(time.monotonic() - start.clock, 1),
        "resumed": resumed,
        "revision": start.revision,
        "changed": start.changed,
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_model(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "processes": processes,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "precision": precision,
        "versions": versions(),
    }
    # `<` is escaped so that no value can end the script; ASCII, so that the encoding does not matter
    value = json.dumps(facts, indent=2).replace("<", "\\u003c")
    files.write_text(path, f"window.{VARIABLE} = {value};\n")


def versions() -> dict[str, str]:
    """The versions of Python and of every package that decides what a training gives."""
    return {"Python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def promise(device: torch.device, processes: int) -> str:
    """How closely another training from the same revision, parameters and data reproduces this one."""
    if device.type == "cpu":
        threads = f"{torch.get_num_threads()} threads" + (f" in each of {processes} processes" if processes > 1 else "")
        return f"the same bits on this kind of processor with {threads}, else nearly the same"
    return "nearly the same: on this device sums are added up in another order each time"


def _git(*arguments: str) -> str | None:
    """The output of a git command, None where it fails."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
