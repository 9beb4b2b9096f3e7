"""The ceiling of each target: the true maps through the same labelling, on every image of a prepared folder.

    python tests/benchmarks/ceiling.py data/prepared [--seed 0.5] [--min-area 0] [--workers 1] [--at-least 0.97]

Prints a Markdown table. Scores are means over the images with nuclei, times medians over all images, in ms for
256 x 256 pixels; "none" has no maps, so its row is what a perfect foreground alone can reach. With --at-least it exits
with 1 where the mAP of a target is below: such a target, or its labelling, can not tell nuclei apart.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from time import perf_counter

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "stages"))

from nuclei.base.parallel import ordered_map
from nuclei.images.io import read_labels
from nuclei.images.records import label_path, read_index
from nuclei.network.labelling import Thresholds, label
from nuclei.network.targets import TARGETS
from nuclei.scores.matching import PERCENT, match

NAMES = ("none", *TARGETS)
SHOWN = [int(np.flatnonzero(percent == PERCENT)[0]) for percent in (50, 75, 90)]
TILE_PX = 256 * 256  # the unit of area of the times


def measure(path: Path, thresholds: Thresholds) -> list[tuple[float, ...]]:
    """For each of NAMES: mAP, AP50, AP75, AP90, and the ms per TILE_PX to encode and to label."""
    cv2.setNumThreads(1)
    truth = read_labels(path)
    foreground = (truth > 0).astype(np.float32)
    rows = []
    for name in NAMES:
        start = perf_counter()
        maps = None if name == "none" else TARGETS[name].encode(truth)
        encoded = perf_counter()
        labels = label(name, foreground, maps, thresholds)
        labelled = perf_counter()
        matches = match(truth, labels)
        ms = np.array([encoded - start, labelled - encoded]) * 1000 * TILE_PX / truth.size
        rows.append((matches.map, *matches.ap[SHOWN], *ms))
    return rows


def table(measured: np.ndarray) -> str:
    """Markdown of (images, NAMES, 6) numbers as `measure` returns them."""
    scores, times = np.nanmean(measured[..., :4], axis=0), np.median(measured[..., 4:], axis=0)
    lines = ["| target | mAP | AP50 | AP75 | AP90 | encode, ms | label, ms |", "|---|---|---|---|---|---|---|"]
    for name, score, (encode, labelling) in zip(NAMES, scores, times, strict=True):
        spent = "" if name == "none" else f"{encode:.1f}"
        lines.append(f"| {name} | {' | '.join(f'{value:.4f}' for value in score)} | {spent} | {labelling:.1f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prepared", type=Path, help="a folder like data/prepared")
    parser.add_argument("--seed", type=float, default=0.5)
    parser.add_argument("--min-area", type=int, default=0, help="in pixels")
    parser.add_argument("--workers", type=int, default=1, help="processes; times are steadier with one")
    parser.add_argument(
        "--at-least", type=float, default=0.0, metavar="MAP", help="the mAP that every target has to reach"
    )
    given = parser.parse_args()
    paths = [label_path(given.prepared, record.id) for record in read_index(given.prepared)]
    task = partial(measure, thresholds=Thresholds(0.5, given.seed, given.min_area))
    measured = np.array(list(ordered_map(task, paths, workers=given.workers)))
    print(f"{len(paths)} images, seed {given.seed:g}, smallest area {given.min_area} px\n\n{table(measured)}")
    low = [
        name
        for name, score in zip(NAMES, np.nanmean(measured[..., 0], axis=0), strict=True)
        if name != "none" and score < given.at_least
    ]
    if low:
        sys.exit(f"below {given.at_least:g}: {', '.join(low)}")


if __name__ == "__main__":
    main()
