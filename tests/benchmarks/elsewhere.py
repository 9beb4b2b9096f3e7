"""What a model does with images unlike those of a data set: other sizes, inverted images, images without nuclei.

    python tests/benchmarks/elsewhere.py MODEL PREPARED SPLIT [--part test] [--images 40]
        [--window-px 1024] [--min-score P] [--min-best-score P] [--only size | enlarged | inverted | empty]

MODEL is the folder of a model that was trained without the images of the part, as data/model is without test. Images of
one part of a split are changed here, so all figures are of real images, except for the blank ones, which are drawn:
constant, graded and noisy, in 8 bits. Prints four Markdown tables:

- size: how far the measured diameter is from the annotated one, and mAP with either, of images as they are. One image
  of each group, of every modality.
- enlarged: images with nuclei of 20 to 50 px as they are, and enlarged until these have 60, 120 and 180 px, in windows
  of 1,024 px; F1 at IoU 0.5, pooled, with the diameter measured and given. One image of each group.
- inverted: mAP of fluorescence as it is and inverted. One image of each group.
- empty: how many of 100 images, in each of which there is nothing to find, have no nucleus.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import relabel_sequential

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "stages"))

from nuclei.base.errors import run
from nuclei.evaluate.bootstrap import intervals
from nuclei.images.io import read_labels, read_rgb
from nuclei.images.records import image_path, label_path, read_groups, read_part
from nuclei.network.segmenter import Segmenter
from nuclei.network.sizing import diameter
from nuclei.scores.matching import match

ENLARGED_PX, WINDOW_PX, USUAL_PX = (60, 120, 180), 1024, (20, 50)
EMPTY, EMPTY_PX = 100, 256
Pair = tuple[NDArray[np.uint8], NDArray[np.integer]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="the folder of a model")
    parser.add_argument("prepared", type=Path, help="data/prepared")
    parser.add_argument("split", type=Path, help="data/split.csv")
    parser.add_argument("--part", default="test", help="(test)")
    parser.add_argument("--images", type=int, default=40, help="to enlarge, at most (40)")
    parser.add_argument("--only", choices=["size", "enlarged", "inverted", "empty"], help="one of the tables")
    parser.add_argument("--window-px", type=int, default=WINDOW_PX, help=f"of enlarged images, at most ({WINDOW_PX})")
    parser.add_argument("--min-score", type=float, help="drop nuclei below this score (what the model says)")
    best = "an image shows none if its highest-scoring nucleus has a lower score (what the model says)"
    parser.add_argument("--min-best-score", type=float, help=best)
    arguments = parser.parse_args()
    segmenter = Segmenter.load(arguments.model)
    chosen = {"min_score": arguments.min_score, "min_best_score": arguments.min_best_score}
    chosen = {name: value for name, value in chosen.items() if value is not None}
    segmenter.settings = replace(segmenter.settings, **chosen)
    groups = read_groups(arguments.split)
    records = {groups[record.id]: record for record in read_part(arguments.prepared, arguments.split, arguments.part)}
    of_modality: dict[str, list[Pair]] = defaultdict(list)
    for record in records.values():  # one of each group
        paths = image_path(arguments.prepared, record.id), label_path(arguments.prepared, record.id)
        of_modality[record.modality].append((read_rgb(paths[0]), read_labels(paths[1])))
    pairs = of_modality["fluorescence"]
    pairs = [pairs[at] for at in np.random.default_rng(0).permutation(len(pairs))]
    tables = {
        "size": lambda: size(segmenter, of_modality),
        "enlarged": lambda: enlarged(segmenter, pairs, arguments.images, arguments.window_px),
        "inverted": lambda: inverted(segmenter, pairs),
        "empty": lambda: empty(segmenter, pairs),
    }
    for table in [arguments.only] if arguments.only else tables:
        tables[table]()


def size(segmenter: Segmenter, of_modality: dict[str, list[Pair]]) -> None:
    print("| modality | images | off by more than 1.5 | median error | mAP, measured | mAP, given | difference |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for modality, pairs in of_modality.items():
        ratios, scores = [], []
        for rgb, truth in pairs:
            own_px = diameter(truth)
            if own_px is None:
                continue
            scale = segmenter.scale(rgb)
            ratios.append((scale.diameter_px or np.inf) / own_px)
            both = segmenter.predict(rgb, scale), segmenter.maps(rgb, own_px)
            scores.append([match(truth, segmenter.nuclei(maps)[0]).map for maps in both])
        errors = np.abs(np.log(ratios))
        off, median = np.count_nonzero(errors > np.log(1.5)), np.expm1(np.median(errors))
        print(f"| {modality} | {len(errors)} | {off} | {median:.1%} | {compared(scores)} |", flush=True)


def enlarged(segmenter: Segmenter, pairs: list[Pair], images: int, window_px: int) -> None:
    print("\n| diameter | images | nuclei | F1, measured | F1, given | measured diameter off by more than 1.5 |")
    print("|---|---|---|---|---|---|", flush=True)
    usual = [pair for pair in pairs if USUAL_PX[0] <= (diameter(pair[1]) or 0) <= USUAL_PX[1]][:images]
    for enlarged_px in (None, *ENLARGED_PX):
        hits, found, true, off = np.zeros(2), np.zeros(2), 0, 0
        for rgb, truth in usual:
            own_px = diameter(truth) or 1.0
            target_px = enlarged_px or own_px
            large, labels = windowed(rgb, truth, target_px / own_px, window_px)
            true += int(labels.max())
            scale = segmenter.scale(large)
            off += not 1 / 1.5 < (scale.diameter_px or 0) / target_px < 1.5
            for way, maps in enumerate((segmenter.predict(large, scale), segmenter.maps(large, target_px))):
                matches = match(labels, segmenter.nuclei(maps)[0])
                hits[way] += matches.tp[0]
                found[way] += matches.predicted
        f1 = 2 * hits / (found + true)
        row = [
            "as it is" if enlarged_px is None else f"{enlarged_px} px",
            len(usual),
            true,
            *(f"{value:.3f}" for value in f1),
            f"{off} of {len(usual)}",
        ]
        print(f"| {' | '.join(map(str, row))} |", flush=True)


def windowed(rgb: NDArray[np.uint8], truth: NDArray[np.integer], zoom: float, window_px: int) -> Pair:
    """The middle of an enlarged image and its label map, without nuclei of which the cut leaves less than half."""
    height, width = (min(side, round(window_px / zoom)) for side in truth.shape)
    top, left = (truth.shape[0] - height) // 2, (truth.shape[1] - width) // 2
    place = slice(top, top + height), slice(left, left + width)
    whole, cut = np.bincount(truth.ravel()), truth[place].copy()
    left_over = np.bincount(cut.ravel(), minlength=len(whole))
    cut[(left_over < whole / 2)[cut]] = 0
    size = round(width * zoom), round(height * zoom)
    large = cv2.resize(rgb[place], size, interpolation=cv2.INTER_CUBIC)
    labels = cv2.resize(cut.astype(np.uint16), size, interpolation=cv2.INTER_NEAREST)
    return large, relabel_sequential(labels)[0]


def inverted(segmenter: Segmenter, pairs: list[Pair]) -> None:
    scores = [[match(truth, segmenter.segment(image)).map for image in (rgb, 255 - rgb)] for rgb, truth in pairs]
    print("\n| images, groups | mAP, as it is | mAP, inverted | difference |\n|---|---|---|---|")
    print(f"| {len(scores)}, {len(scores)} | {compared(scores)} |", flush=True)


def compared(scores: list[list[float]]) -> str:
    """The two means of (N, 2) scores, and that of the second minus the first with its 95 % interval over images."""
    both = np.array([pair for pair in scores if np.isfinite(pair).all()])
    difference = both[:, 1] - both[:, 0]
    low, high = intervals(
        lambda drawn: {"difference": drawn @ difference / drawn.sum(axis=1)},
        np.arange(len(both)),
        resamples=2000,
        seed=0,
    )["difference"]
    means = [f"{value:.3f}" for value in both.mean(axis=0)]
    return f"{' | '.join(means)} | {difference.mean():+.3f} [{low:+.3f}, {high:+.3f}]"


def empty(segmenter: Segmenter, pairs: list[Pair]) -> None:
    kinds = {
        "drawn: constant, with camera noise": constant,
        "drawn: 0 to 12 gray levels": dim,
        "drawn: uneven background": graded,
    }

    print(f"\n| images without nuclei | none found | nuclei found in {EMPTY} |\n|---|---|---|", flush=True)
    for name, draw in kinds.items():
        rng = np.random.default_rng(0)
        report(name, [segmenter.segment(gray(draw(rng))) for _ in range(EMPTY)])
    crops = list(background(pairs))
    report("real background", [segmenter.segment(crop) for crop in crops])
    report("real background, out of focus", [segmenter.segment(cv2.GaussianBlur(crop, (0, 0), 6)) for crop in crops])


def report(name: str, found: list[NDArray[np.integer]]) -> None:
    counts = [int(labels.max()) for labels in found]
    print(f"| {name} | {counts.count(0)} of {len(counts)} | {sum(counts)} |", flush=True)


def constant(rng: np.random.Generator) -> NDArray[np.float64]:
    return rng.uniform(5, 200) + rng.normal(0, rng.uniform(0.5, 6), (EMPTY_PX, EMPTY_PX))


def dim(rng: np.random.Generator) -> NDArray[np.float64]:
    return rng.poisson(rng.uniform(0.3, 6), (EMPTY_PX, EMPTY_PX)).clip(0, 12).astype(np.float64)


def graded(rng: np.random.Generator) -> NDArray[np.float64]:
    coarse = rng.uniform(0, 1, (4, 4))
    smooth = cv2.resize(coarse, (EMPTY_PX, EMPTY_PX), interpolation=cv2.INTER_CUBIC)
    return rng.uniform(5, 60) + rng.uniform(5, 60) * smooth + rng.normal(0, 2, smooth.shape)


def gray(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.dstack([np.clip(np.rint(values), 0, 255).astype(np.uint8)] * 3)


def background(pairs: list[Pair]) -> Iterator[NDArray[np.uint8]]:
    """Up to EMPTY squares of at least 96 px of real images in which no nucleus is annotated, one of each image."""
    left = EMPTY
    for rgb, truth in pairs:
        for side in (EMPTY_PX, 192, 128, 96):
            taken = cv2.boxFilter((truth > 0).astype(np.float32), -1, (side, side), normalize=False, anchor=(0, 0))
            free = taken[: truth.shape[0] - side + 1, : truth.shape[1] - side + 1] < 0.5
            if free.any():
                row, col = np.argwhere(free)[0]
                yield rgb[row : row + side, col : col + side]
                left -= 1
                break
        if not left:
            return


if __name__ == "__main__":
    run(main)
