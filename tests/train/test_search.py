"""The grid search for thresholds: every combination once, in a fixed order, each scored on the same images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from conftest import write_params
from nuclei.base import params
from nuclei.images.io import write_labels
from nuclei.network.labelling import Thresholds
from nuclei.network.targets import TARGETS
from nuclei.train.search import COLUMNS, best, grid, search


def discs(*places: tuple[int, int, int]) -> np.ndarray:
    """Discs of (row, col, radius) on 40 x 60 pixels, numbered from 1; where two overlap, the first keeps the pixels."""
    rows, cols = np.indices((40, 60))
    labels = np.zeros((40, 60), np.uint16)
    for number, (row, col, radius) in enumerate(places, start=1):
        labels[(np.hypot(rows - row, cols - col) <= radius) & (labels == 0)] = number
    return labels


TWO = discs((20, 15, 9), (20, 33, 9))


def written(folder: Path, predicted: np.ndarray, labels: np.ndarray, name: str = "a") -> tuple[Path, Path]:
    """Save a network's output, (1 + C, H, W), and the truth, as training does."""
    np.save(folder / f"{name}.npy", predicted.astype(np.float16))
    write_labels(folder / f"{name}.tif", labels)
    return folder / f"{name}.npy", folder / f"{name}.tif"


def maps(rows: list[dict[str, float]]) -> list[float]:
    return [row["map"] for row in rows]


def test_the_grid_holds_every_combination_once_in_a_fixed_order(tmp_path: Path) -> None:
    lists = {"search_foreground": [0.4, 0.6], "search_saddle_ratio": [0.3, 0.7], "search_min_area_px": [0, 9]}
    train = write_params(tmp_path, train=lists).train
    assert grid(train) == [
        Thresholds(foreground, ratio, area) for foreground in (0.4, 0.6) for area in (0, 9) for ratio in (0.3, 0.7)
    ]


def test_the_shipped_parameters_make_a_grid(tmp_path: Path) -> None:
    train = params.load(Path(__file__).resolve().parents[2] / "params.yaml").train
    tried = grid(train)
    assert len(set(tried)) == len(tried)
    assert len(tried) == len(train.search_foreground) * len(train.search_saddle_ratio) * len(train.search_min_area_px)


def test_the_best_is_the_first_of_equals() -> None:
    scores = [0.2, 0.7, 0.7, 0.1]
    rows = [
        {"foreground": 0.5, "saddle_ratio": i / 10, "min_area_px": i, "map": s, "standard_error": 0.0}
        for i, s in enumerate(scores)
    ]
    assert best(rows) == Thresholds(0.5, 0.1, 1)
    assert isinstance(best(rows).min_area_px, int)


def test_the_foreground_nearest_to_a_half_within_a_standard_error_is_chosen() -> None:
    scores = [(0.4, 0.50, 0.01), (0.6, 0.56, 0.01), (0.6, 0.565, 0.02), (0.7, 0.57, 0.0), (0.5, 0.55, 0.019)]
    rows = [
        {"foreground": f, "saddle_ratio": i / 10, "min_area_px": 0, "map": m, "standard_error": e}
        for i, (f, m, e) in enumerate(scores)
    ]
    assert best(rows) == Thresholds(0.6, 0.2, 0)


def test_the_standard_error_is_that_of_the_difference_to_the_best_over_images(tmp_path: Path) -> None:
    nothing = np.zeros_like(TWO)
    images = [
        written(tmp_path, np.where(TWO > 0, 0.62, 0.1)[None], nothing, "first"),
        written(tmp_path, np.where(TWO > 0, 0.62, 0.1)[None], nothing, "second"),
        written(tmp_path, nothing[None], nothing, "third"),
    ]
    rows = search(images, "none", [Thresholds(value, 0.5, 0) for value in (0.5, 0.9)])
    assert maps(rows) == [round(1 / 3, 6), 1]
    assert [row["standard_error"] for row in rows] == [round(1 / 3, 6), 0]  # of -1, -1, 0: a deviation of 1/sqrt(3)


def test_the_search_finds_the_foreground_threshold_that_recovers_the_map(tmp_path: Path) -> None:
    foreground = np.where(TWO > 0, 0.62, 0.1)
    foreground[(TWO == 0) & (np.indices(TWO.shape)[0] > 10)] = 0.45  # a haze around the nuclei
    candidates = [Thresholds(value, 0.5, 0) for value in (0.3, 0.5, 0.7)]
    predicted = np.concatenate([foreground[None], TARGETS["distance"].encode(TWO)])
    rows = search([written(tmp_path, predicted, TWO)], "distance", candidates)
    assert best(rows) == candidates[1]
    assert maps(rows)[1:] == [1, 0]
    assert maps(rows)[0] < 1
    assert [list(row) for row in rows] == [COLUMNS] * 3


def test_the_search_finds_the_saddle_ratio_that_separates_touching_nuclei(tmp_path: Path) -> None:
    pair = written(tmp_path, (TWO > 0)[None] * 0.9, TWO)
    candidates = [Thresholds(0.5, ratio, 0) for ratio in (0, 0.9)]
    rows = search([pair], "none", candidates)
    assert best(rows) == candidates[1]
    assert maps(rows) == [0.05, 1]  # merged, they reach an IoU of .50 with the larger one, and no more


def test_the_search_finds_the_smallest_area_that_drops_specks(tmp_path: Path) -> None:
    specks = discs((20, 15, 9), (20, 45, 9), (3, 3, 1), (36, 30, 1))
    truth = np.where(specks < 3, specks, 0).astype(np.uint16)
    candidates = [Thresholds(0.5, 0.5, area) for area in (0, 20, 400)]
    rows = search([written(tmp_path, (specks > 0)[None] * 0.9, truth)], "none", candidates)
    assert maps(rows) == [0.5, 1, 0]


def test_an_image_without_nuclei_scores_1_where_none_is_predicted_and_0_where_any_is(tmp_path: Path) -> None:
    nothing = np.zeros_like(TWO)
    images = [
        written(tmp_path, (TWO == 1)[None] * 0.9, np.where(TWO == 1, TWO, 0).astype(np.uint16), "right"),
        written(tmp_path, nothing[None], TWO, "missed"),
        written(tmp_path, nothing[None], nothing, "empty"),
        written(tmp_path, (TWO == 1)[None] * 0.6, nothing, "invented"),
    ]
    assert maps(search(images, "none", [Thresholds(0.5, 0.5, 0)])) == [(1 + 0 + 1 + 0) / 4]


def test_every_candidate_is_averaged_over_the_same_images(tmp_path: Path) -> None:
    small_and_large = discs((20, 15, 9), (20, 45, 3))
    images = [
        written(tmp_path, (small_and_large > 0)[None] * 0.9, small_and_large, "nuclei"),
        written(tmp_path, (small_and_large == 2)[None] * 0.9, np.zeros_like(small_and_large), "debris"),
    ]
    keeps, drops = Thresholds(0.5, 0.5, 0), Thresholds(0.5, 0.5, 100)
    rows = search(images, "none", [keeps, drops])
    # the first finds 2 of 2 nuclei and predicts debris, the second finds 1 of 2 and leaves the empty image empty
    assert maps(rows) == [(1 + 0) / 2, (1 / 2 + 1) / 2]
    assert best(rows) == drops
