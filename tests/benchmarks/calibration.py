"""How far the scores of nuclei can be trusted: calibration on images that were left out of training.

    python tests/benchmarks/calibration.py PREPARED MODEL SPLIT [MODEL SPLIT ...]
        [-o table.csv] [--figure curve.png] [--into MODEL]

Each MODEL is scored on the test part of its SPLIT, which it has not seen: the folds of a cross-validation, or of
families left out. The regression of network/confidence.py is fitted on all of them but one and tested on that one, in
turn. Prints, and writes with -o, the fraction of nuclei that match an annotated one with an IoU of at least 0.5, by
score: `before` is the mean foreground probability, `after` the calibrated score. --figure draws both. With --into the
regression of all nuclei is written into a model.json, such as that of models/nuclei, whose training left nothing out.

Then it prints the scores of the label maps without the nuclei whose calibrated score is below a minimum score: means
over families, so that each counts alike, and over images. And how many images have no nucleus with a score of at
least some value, what was found in these, and the scores if nothing were.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.special import expit

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "stages"))

from nuclei.base import files
from nuclei.base.errors import InputError, run
from nuclei.images.io import read_labels, read_rgb
from nuclei.images.records import image_path, label_path, read_families, read_part
from nuclei.network.components import renumber
from nuclei.network.confidence import Confidence, evidence, fit
from nuclei.network.segmenter import SETTINGS, Segmenter
from nuclei.report.drawing import Drawing, render
from nuclei.scores.matching import is_true, match
from nuclei.scores.metrics import pixel_counts
from nuclei.train.calibration import Seen, joined

BINS = 10
LEAST = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
BEST = (0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)
LABELS = {"before": "mean foreground probability", "after": "calibrated score"}
COLUMNS = ["score", "low", "high", "nuclei", "mean_score", "true"]


@dataclass(frozen=True)
class Found:
    """What a model found in an image that it had not seen.

    Attributes:
        family: of the image.
        truth: the file of its label map.
        labels: (H, W), with all nuclei.
        seen: what the maps say for each nucleus, and whether it is true.
    """

    family: str
    truth: Path
    labels: NDArray[np.integer]
    seen: Seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prepared", type=Path, help="data/prepared")
    parser.add_argument("folds", type=Path, nargs="+", help="MODEL SPLIT for each fold")
    parser.add_argument("-o", "--output", type=Path, help="a table to write")
    parser.add_argument("--figure", type=Path, help="a PNG to write")
    parser.add_argument("--into", type=Path, metavar="MODEL", help="the model whose model.json gets the regression")
    arguments = parser.parse_args()
    pairs = list(zip(arguments.folds[::2], arguments.folds[1::2], strict=True))
    if len(pairs) < 2:
        raise InputError("one fold is fitted on the others", got=f"{len(pairs)} fold", expected="at least 2")
    folds = [of_fold(arguments.prepared, model, split) for model, split in pairs]
    seen = [joined(found.seen for found in fold) for fold in folds]
    before = np.concatenate([expit(of[0][:, 0]) for of in seen])
    left_out = [regression(seen, number) for number in range(len(seen))]
    after = np.concatenate([confidence.scores(of[0]) for confidence, of in zip(left_out, seen, strict=True)])
    true = np.concatenate([of[1] for of in seen])
    rows = [*binned("before", before, true), *binned("after", after, true)]
    print("| score | nuclei | mean score before | true | nuclei | mean score after | true |")
    print("|---|---|---|---|---|---|---|")
    for one, other in zip(rows[:BINS], rows[BINS:], strict=True):
        cells = [f"{one['low']} to {one['high']}", *(of[key] for of in (one, other) for key in COLUMNS[3:])]
        print(f"| {' | '.join(map(str, cells))} |")
    for name, scores in (("before", before), ("after", after)):
        error = calibration_error(scores, true)
        print(f"{name}: expected calibration error {error:.3f}, Brier score {np.mean((scores - true) ** 2):.3f}")
    found = fit(*joined(seen))
    print(f"all {len(true)} nuclei: {found}")
    print_least_scores(folds, left_out)
    print_best_scores(folds, left_out)
    if arguments.output:
        files.write_rows(arguments.output, COLUMNS, rows)
    if arguments.figure:
        arguments.figure.write_bytes(render(reliability, rows, dpi=130).png)
    if arguments.into and found:
        settings = files.read_json(arguments.into / SETTINGS, "name the folder of a model")
        files.write_json(arguments.into / SETTINGS, {**settings, "confidence": asdict(found)})


def reliability(rows: Sequence[dict[str, object]]) -> Drawing:
    """Draw the fraction of true nuclei by their mean score, and the number of nuclei by score, from rows of COLUMNS."""
    figure = Figure()
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    axes.plot([0, 1], [0, 1], color="C3", linewidth=1, zorder=1)
    for (name, label), colour, dashes in zip(LABELS.items(), ("C0", "C1"), ((0, (4, 1.6)), "solid"), strict=True):
        of = [row for row in rows if row["score"] == name]
        filled = [row for row in of if int(str(row["nuclei"]))]
        means, shares = ([float(str(row[key])) for row in filled] for key in ("mean_score", "true"))
        axes.plot(means, shares, "o", color=colour, linestyle=dashes, markersize=4.5, label=label)
        counts = [int(str(row["nuclei"])) for row in of]
        below.stairs(counts, np.linspace(0, 1, BINS + 1), color=colour, linestyle=dashes, linewidth=1.5)
    axes.set(xlim=(0, 1), ylim=(0, 1), ylabel="fraction that are true")
    axes.legend(loc="upper left")
    below.set(xlabel="score of a nucleus", ylabel="nuclei", yscale="log")
    figure.align_ylabels()
    return Drawing("Calibration of scores", "Score of a nucleus against the fraction that are true.", figure)


def of_fold(prepared: Path, model: Path, split: Path) -> list[Found]:
    """What a model finds in each image of the test part of a split."""
    segmenter, families = Segmenter.load(model), read_families(split)
    fold = []
    for record in read_part(prepared, split, "test"):
        path = label_path(prepared, record.id)
        maps = segmenter.maps(read_rgb(image_path(prepared, record.id)))
        labels = segmenter.label(maps)
        seen = evidence(segmenter.settings.instance_target, labels, maps), is_true(read_labels(path), labels)
        fold.append(Found(families[record.id], path, labels, seen))
    return fold


def regression(seen: list[Seen], left_out: int) -> Confidence:
    """The regression of all folds but one."""
    others = joined(of for number, of in enumerate(seen) if number != left_out)
    found = fit(*others)
    if found is None:
        raise InputError("too few nuclei to fit a regression", got=len(others[1]))
    return found


def print_least_scores(folds: list[list[Found]], left_out: list[Confidence]) -> None:
    """The scores of all folds, each by the regression of the others, without nuclei below each of LEAST."""
    scores: dict[str, list[NDArray[np.float64]]] = defaultdict(list)  # by family: (LEAST, 3) of each image
    for confidence, fold in zip(left_out, folds, strict=True):
        for found in fold:
            truth, sure = read_labels(found.truth), confidence.scores(found.seen[0])
            kept = [renumber(found.labels, np.concatenate([[False], sure >= least])) for least in LEAST]
            scores[found.family].append(np.array([of_labels(truth, labels) for labels in kept]))
    of_families = np.mean([np.nanmean(images, axis=0) for images in scores.values()], axis=0)
    of_images = np.nanmean([image for images in scores.values() for image in images], axis=0)
    print(f"| minimum score | {len(scores)} families: Dice | mAP | AP50 | all images: Dice | mAP | AP50 |")
    print("|---|---|---|---|---|---|---|")
    for row in zip(LEAST, *of_families.T, *of_images.T, strict=True):
        print(f"| {row[0]:g} | {' | '.join(f'{value:.3f}' for value in row[1:])} |")


def print_best_scores(folds: list[list[Found]], left_out: list[Confidence]) -> None:
    """How many images have no nucleus with a score of at least each of BEST, and the scores if these showed none."""
    pairs = [(confidence, found) for confidence, fold in zip(left_out, folds, strict=True) for found in fold]
    highest = np.array([confidence.scores(found.seen[0]).max(initial=0) for confidence, found in pairs])
    truths = [read_labels(found.truth) for _, found in pairs]
    scores = np.array([of_labels(truth, found.labels) for truth, (_, found) in zip(truths, pairs, strict=True)])
    emptied = np.array([of_labels(truth, np.zeros_like(truth)) for truth in truths])
    print("| best score below | images | their Dice | their mAP | all images without them: Dice | mAP |")
    print("|---|---|---|---|---|---|")
    for best in BEST:
        below = highest < best
        own = [f"{value:.3f}" for value in np.nanmean(scores[below], axis=0)[:2]] if below.any() else ["", ""]
        all_images = np.nanmean(np.where(below[:, None], emptied, scores), axis=0)[:2]
        cells = [f"{best:g}", f"{below.sum()} of {len(below)}", *own, *(f"{value:.3f}" for value in all_images)]
        print(f"| {' | '.join(cells)} |")


def of_labels(truth: NDArray[np.integer], labels: NDArray[np.integer]) -> tuple[float, float, float]:
    """Dice, mAP and AP50 of a label map."""
    matches = match(truth, labels)
    return pixel_counts(truth > 0, labels > 0).dice, matches.map, float(matches.ap[0])


def placed(scores: NDArray[np.floating]) -> NDArray[np.int64]:
    """The interval in which each score lies."""
    return np.minimum((scores * BINS).astype(np.int64), BINS - 1)


def calibration_error(scores: NDArray[np.floating], true: NDArray[np.bool_]) -> float:
    """The mean over nuclei of the gap, in the interval of each, between mean score and fraction of true ones."""
    gaps = np.zeros(BINS)
    np.add.at(gaps, placed(scores), scores - true)
    return float(np.abs(gaps).sum() / len(scores))


def binned(name: str, scores: NDArray[np.floating], true: NDArray[np.bool_]) -> list[dict[str, object]]:
    """A row of COLUMNS for each of BINS equal intervals of the score."""
    place = placed(scores)
    rows: list[dict[str, object]] = []
    for number in range(BINS):
        inside = place == number
        mean, share = (f"{values[inside].mean():.3f}" if inside.any() else "" for values in (scores, true))
        low, high = f"{number / BINS:.1f}", f"{(number + 1) / BINS:.1f}"
        cells = [name, low, high, int(inside.sum()), mean, share]
        rows.append(dict(zip(COLUMNS, cells, strict=True)))
    return rows


if __name__ == "__main__":
    run(main)
