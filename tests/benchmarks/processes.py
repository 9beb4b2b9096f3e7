"""Crops a second of a training with two processes of one thread each, beside one process with two threads.

    python tests/benchmarks/processes.py [--rounds 3] [--steps 40]

It runs in a workspace with data/prepared and data/split.csv, with the recipe of its params.yaml, and needs two cores
with nothing else to do. The two kinds take turns, each time in new processes; the first steps, in which images are
read for the first time and libraries warm up, are not counted.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "stages"))

KINDS = {"one process, two threads": (1, 2), "two processes, one thread each": (2, 1)}
WARM_UP = 10  # steps


def work(processes: int, steps: int) -> None:
    """Train for so many steps, and print the crops a second of all processes together."""
    from nuclei.base.machine import keep_freed_memory
    from nuclei.base.params import load
    from nuclei.images.records import read_part
    from nuclei.network.segmenter import make_net
    from nuclei.train.checkpoint import Checkpoint
    from nuclei.train.crops import Crops
    from nuclei.train.processes import make_fabric, together
    from nuclei.train.training import Training
    from train import PREPARED, SPLIT, first_settings

    params = load()
    train = replace(params.train, device="cpu", devices=processes, nodes=1)
    keep_freed_memory()
    fabric = make_fabric(train)
    with together(fabric), tempfile.TemporaryDirectory() as scratch:
        fabric.seed_everything(params.seed, workers=False, verbose=False)
        net = make_net(train.arch, train.encoder_name, train.instance_target)
        records = read_part(PREPARED, SPLIT, "train")
        crops = Crops(records, PREPARED, train, epochs=1000, seed=params.seed)  # more than are timed
        kept = Checkpoint("unused", Path(scratch))
        training = Training(net, crops, first_settings(params), train, fabric, kept)
        batches = training.batches(first=0)
        for step in range(WARM_UP + steps):
            if step == WARM_UP:
                start = perf_counter()
            training.step(next(batches), epoch=1)
        fabric.print(steps * train.batch_size / (perf_counter() - start), flush=True)


def measure(kind: str, steps: int) -> float:
    processes, threads = KINDS[kind]
    done = subprocess.run(
        [sys.executable, __file__, "--worker", str(processes), "--steps", str(steps)],
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments.worker, arguments.steps)
        return
    speeds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(arguments.rounds):
        for kind, found in speeds.items():
            found.append(measure(kind, arguments.steps))
    first = median(next(iter(speeds.values())))
    for kind, found in speeds.items():
        print(f"{kind:<32}{median(found):6.1f} crops a second  {median(found) / first:.2f}")


if __name__ == "__main__":
    main()
