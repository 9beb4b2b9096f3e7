"""What is scored, and what stops the scoring."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn import REPORTS, draw, leave_out, rows, score

from nuclei.base.errors import InputError
from nuclei.images.io import write_labels, write_scores
from nuclei.images.records import label_path, score_path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return draw(tmp_path)


def test_a_part_that_is_not_asked_for_is_not_read(folder: Path) -> None:
    both = json.loads((score(folder) / "metrics.json").read_text())
    for kind in ("labels", "scores"):
        for name in "de":
            next((folder / "predictions" / kind).glob(f"{name}.*")).unlink()
    alone = score(folder, "alone", parts=("val",))
    assert json.loads((alone / "metrics.json").read_text()) == {"val": both["val"]}
    assert list(json.loads((alone / "metrics_ci.json").read_text())) == ["val"]
    assert {row["part"] for path in alone.glob("*.csv") for row in rows(alone, path.stem)} == {"val"}


def test_workers_change_no_byte(folder: Path) -> None:
    one, two = score(folder, "one", workers=1), score(folder, "two", workers=2)
    assert sorted(path.name for path in one.iterdir()) == sorted(REPORTS)
    for name in REPORTS:
        assert (one / name).read_bytes() == (two / name).read_bytes()


def test_a_split_without_groups_is_an_error(folder: Path) -> None:
    text = (folder / "split.csv").read_text()
    (folder / "split.csv").write_text("".join(line.rsplit(",", 2)[0] + "\n" for line in text.splitlines()))
    with pytest.raises(InputError, match=r"(?s)a table lacks columns.*split\.csv.*group.*dvc repro"):
        score(folder)
    (folder / "split.csv").write_text(text.replace(",7,", ",,"))
    with pytest.raises(InputError, match=r"(?s)images of a split have no group.*split\.csv.*a, b.*dvc repro"):
        score(folder)


@pytest.mark.parametrize("find", [label_path, score_path])
def test_a_missing_prediction_is_an_error_and_nothing_is_written(folder: Path, find: Any) -> None:
    find(folder / "predictions", "c").unlink()
    with pytest.raises(InputError, match=r"(?s)a prediction is missing.*c\.(tif|png).*9 of 10.*dvc repro evaluate"):
        score(folder)
    assert not (folder / "reports").exists()


def test_a_prediction_of_another_shape_is_an_error(folder: Path) -> None:
    write_labels(label_path(folder / "predictions", "a"), np.zeros((2, 10), np.uint16))
    with pytest.raises(InputError, match=r"(?s)label map does not have the shape of its truth.*a\.tif.*2 x 10.*1 x 10"):
        score(folder)


def test_scores_of_another_shape_are_an_error_from_a_worker_too(folder: Path) -> None:
    write_scores(score_path(folder / "predictions", "d"), np.zeros((1, 7), np.uint16))
    with pytest.raises(InputError, match=r"(?s)score map does not have the shape of its truth.*d\.png.*1 x 7.*1 x 6"):
        score(folder, workers=2)


def test_a_part_without_images_is_an_error(folder: Path) -> None:
    leave_out(folder, "d")
    leave_out(folder, "e")
    with pytest.raises(InputError, match=r"(?s)no image is in the part test.*split\.test_fraction"):
        score(folder)
