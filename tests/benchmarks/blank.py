"""How many dim nuclei the rule for empty tiles of large images would lose.

    python tests/benchmarks/blank.py PREPARED

PREPARED is data/prepared. Up to three nuclei of each image with a dark background are left alone in it, on a background
without noise, which is the hardest case, and dimmed to a contrast of a few levels of 255.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "stages"))

from nuclei.images.io import read_labels, read_rgb
from nuclei.images.records import image_path, label_path
from nuclei.network.sizing import diameter, zoom_to
from nuclei.segment import survey

CONTRASTS, LEVELS = (4, 6, 8, 10, 12, 16, 24), (3, 4, 6, 8)
TARGET_PX, DARK, BLACK = 25.0, 60, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prepared", type=Path)
    prepared = parser.parse_args().prepared
    rng = np.random.default_rng(0)
    lost = np.zeros((len(CONTRASTS), len(LEVELS)), int)
    count = 0
    for path in sorted((prepared / "images").glob("*.png")):
        rgb = read_rgb(image_path(prepared, path.stem)).astype(np.float32)
        labels = read_labels(label_path(prepared, path.stem))
        areas = np.bincount(labels.ravel())
        if not labels.any() or labels.all() or (background := np.median(rgb[labels == 0])) >= DARK:
            continue
        zoom = zoom_to(TARGET_PX, diameter(labels))
        whole = np.flatnonzero(areas >= np.median(areas[1:]) / 2)[1:]  # smaller ones are mostly cut by the border
        for label in rng.choice(whole, min(3, len(whole)), replace=False):
            inside = labels == label
            contrast = abs(float(rgb[inside].mean()) - background)
            if contrast < 1:
                continue
            count += 1
            for row, dimmed in enumerate(CONTRASTS):
                tile = np.where(inside[..., None], BLACK + (rgb - background) * dimmed / contrast, BLACK)
                for col, survey.BLANK_LEVELS in enumerate(LEVELS):
                    lost[row, col] += survey.is_blank(tile.round().clip(0, 255).astype(np.uint8), zoom)
    print(f"{count} nuclei; percent lost by contrast in levels, where a tile is empty below {LEVELS} levels")
    for dimmed, numbers in zip(CONTRASTS, lost, strict=True):
        print(f"{dimmed:3}", *(f"{100 * number / count:6.1f}" for number in numbers))


if __name__ == "__main__":
    main()
