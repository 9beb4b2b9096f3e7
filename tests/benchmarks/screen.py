"""What each ingredient of the shipped recipe is worth, at home and on families of images that were left out.

    python tests/benchmarks/screen.py ENCODER_WEIGHTS [--folds 0 1 2] [--changes NAME ...] [--seed 0] > screened.csv

Each change of `CHANGES` takes one ingredient from the recipe of models/nuclei (docs/results.md), or adds one; the
recipe itself is the change "none". For each change and fold of `split.by=family` a network is trained for 2/15 of the
recipe's steps, half of a schedule, as in the recipe. It scores one image of each group: of the families that it has
not seen ("elsewhere"), and of the groups of its own families that were held back ("home"). All have the recipe's
thresholds and no least scores, because the regression that these need would be fitted on the few images at home.

ENCODER_WEIGHTS is the file of EfficientNet-lite0's ImageNet weights. Reads data/prepared and data/split.csv of the
working directory; prints CSV, a row for each scored image. screened.py makes a table of several such files.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "stages"))

from nuclei.base.errors import run
from nuclei.base.params import Augment, Train, load
from nuclei.images.io import read_labels, read_rgb
from nuclei.images.records import Record, image_path, label_path, read_families, read_groups, read_index
from nuclei.network.segmenter import Segmenter, Settings
from nuclei.scores.matching import match
from nuclei.scores.metrics import pixel_counts
from nuclei.split.splitting import split_fold
from nuclei.train.checkpoint import Checkpoint
from nuclei.train.crops import Crops
from nuclei.train.processes import make_fabric
from nuclei.train.starting import first_net
from nuclei.train.training import Training

PREPARED, SPLIT, PARAMS = Path("data/prepared"), Path("data/split.csv"), Path(__file__).parents[2] / "params.yaml"
FOLDS, VAL_FRACTION, EPOCHS, STOP_EPOCH, CROPS_PER_IMAGE = 3, 0.1, 2, 1, 4
RECIPE = {
    "encoder_name": "timm-tf_efficientnet_lite0",
    "synthetic_fraction": 0.33,
    "crops_per_image": CROPS_PER_IMAGE,
    "stop_epoch": STOP_EPOCH,
    "ema_decay": 0.99,
}
AUGMENT = {
    "zoom": 2.5,
    "rotate": 0.5,
    "colour": 0.3,
    "gray": 0.1,
    "invert": 0.0,
    "shuffle": 0.1,
    "blur": 0.15,
    "noise": 0.2,
    "light": 0.5,
    "quality": 0.3,
}
NEVER = {"zoom": 1.0, "elastic": 0.0} | {name: 0.0 for name in AUGMENT if name not in ("zoom", "invert")}
CHANGES: dict[str, dict[str, Any]] = {
    "none": {},
    "synthetic_fraction=0": {"synthetic_fraction": 0.0},
    "encoder_weights=null": {"encoder_weights": None},
    **{f"augment.{name}={never:g}": {"augment": {name: never}} for name, never in NEVER.items()},
    "augment: none of these": {"augment": NEVER},
    "augment.invert=0.15": {"augment": {"invert": 0.15}},
}
COLUMNS = ["change", "fold", "seed", "part", "family", "group", "id", "dice", "map", "ap50"]


def main() -> None:
    arguments = parsed()
    records, families, groups = read_index(PREPARED), read_families(SPLIT), read_groups(SPLIT)
    print(",".join(COLUMNS), flush=True)
    for fold in arguments.folds:
        parts = split_fold(
            records,
            [int(groups[record.id]) for record in records],
            fold=fold,
            folds=FOLDS,
            val_fraction=VAL_FRACTION,
            seed=0,
            families=[families[record.id] for record in records],
        )
        training = [record for record in records if parts[record.id] == "train"]
        scored = {
            part: list({groups[record.id]: record for record in records if parts[record.id] == of}.values())
            for part, of in (("home", "val"), ("elsewhere", "test"))
        }
        for change in arguments.changes:
            segmenter = trained(training, CHANGES[change], arguments.encoder_weights, arguments.seed)
            for part, of_part in scored.items():
                for record, scores in scores_of(segmenter, of_part):
                    first = [change, fold, arguments.seed, part, families[record.id], groups[record.id], record.id]
                    print(",".join([*map(str, first), *(f"{score:.5f}" for score in scores)]), flush=True)


def trained(records: Sequence[Record], change: Mapping[str, Any], encoder_weights: Path, seed: int) -> Segmenter:
    """A training with the recipe, apart from one change."""
    params = load(PARAMS).train
    augment = Augment(**(asdict(params.augment) | AUGMENT | change.get("augment", {})))
    fields = {"encoder_weights": str(encoder_weights)} | RECIPE | dict(change)
    train: Train = replace(params, **(fields | {"augment": augment}))
    fabric = make_fabric(train)
    fabric.seed_everything(seed, workers=False, verbose=False)
    net = first_net(train, Path(train.encoder_weights) if train.encoder_weights else None, None)
    crops = Crops(records, PREPARED, train, epochs=EPOCHS, seed=seed)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        checkpoint = Checkpoint("screen", Path(folder))
        return Training(net, crops, settings_of(train), train, fabric, checkpoint).fit([], log=lambda row: None)


def settings_of(train: Train) -> Settings:
    """How the shipped model predicts, without least scores."""
    shipped = Segmenter.load(PARAMS.parent / "models" / "nuclei", device="cpu").settings
    return replace(shipped, min_score=0.0, min_best_score=0.0, precision=train.precision)


def scores_of(segmenter: Segmenter, records: Sequence[Record]) -> Iterator[tuple[Record, tuple[float, float, float]]]:
    """Dice, mAP and AP50 of each image; NaN where an image without nuclei has none of them."""
    segmenter.net.eval()
    for record in records:
        truth = read_labels(label_path(PREPARED, record.id))
        predicted = segmenter.segment(read_rgb(image_path(PREPARED, record.id)))
        matches = match(truth, predicted)
        yield record, (float(pixel_counts(truth > 0, predicted > 0).dice), matches.map, float(matches.ap[0]))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoder_weights", type=Path, help="a .pth file")
    parser.add_argument("--folds", type=int, nargs="+", choices=range(FOLDS), default=list(range(FOLDS)))
    parser.add_argument("--changes", nargs="+", choices=CHANGES, default=list(CHANGES), metavar="NAME")
    parser.add_argument("--seed", type=int, default=0, help="of the first weights and of the crops (0)")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
