"""Whether validation at another scale would choose another epoch: the scores on val after each epoch of a training.

    python tests/benchmarks/validation_scale.py [-o curves.csv]

It runs in a workspace with data/prepared and data/split.csv, and trains with the recipe of its params.yaml. Training
rescales each validation image by the diameter of its annotated nuclei, and the finished model by the diameter that it
measures itself, in a first pass that would make each validation about twice as long. Here the same weights do both.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "stages"))

from nuclei.base import files
from nuclei.base.machine import keep_freed_memory
from nuclei.base.params import load
from nuclei.images.io import read_labels, read_rgb
from nuclei.images.records import Record, image_path, label_path, read_part
from nuclei.network.segmenter import Segmenter, make_net
from nuclei.scores.matching import match
from nuclei.scores.metrics import pixel_counts
from nuclei.train.checkpoint import Checkpoint
from nuclei.train.crops import Crops
from nuclei.train.processes import make_fabric
from nuclei.train.training import Row, Training
from train import PREPARED, SPLIT, first_settings

CURVES = {"dice_true_scale": "Dice, true scale", "dice_own_scale": "Dice, own scale", "map_own_scale": "mAP, own scale"}


def at_own_scale(segmenter: Segmenter, records: list[Record]) -> Row:
    """Mean Dice and mAP of images that the model rescales by itself, at the thresholds before the search."""
    dices, maps = [], []
    for record in records:
        truth = read_labels(label_path(PREPARED, record.id))
        predicted = segmenter.maps(read_rgb(image_path(PREPARED, record.id)))
        dices.append(pixel_counts(truth > 0, predicted[0] >= segmenter.settings.foreground).dice)
        maps.append(match(truth, segmenter.label(predicted)).map)
    return {"dice_own_scale": float(np.nanmean(dices)), "map_own_scale": float(np.nanmean(maps))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("curves.csv"), help="(curves.csv)")
    arguments = parser.parse_args()
    params = load()
    keep_freed_memory()
    fabric = make_fabric(params.train)
    fabric.seed_everything(params.seed, workers=False, verbose=False)
    torch.use_deterministic_algorithms(True, warn_only=fabric.device.type != "cpu")
    train, validation = (read_part(PREPARED, SPLIT, part) for part in ("train", "val"))
    net = make_net(params.train.arch, params.train.encoder_name, params.train.instance_target)
    crops = Crops(train, PREPARED, params.train, epochs=params.epochs, seed=params.seed)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch:
        kept = Checkpoint("unused", Path(scratch))
        training = Training(net, crops, first_settings(params), params.train, fabric, kept)

        def score(row: Row) -> None:
            """Score the weights of the epoch that has just been validated."""
            segmenter = training._segmenter(replace(training.settings, flips=False))
            scores = at_own_scale(segmenter, validation)
            rows.append({"epoch": row["epoch"], "dice_true_scale": row["val_dice_true_scale"], **scores})

        training.fit(validation, log=score)
    files.write_rows(arguments.output, ["epoch", *CURVES], rows)
    for name, title in CURVES.items():
        curve = [row[name] for row in rows]
        chosen = len(curve) - 1 - int(np.argmax(curve[::-1]))  # the last of equals, as in training
        others = ", ".join(f"{CURVES[other]} {rows[chosen][other]:.4f}" for other in CURVES)
        print(f"by {title}: epoch {chosen + 1}, with {others}")


if __name__ == "__main__":
    main()
