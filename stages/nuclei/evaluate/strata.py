"""Scores by modality, family and nucleus size, with intervals."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nuclei.evaluate import aggregate
from nuclei.evaluate.aggregate import Columns, Row
from nuclei.evaluate.bootstrap import intervals
from nuclei.evaluate.scoring import PartScore
from nuclei.images.records import MODALITIES
from nuclei.scores.metrics import Values, ratio

SCORES = ("dice", "iou", "map", "ap50", "pq", "recall50", "recall75", "splits", "merges")
COLUMNS = [
    *("part", "grouping", "stratum", "images", "groups", "map_undefined", "nuclei"),
    *(f"{name}{bound}" for name in SCORES for bound in ("", "_low", "_high")),
]


def size_edges(areas: NDArray[np.int64]) -> NDArray[np.int64]:
    """The quartiles of the areas, in pixels; fewer than three where some coincide."""
    if not len(areas):
        return np.empty(0, dtype=np.int64)
    return np.unique(np.quantile(areas, [0.25, 0.5, 0.75], method="inverted_cdf")).astype(np.int64)


def size_names(edges: NDArray[np.int64]) -> list[str]:
    """Names of the size classes: "up to 90 px", "91 to 200 px", ..., "over 400 px"."""
    if not len(edges):
        return ["any size"]
    between = [f"{low + 1} to {high} px" for low, high in pairwise(edges)]
    return [f"up to {edges[0]} px", *between, f"over {edges[-1]} px"]


def rows(score: PartScore, *, edges: NDArray[np.int64], seed: int, resamples: int) -> list[Row]:
    """Score the images by modality, family and median area of their nuclei, and the nuclei by their own area.

    Args:
        score: of a part.
        edges: of the size classes, from `size_edges` of all parts, so that both parts have the same classes.
        seed, resamples: of the bootstrap.

    Returns:
        Rows of COLUMNS without `part`; strata without images are left out. Nuclei by their own area have a recall
        alone, since false positives belong to no true nucleus: their other scores are NaN.
    """
    found = []
    for grouping, name, columns, groups in _strata(score, edges):
        if not len(groups):
            continue

        def statistics(weights: NDArray[np.int64], columns: Columns = columns) -> dict[str, Values]:
            return _scores(columns, weights)

        undefined = aggregate.undefined(columns)
        bounds = intervals(statistics, groups, resamples=resamples, seed=seed, undefined=undefined)
        row = {
            "grouping": grouping,
            "stratum": name,
            "images": len(groups),
            "groups": len(np.unique(groups)),
            "map_undefined": int(undefined["map"].sum()) if grouping != "nucleus size" else np.nan,
            "nuclei": int(columns["nuclei"].sum()),
        }
        for metric, value in _scores(columns, np.ones(len(groups), dtype=np.int64)).items():
            row |= {metric: value, f"{metric}_low": bounds[metric][0], f"{metric}_high": bounds[metric][1]}
        found.append(row)
    return found


def _strata(score: PartScore, edges: NDArray[np.int64]) -> Iterator[tuple[str, str, Columns, NDArray[np.intp]]]:
    """For each stratum the grouping, its name, and the columns and groups of its images."""
    names = size_names(edges)
    modality = np.array([row["modality"] for row in score.rows])
    median = score.columns["median_area_px"]
    size = np.where(np.isnan(median), len(names), np.searchsorted(edges, median))
    own = np.searchsorted(edges, score.areas)
    images = [("modality", name, modality == name) for name in MODALITIES]
    family = np.array([row["family"] for row in score.rows])
    images += [("family", name, family == name) for name in np.unique(family).tolist()]
    images += [("size", name, size == number) for number, name in enumerate([*names, "no nuclei"])]
    for grouping, name, where in images:
        yield grouping, name, aggregate.chosen(score.columns, where), score.groups[where]
    for number, name in enumerate(names):
        columns = _of_nuclei(score, own == number)
        where = columns["nuclei"] > 0
        yield "nucleus size", name, aggregate.chosen(columns, where), score.groups[where]


def _of_nuclei(score: PartScore, where: NDArray[np.bool_]) -> Columns:
    """The columns of all images as if only some of the true nuclei had been counted; NaN what that leaves undefined."""

    def count(which: NDArray[np.bool_]) -> NDArray[np.float64]:
        return np.bincount(score.owners[which], minlength=len(score.rows)).astype(np.float64)

    counts = {"nuclei": count(where), "tp50": count(where & (score.hits > 0)), "tp75": count(where & (score.hits > 5))}
    return {name: np.full(len(score.rows), np.nan) for name in score.columns} | counts


def _scores(columns: Columns, weights: NDArray[np.int64]) -> dict[str, Any]:
    metrics, nuclei = aggregate.metrics(columns, weights), weights @ columns["nuclei"]
    recalls = {f"recall{percent}": ratio(weights @ columns[f"tp{percent}"], nuclei) for percent in (50, 75)}
    return {name: (metrics | recalls)[name] for name in SCORES}
