"""What each ingredient of the shipped recipe is worth, at home and on families of images that were left out.

    python tests/benchmarks/screen.py ENCODER_WEIGHTS [--folds 0 1 2] [--changes NAME ...] [--seeds 0] > screened.csv

Each change of `CHANGES` takes one ingredient from the recipe of models/nuclei (docs/elsewhere.md), or adds one; the
recipe itself is the change "none". For each change and fold of `split.by=family` a network is trained for 2/15 of the
recipe's steps, half of a schedule, as in the recipe. It scores one image of each group: of the families that it has
not seen ("elsewhere"), and of the groups of its own families that were held back ("home"). All have the recipe's
thresholds and no minimum scores, because the regression that these need would be fitted on the few images at home.
`mean` and `distilled` train the recipe with each of the seeds, of which there must be several.

ENCODER_WEIGHTS is the file of EfficientNet-lite0's ImageNet weights; for the changes `lite1` and `lite2` that of theirs
(lite_weights.py). Reads data/prepared and data/split.csv of the working directory; prints CSV, a row for each scored
image. screened.py makes a table of several such files.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "stages"))

from torch import nn

from nuclei.base import files
from nuclei.base.errors import run
from nuclei.base.machine import keep_freed_memory
from nuclei.base.params import Augment, Train, checked, load
from nuclei.images.io import read_labels, read_rgb
from nuclei.images.records import Record, image_path, label_path, read_families, read_groups, read_index
from nuclei.network.model import NucleusNet
from nuclei.network.segmenter import FIX, SETTINGS, Segmenter, Settings
from nuclei.scores.matching import match
from nuclei.scores.metrics import pixel_counts
from nuclei.split.splitting import split_fold
from nuclei.train.checkpoint import Checkpoint
from nuclei.train.crops import Crops
from nuclei.train.processes import make_fabric
from nuclei.train.starting import first_net
from nuclei.train.training import Training
from variants import (
    BoundaryLoss,
    Distilling,
    LooseOutlines,
    Mean,
    SeveralSizes,
    SignedDistance,
    StainTransfer,
)

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


@dataclass(frozen=True)
class Change:
    """How a training differs from the recipe.

    Attributes:
        train, augment: parameters of the sections `train` and `train.augment`.
        crops: what cuts them.
        loss: of the foreground, made with `train.dice_weight`; None: the recipe's.
        first: parameters of the section `train` of a training before, whose weights are the first of this one.
        foregrounds: the thresholds at which the images are scored; None: the shipped model's.
    """

    train: Mapping[str, Any] = field(default_factory=dict)
    augment: Mapping[str, float] = field(default_factory=dict)
    crops: type[Crops] = Crops
    loss: type[nn.Module] | None = None
    first: Mapping[str, Any] | None = None
    foregrounds: Sequence[float] | None = None


CHANGES = {
    "none": Change(),
    "synthetic_fraction=0": Change({"synthetic_fraction": 0.0}),
    "encoder_weights=null": Change({"encoder_weights": None}),
    **{f"augment.{name}={never:g}": Change(augment={name: never}) for name, never in NEVER.items()},
    "augment: none of these": Change(augment=NEVER),
    "augment.invert=0.15": Change(augment={"invert": 0.15}),
    "stain transfer": Change(crops=StainTransfer),
    "looser synthetic outlines": Change(crops=LooseOutlines),
    "crops of 64, 96 and 128 px": Change(crops=SeveralSizes),
    "boundary_weight=4": Change({"boundary_weight": 4.0}),
    "boundary loss": Change(loss=BoundaryLoss),
    "signed distance": Change(loss=SignedDistance, foregrounds=(0.4, 0.5, 0.6)),
    "synthetic images first": Change(first={"synthetic_fraction": 0.99}),
    "twice as long": Change({"crops_per_image": 2 * CROPS_PER_IMAGE}),
    "lite1": Change({"encoder_name": "timm-tf_efficientnet_lite1"}),
    "lite2": Change({"encoder_name": "timm-tf_efficientnet_lite2"}),
}
TOGETHER = {"mean": "mean of {} networks", "distilled": "distilled from {} networks"}  # the recipe's, with all seeds
DEFAULT = [change for change in CHANGES if not change.startswith("lite")]
COLUMNS = ["change", "fold", "seed", "part", "family", "group", "id", "dice", "map", "ap50"]


def main() -> None:
    arguments = parsed()
    keep_freed_memory()
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
        for name, seed, segmenter in networks(training, arguments):
            for part, of_part in scored.items():
                for record, scores in scores_of(segmenter, of_part):
                    first = [f'"{name}"', fold, seed, part, families[record.id], groups[record.id], record.id]
                    print(",".join([*map(str, first), *(f"{score:.5f}" for score in scores)]), flush=True)


def networks(records: Sequence[Record], arguments: argparse.Namespace) -> Iterator[tuple[str, int, Segmenter]]:
    """The name and the seed of each change, and the network trained with it, at each of its thresholds."""
    plain: dict[int, Segmenter] = {}
    for change in arguments.changes:
        if change in TOGETHER:
            yield TOGETHER[change].format(len(plain)), min(plain), together(change, plain, records, arguments)
            continue
        thresholds = CHANGES[change].foregrounds
        for seed in arguments.seeds:
            segmenter = trained(records, CHANGES[change], arguments.encoder_weights, seed)
            if change == "none":
                plain[seed] = segmenter
            for foreground in thresholds or [segmenter.settings.foreground]:
                segmenter.use(replace(segmenter.settings.thresholds, foreground=foreground))
                yield f"{change}, foreground {foreground}" if thresholds else change, seed, segmenter


def trained(
    records: Sequence[Record],
    change: Change,
    encoder_weights: Path,
    seed: int,
    teacher: Mean | None = None,
) -> Segmenter:
    """A training with the recipe, apart from one change; with a teacher, it learns from that too."""
    params = load(PARAMS).train
    augment = Augment(**(asdict(params.augment) | AUGMENT | dict(change.augment)))
    fields = {"encoder_weights": str(encoder_weights), "augment": augment} | RECIPE
    net: NucleusNet | None = None
    for stage in ([] if change.first is None else [change.first]) + [change.train]:
        train: Train = replace(params, **(fields | dict(stage)))
        fabric = make_fabric(train)
        fabric.seed_everything(seed, workers=False, verbose=False)
        if net is None:
            net = first_net(train, Path(train.encoder_weights) if train.encoder_weights else None, None)
        crops = change.crops(records, PREPARED, train, epochs=EPOCHS, seed=seed)
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
            kind = Training if teacher is None else Distilling
            training = kind(net, crops, settings_of(train), train, fabric, Checkpoint("screen", Path(folder)))
            if isinstance(training, Distilling):
                training.teacher = teacher
            if change.loss is not None:
                training.loss = change.loss(train.dice_weight)
            segmenter = training.fit([], log=lambda row: None)
        net = segmenter.net
    return segmenter


def together(
    change: str, plain: Mapping[int, Segmenter], records: Sequence[Record], arguments: argparse.Namespace
) -> Segmenter:
    """The mean of several networks, or one that learned from it, with the first seed."""
    for segmenter in plain.values():
        segmenter.net.eval()
    mean = Mean([segmenter.net for segmenter in plain.values()])
    if change == "mean":
        return Segmenter(mean, next(iter(plain.values())).settings)
    return trained(records, CHANGES["none"], arguments.encoder_weights, min(plain), mean)


def settings_of(train: Train) -> Settings:
    """How the shipped model predicts, without minimum scores."""
    path = PARAMS.parent / "models" / "nuclei" / SETTINGS
    return replace(
        checked(Settings, files.read_json(path, FIX), path),
        min_score=0.0,
        min_best_score=0.0,
        precision=train.precision,
    )


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
    parser.add_argument("--changes", nargs="+", choices=[*CHANGES, *TOGETHER], default=DEFAULT, metavar="NAME")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the first weights and of the crops (0)")
    arguments = parser.parse_args()
    for change in {*arguments.changes} & {*TOGETHER}:
        if "none" not in arguments.changes[: arguments.changes.index(change)] or len(arguments.seeds) < 2:
            parser.error(f"{change} needs the change none before it, and several --seeds")
    return arguments


if __name__ == "__main__":
    run(main)
