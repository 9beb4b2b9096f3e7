"""How much memory does it take to read a large image?

    python tests/benchmarks/reading.py [--side 10000]

Writes square TIFFs, gray and RGB, of 8 and 16 bits and float, uncompressed and compressed, in a temporary folder, and
reads each in a process of its own. Prints seconds, the peak memory of the process, and that memory in bytes a value.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import tifffile

ROOT = Path(__file__).resolve().parents[2]
READ = """
import resource, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from nuclei.images.io import read_rgb
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter()
read_rgb(Path(sys.argv[2]))
seconds = time.perf_counter() - start
print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, before / 1024)
"""
KINDS = (("uint8", 3, None), ("uint16", 1, None), ("uint16", 3, None), ("uint16", 3, "zlib"), ("float32", 1, None))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=10_000, help="pixels")
    side = parser.parse_args().side
    print("| type | channels | compression | seconds | peak memory, MiB | bytes a value |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for dtype, channels, compression in KINDS:
            row = np.random.default_rng(0).gamma(2, 30, (1, side, channels)).astype(dtype)
            pixels = np.broadcast_to(row, (side, side, channels))
            path = Path(folder) / "image.tif"
            photometric = "rgb" if channels == 3 else "minisblack"
            options = {"rowsperstrip": 64, "photometric": photometric, "compression": compression}
            tifffile.imwrite(path, pixels if channels == 3 else pixels[..., 0], **options)
            command = [sys.executable, "-c", READ, str(ROOT / "stages"), str(path)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            seconds, peak_mb, before_mb = map(float, done.stdout.split())
            bytes_a_value = (peak_mb - before_mb) * 2**20 / (side * side * channels)
            cells = (dtype, channels, compression or "none", f"{seconds:.1f}", f"{peak_mb:.0f}", f"{bytes_a_value:.1f}")
            print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    main()
