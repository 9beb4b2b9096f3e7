"""An ablation: experiments that each change one thing, compared with the recipe that they change."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from nuclei.base.errors import InputError
from nuclei.experiments.comparison import MetricDifference, compare
from nuclei.experiments.forest import Panel, forest
from nuclei.experiments.revisions import Snapshot
from nuclei.report.drawing import Drawing

METRICS = ("dice", "iou", "map", "ap50", "pq")
JUDGED = {"dice": "Dice", "map": "mAP"}  # these get a difference with its interval, and are drawn
COLUMNS = [
    *("change", "images", "groups", *METRICS),
    *(f"{metric}_{what}" for metric in JUDGED for what in ("difference", "low", "high")),
    "command",
]

Row = dict[str, Any]


def tabulate(recipe: Snapshot, experiments: Sequence[Snapshot], part: str) -> list[Row]:
    """Compare each experiment with the recipe, on the images of one part.

    Returns:
        Rows of COLUMNS, the recipe's first: what was changed (`parameter=value`), the scores, the difference from the
        recipe with its paired 95 % interval over groups (see comparison.py), and the command that makes the row. A
        cell is empty where there is no value.

    Raises:
        InputError: an experiment was not scored on the same images of this part, or differs in no parameter; or neither
            it nor the recipe names the groups of its images.
    """
    if part not in recipe.metrics:
        fix = f"name {part} in evaluate.parts"
        raise InputError(f"{recipe.name} has no scores of {part}", got=list(recipe.metrics), fix=fix)
    first = {metric: recipe.metrics[part].get(metric) for metric in METRICS}
    counts = {"images": len(recipe.images[part][0]), "groups": len(set(recipe.groups.get(part, []))) or None}
    rows: list[Row] = [
        {"change": "", **counts, **first, "command": command(recipe)},
        *(_row(recipe, experiment, part) for experiment in experiments),
    ]
    return [{column: "" if row.get(column) is None else row[column] for column in COLUMNS} for row in rows]


def _row(recipe: Snapshot, experiment: Snapshot, part: str) -> Row:
    compared = compare(recipe, experiment)
    changed = {change.parameter: change.head for change in compared.parameters if change.head is not None}
    if not changed:
        raise InputError(f"{experiment.name} differs in no parameter", fix=f"leave it out, or {recipe.name}")
    found = next((of for of in compared.parts if of.part == part), None)
    if found is None or not found.same_images:
        fix = "run both with the same data, split and evaluate.parts"
        raise InputError(f"{experiment.name} was not scored on the same {part} images", got=recipe.name, fix=fix)
    if found.groups is None:
        fix = "run `dvc repro` on the recipe: its groups hold for all experiments on the same images"
        raise InputError(f"no groups are known for the images of {experiment.name}", got=recipe.name, fix=fix)
    differences = {row.metric: row for row in found.metrics}
    return {
        "change": " ".join(_assigned(changed)),
        "images": found.images,
        "groups": found.groups,
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
        InputError: a difference has no interval, because the images with a score are of fewer than five groups.
    """
    recipe, *others = rows
    for row in others:
        if any(row[f"{metric}_{what}"] == "" for metric in JUDGED for what in ("difference", "low", "high")):
            got, fix = f"{row['images']} images, {row['groups']} groups", "compare on a part of at least five groups"
            raise InputError(f"{row['change']} has no interval to draw", got=got, fix=fix)
    others = sorted(others, key=lambda row: row["map_difference"])
    panels, texts = [], []
    for metric, title in JUDGED.items():
        found = [(row[f"{metric}_difference"], row[f"{metric}_low"], row[f"{metric}_high"]) for row in others]
        panels.append(Panel(f"{title} minus that of the recipe, {recipe[metric]:.3f}", found))
        texts += [
            f"{title} {value:+.3f} [{low:+.3f}, {high:+.3f}] with {row['change']}"
            for row, (value, low, high) in zip(others, found, strict=True)
        ]
    figure = forest([_short(row["change"]) for row in others], panels)
    return Drawing("Ablation", f"Difference from the recipe: {'; '.join(texts)}.", figure)
