"""Prove that the same commit gives the same bits: run the pipeline in two fresh clones and compare every output.

    make verify

Each clone lies in a folder of its own, has no cache, and runs every stage with another PYTHONHASHSEED. Exits with 1 and
names the first output that differs between the two. Whether both equal the committed dvc.lock is reported: another kind
of processor rounds otherwise, which is no error.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent


def outputs(folder: Path) -> dict[str, str]:
    """The hash of every output in dvc.lock, in the order of the stages."""
    stages = yaml.safe_load((folder / "dvc.lock").read_text(encoding="utf-8"))["stages"]
    order = yaml.safe_load((folder / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    return {out["path"]: out["md5"] for stage in order for out in stages[stage].get("outs", [])}


def run(folder: Path, hash_seed: str) -> dict[str, str]:
    """Clone the last commit into `folder`, run every stage there, and return the hash of each output."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONHASHSEED": hash_seed}
    command = [sys.executable, "-m", "dvc", "repro", "--force", "--quiet"]
    subprocess.run(command, cwd=folder, env=environment, check=True)
    return outputs(folder)


def differing(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """The outputs that are not the same in both."""
    return [path for path in {**one, **other} if one.get(path) != other.get(path)]


def main() -> None:
    if subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, check=True).stdout:
        print("uncommitted changes are not verified: the clones are of the last commit", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="verify-") as temporary:
        one = run(Path(temporary) / "one", "1")
        other = run(Path(temporary) / "another folder" / "two", "2")
    if different := differing(one, other):
        sys.exit(f"{different[0]} is the first of {len(different)} outputs that differ between two runs of this commit")
    print(f"two fresh clones gave the same {len(one)} outputs, to the last bit")
    if different := differing(outputs(ROOT), one):
        print(f"the committed dvc.lock has others, from {different[0]} on: it was made on another kind of machine")
    else:
        print("they are those of the committed dvc.lock")


if __name__ == "__main__":
    main()
