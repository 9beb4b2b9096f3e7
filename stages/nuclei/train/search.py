"""The search for the thresholds that label best, on stored predictions of the validation images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from sklearn.model_selection import ParameterGrid

from nuclei.base.parallel import ordered_map
from nuclei.base.params import Train
from nuclei.base.progress import track
from nuclei.images.io import read_labels
from nuclei.network.labelling import OverSegmentation, Thresholds
from nuclei.scores.matching import match

COLUMNS = ["foreground", "saddle_ratio", "min_area_px", "map"]


def grid(train: Train) -> list[Thresholds]:
    """Every combination that the parameters name, in a fixed order."""
    combinations = ParameterGrid(
        {
            "foreground": train.search_foreground,
            "saddle_ratio": train.search_saddle_ratio,
            "min_area_px": train.search_min_area_px,
        }
    )
    return [Thresholds(**combination) for combination in combinations]


def search(
    images: Sequence[tuple[Path, Path]], instance_target: str, candidates: Sequence[Thresholds]
) -> list[dict[str, float]]:
    """Score every candidate on every image.

    Args:
        images: for each, the `.npy` file of what the network predicted, (1 + C, H, W), and its true label map.
        instance_target: the second head's target, or `none`.
        candidates: the thresholds to try.

    Returns:
        A row of COLUMNS for each candidate, in order; `map` is the mean over images with nuclei of the mean over
        IoU .50:.05:.95 of TP / (TP + FP + FN).
    """
    score = partial(_score, instance_target=instance_target, candidates=candidates)
    scored = track(ordered_map(score, images), what="thresholds", total=len(images))
    scores = np.array(list(scored))  # (images, candidates)
    means = np.nanmean(scores, axis=0)
    return [
        {
            "foreground": c.foreground,
            "saddle_ratio": c.saddle_ratio,
            "min_area_px": c.min_area_px,
            "map": round(float(mean), 6),
        }
        for c, mean in zip(candidates, means, strict=True)
    ]


def best(rows: Sequence[dict[str, float]]) -> Thresholds:
    """The candidate of highest mAP; of equals the first."""
    row = max(rows, key=lambda row: row["map"])
    return Thresholds(row["foreground"], row["saddle_ratio"], int(row["min_area_px"]))


def _score(paths: tuple[Path, Path], instance_target: str, candidates: Sequence[Thresholds]) -> list[float]:
    maps, truth = np.load(paths[0]).astype(np.float32), read_labels(paths[1])
    cut = lru_cache(maxsize=None)(
        partial(OverSegmentation, instance_target, maps[0], maps[1:] if len(maps) > 1 else None)
    )
    return [
        match(truth, cut(candidate.foreground).label(candidate.saddle_ratio, candidate.min_area_px)).map
        for candidate in candidates
    ]
