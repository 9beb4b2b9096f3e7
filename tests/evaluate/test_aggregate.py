"""From the per-image table to metrics: weights, undefined scores, and tables that can not be read."""

from __future__ import annotations

import numpy as np
import pytest

from nuclei.base.errors import InputError
from nuclei.evaluate import aggregate
from nuclei.evaluate.aggregate import COLUMNS, NUMBERS, Columns


def table(images: int, seed: int = 0) -> Columns:
    rng = np.random.default_rng(seed)
    columns = {name: rng.integers(1, 50, images).astype(float) for name in NUMBERS}
    columns |= {name: rng.random(images).round(6) for name in (*aggregate.MEANS.values(), "iou_sum")}
    columns["nuclei"] = columns["nuclei_predicted"] = np.full(images, 60.0)
    columns["dice"][0] = np.nan
    return columns


def test_weights_count_an_image_as_often_as_they_say() -> None:
    columns = table(4)
    drawn = np.array([3, 0, 3, 1])
    repeated = aggregate.metrics(aggregate.chosen(columns, drawn))
    weighted = aggregate.metrics(columns, np.bincount(drawn, minlength=4))
    assert weighted == pytest.approx(repeated)


def test_many_weightings_are_scored_at_once() -> None:
    columns, weights = table(5), np.random.default_rng(1).integers(0, 3, (7, 5))
    together = aggregate.metrics(columns, weights)
    for row, counted in enumerate(weights):
        apart = aggregate.metrics(columns, counted)
        assert {name: values[row] for name, values in together.items()} == pytest.approx(apart)


def test_an_undefined_score_drops_out_of_its_mean_alone_and_is_counted() -> None:
    columns = table(3)
    metrics = aggregate.metrics(columns)
    assert metrics["dice"] == pytest.approx(columns["dice"][1:].mean())
    assert metrics["iou"] == pytest.approx(columns["iou"].mean())
    assert aggregate.undefined(columns)["dice"].tolist() == [True, False, False]
    assert not aggregate.undefined(columns)["iou"].any()


def test_the_order_of_the_images_changes_no_digit() -> None:
    columns = table(200)
    shuffled = aggregate.chosen(columns, np.random.default_rng(2).permutation(200))
    assert aggregate.metrics(columns) == aggregate.metrics(shuffled)


def test_a_table_is_read_back_with_its_empty_cells() -> None:
    cells = {name: "1.5" for name in COLUMNS} | {
        "id": "a",
        "part": "val",
        "group": "3",
        "family": "x",
        "modality": "tissue",
        "dice": "",
    }
    text = ",".join(cells) + "\n" + ",".join(cells.values()) + "\n"
    rows, columns = aggregate.numbers(text, "per_image.csv")
    assert (rows[0]["id"], list(columns)) == ("a", NUMBERS)
    assert np.isnan(columns["dice"][0])
    assert columns["map"][0] == 1.5


def test_a_score_that_the_table_does_not_have_is_undefined_in_every_image() -> None:
    text = "id,part,height,width,nuclei,tp,fn,dice\na,val,9,9,1,2,3,0.5\nb,val,9,9,1,2,3,0.7\n"
    _, columns = aggregate.numbers(text, "per_image.csv")
    metrics = aggregate.metrics(columns)
    assert (metrics["dice"], metrics["recall"]) == pytest.approx((0.6, 0.4))
    assert np.isnan([metrics[name] for name in ("map", "aji", "splits", "ap50_pooled", "precision")]).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,part\na,val\n", "lacks columns"),
        ("", "lacks columns"),
        (",".join(COLUMNS) + "\n" + ",".join(["x"] * len(COLUMNS)) + "\n", "a wrong cell in height"),
        ("id,part,height,width,nuclei,tp\na,val,1,1,1,1\n", "lacks columns"),
        (",".join(COLUMNS) + "\na,val\n", "a wrong cell in height"),
    ],
)
def test_a_table_that_is_none_is_an_error(text: str, message: str) -> None:
    with pytest.raises(InputError, match=rf"(?s){message}.*reports/per_image\.csv of main"):
        aggregate.numbers(text, "reports/per_image.csv of main")


def test_the_groups_of_a_table_are_numbered() -> None:
    rows = [{"id": id, "group": group} for id, group in zip("abcd", ("12", "7", "12", "x"), strict=True)]
    assert aggregate.groups(rows, "per_image.csv").tolist() == [0, 1, 0, 2]


@pytest.mark.parametrize("row", [{"id": "b"}, {"id": "b", "group": ""}])
def test_a_table_without_groups_is_an_error_and_no_image_is_taken_for_a_group(row: dict[str, str]) -> None:
    with pytest.raises(InputError, match=r"(?s)which images belong together.*per_image\.csv of main.*1 of 2 rows"):
        aggregate.groups([{"id": "a", "group": "1"}, row], "reports/per_image.csv of main")
