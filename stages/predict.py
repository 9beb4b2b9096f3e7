"""Segment the unlabelled images and write a submission in Kaggle's format.

Reads:      data/model, data/unlabelled
Writes:     data/submission: labels/, overlays/, montage.png, submission.csv
Parameters: predict
"""

from __future__ import annotations

from pathlib import Path

from nuclei.base import files
from nuclei.base.errors import run
from nuclei.base.machine import keep_freed_memory
from nuclei.base.params import load
from nuclei.base.progress import track
from nuclei.images.io import read_rgb, write_labels, write_rgb
from nuclei.images.records import image_path, label_path, read_ids
from nuclei.network.segmenter import Segmenter
from nuclei.pictures.montages import fitted, montage
from nuclei.pictures.overlays import Rgb, overlay
from nuclei.segment import rle

MODEL, UNLABELLED, SUBMISSION = Path("data/model"), Path("data/unlabelled"), Path("data/submission")
COLUMNS = ["ImageId", "EncodedPixels"]
MONTAGE_IMAGES, MONTAGE_COLUMNS, MONTAGE_PX = 24, 6, 256


def main() -> None:
    params = load()
    keep_freed_memory()
    segmenter = Segmenter.load(MODEL, device=params.predict.device)
    ids = read_ids(UNLABELLED)
    rows: list[dict[str, str]] = []
    clamped = 0
    pictures: list[Rgb] = []
    with files.replacing(SUBMISSION) as folder:
        (folder / "overlays").mkdir(parents=True)
        for id in track(ids, what="predict", total=len(ids)):
            rgb = read_rgb(image_path(UNLABELLED, id))
            scale = segmenter.scale(rgb)
            clamped += scale.warning is not None
            labels = segmenter.nuclei(segmenter.predict(rgb, scale))[0]
            write_labels(label_path(folder, id), labels)
            write_rgb(folder / "overlays" / f"{id}.png", overlay(rgb, labels))
            # an image without nuclei has a row too, with nothing in it
            rows += [{"ImageId": id, "EncodedPixels": line} for line in rle.encode(labels) or [""]]
            if len(pictures) < MONTAGE_IMAGES:
                small, (small_labels,) = fitted(rgb, [labels], MONTAGE_PX)
                pictures.append(overlay(small, small_labels))
        if pictures:
            write_rgb(folder / "montage.png", montage(pictures, MONTAGE_COLUMNS))
        files.write_rows(folder / "submission.csv", COLUMNS, rows)
    print(f"{len(ids)} unlabelled images, {sum(bool(row['EncodedPixels']) for row in rows)} nuclei")
    if clamped:
        print(f"{clamped} of {len(ids)} images have nuclei too large or too small for the limits of the zoom")


if __name__ == "__main__":
    run(main)
