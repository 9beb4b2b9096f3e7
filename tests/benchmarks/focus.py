"""How often the warnings of images that are blank or out of focus are right.

    python tests/benchmarks/focus.py PREPARED [--images 100]

PREPARED is data/prepared. Images with nuclei, taken at random, are measured as they are and blurred by a fraction of
the diameter of their annotated nuclei, with noise of one gray level added; the model of the repository measures their
diameter, as in a run. Beside them, drawn images that hold nothing but noise or an uneven background. Prints
percentiles, and how many would be warned of.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "stages"))

from elsewhere import EMPTY, constant, dim, graded, gray
from nuclei.images.io import read_labels, read_rgb
from nuclei.images.records import image_path, label_path
from nuclei.network.segmenter import Segmenter
from nuclei.network.sizing import diameter, zoomed_image
from nuclei.segment.quality import BLANK, OUT_OF_FOCUS, edge_blur, prominence

TARGET_PX, LARGEST_PX, BLURS = 25.0, 520 * 696, (0.0, 0.1, 0.2, 0.3, 0.4)
PERCENTILES = (0, 1, 5, 50, 95, 99, 100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prepared", type=Path)
    parser.add_argument("--images", type=int, default=100, help="to blur, of at most LARGEST_PX pixels (100)")
    arguments = parser.parse_args()
    prepared, segmenter = arguments.prepared, Segmenter.load(device="cpu")
    rng = np.random.default_rng(0)
    prominences: dict[str, list[float]] = {"real": []}
    blurs: dict[float, list[float]] = {blur: [] for blur in BLURS}
    paths = sorted((prepared / "images").glob("*.png"))
    for path in (paths[number] for number in rng.permutation(len(paths))):
        rgb, diameter_px = (
            read_rgb(image_path(prepared, path.stem)),
            diameter(read_labels(label_path(prepared, path.stem))),
        )
        if diameter_px is None:
            continue
        prominences["real"].append(prominence(luminance(rgb)))
        if rgb.shape[0] * rgb.shape[1] > LARGEST_PX or len(blurs[0.0]) == arguments.images:
            continue
        for blur, found in blurs.items():
            image = rgb
            if blur:
                blurred = cv2.GaussianBlur(rgb.astype(np.float32), (0, 0), blur * diameter_px)
                image = np.rint(blurred + rng.normal(0, 1, (*rgb.shape[:2], 1))).clip(0, 255).astype(np.uint8)
            zoom = segmenter.scale(image).zoom
            found.append(edge_blur(luminance(zoomed_image(image, zoom))) / TARGET_PX)
    prominences["megapixel"] = [
        prominence(rng.normal(100, 5, (1000, 1000)).round().astype(np.float32)) for _ in range(EMPTY)
    ]
    for draw in (constant, dim, graded):
        prominences[draw.__name__] = [prominence(luminance(gray(draw(rng)))) for _ in range(EMPTY)]
    print(f"prominence, in standard deviations of the noise: percentiles {PERCENTILES}; blank below {BLANK}")
    for name, values in prominences.items():
        row(name, values, sum(value < BLANK for value in values))
    print(f"blur of edges, in diameters of a nucleus; out of focus above {OUT_OF_FOCUS}")
    for blur, values in blurs.items():
        row(f"blurred by {blur}", values, sum(value > OUT_OF_FOCUS for value in values))


def luminance(rgb: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)


def row(name: str, values: list[float], warned: int) -> None:
    shown = " ".join(f"{value:8.2f}" for value in np.percentile(values, PERCENTILES))
    print(f"{name:15} {shown}   warned of {warned} of {len(values)}", flush=True)


if __name__ == "__main__":
    main()
