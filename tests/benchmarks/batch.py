"""How much memory and time does segment.py need beside the network, over the number of images? Does it survive kills?

    python tests/benchmarks/batch.py [--images 100 1000 10000] [--kills 5]

Draws small images (64 x 64 px, about six nuclei) in a temporary folder and segments them in a process of its own, with
a threshold in place of the network. Prints the peak memory of the process and milliseconds an image. With --kills, the
run over the fewest images is also killed (SIGKILL) so many times and started again, and its results are compared with
those of a run that nobody touched.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.extend(str(Path(__file__).resolve().parents[1] / name) for name in ("", "fuzz", "segment", "../stages"))

from conftest import draw_discs
from nuclei.images.io import write_rgb

FOLDERS = sys.path[-4:]
DRAWN = 50  # different images, which are repeated
RUN = """
import os, resource, sys
sys.path[:0] = sys.argv[1].split(os.pathsep)
import segment
from nuclei.network.segmenter import Segmenter
from test_segment import Threshold
Segmenter.load = lambda *_, **__: Threshold()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
sys.argv = ["segment.py", sys.argv[2], "-o", sys.argv[3]]
segment.main()
print(before / 1024, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--kills", type=int, default=0)
    arguments = parser.parse_args()
    drawn = [draw_discs(seed, 64, 64)[0] for seed in range(DRAWN)]
    print("| images | ms an image | peak memory, MiB | after the imports, MiB |\n|---|---|---|---|")
    for count in arguments.images:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for number in range(count):
                write_rgb(folder / f"mine/{number:06}.png", drawn[number % DRAWN])
            start = time.perf_counter()
            done = subprocess.run(command(folder, "out"), check=True, capture_output=True, text=True)
            seconds = time.perf_counter() - start
            before, peak = map(float, done.stdout.splitlines()[-1].split())
            print(f"| {count} | {1000 * seconds / count:.1f} | {peak:.0f} | {before:.0f} |", flush=True)
            if count == min(arguments.images) and arguments.kills:
                print(f"after {kill(folder, arguments.kills, seconds)} kills: {compared(folder)}", flush=True)


def command(folder: Path, out: str) -> list[str]:
    return [sys.executable, "-c", RUN, os.pathsep.join(FOLDERS), str(folder / "mine"), str(folder / out)]


def kill(folder: Path, times: int, seconds: float) -> int:
    """Start the run again and again, kill it at random moments, then let it end; return how often it was killed."""
    killed = 0
    for _ in range(times):
        process = subprocess.Popen(command(folder, "killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(random.uniform(0.3, 1) * seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed += 1
    subprocess.run(command(folder, "killed"), check=True, capture_output=True)
    return killed


def compared(folder: Path) -> str:
    """Whether both runs have the same results, byte by byte."""
    runs = [
        {path.name: path.read_bytes() for path in (folder / out).iterdir() if path.name != "manifest.sqlite"}
        for out in ("out", "killed")
    ]
    return f"{len(runs[0])} files, {'the same' if runs[0] == runs[1] else 'DIFFERENT'}"


if __name__ == "__main__":
    main()
