"""How far scores move when one recipe is trained again: three seeds, each with one and with two threads.

    python tests/benchmarks/noise.py                      # the committed recipe: some ten minutes on two idle cores
    python tests/benchmarks/noise.py --seeds 0 1 --threads 2 --params other.yaml

All trainings share one data set and one split, made with the seed in params.yaml; only train.py and evaluate.py run
again. Writes reports/noise.csv, which compare.py and leaderboard.py read: a difference no larger than the largest one
between two of these trainings gets the verdict "within training noise".
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "stages"))

from nuclei.base import files
from nuclei.base.params import load
from nuclei.experiments import noise

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    arguments = _arguments()
    text = arguments.params.read_text(encoding="utf-8")
    data = load(arguments.params).data
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "params.yaml").write_text(text, encoding="utf-8")
        for stage in ("source", "fetch", "prepare", "split"):
            run(stage, folder)
        trainings = []
        for seed in arguments.seeds:
            (folder / "params.yaml").write_text(re.sub(r"(?m)^seed:.*", f"seed: {seed}", text), encoding="utf-8")
            for threads in arguments.threads:
                for stage in ("train", "evaluate"):
                    run(stage, folder, OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))
                trainings.append(files.read_json(folder / "reports/metrics.json", ""))
                scores = ", ".join(f"{part} mAP {metrics['map']:.4f}" for part, metrics in trainings[-1].items())
                print(f"seed {seed}, {threads} threads: {scores}", flush=True)
    rows = []
    for part in trainings[0]:
        metrics = [training[part] for training in trainings]
        rows += noise.rows(data, part, metrics[0]["images"], metrics)
    files.write_rows(arguments.output, noise.COLUMNS, rows)
    print(f"wrote {arguments.output}")


def run(stage: str, folder: Path, **environment: str) -> None:
    """Run a script of stages/ in a folder; end with what it printed if it fails."""
    command = [sys.executable, str(ROOT / f"stages/{stage}.py")]
    done = subprocess.run(command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{stage}.py ended with {done.returncode}:\n{done.stderr}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of training (0 1 2)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="OMP_NUM_THREADS of training (1 2)")
    parser.add_argument("--params", type=Path, default=ROOT / "params.yaml", help="the recipe (params.yaml)")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "reports/noise.csv", help="(reports/noise.csv)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
