"""When, from which revision, how long and on which machine a model was trained: what no parameter decides.

These facts differ between two runs that are otherwise equal to the last bit, so DVC must not know them: in an output
they would change its hash, and every later stage would run again. They stand in a script of one statement that git
alone tracks; the page loads it from its own folder and believes it where it is of the history that the page shows.
"""

from __future__ import annotations

import hashlib
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
CODE = ("stages", "params.yaml", "dvc.yaml", "requirements.txt")  # what decides a training, beside the data
PACKAGES = (
    *("albumentations", "lightning-fabric", "numpy", "opencv-python-headless", "scikit-image", "scipy"),
    *("segmentation-models-pytorch", "torch", "torchvision"),
)


@dataclass(frozen=True)
class Start:
    """What has to be known when a training starts; `revision` and `changed` are None outside git."""

    time: datetime
    clock: float
    revision: str | None
    changed: bool | None


def start() -> Start:
    """Look at the clock, and at the revision before somebody commits another."""
    revision = _git("rev-parse", "HEAD")
    changed = None if revision is None else bool(_git("status", "--porcelain", "--", *CODE))
    return Start(datetime.now(UTC), time.monotonic(), revision, changed)


def write(
    path: Path, start: Start, history: Path, weights: Path, *, device: torch.device, precision: str, resumed: bool
) -> None:
    """Write the facts of a training that has ended.

    Args:
        path: the script, beside the page.
        history: the learning curves that it wrote: the page shows them, and knows the run by their hash.
        weights: the file of weights that it wrote, for whoever trains again to compare.
        device, precision: that the network was trained on and with, not `auto`.
        resumed: it went on after an interruption, so that its seconds are not all.
    """
    facts = {
        "history_sha256": hashlib.sha256(history.read_bytes()).hexdigest(),
        "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "promise": promise(device),
        "started": start.time.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "seconds": round(time.monotonic() - start.clock, 1),
        "resumed": resumed,
        "revision": start.revision,
        "changed": start.changed,
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_model(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "precision": precision,
        "versions": {"Python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    }
    # escaped, so that it stays a value wherever it is put; ASCII, so that no charset can change it
    value = json.dumps(facts, indent=2).replace("<", "\\u003c")
    files.write_text(path, f"window.{VARIABLE} = {value};\n")


def promise(device: torch.device) -> str:
    """What another training from the same revision, parameters and data can be relied on to give."""
    if device.type == "cpu":
        return f"the same bits on this kind of processor with {torch.get_num_threads()} threads, else nearly the same"
    return "nearly the same: on this device sums are added up in another order each time"


def _git(*arguments: str) -> str | None:
    """What git says of this folder, None where it can not."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
