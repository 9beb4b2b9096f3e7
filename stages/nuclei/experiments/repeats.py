"""The effect of the seed: mean and standard deviation of every metric over runs that differ only in their seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nuclei.base.errors import InputError
from nuclei.evaluate import aggregate
from nuclei.evaluate.aggregate import DIGITS
from nuclei.experiments.comparison import COUNTS
from nuclei.experiments.revisions import Snapshot

COLUMNS = ["part", "modality", "images", "metric", "mean", "std"]
ALL = "all"

Row = dict[str, Any]


def spread(runs: Sequence[Snapshot]) -> list[Row]:
    """Tabulate the runs, over all images and by modality.

    Returns:
        Rows of COLUMNS, then one column for each run, named after its seed. `std` is the sample standard deviation
        (n - 1 in the denominator). auc and average_precision rank the pixels of all images together, so they are given
        for all modalities only. A cell is empty where a value is undefined.

    Raises:
        InputError: there are fewer than two runs, two runs have the same seed, or two differ in another parameter or in
            their images.
    """
    seeds = _seeds(runs)
    rows = []
    for part, (ids, _) in runs[0].images.items():
        modalities = np.array(runs[0].modalities[part])
        for modality in (ALL, *sorted(set(modalities.tolist()) - {""})):
            where = np.ones(len(ids), bool) if modality == ALL else modalities == modality
            scores = [_scores(run, part, where, whole=modality == ALL) for run in runs]
            for metric in scores[0]:
                values = np.array([np.nan if of[metric] is None else of[metric] for of in scores], np.float64)
                cells = dict(zip(seeds, values, strict=True)) | {"mean": values.mean(), "std": values.std(ddof=1)}
                cells_rounded = {
                    name: "" if np.isnan(value) else round(float(value), DIGITS) for name, value in cells.items()
                }
                head = {"part": part, "modality": modality, "images": int(where.sum()), "metric": metric}
                rows.append({**head, **cells_rounded})
    return rows


def columns(runs: Sequence[Snapshot]) -> list[str]:
    """The columns of the rows of `spread`."""
    return [*COLUMNS, *_seeds(runs)]


def _scores(run: Snapshot, part: str, where: Any, *, whole: bool) -> dict[str, Any]:
    if whole:
        return {name: value for name, value in run.metrics[part].items() if name not in COUNTS}
    return aggregate.rounded(aggregate.metrics(aggregate.chosen(run.images[part][1], where)))


def _seeds(runs: Sequence[Snapshot]) -> list[str]:
    """The seeds as column names; InputError unless the runs differ in the seed and in nothing else."""
    if len(runs) < 2:
        raise InputError("a standard deviation needs two runs", got=len(runs), fix="name more experiments")
    first = runs[0]
    for run in runs[1:]:
        names = {**first.parameters, **run.parameters}
        other = [name for name in names if name != "seed" and first.parameters.get(name) != run.parameters.get(name)]
        if other:
            got = f"{first.name} and {run.name} differ in {', '.join(other)}"
            raise InputError("the runs differ in more than the seed", got=got, fix="name runs of one recipe")
        if {part: ids for part, (ids, _) in first.images.items()} != {p: ids for p, (ids, _) in run.images.items()}:
            got, fix = f"{first.name} and {run.name}", "give split.list, so that the seed does not draw another split"
            raise InputError("the runs were scored on other images", got=got, fix=fix)
    seeds = [f"seed {run.parameters.get('seed')}" for run in runs]
    if len(set(seeds)) < len(seeds):
        raise InputError("two runs have the same seed", got=", ".join(seeds), fix="name each run once")
    return seeds
