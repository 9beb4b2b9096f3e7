"""Several runs of one recipe as one result: seeds on the same images, or the folds of a cross-validation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nuclei.base.errors import InputError
from nuclei.evaluate import aggregate
from nuclei.evaluate.aggregate import COUNTS, DIGITS, Columns
from nuclei.evaluate.bootstrap import intervals
from nuclei.evaluate.strata import size_edges, size_names
from nuclei.experiments.comparison import RESAMPLES, SEED
from nuclei.experiments.pairing import numbered
from nuclei.experiments.revisions import Snapshot

SEED_COLUMNS = ["part", "modality", "images", "groups", "metric", "mean", "low", "high", "std"]
FOLD_COLUMNS = ["grouping", "stratum", "images", "groups", "nuclei", "metric", "value", "low", "high"]
ALL = "all"
MEAN = "mean of the families"
FOLD, FOLDS = "split.fold", "split.folds"

Row = dict[str, Any]


def spread(runs: Sequence[Snapshot]) -> tuple[list[str], list[Row]]:
    """Tabulate runs that differ only in their seed, over all images and by modality.

    Returns:
        The columns, which are SEED_COLUMNS and one for each run, named after its seed; and the rows. `mean` is that of
        the runs, and `low` and `high` its 95 % interval over groups of images. `std` is the sample standard deviation
        of the runs (n - 1 in the denominator), which that interval does not include. auc and average_precision rank the
        pixels of all images together, so they are given for all modalities only, without an interval. A cell is empty
        where a value is undefined.

    Raises:
        InputError: there are fewer than two runs, two have the same seed, or two differ in another parameter or in
            their images; or a run does not name the groups of its images.
    """
    _alike(runs, "seed")
    for run in runs[1:]:
        if {part: ids for part, (ids, _) in run.images.items()} != {p: ids for p, (ids, _) in runs[0].images.items()}:
            got, fix = f"{runs[0].name} and {run.name}", "give split.list, so that the seed does not draw another split"
            raise InputError("the runs were scored on other images", got=got, fix=fix)
    seeds = _named(runs, "seed")
    rows = []
    for part, (ids, _) in runs[0].images.items():
        groups = _groups(runs[0], part)
        modalities = np.array(runs[0].modalities[part])
        for modality in (ALL, *sorted(set(modalities.tolist()) - {""})):
            where = np.ones(len(ids), bool) if modality == ALL else modalities == modality
            tables = [aggregate.chosen(run.images[part][1], where) for run in runs]
            scores = [aggregate.rounded(aggregate.metrics(table)) for table in tables]
            if modality == ALL:
                scores = [_reported(run, part) for run in runs]
            bounds = _intervals(tables, groups[where])
            for metric in scores[0]:
                values = np.array([np.nan if of[metric] is None else of[metric] for of in scores], np.float64)
                low, high = bounds.get(metric, (np.nan, np.nan))
                cells = dict(zip(seeds, values, strict=True)) | {"mean": values.mean(), "std": values.std(ddof=1)}
                counts = {"images": int(where.sum()), "groups": len(np.unique(groups[where]))}
                head = {"part": part, "modality": modality, **counts, "metric": metric}
                rows.append({**head, **_cells({**cells, "low": low, "high": high})})
    return [*SEED_COLUMNS, *seeds], rows


def join(runs: Sequence[Snapshot]) -> tuple[list[str], list[Row]]:
    """Tabulate the folds of a cross-validation as one test set, in which every image is scored exactly once.

    Returns:
        The columns, which are FOLD_COLUMNS and one for each fold; and the rows: over all images, by modality, by
        family, and by the median area of the nuclei of an image, in quartiles. `value` is computed from all images
        together, `low` and `high` are its 95 % interval over groups. Where there are several families, the stratum MEAN
        is the mean of their values, in which every family counts alike. A cell is empty where a value is undefined.

    Raises:
        InputError: a fold is missing or named twice; the runs differ in another parameter; an image is test in two
            folds or in none; a group is divided between folds; or a run does not name the groups of its images.
    """
    _alike(runs, FOLD)
    folds = _named(runs, FOLD)
    expected = [f"{FOLD} {number}" for number in range(int(runs[0].parameters.get(FOLDS, "0")))]
    if sorted(folds) != sorted(expected):
        raise InputError("not every fold is there once", got=", ".join(folds), expected=", ".join(expected) or FOLDS)
    fold, groups = _tested(runs)
    tables = [run.images["test"][1] for run in runs]
    columns = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    modalities = np.array([name for run in runs for name in run.modalities["test"]])
    families = np.array([name for run in runs for name in run.families["test"]])
    rows = []
    for grouping, stratum, where in _strata(columns, modalities, families):
        chosen, of = aggregate.chosen(columns, where), families[where] if stratum == MEAN else None
        values, bounds = _metrics(chosen, of), _intervals([chosen], groups[where], of)
        each = []
        for number in range(len(runs)):
            inside = where & (fold == number)
            each.append(_metrics(aggregate.chosen(columns, inside), families[inside] if stratum == MEAN else None))
        counts = {"images": int(where.sum()), "groups": len(np.unique(groups[where]))}
        head = {"grouping": grouping, "stratum": stratum, **counts, "nuclei": int(chosen["nuclei"].sum())}
        for metric, value in values.items():
            low, high = bounds[metric]
            of_folds = {name: of[metric] for name, of in zip(folds, each, strict=True)}
            rows.append({**head, "metric": metric, **_cells({"value": value, "low": low, "high": high, **of_folds})})
    return [*FOLD_COLUMNS, *folds], rows


def differing(runs: Sequence[Snapshot]) -> str:
    """Which parameter the runs differ in: "seed" or "split.fold"; "seed" where both or neither does."""
    return FOLD if len({run.parameters.get(FOLD) for run in runs}) > 1 else "seed"


def _alike(runs: Sequence[Snapshot], varied: str) -> None:
    """InputError unless the runs are several and differ in no parameter but the one that is varied."""
    if len(runs) < 2:
        raise InputError("there is nothing to join: one run", got=len(runs), fix="name more experiments")
    first = runs[0]
    for run in runs[1:]:
        names = {**first.parameters, **run.parameters}
        other = [name for name in names if name != varied and first.parameters.get(name) != run.parameters.get(name)]
        if other:
            got = f"{first.name} and {run.name} differ in {', '.join(other)}"
            raise InputError(f"the runs differ in more than {varied}", got=got, fix="name runs of one recipe")


def _named(runs: Sequence[Snapshot], varied: str) -> list[str]:
    """The runs as names of columns; InputError where two have the same value."""
    names = [f"{varied} {run.parameters.get(varied)}" for run in runs]
    if len(set(names)) < len(names):
        raise InputError(f"two runs have the same {varied}", got=", ".join(names), fix="name each run once")
    return names


def _groups(run: Snapshot, part: str) -> NDArray[np.int64]:
    if part not in run.groups:
        fix = "run it again with `dvc repro`, which writes the groups"
        raise InputError(f"{run.name} does not name the groups of its {part} images", fix=fix)
    return numbered(run.groups[part])


def _tested(runs: Sequence[Snapshot]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The fold and the group of each test image, in the order of the runs; InputError unless each is test once."""
    for run in runs:
        if "test" not in run.images:
            raise InputError(
                f"{run.name} has no scores of test", got=list(run.images), fix="name test in evaluate.parts"
            )
        _groups(run, "test")
    ids = [id for run in runs for id in run.images["test"][0]]
    names = [name for run in runs for name in run.groups["test"]]
    fold = np.repeat(np.arange(len(runs)), [len(run.images["test"][0]) for run in runs])
    for what, of in (("an image is test in two folds", ids), ("a group is divided between folds", names)):
        found = {(name, number) for name, number in zip(of, fold.tolist(), strict=True)}
        several = len(found) - len(set(of))
        if several:
            raise InputError(what, got=f"{several} times", fix="name the folds of one split: same data, seed and split")
    never = {id for run in runs for id in run.images.get("val", ([], {}))[0]} - set(ids)
    if never:
        raise InputError("an image is val in one fold and test in none", got=f"{len(never)} images, as {min(never)}")
    return fold, numbered(names)


