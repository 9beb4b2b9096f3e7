"""How much of an error is a mere offset of the outlines: scores after moving each image's by the pixels that fit best.

    python tests/benchmarks/outlines.py [--part test]

It reads what `dvc repro evaluate` left in the working tree. The best offset is chosen with the truth at hand, so the
second line is no result: it says what the predictions would score if they were as tight or loose as the annotation.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from skimage.segmentation import expand_labels

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "stages"))

from nuclei.images.io import read_labels
from nuclei.images.records import label_path, read_part
from nuclei.scores.matching import match
from nuclei.scores.metrics import pixel_counts

PREPARED, SPLIT, PREDICTIONS = Path("data/prepared"), Path("data/split.csv"), Path("data/predictions")
OFFSETS_PX = (0, 1, 2, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--part", choices=["val", "test"], default="test")
    records = read_part(PREPARED, SPLIT, parser.parse_args().part)
    scores = np.array([scores_at_offsets(record.id) for record in records])  # (images, offsets, 3)
    best = np.nanargmax(np.nan_to_num(scores[..., 0], nan=-1), axis=1)
    for what, chosen in (("as predicted", np.zeros_like(best)), ("best offset of each image", best)):
        values = np.nanmean(scores[np.arange(len(best)), chosen], axis=0)
        print(what, *(f"{name} {value:.4f}" for name, value in zip(("mAP", "AP50", "Dice"), values, strict=True)))
    counts = np.bincount(best, minlength=len(OFFSETS_PX))
    print("images by best offset:", *(f"{px} px: {count}" for px, count in zip(OFFSETS_PX, counts, strict=True)))


def scores_at_offsets(image: str) -> list[tuple[float, float, float]]:
    truth, predicted = (read_labels(label_path(folder, image)) for folder in (PREPARED, PREDICTIONS))
    scores = []
    for offset in OFFSETS_PX:
        moved = expand_labels(predicted, offset)
        found = match(truth, moved)
        scores.append((found.map, found.ap[0], pixel_counts(truth > 0, moved > 0).dice))
    return scores


if __name__ == "__main__":
    main()
