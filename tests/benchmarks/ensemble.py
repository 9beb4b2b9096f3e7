"""Whether several networks together pay: the search for thresholds on val for each model, and for their mean.

python tests/benchmarks/ensemble.py MODEL MODEL...    # folders like data/model, of the data in the working tree
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "stages"))

from nuclei.base import params
from nuclei.base.machine import keep_freed_memory
from nuclei.images.io import read_rgb
from nuclei.images.records import image_path, label_path, read_part
from nuclei.network.segmenter import Segmenter
from nuclei.train import search

PREPARED, SPLIT = Path("data/prepared"), Path("data/split.csv")


def main() -> None:
    names = [*sys.argv[1:], "their mean"]
    keep_freed_memory()
    segmenters = [Segmenter.load(name) for name in sys.argv[1:]]
    grid = search.grid(params.load().train)
    with tempfile.TemporaryDirectory() as scratch:
        stored: list[list[tuple[Path, Path]]] = [[] for _ in names]
        for number, record in enumerate(read_part(PREPARED, SPLIT, "val")):
            rgb = read_rgb(image_path(PREPARED, record.id))
            maps = [segmenter.maps(rgb) for segmenter in segmenters]
            for which, values in enumerate([*maps, np.mean(maps, axis=0)]):
                path = Path(scratch) / f"{which}-{number}.npy"
                np.save(path, values.astype(np.float16))
                stored[which].append((path, label_path(PREPARED, record.id)))
        for name, images in zip(names, stored, strict=True):
            rows = search.search(images, segmenters[0].settings.instance_target, grid)
            print(f"{name}: mAP {max(row['map'] for row in rows):.4f} with {search.best(rows)}", flush=True)


if __name__ == "__main__":
    main()
