"""What a few images of an unknown family are worth: training from a model against training from scratch.

    python tests/benchmarks/finetune.py MODEL "256x320 tissue on purple" --images 1 2 5 10 20 --draws 3

MODEL must not have seen the family (`split.by=family`). For each number of images, and each draw of them, a training
starts from MODEL and another, of as many steps, from scratch, or from the weights of an encoder; both are scored on
other groups of the family, and the first on images of other families too, one of each group. The last columns are the
mean change of the scores there, which shows what the model has forgotten, and its standard error over groups. The
parameters are those of params.yaml, apart from the network, thresholds and normalisation, which are MODEL's. With
--synthetic-fraction, crops of synthetic images are mixed into trainings that start from MODEL. Reads
data/prepared and data/split.csv of the working directory; prints CSV: the mean Dice and mAP over the images of the
family, and over the others. finetuned.py makes the table and the figure of docs/training.md of several such files.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[2] / "stages"))

from nuclei.base.errors import InputError, run
from nuclei.base.machine import keep_freed_memory
from nuclei.base.params import Train, load
from nuclei.images.io import read_labels, read_rgb
from nuclei.images.records import Record, image_path, label_path, read_families, read_groups, read_index
from nuclei.network.segmenter import Segmenter
from nuclei.scores.matching import match
from nuclei.scores.metrics import pixel_counts
from nuclei.train.checkpoint import Checkpoint
from nuclei.train.crops import Crops
from nuclei.train.processes import make_fabric
from nuclei.train.starting import first_net
from nuclei.train.training import Training

PREPARED, SPLIT, PARAMS = Path("data/prepared"), Path("data/split.csv"), Path(__file__).parents[2] / "params.yaml"


def main() -> None:
    arguments = parsed()
    keep_freed_memory()
    model = Segmenter.load(arguments.model, device="cpu")
    families, groups = read_families(SPLIT), read_groups(SPLIT)
    records = read_index(PREPARED)
    inside = [record for record in records if families[record.id] == arguments.family]
    if not inside:
        raise InputError(
            "no image is of this family", got=arguments.family, expected=", ".join(sorted({*families.values()}))
        )
    rng = np.random.default_rng(0)
    outside = drawn([record for record in records if families[record.id] != arguments.family], len(records), rng)
    one_each = {groups[record.id]: record for record in outside}
    others = list(one_each.values())[: arguments.others]
    changes = "dice_change,map_change,dice_change_error,map_change_error"
    print(f"family,images,draw,start,learning_rate,start_share,seconds,dice,map,dice_elsewhere,map_elsewhere,{changes}")
    elsewhere = scores(model, others)
    for draw in range(arguments.draws):
        order = drawn(inside, len(inside), rng)
        tested = {groups[record.id] for record in order[-max(1, len(order) // 3) :]}
        scored = [record for record in order if groups[record.id] in tested][: arguments.scored]
        pool = [record for record in order if groups[record.id] not in tested]
        print(
            f"{arguments.family},0,{draw},model,,,0,{cells(scores(model, scored))},{cells(elsewhere)},,,,", flush=True
        )
        for count in arguments.images:
            if count > len(pool):
                continue
            for start in (arguments.model, None)[: 1 if arguments.no_scratch else 2]:
                before = time.monotonic()
                weights, fraction = arguments.encoder_weights, arguments.synthetic_fraction if start else 0.0
                name = ("synthetic" if fraction else "model") if start else "scratch"
                tuned = trained(model, pool[:count], start, arguments, weights, fraction)
                seconds = time.monotonic() - before
                rate = arguments.learning_rate if start else load(PARAMS).train.learning_rate
                share = arguments.start_share if start else 0
                row = f"{arguments.family},{count},{draw},{name},{rate:g},{share:g},{seconds:.0f}"
                row += f",{cells(scores(tuned, scored))}"
                if start:
                    after = scores(tuned, others)
                    change = after - elsewhere
                    error = np.nanstd(change, axis=0, ddof=1) / np.sqrt(len(change))
                    row += f",{cells(after)},{cells(change)},{','.join(f'{value:.4f}' for value in error)}"
                print(row if start else row + "," * 6, flush=True)


def trained(
    model: Segmenter,
    records: Sequence[Record],
    start: Path | None,
    arguments: argparse.Namespace,
    encoder_weights: Path | None = None,
    synthetic_fraction: float = 0.0,
) -> Segmenter:
    """A training of `arguments.steps` steps on these images alone, with the thresholds of `model`."""
    params, settings = load(PARAMS).train, model.settings
    crops_per_image = -(-arguments.steps * params.batch_size // len(records))
    train: Train = replace(
        params,
        arch=settings.arch,
        encoder_name=settings.encoder_name,
        instance_target=settings.instance_target,
        diameter_px=settings.diameter_px,
        normalise_low=settings.normalise_low,
        normalise_high=settings.normalise_high,
        invert_light=settings.invert_light,
        crops_per_image=crops_per_image,
        learning_rate=arguments.learning_rate if start else params.learning_rate,
        synthetic_fraction=synthetic_fraction,
        start_from=str(start) if start else None,
        start_share=arguments.start_share if start else 0.0,
    )
    fabric = make_fabric(train)
    fabric.seed_everything(0, workers=False, verbose=False)
    net = first_net(train, encoder_weights, start)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        crops = Crops(list(records), PREPARED, train, epochs=1, seed=0)
        return Training(net, crops, settings, train, fabric, Checkpoint("key", Path(folder))).fit(
            [], log=lambda row: None
        )


def scores(segmenter: Segmenter, records: Sequence[Record]) -> NDArray[np.float64]:
    """(n, 2): Dice and mAP of each image."""
    found = []
    segmenter.net.eval()
    for record in records:
        truth = read_labels(label_path(PREPARED, record.id))
        predicted = segmenter.segment(read_rgb(image_path(PREPARED, record.id)))
        found.append((pixel_counts(truth > 0, predicted > 0).dice, match(truth, predicted).map))
    return np.array(found, np.float64)


def cells(values: NDArray[np.float64]) -> str:
    """The means over images, as cells of a CSV."""
    return ",".join(f"{value:.4f}" for value in np.nanmean(values, axis=0))


def drawn(records: Sequence[Record], count: int, rng: np.random.Generator) -> list[Record]:
    return [records[i] for i in rng.permutation(len(records))[:count]]


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="the folder of a model that has not seen the family")
    parser.add_argument("family", help="its name in data/split.csv")
    parser.add_argument("--images", type=int, nargs="+", default=[1, 2, 5, 10, 20], help="how many to train on")
    parser.add_argument("--draws", type=int, default=3, help="of the images (3)")
    parser.add_argument("--scored", type=int, default=20, help="images of the family to score (20)")
    parser.add_argument(
        "--others", type=int, default=48, help="images of other families to score, of as many groups (48)"
    )
    parser.add_argument("--steps", type=int, default=40, help="of a training (40)")
    parser.add_argument("--encoder-weights", type=Path, help="a file of them, for trainings from scratch (random)")
    fraction = "of the crops, in trainings from the model (0)"
    parser.add_argument("--synthetic-fraction", type=float, default=0.0, help=fraction)
    share = "of MODEL's weights in those of trainings from it, which are the mean of both (0)"
    parser.add_argument("--start-share", type=float, default=0.0, help=share)
    parser.add_argument("--no-scratch", action="store_true", help="train from the model alone")
    parser.add_argument("--learning-rate", type=float, default=0.0003, help="of a training from the model (0.0003)")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