def _strata(
    columns: Columns, modalities: NDArray[np.str_], families: NDArray[np.str_]
) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    """The grouping, the name and the images of each stratum that has any."""
    yield ALL, ALL, np.ones(len(modalities), bool)
    for modality in sorted(set(modalities.tolist()) - {""}):
        yield "modality", modality, modalities == modality
    names = sorted(set(families.tolist()) - {""})
    if len(names) > 1:
        yield "family", MEAN, families != ""
    for name in names:
        yield "family", name, families == name
    area = columns["median_area_px"]
    edges = size_edges(area[np.isfinite(area)].astype(np.int64))
    for number, name in enumerate(size_names(edges)):
        where = np.isfinite(area) & (np.searchsorted(edges, area) == number)
        if where.any():
            yield "size", name, where


def _reported(run: Snapshot, part: str) -> dict[str, Any]:
    return {name: value for name, value in run.metrics[part].items() if name not in COUNTS}


def _metrics(
    columns: Columns, families: NDArray[np.str_] | None, weights: NDArray[np.int64] | None = None
) -> dict[str, Any]:
    """The metrics of the images or, where their families are given, the mean of the metrics of each family.

    A family counts where its metric is defined, and in a resample only if one of its groups was drawn.
    """
    if families is None:
        return aggregate.metrics(columns, weights)
    if weights is None:
        weights = np.ones(len(families), np.int64)
    found = []
    for name in np.unique(families):
        where = families == name
        found.append(aggregate.metrics(aggregate.chosen(columns, where), weights[..., where]))
    values = {name: np.ma.masked_invalid([of[name] for of in found]) for name in aggregate.metrics(columns)}
    return {name: np.ma.filled(of.mean(axis=0), np.nan) for name, of in values.items()}


def _intervals(
    tables: Sequence[Columns], groups: NDArray[np.int64], families: NDArray[np.str_] | None = None
) -> Mapping[str, tuple[float, float]]:
    """Of each metric, averaged over tables of the same images; `families` as for `_metrics`."""

    def statistics(weights: NDArray[np.int64]) -> dict[str, Any]:
        found = [_metrics(table, families, weights) for table in tables]
        return {name: np.mean([of[name] for of in found], axis=0) for name in found[0]}

    undefined = [aggregate.undefined(table) for table in tables]
    left_out = {name: np.any([of[name] for of in undefined], axis=0) for name in undefined[0]}
    return intervals(statistics, groups, resamples=RESAMPLES, seed=SEED, undefined=left_out)


def _cells(values: Mapping[str, Any]) -> Row:
    return {name: "" if np.isnan(value) else round(float(value), DIGITS) for name, value in values.items()}
