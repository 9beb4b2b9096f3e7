"""The stage predict."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from test_rle import decode

from committed import run_here
from conftest import draw_discs
from nuclei.base import files
from nuclei.images.io import read_labels, write_rgb
from nuclei.images.records import UNLABELLED_COLUMNS, image_path, label_path


def test_predict_writes_a_submission_that_decodes_to_its_label_maps(workspace: Path) -> None:
    unlabelled = workspace / "data/unlabelled"
    (unlabelled / "images").mkdir(parents=True)
    pictures = {"full": draw_discs(7, 64, 50)[0], "black": np.zeros((40, 33, 3), np.uint8)}
    for id, rgb in pictures.items():
        write_rgb(image_path(unlabelled, id), rgb)
    rows = [dict.fromkeys(UNLABELLED_COLUMNS, "1") | {"id": id, "modality": "tissue"} for id in pictures]
    files.write_rows(unlabelled / "index.csv", UNLABELLED_COLUMNS, rows)
    done = run_here("predict", workspace)
    assert done.returncode == 0, done.stderr
    submission = workspace / "data/submission"
    lines = list(csv.DictReader((submission / "submission.csv").open()))
    for id, rgb in pictures.items():
        labels = read_labels(label_path(submission, id))
        encoded = [line["EncodedPixels"] for line in lines if line["ImageId"] == id]
        assert encoded  # an image without nuclei has a row too
        decoded = decode([line for line in encoded if line], rgb.shape[:2])
        np.testing.assert_array_equal(decoded, labels)
        assert (submission / "overlays" / f"{id}.png").exists()
    assert (submission / "montage.png").exists()


def test_predict_without_unlabelled_images_writes_an_empty_submission(workspace: Path) -> None:
    files.write_rows(workspace / "data/unlabelled/index.csv", UNLABELLED_COLUMNS, [])
    done = run_here("predict", workspace)
    assert done.returncode == 0, done.stderr
    assert (workspace / "data/submission/submission.csv").read_text() == "ImageId,EncodedPixels\n"
