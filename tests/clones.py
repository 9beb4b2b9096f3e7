"""A clone in which the pipeline is small enough to run in a minute, and DVC at work in it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

SMALLEST = "tu-tf_mobilenetv3_small_minimal_100"  # the smallest encoder
SMALL = {
    "fetch": {"sample_images": 14, "sample_unlabelled": 2},
    "train": {"encoder_name": SMALLEST, "crop_px": 64, "search_saddle_ratio": [0.5], "search_min_area_px": [10]},
    "evaluate": {"device": "cpu", "bootstrap_resamples": 200},
    "plot": {"dpi": 60, "gallery_images": 1},
}


def environment(**changes: str) -> dict[str, str]:
    """The environment in which `python` is this one, with changes: DVC runs a stage with what comes first on PATH."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "NO_ALBUMENTATIONS_UPDATE": "1", **changes}


def make_small(folder: Path, *, epochs: int = 1) -> None:
    """Change params.yaml so that the pipeline runs in a minute, and give git a name to commit with."""
    values = yaml.safe_load((folder / "params.yaml").read_text())
    values["epochs"] = epochs
    for section, changes in SMALL.items():
        values[section].update(changes)
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    for setting in (("user.name", "Tester"), ("user.email", "tester@example.org")):
        subprocess.run(["git", "config", *setting], cwd=folder, check=True)


def dvc(folder: Path, *arguments: str, fails: bool = False) -> str:
    """Run dvc in `folder` and return all that it said; it must succeed, or fail."""
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=3600,  # of a hang: an overloaded machine may need long
        check=False,
    )
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stdout + done.stderr


def running(said: str) -> list[str]:
    """The stages that dvc ran, not those that it skipped or restored."""
    return re.findall(r"Running stage '(\w+)'", said)
