"""How far the scores of nuclei can be trusted: calibration on images that were left out of training.

    python tests/benchmarks/calibration.py PREPARED MODEL SPLIT [MODEL SPLIT ...]
        [-o table.csv] [--figure curve.png] [--into MODEL]

Each MODEL is scored on the test part of its SPLIT, which it has not seen: the folds of a cross-validation, or of
families left out. The regression of network/confidence.py is fitted on all of them but one and tested on that one, in
turn. Prints, and writes with -o, the fraction of nuclei that match an annotated one with an IoU of at least 0.5, by
score: `before` is the mean foreground probability, `after` the calibrated score. --figure draws both. With --into the
regression of all nuclei is written into a model.json, such as that of models/nuclei, whose training left nothing out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.special import expit

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "stages"))

from nuclei.base import files
from nuclei.base.errors import InputError, run
from nuclei.images.io import read_labels, read_rgb
from nuclei.images.records import image_path, label_path, read_part
from nuclei.network.confidence import fit
from nuclei.network.segmenter import SETTINGS, Segmenter
from nuclei.report.drawing import Drawing, render
from nuclei.train.calibration import Seen, joined, of_image

BINS = 10
LABELS = {"before": "mean foreground probability", "after": "calibrated score"}
COLUMNS = ["score", "low", "high", "nuclei", "mean_score", "true"]


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
    seen = [of_fold(arguments.prepared, model, split) for model, split in pairs]
    before = np.concatenate([expit(of[0][:, 0]) for of in seen])
    after = np.concatenate([calibrated(seen, left_out) for left_out in range(len(seen))])
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


def of_fold(prepared: Path, model: Path, split: Path) -> Seen:
    """The evidence for each nucleus that a model finds in the test part of a split, and whether it is true."""
    segmenter = Segmenter.load(model)
    return joined(
        of_image(
            segmenter,
            segmenter.maps(read_rgb(image_path(prepared, record.id))),
            read_labels(label_path(prepared, record.id)),
        )
        for record in read_part(prepared, split, "test")
    )


def calibrated(seen: list[Seen], left_out: int) -> NDArray[np.float32]:
    """The scores of the nuclei of one fold, by the regression of all others."""
    others = joined(of for number, of in enumerate(seen) if number != left_out)
    found = fit(*others)
    if found is None:
        raise InputError("too few nuclei to fit a regression", got=len(others[1]))
    return found.scores(seen[left_out][0])


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
