"""A contact sheet of the families of a data set, a row for each: python tests/benchmarks/families.py [-o families.png]

Reads data/prepared and data/split.csv of the working directory, as `dvc repro split` leaves them. A row shows images of
different groups of one family, the largest family first; the families are printed in the same order.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[2] / "stages"))

from nuclei.base.errors import run
from nuclei.images.io import read_rgb, write_rgb
from nuclei.images.records import image_path, read_families, read_groups

PREPARED, SPLIT = Path("data/prepared"), Path("data/split.csv")
SHOWN, SIDE_PX = 8, 160


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("families.png"), help="(families.png)")
    output = parser.parse_args().output
    families, groups = read_families(SPLIT), read_groups(SPLIT)
    rows = []
    for name, images in Counter(families.values()).most_common():
        first = {groups[id]: id for id, of in sorted(families.items(), reverse=True) if of == name}
        print(f"{name}: {images} images in {len(first)} groups")
        members = [tile(read_rgb(image_path(PREPARED, id))) for id in sorted(first.values())[:SHOWN]]
        blank = [np.zeros_like(members[0])] * (SHOWN - len(members))
        rows.append(np.hstack(members + blank))
    write_rgb(output, np.vstack(rows))


def tile(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The image in a square; a dark one is stretched to its 99.8th percentile, or little of it could be seen."""
    if rgb.mean() < 128:
        rgb = np.clip(rgb * (255 / max(float(np.percentile(rgb, 99.8)), 1)), 0, 255).astype(np.uint8)
    zoom = SIDE_PX / max(rgb.shape[:2])
    small = cv2.resize(rgb, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
    square = np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8)
    square[: small.shape[0], : small.shape[1]] = small
    return square


if __name__ == "__main__":
    run(main)
