"""Scores by modality and by nucleus size."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from nuclei.evaluate import aggregate
from nuclei.evaluate.aggregate import Row
from nuclei.evaluate.scoring import PartScore
from nuclei.images.records import MODALITIES
from nuclei.scores.metrics import ratio

COLUMNS = [
    *("part", "grouping", "group", "images", "map_undefined", "nuclei"),
    *("dice", "iou", "map", "ap50", "pq", "recall50", "recall75", "splits", "merges"),
]


def size_edges(areas: NDArray[np.int64]) -> NDArray[np.int64]:
    """The quartiles of the areas, in pixels; fewer than three where some coincide."""
    if not len(areas):
        return np.empty(0, dtype=np.int64)
    return np.unique(np.quantile(areas, [0.25, 0.5, 0.75], method="inverted_cdf")).astype(np.int64)


def _size_names(edges: NDArray[np.int64]) -> list[str]:
    """Names of the size classes: "up to 90 px", "91 to 200 px", ..., "over 400 px"."""
    if not len(edges):
        return ["any size"]
    between = [f"{low + 1} to {high} px" for low, high in pairwise(edges)]
    return [f"up to {edges[0]} px", *between, f"over {edges[-1]} px"]


def rows(score: PartScore, edges: NDArray[np.int64]) -> list[Row]:
    """Score the images by modality, the images by the median area of their nuclei, and the nuclei by their own area.

    Args:
        score: of a part.
        edges: of the size classes, from `size_edges` of all parts, so that both parts have the same classes.

    Returns:
        Rows of COLUMNS without `part`; classes without images are left out. Nuclei by their own area have a recall
        alone, since false positives belong to no true nucleus: their other scores are NaN.
    """
    names = _size_names(edges)
    modality = np.array([row["modality"] for row in score.rows])
    median = score.columns["median_area_px"]
    size = np.where(np.isnan(median), len(names), np.searchsorted(edges, median))
    found = [_stratum("modality", name, score, modality == name) for name in MODALITIES]
    found += [_stratum("size", name, score, size == number) for number, name in enumerate([*names, "no nuclei"])]
    own = np.searchsorted(edges, score.areas)
    for number, name in enumerate(names):
        of_class = own == number
        hits = score.hits[of_class]
        found.append(
            {
                "grouping": "nucleus size",
                "group": name,
                "images": len(np.unique(score.owners[of_class])),
                "map_undefined": np.nan,
                "nuclei": len(hits),
                **dict.fromkeys(["dice", "iou", "map", "ap50", "pq", "splits", "merges"], np.nan),
                "recall50": ratio(np.count_nonzero(hits > 0), len(hits)),
                "recall75": ratio(np.count_nonzero(hits > 5), len(hits)),
            }
        )
    return [row for row in found if row["images"]]


def _stratum(grouping: str, name: str, score: PartScore, where: NDArray[np.bool_]) -> Row:
    columns = aggregate.chosen(score.columns, where)
    values, nuclei = aggregate.metrics(columns), columns["nuclei"].sum()
    return {
        "grouping": grouping,
        "group": name,
        "images": int(where.sum()),
        "map_undefined": int(np.isnan(columns["map"]).sum()),
        "nuclei": int(nuclei),
        **{metric: values[metric] for metric in ("dice", "iou", "map", "ap50", "pq", "splits", "merges")},
        "recall50": ratio(columns["tp50"].sum(), nuclei),
        "recall75": ratio(columns["tp75"].sum(), nuclei),
    }
