"""Prove that the same commit gives the same bits: run the pipeline in fresh clones and compare every output.

    make verify
    python tests/verify.py --one-core    # how far does another number of threads move the metrics?

Two clones run every stage, each in a folder of its own, without a cache, with another PYTHONHASHSEED. A third runs the
stages before the training on a single core, where that can be arranged. Exits with 1 and names the first output that
differs, or if the network has not learned to segment the sample. Whether all equal the committed dvc.lock is reported,
and is no error: another kind of processor rounds differently. So does another number of threads: with --one-core the
third clone trains too, and its metrics are printed beside those of the first.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from clones import environment

ROOT = Path(__file__).resolve().parent.parent
DATA_STAGES = ("source", "fetch", "prepare", "split")  # the same bits on any number of cores
METRICS = ("dice", "iou", "map", "ap50", "auc")
FLOOR = {"dice": 0.92, "map": 0.58}  # on test; 0.957 and 0.701 in float32 on an EPYC


def outputs(folder: Path, stages: Sequence[str] = ()) -> dict[str, str]:
    """The hash of every output in dvc.lock, or of those of `stages`, in the order of the stages."""
    locked = yaml.safe_load((folder / "dvc.lock").read_text(encoding="utf-8"))["stages"]
    order = stages or yaml.safe_load((folder / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    return {out["path"]: out["md5"] for stage in order for out in locked[stage].get("outs", [])}


def run(folder: Path, hash_seed: str, *, target: str = "", one_core: bool = False) -> None:
    """Clone the last commit into `folder` and run every stage there, or those as far as `target`."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    command = [sys.executable, "-m", "dvc", "repro", "--force", "--quiet", *([target] if target else [])]
    cores = os.sched_getaffinity(0) if one_core else set()
    if one_core:
        os.sched_setaffinity(0, {min(cores)})  # the commands that this one starts inherit it
    try:
        subprocess.run(command, cwd=folder, env=environment(PYTHONHASHSEED=hash_seed), check=True)
    finally:
        if one_core:
            os.sched_setaffinity(0, cores)


def differing(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """The outputs that are not the same in both."""
    return [path for path in {**one, **other} if one.get(path) != other.get(path)]


def demand_equal(one: dict[str, str], other: dict[str, str], said: str) -> None:
    """Print what was proved, or end with the first output that differs."""
    if different := differing(one, other):
        sys.exit(f"{different[0]} is the first of {len(different)} outputs that differ between two runs of this commit")
    print(f"{said} gave the same {len(one)} outputs, to the last bit", flush=True)


def demand_learned(test: dict[str, Any]) -> None:
    """Print that a training has reached the floor on the sample, or end with what it did reach."""
    if below := [
        f"{name} {test[name]}, expected {floor} or more" for name, floor in FLOOR.items() if test[name] < floor
    ]:
        sys.exit(f"the network did not learn to segment the sample: {'; '.join(below)}")
    print("test " + ", ".join(f"{name} {test[name]:.3f}" for name in FLOOR), flush=True)


def metrics(folder: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads((folder / "reports/metrics.json").read_text(encoding="utf-8"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one-core", action="store_true", help="train on one core too")
    given = parser.parse_args()
    if subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, check=True).stdout:
        print("uncommitted changes are not verified: the clones are of the last commit", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="verify-") as temporary:
        one, other, third = (Path(temporary) / name for name in ("one", "another folder/two", "drei"))
        run(one, "1")
        run(other, "2")
        demand_equal(outputs(one), outputs(other), "two fresh clones")
        demand_learned(metrics(one)["test"])
        if hasattr(os, "sched_setaffinity"):
            run(third, "3", target="" if given.one_core else DATA_STAGES[-1], one_core=True)
            demand_equal(outputs(one, DATA_STAGES), outputs(third, DATA_STAGES), "before the training, a single core")
        if given.one_core:
            for part, values in metrics(one).items():
                ours = metrics(third)[part]
                print(part, *(f"{name} {values[name]:.4f}, on one core {ours[name]:.4f}" for name in METRICS), sep="; ")
        if different := differing(outputs(ROOT), outputs(one)):
            print(f"the committed dvc.lock has others, from {different[0]} on: it was made on another kind of machine")
        else:
            print("they are those of the committed dvc.lock")


if __name__ == "__main__":
    main()
