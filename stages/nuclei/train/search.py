"""Grid search for the thresholds with the highest mAP on the validation images, from stored network outputs."""

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

COLUMNS = ["foreground", "saddle_ratio", "min_area_px", "map", "standard_error"]


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
        images: for each, the `.npy` file of the network's output, (1 + C, H, W), and the file of its true label map.
        instance_target: the second head's target, or `none`.
        candidates: the thresholds to try.

    Returns:
        A row of COLUMNS for each candidate, in order; `standard_error` is that of the mean difference, over images,
        between it and the candidate of highest mAP. `map` is the mean over all images of the mean over IoU
        .50:.05:.95 of TP / (TP + FP + FN). An image without nuclei scores 1 where the candidate predicts none, and 0
        where it predicts any: so every candidate is averaged over the same images, and false positives on an empty
        image count against it. `map` in reports/metrics.json leaves out the empty images that are predicted empty.
    """
    score = partial(_score, instance_target=instance_target, candidates=candidates)
    scored = track(ordered_map(score, images), what="thresholds", total=len(images))
    scores = np.array(list(scored))  # (images, candidates)
    means = scores.mean(axis=0)
    behind = scores - scores[:, [means.argmax()]]  # image by image
    errors = behind.std(axis=0, ddof=1) / np.sqrt(len(scores)) if len(scores) > 1 else np.zeros_like(means)
    return [
        {
            "foreground": c.foreground,
            "saddle_ratio": c.saddle_ratio,
            "min_area_px": c.min_area_px,
            "map": round(float(mean), 6),
            "standard_error": round(float(error), 6),
        }
        for c, mean, error in zip(candidates, means, errors, strict=True)
    ]


def best(rows: Sequence[dict[str, float]]) -> Thresholds:
    """The thresholds whose foreground is nearest to 0.5 of all that score as well as the best, as far as val can tell.

    A candidate does if its mAP is within one standard error of the highest, where the error is that of the mean
    difference between the two (the one-standard-error rule of Breiman et al., 1984, paired by image). mAP on val is
    nearly flat in the foreground threshold, and a high one makes outlines too tight on images of another kind. Of the
    candidates with that foreground, the one of highest mAP is chosen; the first of them if several are equal.
    """
    highest = max(row["map"] for row in rows)
    good = [row for row in rows if highest - row["map"] <= row["standard_error"]]
    row = min(good, key=lambda row: (abs(row["foreground"] - 0.5), -row["map"]))
    return Thresholds(row["foreground"], row["saddle_ratio"], int(row["min_area_px"]))


def _score(paths: tuple[Path, Path], instance_target: str, candidates: Sequence[Thresholds]) -> list[float]:
    maps, truth = np.load(paths[0]).astype(np.float32), read_labels(paths[1])
    cut = lru_cache(maxsize=None)(
        partial(OverSegmentation, instance_target, maps[0], maps[1:] if len(maps) > 1 else None)
    )
    scores = [
        match(truth, cut(candidate.foreground).label(candidate.saddle_ratio, candidate.min_area_px)).map
        for candidate in candidates
    ]
    return [1.0 if np.isnan(score) else score for score in scores]  # NaN: no nucleus in truth or prediction
