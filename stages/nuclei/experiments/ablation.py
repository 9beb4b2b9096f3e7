"""An ablation: experiments that each change one thing, compared with the recipe that they change."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from nuclei.base.errors import InputError
from nuclei.experiments.comparison import MetricDifference, compare
from nuclei.experiments.revisions import Snapshot
from nuclei.report.drawing import Drawing

METRICS = ("dice", "iou", "map", "ap50", "pq")
JUDGED = {"dice": "Dice", "map": "mAP"}  # these get a difference with its interval, and are drawn
COLUMNS = [
    *("change", "images", *METRICS),
    *(f"{metric}_{what}" for metric in JUDGED for what in ("difference", "low", "high")),
    "command",
]

Row = dict[str, Any]


def tabulate(recipe: Snapshot, experiments: Sequence[Snapshot], part: str) -> list[Row]:
    """Compare each experiment with the recipe, on the images of one part.

    Returns:
        Rows of COLUMNS, the recipe's first: what was changed (`parameter=value`), the scores, the difference from the
        recipe with its paired 95 % interval over images (see comparison.py), and the command that makes the row. A
        cell is empty where there is no value.

    Raises:
        InputError: an experiment was not scored on the same images of this part, or differs in no parameter.
    """
    if part not in recipe.metrics:
        fix = f"name {part} in evaluate.parts"
        raise InputError(f"{recipe.name} has no scores of {part}", got=list(recipe.metrics), fix=fix)
    first = {metric: recipe.metrics[part].get(metric) for metric in METRICS}
    rows: list[Row] = [
        {"change": "", "images": len(recipe.images[part][0]), **first, "command": command(recipe)},
        *(_row(recipe, experiment, part) for experiment in experiments),
    ]
    return [{column: "" if row.get(column) is None else row[column] for column in COLUMNS} for row in rows]


def _row(recipe: Snapshot, experiment: Snapshot, part: str) -> Row:
    compared = compare(recipe, experiment)
    changes = {change.parameter: change.head for change in compared.parameters if change.head is not None}
    if not changes:
        raise InputError(f"{experiment.name} differs in no parameter", fix=f"leave it out, or {recipe.name}")
    found = next((of for of in compared.parts if of.part == part), None)
    if found is None or not found.same_images:
        fix = "run both with the same data, split and evaluate.parts"
        raise InputError(f"{experiment.name} was not scored on the same {part} images", got=recipe.name, fix=fix)
    differences = {row.metric: row for row in found.metrics}
    return {
        "change": " ".join(_assigned(changes)),
        "images": found.images,
        **{metric: differences[metric].head for metric in METRICS},
        **{name: value for metric in JUDGED for name, value in _interval(differences[metric]).items()},
        "command": command(experiment),
    }


def _interval(row: MetricDifference) -> Row:
    return {f"{row.metric}_{what}": getattr(row, what) for what in ("difference", "low", "high")}


def command(experiment: Snapshot) -> str:
    """The command that reproduces this experiment from the commit that it started from."""
    started = experiment.started or {}
    changed = {name: value for name, value in experiment.parameters.items() if started.get(name) != value}
    return shlex.join(["dvc", "exp", "run", *(word for text in _assigned(changed) for word in ("-S", text))])


def _assigned(values: Mapping[str, str]) -> list[str]:
    """Parameters (JSON values) as `dvc exp run -S` takes them: strings without quotes, lists without spaces."""
    plain = {name: json.loads(value) for name, value in values.items()}
    return [
        f"{name}={value if isinstance(value, str) else json.dumps(value, separators=(',', ':'))}"
        for name, value in plain.items()
    ]


def _short(change: str) -> str:
    """The parameters without their sections: a drawing has no room for more."""
    return " ".join(word[word.rfind(".", 0, word.index("=")) + 1 :] for word in change.split())


def draw(rows: Sequence[Row]) -> Drawing:
    """The differences of `tabulate` with their intervals, one line per experiment, the largest loss of mAP first.

    Raises:
        InputError: a difference has no interval, because only one image has a score.
    """
    recipe, *others = rows
    for row in others:
        if any(row[f"{metric}_{what}"] == "" for metric in JUDGED for what in ("difference", "low", "high")):
            fix = "compare on a part of several images, each with nuclei"
            raise InputError(f"{row['change']} has no interval to draw", got=f"{row['images']} images", fix=fix)
    others = sorted(others, key=lambda row: row["map_difference"])
    figure = Figure(figsize=(9.6, 1.3 + 0.34 * len(others)))
    texts = []
    for column, (axes, (metric, title)) in enumerate(
        zip(figure.subplots(1, len(JUDGED), sharey=True), JUDGED.items(), strict=True)
    ):
        for place, row in enumerate(others):
            value, low, high = (row[f"{metric}_{what}"] for what in ("difference", "low", "high"))
            excludes_zero = low > 0 or high < 0
            colour = "C0" if excludes_zero else "C4"
            axes.hlines(place, low, high, color=colour, linewidth=2.4)
            axes.plot(
                value, place, "o", color=colour, markerfacecolor=colour if excludes_zero else "none", markersize=6.5
            )
            texts.append(f"{title} {value:+.3f} [{low:+.3f}, {high:+.3f}] with {row['change']}")
        axes.axvline(0, color="C3", linewidth=1.2, zorder=1)
        axes.set_xlabel(f"{title} minus that of the recipe, {recipe[metric]:.3f}")
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
        if not column:
            axes.set_yticks(range(len(others)), [_short(row["change"]) for row in others])
            axes.set_ylim(len(others) - 0.5, -0.5)
    return Drawing("Ablation", f"Difference from the recipe: {'; '.join(texts)}.", figure)
