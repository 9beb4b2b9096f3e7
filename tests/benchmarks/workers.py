"""How much faster are workers than one process, and do they survive kills?

    python tests/benchmarks/workers.py IMAGES [--rounds 3] [--workers 2] [--kills 20] [--seed 0]

Segments a folder of images with the shipped model, in turn with one process on one core and with N workers on N cores,
and prints the medians, and how many times faster the workers are. Then it starts the run with workers again and again
and kills, at random moments, one of the workers or the client (SIGKILL), until there were so many kills, lets it end,
and compares every result with that of one process. Where a run ends before it was killed, its results are removed and
the next one starts from nothing. Exits with 1 where results differ, a process is left, or the death of a worker ends
the run. Needs requirements-cluster.txt.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
LONG_S = 3600  # a guard against hangs
GONE_S = 10  # in which the workers of a killed client end


def started(images: Path, out: Path, workers: int) -> subprocess.Popen[bytes]:
    """Start segment.py with one thread for each worker, on as many cores."""
    given = [str(images), "-o", str(out), "--workers", str(workers), "--device", "cpu"]
    cores = sorted(os.sched_getaffinity(0))[:workers]
    return subprocess.Popen(
        ["taskset", "-c", ",".join(map(str, cores)), sys.executable, str(ROOT / "stages/segment.py"), *given],
        env={**os.environ, "OMP_NUM_THREADS": "1", "NO_ALBUMENTATIONS_UPDATE": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def seconds(images: Path, out: Path, workers: int) -> float:
    """How long a run from nothing takes, the start of its processes included."""
    shutil.rmtree(out, ignore_errors=True)
    start = time.perf_counter()
    if started(images, out, workers).wait(LONG_S):
        sys.exit(f"the run with {workers} workers failed")
    return time.perf_counter() - start


def results(out: Path) -> dict[str, bytes]:
    """Label maps, overlays and tables, without the seconds of each image; the manifest and the page have them too."""
    names = {"manifest.sqlite", "index.html"}
    files = [path for path in out.rglob("*") if path.is_file() and path.name not in names]
    found = {str(path.relative_to(out)): path.read_bytes() for path in files}
    found["images.csv"] = re.sub(rb",[^,\n]*\n", b"\n", found["images.csv"])
    return found


def kill(images: Path, out: Path, workers: int, wait_s: float, kind: str) -> bool:
    """Start a run, kill a worker or the client after a while, and wait for the end; False if it had ended before."""
    process = started(images, out, workers)
    try:
        process.wait(wait_s)
        return False
    except subprocess.TimeoutExpired:
        family = psutil.Process(process.pid).children(recursive=True)
    spawned = [child for child in family if "spawn_main" in " ".join(child.cmdline())]
    if kind == "worker" and not spawned:
        kind = "client"
    if kind == "client":
        process.kill()
    else:
        random.choice(spawned).kill()
    if process.wait(LONG_S) and kind == "worker":
        sys.exit("the run ended because one of its workers was killed")
    _, left = psutil.wait_procs(family, timeout=GONE_S)
    if left:
        sys.exit(f"after the {kind} was killed these were left: {left}")
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    given = parser.parse_args()
    random.seed(given.seed)
    with tempfile.TemporaryDirectory() as name:
        one, many, killed = (Path(name) / folder for folder in ("one", "many", "killed"))
        times: dict[int, list[float]] = {1: [], given.workers: []}
        for _ in range(given.rounds):
            times[1].append(seconds(given.images, one, 1))
            times[given.workers].append(seconds(given.images, many, given.workers))
        alone, together = (statistics.median(found) for found in times.values())
        print("| processes | cores | s |\n|---|---|---|")
        print(f"| 1 | 1 | {alone:.1f} |\n| {given.workers} | {given.workers} | {together:.1f} |")
        expected = results(one)
        print(f"{alone / together:.2f} times as fast; {len(expected)} files", flush=True)
        if results(many) != expected:
            sys.exit("the results of the workers differ from those of one process")
        counts: Counter[str] = Counter()
        while counts.total() < given.kills:
            kind = ("worker", "client")[counts.total() % 2]
            if kill(given.images, killed, given.workers, random.uniform(0, together), kind):
                counts[kind] += 1
            else:
                shutil.rmtree(killed)
        if started(given.images, killed, given.workers).wait(LONG_S) or results(killed) != expected:
            sys.exit(f"after {counts} the results differ from those of one process")
        print(
            f"kills of a worker: {counts['worker']}, of the client: {counts['client']}: the same {len(expected)} files"
        )


if __name__ == "__main__":
    main()
