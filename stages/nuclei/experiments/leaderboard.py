"""Many experiments against one baseline: sorted by a metric, with intervals that allow for their number."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nuclei.base.errors import InputError
from nuclei.evaluate import aggregate
from nuclei.evaluate.aggregate import LOWER_IS_BETTER, MEANS
from nuclei.evaluate.bootstrap import FEWEST_GROUPS, effective_groups, resampled
from nuclei.experiments.comparison import (
    RESAMPLES,
    SEED,
    both_defined,
    changes,
    conditions,
    rounded,
    same_model,
    verdict,
)
from nuclei.experiments.documents import Block, Heading, Picture, Sentence, Table
from nuclei.experiments.forest import Panel, forest
from nuclei.experiments.noise import Noise
from nuclei.experiments.pairing import Pair, pair
from nuclei.experiments.revisions import Snapshot
from nuclei.experiments.simultaneous import simultaneous
from nuclei.report.drawing import Drawing

SCORES = ("dice", "iou", "map", "ap50", "pq")
BASELINE = "baseline"
COLUMNS = [
    *("experiment", "images", "groups", *SCORES, "metric", "value", "difference", "low", "high", "p", "verdict"),
    *("seconds", "conditions"),
]

Row = dict[str, Any]


@dataclass(frozen=True)
class Leaderboard:
    """The rows, best first, and what they are of.

    Attributes:
        part, metric: what the experiments are ranked by.
        baseline: the name of the revision that all are compared with.
        parameters: those that differ between any experiment and the baseline; each is a column of the rows.
        rows: COLUMNS and parameters. `seconds` is the duration of an uninterrupted training, `conditions` what the
            training had other than the baseline's: processor, threads, precision, versions. A cell is empty where
            there is no value.
    """

    part: str
    metric: str
    baseline: str
    parameters: list[str]
    rows: list[Row]

    @property
    def columns(self) -> list[str]:
        return [*COLUMNS, *self.parameters]


def rank(
    baseline: Snapshot, experiments: Sequence[Snapshot], *, part: str, metric: str, noise: Noise | None = None
) -> Leaderboard:
    """Compare each experiment with the baseline on the images of one part, and sort all by the metric.

    Raises:
        InputError: there are no experiments; the metric is unknown; an experiment was not scored on the same images;
            or no table names the groups of the images.
    """
    if not experiments:
        raise InputError(
            "there are no experiments to compare", got=baseline.name, fix="name some, or run `dvc exp run`"
        )
    pairs = [_checked(pair(part, baseline, experiment), part, baseline, experiment) for experiment in experiments]
    known = list(aggregate.metrics(pairs[0].before))
    if metric not in known:
        (near,) = difflib.get_close_matches(metric, known, n=1, cutoff=0)
        raise InputError("there is no such metric to rank by", got=metric, expected=f"perhaps {near}")
    grouped = [found.groups for found in pairs if found.groups is not None]
    if not grouped:
        fix = "run `dvc repro` on the baseline: its groups hold for all experiments on the same images"
        raise InputError("no groups are known for the images", got=baseline.name, fix=fix)
    groups = min(grouped, key=lambda of: len(np.unique(of)))
    names = list(dict.fromkeys(name for of in experiments for name in _changed(baseline, of)))
    floor = (noise or Noise({})).of(baseline.parameters.get("data"), part, len(pairs[0].ids)).get(metric)
    compared = _differences(pairs, metric, groups)
    rows = [_row(baseline, part, metric, groups, names, {"verdict": BASELINE})]
    for experiment, found in zip(experiments, compared, strict=True):
        noise_floor = None if same_model(baseline, experiment) else floor
        judged = verdict(metric, found["difference"] or 0.0, found["low"], found["high"], noise_floor)
        differ = "; ".join(f"{of.parameter} {of.head}" for of in conditions(baseline, experiment))
        found |= {"verdict": judged, "conditions": differ}
        rows.append(_row(experiment, part, metric, groups, names, found))
    sign = 1 if metric in LOWER_IS_BETTER else -1
    rows.sort(key=lambda row: (row["value"] == "", sign * (row["value"] or 0), row["experiment"]))
    return Leaderboard(part, metric, baseline.name, names, rows)


def _checked(found: Pair, part: str, baseline: Snapshot, experiment: Snapshot) -> Pair:
    if not found.whole or not found.ids:
        got = f"{len(found.ids)} {part} images in common with {baseline.name}"
        fix = "run both with the same data, split and evaluate.parts"
        raise InputError(f"{experiment.name} was not scored on the same {part} images", got=got, fix=fix)
    return found


def _changed(baseline: Snapshot, experiment: Snapshot) -> list[str]:
    return [change.parameter for change in changes(baseline.parameters, experiment.parameters)]


def _differences(pairs: Sequence[Pair], metric: str, groups: NDArray[np.int64]) -> list[dict[str, Any]]:
    """For each experiment the difference of the metric, its simultaneous interval and its adjusted p."""
    common = [both_defined(found.before, found.after) for found in pairs]

    def statistics(weights: NDArray[np.int64]) -> dict[str, Any]:
        scores = [[aggregate.metrics(rows, weights)[metric] for rows in of] for of in common]
        return {str(place): after - before for place, (before, after) in enumerate(scores)}

    alone = statistics(np.ones((1, len(groups)), np.int64))
    differences = np.array([alone[str(place)][0] for place in range(len(pairs))])
    if len(np.unique(groups)) < FEWEST_GROUPS:
        return [{"difference": rounded(value), "low": None, "high": None, "p": None} for value in differences]
    values = resampled(statistics, groups, resamples=RESAMPLES, seed=SEED)
    count = [effective_groups(np.bincount(groups[_counted(rows, metric)])) for rows, _ in common]
    found = simultaneous(differences, np.stack(list(values.values()), axis=1), np.array(count))
    columns = {"difference": differences, "low": found.low, "high": found.high, "p": found.p}
    return [{name: rounded(of[place]) for name, of in columns.items()} for place in range(len(pairs))]


def _counted(rows: Mapping[str, NDArray[np.float64]], metric: str) -> NDArray[np.bool_]:
    """Which images have a score of this metric; a pooled one counts all."""
    return np.isfinite(rows[MEANS[metric]]) if metric in MEANS else np.ones(len(rows["nuclei"]), bool)


def _row(
    run: Snapshot,
    part: str,
    metric: str,
    groups: NDArray[np.int64],
    parameters: Sequence[str],
    found: Mapping[str, Any],
) -> Row:
    training = run.training
    row = {
        "experiment": run.name,
        "images": len(groups),
        "groups": len(np.unique(groups)),
        **{name: run.metrics[part].get(name) for name in SCORES},
        "metric": metric,
        "value": run.metrics[part].get(metric),
        **found,
        "seconds": None if training.get("resumed") else training.get("seconds"),
        **{name: _plain(run.parameters.get(name)) for name in parameters},
    }
    return {name: "" if row.get(name) is None else row[name] for name in [*COLUMNS, *parameters]}


def _plain(value: str | None) -> str:
    """A parameter, given as JSON, as text without quotes."""
    if value is None:
        return "-"
    read = json.loads(value)
    return read if isinstance(read, str) else value


def document(board: Leaderboard, picture: Picture) -> list[Block]:
    """The plot and the table, with what the intervals claim."""
    counts = f"{board.rows[0]['images']} {board.part} images in {board.rows[0]['groups']} groups"
    number = len(board.rows) - 1
    others = [name for name in SCORES if name != board.metric]
    compared = ["value", "difference", "95 % interval", "p"]
    shown = ["experiment", *board.parameters, *compared, *others, "seconds", "verdict"]
    header = [board.metric if name == "value" else name for name in shown]
    blocks: list[Block] = [
        Heading(f"{number} experiment{'' if number == 1 else 's'} against {board.baseline}", level=1),
        Sentence(
            f"Sorted by {board.metric} on {counts}, the same for all. Difference is {board.metric} minus that of the "
            "baseline. The intervals, from a paired bootstrap over groups, hold for all experiments at once with "
            "probability 95 % (max-t over shared resamples), and p is adjusted in the same way, so they allow for the "
            "choice of the best among many. They are about these trained models: another seed would move each again."
        ),
        picture,
        Table(header, [_cells(row, shown) for row in board.rows]),
    ]
    differing = [f"{row['experiment']}: {row['conditions']}" for row in board.rows if row["conditions"]]
    if differing:
        text = "Not trained under the conditions of the baseline, which alone moves scores: " + ". ".join(differing)
        blocks.append(Sentence(text + "."))
    return blocks


def _cells(row: Row, names: Sequence[str]) -> list[str]:
    interval = "-" if row["low"] == "" else f"{row['low']:+.4f} to {row['high']:+.4f}"
    texts = {**{name: str(value) for name, value in row.items()}, "95 % interval": interval}
    for name in (*SCORES, "value", "difference", "p"):
        texts[name] = "-" if row[name] == "" else f"{row[name]:{'+' if name == 'difference' else ''}.4f}"
    texts["seconds"] = "-" if row["seconds"] == "" else f"{row['seconds']:.0f}"
    return [texts[name] for name in names]


def draw(board: Leaderboard) -> Drawing:
    """The differences from the baseline with their intervals, in the order of the table.

    Raises:
        InputError: there are no intervals, because all images are of one group.
    """
    rows = [row for row in board.rows if row["verdict"] != BASELINE]
    if any(row["low"] == "" for row in rows):
        got, fix = f"{rows[0]['images']} images, {rows[0]['groups']} groups", "rank by a part of several groups"
        raise InputError("there are no intervals to draw", got=got, fix=fix)
    differences = [(row["difference"], row["low"], row["high"]) for row in rows]
    names = [str(row["experiment"]) for row in rows]
    figure = forest(names, [Panel(f"{board.metric} minus that of the baseline", differences)])
    texts = [
        f"{name} {value:+.3f} [{low:+.3f}, {high:+.3f}]"
        for name, (value, low, high) in zip(names, differences, strict=True)
    ]
    alt = f"{board.metric} on {board.part} minus that of {board.baseline}: {'; '.join(texts)}."
    return Drawing("Leaderboard", alt, figure)
