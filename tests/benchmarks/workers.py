"""How much faster are workers than one process, and do they survive kills?

    python tests/benchmarks/workers.py IMAGES [--rounds 3] [--workers 2] [--kills 20] [--of worker client] [--seed 0]

Segments a folder of images with the shipped model, in turn with one process on one core and with N workers on N cores,
and prints the medians, and how many times faster the workers are. Then it starts the run with workers and kills, at
random moments, in turn one of the workers and the client (SIGKILL), until there were so many kills; with `--of worker`
only workers, so that a run that hangs is found. After a kill of the client it gives the same command again. A run that
ends is compared with that of one process, its results are removed, and the next one starts from nothing; the last one
is let end too. An image at which workers died twice is left out with exit status 1, as docs/scale.md says: such images
are counted, and the same command is given again. Exits with 1 where results differ, a process is left, or a run hangs
or ends with another error. Needs requirements-cluster.txt.
"""

from __future__ import annotations

import argparse
import contextlib
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
from collections.abc import Sequence
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
LONG_S = 3600  # a guard against hangs
GONE_S = 10  # in which the workers of a killed client end
KINDS = ("worker", "client")
LEFT_OUT = "workers died while they segmented the image"


def started(images: Path, out: Path, workers: int, errors: Path | None = None) -> subprocess.Popen[bytes]:
    """Start segment.py with one thread for each worker, on as many cores; what it says of errors goes to a file."""
    given = [str(images), "-o", str(out), "--workers", str(workers), "--device", "cpu"]
    cores = sorted(os.sched_getaffinity(0))[:workers]
    with (errors or Path(os.devnull)).open("wb") as stderr:
        return subprocess.Popen(
            ["taskset", "-c", ",".join(map(str, cores)), sys.executable, str(ROOT / "stages/segment.py"), *given],
            env={**os.environ, "OMP_NUM_THREADS": "1", "NO_ALBUMENTATIONS_UPDATE": "1"},
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,  # by which `Run` knows its processes
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


class Run:
    """A run with workers, which may be killed.

    Args:
        command: the arguments of `started` but the last.
        expected: the results of an undisturbed run.
        log: a file for what it says.
    """

    def __init__(self, command: tuple[Path, Path, int], expected: dict[str, bytes], log: Path) -> None:
        self.command, self.expected, self.log = command, expected, log
        self.kills, self.counts = 0, Counter[str]()
        self.start()

    def start(self) -> None:
        """Give the command."""
        self.process, self.begun = started(*self.command, self.log), time.perf_counter()

    def workers(self) -> list[psutil.Process]:
        """The processes that the client has spawned; multiprocessing has another one beside them."""
        found = []
        for child in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.Error):  # it has just ended
                if "spawn_main" in " ".join(child.cmdline()):
                    found.append(child)
        return found

    def kill(self, kinds: Sequence[str]) -> None:
        """Kill one of the workers, or the client and give the command again; the client too if there are no workers."""
        if time.perf_counter() - self.begun > LONG_S:
            sys.exit(f"after {dict(self.counts)} the run does not end")
        workers, kind = self.workers(), kinds[self.kills % len(kinds)]
        if not workers:
            if "client" not in kinds:
                return
            kind = "client"
        self.kills += 1
        self.counts[kind] += 1
        done = len(list(self.command[1].glob("*_labels.tif")))
        after = time.perf_counter() - self.begun
        print(f"{self.kills}: {kind} of {len(workers)}, after {after:.1f} s, {done} label maps", flush=True)
        if kind == "client":
            self.process.kill()
            self.process.wait()
            self.none_left()
            self.start()
        else:
            random.choice(workers).kill()

    def ended(self) -> bool:
        """Compare what a run that has ended has left; False, and start it again, if it has left out an image."""
        self.none_left()
        if self.process.returncode:
            said = self.log.read_text()
            if LEFT_OUT not in said:
                sys.exit(f"after {dict(self.counts)} the run ended with {self.process.returncode}:\n{said}")
            self.counts["left out"] += said.count(LEFT_OUT)
            self.start()
            return False
        if results(self.command[1]) != self.expected:
            sys.exit(f"after {dict(self.counts)} the results differ from those of one process")
        return True

    def none_left(self) -> None:
        """Exit if there are processes of the run a while after its end."""
        until = time.perf_counter() + GONE_S
        while left := [process for process in psutil.process_iter() if session(process) == self.process.pid]:
            if time.perf_counter() > until:
                sys.exit(f"after {dict(self.counts)} these were left: {left}")
            time.sleep(0.1)


def session(process: psutil.Process) -> int | None:
    try:
        return os.getsid(process.pid)
    except ProcessLookupError:
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--of", nargs="+", choices=KINDS, default=KINDS, help="what is killed, in turn")
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
        run = Run((given.images, killed, given.workers), expected, Path(name) / "errors")
        ended = 0
        while run.kills < given.kills:
            try:
                run.process.wait(random.uniform(0, together))
            except subprocess.TimeoutExpired:
                run.kill(given.of)
                continue
            if run.ended():
                ended += 1
                shutil.rmtree(killed)
                run.start()
        run.process.wait(LONG_S)
        while not run.ended():
            run.process.wait(LONG_S)
        print(f"{dict(run.counts)}: {ended + 1} runs ended, each with the same {len(expected)} files")


if __name__ == "__main__":
    main()
