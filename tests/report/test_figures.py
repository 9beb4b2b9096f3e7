"""The figures: reproducible, complete, and drawn whatever is undefined."""

from __future__ import annotations

import dataclasses
import io
import itertools
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from nuclei.report import drawing, figures, tables
from nuclei.report.tables import Reports


@pytest.fixture(scope="module")
def reports(run_folder: Path) -> Reports:
    return tables.read(run_folder / "reports")


@pytest.fixture(scope="module")
def pictures(reports: Reports) -> list[drawing.Picture]:
    return list(figures.draw(reports, dpi=60))


def with_table(reports: Reports, name: str, **columns: object) -> Reports:
    """The same reports with some columns of one table changed."""
    return dataclasses.replace(reports, tables={**reports.tables, name: reports.tables[name].assign(**columns)})


def alt(figure: Callable[[Reports], drawing.Drawing], reports: Reports) -> str:
    return drawing.render(figure, reports, dpi=50).alt


def test_every_figure_is_there_under_its_name(pictures):
    assert [picture.name for picture in pictures] == [function.__name__ for function in figures.FIGURES]
    assert {"roc", "precision_recall", "confusion", "learning_curves", "dice_histogram", "counts", "calibration"} <= {
        picture.name for picture in pictures
    }


def test_a_second_drawing_has_the_same_bytes_whatever_the_users_own_style(reports, pictures):
    with mpl.rc_context({"font.size": 20, "figure.facecolor": "red", "axes.labelpad": 30, "xtick.direction": "in"}):
        again = list(itertools.islice(figures.draw(reports, dpi=60), 3))
    assert [picture.png for picture in again] == [picture.png for picture in pictures[:3]]


def test_drawing_leaves_the_users_style_as_it_was(reports):
    before = dict(mpl.rcParams)
    next(figures.draw(reports, dpi=50))
    assert dict(mpl.rcParams) == before


def test_a_png_has_no_metadata_but_its_resolution(pictures):
    for picture in pictures:
        assert not set(Image.open(io.BytesIO(picture.png)).info) - {"dpi"}


def test_a_figure_is_as_large_as_it_says(pictures):
    for picture in pictures:
        assert Image.open(io.BytesIO(picture.png)).size == (picture.width_px, picture.height_px)


def test_the_dark_figures_differ_from_the_light_ones_only_in_colour(reports, pictures):
    dark = list(figures.draw(reports, dpi=60, dark=True))
    for one, other in zip(pictures, dark, strict=True):
        assert (one.name, one.alt, one.width_px) == (other.name, other.alt, other.width_px)
        assert np.asarray(Image.open(io.BytesIO(one.png)).convert("L")).mean() > 150
        assert np.asarray(Image.open(io.BytesIO(other.png)).convert("L")).mean() < 110


def test_the_text_of_a_figure_gives_its_numbers_for_both_parts(pictures):
    for picture in pictures:
        assert any(character.isdigit() for character in picture.alt), picture.name
        assert "validation" in picture.alt, picture.name
        if picture.name not in ("learning_curves", "threshold_search"):
            assert "test" in picture.alt, picture.name


def test_the_numbers_in_the_texts_are_those_of_the_tables(reports, pictures):
    said = {picture.name: picture.alt for picture in pictures}
    assert "AUC 0.9931 [0.9531, 0.9981]" in said["roc"]
    assert "validation Dice 0.930 [0.890, 0.935]" in said["intervals"]
    assert "validation: 96.86% of background predicted as background" in said["confusion"]
    assert "the best, 0.649, at foreground 0.5, saddle ratio 0.6, minimum area 10 px" in said["threshold_search"]
    assert "after epoch 24" in said["learning_curves"]
    undefined = reports.table("per_image", "test")["dice"].isna().sum()
    assert (f"{undefined} undefined" in said["dice_histogram"].split("test")[1]) == bool(undefined)


def test_calibration_error_is_the_mean_gap_weighted_by_pixels(reports):
    changed = with_table(reports, "calibration", mean_score=0.5, fraction_positive=0.75)
    assert "expected calibration error 0.2500" in alt(figures.calibration, changed)


def test_the_learning_curves_mark_the_epoch_that_was_kept_whether_it_was_the_best_or_not(reports):
    kept = [int(epoch == 7) for epoch in reports.tables["history"]["epoch"]]
    assert "0.859, after epoch 7." in alt(figures.learning_curves, with_table(reports, "history", kept=kept))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("figure", "name", "columns"),
    [
        (figures.dice_histogram, "per_image", {"dice": np.nan}),
        (figures.dice_by_size, "per_image", {"dice": np.nan}),
        (figures.dice_by_size, "per_image", {"median_area_px": np.nan}),
        (figures.dice_by_density, "per_image", {"nuclei": 0.0}),
        (figures.counts, "per_image", {"nuclei": 0.0, "nuclei_predicted": 0.0}),
        (figures.confusion, "confusion", {"pixels": 0.0}),
        (figures.calibration, "calibration", {"pixels": 0.0, "mean_score": np.nan, "fraction_positive": np.nan}),
        (figures.threshold_search, "search", {"saddle_ratio": np.nan, "map": 0.0}),
        (figures.average_precision_over_iou, "ap", {"ap": np.nan, "ap_pooled": np.nan}),
        (
            figures.learning_curves,
            "history",
            {"val_dice_true_scale": np.nan, "val_iou_true_scale": np.nan, "val_loss": np.nan},
        ),
        (figures.roc, "roc", {"fpr": np.nan}),
        (figures.precision_recall, "precision_recall", {"precision": 0.0, "recall": 0.0}),
    ],
)
def test_undefined_and_constant_values_are_drawn_without_a_warning(reports, figure, name, columns):
    assert alt(figure, with_table(reports, name, **columns))


@pytest.mark.filterwarnings("error")
def test_one_epoch_one_image_and_one_combination_are_enough(reports):
    per_image = reports.tables["per_image"].groupby("part").head(1)
    few = {name: reports.tables[name].head(1) for name in ("history", "search")}
    one = dataclasses.replace(reports, tables={**reports.tables, **few, "per_image": per_image})
    assert "Over 1 epoch " in alt(figures.learning_curves, one)
    assert "1 images" in alt(figures.dice_by_size, one)
    assert "over 1 combinations" in alt(figures.threshold_search, one)


def test_a_report_of_val_alone_is_drawn(reports):
    val = {name: t[t["part"] == "val"] if "part" in t else t for name, t in reports.tables.items()}
    only = Reports({"val": reports.metrics["val"]}, {"val": reports.intervals["val"]}, val)
    assert "test" not in alt(figures.roc, only)
