"""The loop of docs/corrections.md on drawn images, and its picture: python tests/benchmarks/corrections.py

The images imitate a stain of the nuclear envelope, which the model in models/nuclei has not been trained on: nuclei are
bright rims around dark insides. segment.py segments 16 of them and puts 10 into the folder to review, where their exact
label maps take the place of corrections by hand. A training of 40 steps starts from the model, and the images that were
not corrected are segmented again. Prints the mean Dice and mAP over those, before and after, and draws the picture.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from finetune import PREPARED, trained

sys.path.insert(0, str(Path(__file__).parents[2] / "stages"))

import prepare
import segment
from nuclei.base.errors import run
from nuclei.base.params import load
from nuclei.base.shipped import MODEL
from nuclei.fetch.packing import write_archive
from nuclei.images.io import read_labels, read_rgb, write_labels, write_rgb
from nuclei.images.records import read_index
from nuclei.network.segmenter import Segmenter
from nuclei.pictures.montages import montage
from nuclei.pictures.overlays import overlay, visible
from nuclei.scores.matching import match
from nuclei.scores.metrics import pixel_counts
from nuclei.simulate.images import Appearance, Nuclei, blurred, cloud, gray, place

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "docs/corrections.png"
IMAGES, REVIEWED, SIDE_PX = 16, 10, 256


def rims(rng: Generator, nuclei: Nuclei) -> NDArray[np.float64]:
    """Bright rims of uneven brightness on a dark ground, with a faint inside."""
    rim = np.exp(-(((nuclei.depth - 0.88) / 0.1) ** 2)) * (nuclei.labels > 0)
    light = nuclei.each(rng.uniform(60, 150, nuclei.count)) * (1 + 0.25 * cloud(rng, rim.shape, 4))
    signal = blurred((rim + 0.06 * (nuclei.labels > 0)) * light, 1.0) + 8
    return gray(signal + rng.normal(0, 3, rim.shape))


ENVELOPE = Appearance(rims, ((SIDE_PX, SIDE_PX),), (13, 19), 2200, 0.5, 1.6, 0.08)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "-o", "--output", type=Path, default=ROOT / "docs/corrections.png", help="(docs/corrections.png)"
    )
    parser.add_argument("--steps", type=int, default=40, help="of the training (40)")
    parser.add_argument("--learning-rate", type=float, default=0.0003, help="(0.0003)")
    arguments = parser.parse_args()
    output = arguments.output.resolve()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        truth = draw()
        with mock.patch("sys.argv", ["segment.py", "images", "-o", "images", "--review", str(REVIEWED)]):
            segment.main()
        review = Path("images/review")
        corrected = sorted(path.stem for path in review.glob("*.png"))
        for name in corrected:
            write_labels(review / f"{name}_labels.tif", truth[name])
        write_archive(review, Path("review.zip"))
        prepare.prepare_labelled(Path("review.zip"), PREPARED, load(ROOT / "params.yaml").prepare, workers=1)
        tuned = trained(
            Segmenter.load(MODEL, device="cpu"), read_index(PREPARED), MODEL, arguments, synthetic_fraction=0.5
        )
        tuned.net.eval()
        others = [name for name in truth if name not in corrected]
        images = {name: read_rgb(Path(f"images/{name}.png")) for name in truth}
        before = {name: read_labels(Path(f"images/{name}_labels.tif")) for name in truth}
        after = {name: tuned.segment(images[name]) for name in others}
    print("images that were not corrected,dice,map")
    print(f"before,{scores(truth, before, others)}")
    print(f"after,{scores(truth, after, others)}")
    one, other = corrected[0], others[0]
    shown = [
        *(panel(images[one], labels) for labels in (None, before[one], truth[one])),
        *(panel(images[other], labels) for labels in (None, before[other], after[other])),
    ]
    captions = ["least certain image", "segmented", "corrected", "another image", "segmented", "after training"]
    write_rgb(output, montage(shown, 3, captions))


def draw() -> dict[str, NDArray[np.uint16]]:
    """Draw images/*.png; their label maps by name."""
    truth = {}
    for number in range(IMAGES):
        rng = np.random.default_rng([7, number])
        nuclei = place(rng, ENVELOPE, SIDE_PX, SIDE_PX)
        name = f"envelope_{number:02}"
        truth[name] = nuclei.labels
        write_rgb(Path(f"images/{name}.png"), np.clip(rims(rng, nuclei), 0, 255).astype(np.uint8))
    return truth


def scores(truth: dict[str, NDArray[np.uint16]], found: dict[str, NDArray[np.uint16]], names: list[str]) -> str:
    """The mean Dice and mAP of the images, as cells of a CSV."""
    pairs = [(truth[name], found[name]) for name in names]
    rows = [(pixel_counts(true > 0, predicted > 0).dice, match(true, predicted).map) for true, predicted in pairs]
    return ",".join(f"{value:.3f}" for value in np.mean(np.array(rows, np.float64), axis=0))


def panel(rgb: NDArray[np.uint8], labels: NDArray[np.uint16] | None) -> NDArray[np.uint8]:
    """An image, with its nuclei outlined if a label map is given."""
    return visible(rgb) if labels is None else overlay(rgb, labels)


if __name__ == "__main__":
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    run(main)
