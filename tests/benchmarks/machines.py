"""What another kind of processor changes: the sample trained in several ways on this one, and their test scores.

    python tests/benchmarks/machines.py [--only NAME...]

All ways share one data set and split. A processor without AVX-512 is emulated: torch and oneDNN are told to do without
it, which changes the order of their sums as such a processor would. Scores do not depend on what else the machine does.
Prints a table, in Markdown, of the test scores, the fraction of label maps equal to the first way's, and whether the
weights are.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "stages"))

from nuclei.base import files
from nuclei.network.segmenter import WEIGHTS

ROOT = Path(__file__).resolve().parents[2]
WITHOUT_AVX512 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
WAYS: dict[str, tuple[str, dict[str, str]]] = {  # precision, environment
    "as it is": ("auto", {}),
    "again": ("auto", {}),
    "float32": ("32-true", {}),
    "float32, one thread": ("32-true", {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}),
    "float32, without AVX-512 (emulated)": ("32-true", WITHOUT_AVX512),
}
SCORES = {"dice": "Dice", "iou": "IoU", "map": "mAP", "ap50": "AP50", "pq": "PQ"}
Hashes = dict[str, str]


def run(stage: str, folder: Path, environment: dict[str, str]) -> None:
    """Run a script of stages/ in a folder; end with what it printed if it fails."""
    command = [sys.executable, str(ROOT / f"stages/{stage}.py")]
    done = subprocess.run(command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{stage}.py ended with {done.returncode}:\n{done.stderr}")


def hashes(folder: Path) -> Hashes:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.is_file()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=WAYS, default=list(WAYS), help="these ways (all)")
    arguments = parser.parse_args()
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    print(f"| trained | {' | '.join(SCORES.values())} | label maps as in the first | weights as in the first |")
    print(f"|---|{'---|' * (len(SCORES) + 2)}")
    first: tuple[Hashes, Hashes] | None = None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "params.yaml").write_text(text, encoding="utf-8")
        for stage in ("source", "fetch", "prepare", "split"):
            run(stage, folder, {})
        for way in arguments.only:
            precision, environment = WAYS[way]
            changed = re.sub(r"(?m)^  precision: \S+", f"  precision: {precision}", text)
            (folder / "params.yaml").write_text(changed, encoding="utf-8")
            for stage in ("train", "evaluate"):
                run(stage, folder, environment)
            scores = files.read_json(folder / "reports/metrics.json", "")["test"]
            maps, weights = hashes(folder / "data/predictions/labels"), hashes(folder / "data/model")
            first = first or (maps, weights)
            equal = sum(maps[image] == first[0][image] for image in maps)
            same = "yes" if weights[WEIGHTS] == first[1][WEIGHTS] else "no"
            cells = [way, *(f"{scores[score]:.3f}" for score in SCORES), f"{equal} of {len(maps)}", same]
            print(f"| {' | '.join(cells)} |", flush=True)
            shutil.rmtree(folder / "data/predictions")


if __name__ == "__main__":
    main()
