"""Every figure of the report, in the order in which a reader wants them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from nuclei.report.drawing import Drawing, Picture, render
from nuclei.report.evaluation_figures import (
    average_precision_over_iou,
    calibration,
    confusion,
    counts,
    dice_by_density,
    dice_by_size,
    dice_histogram,
    intervals,
    precision_recall,
    roc,
)
from nuclei.report.tables import Reports
from nuclei.report.training_figures import learning_curves, threshold_search

FIGURES: tuple[Callable[[Reports], Drawing], ...] = (
    intervals,
    average_precision_over_iou,
    learning_curves,
    confusion,
    roc,
    precision_recall,
    dice_histogram,
    counts,
    dice_by_size,
    dice_by_density,
    calibration,
    threshold_search,
)


def draw(reports: Reports, *, dpi: int, dark: bool = False) -> Iterator[Picture]:
    """Draw every figure, on white or for a dark page."""
    for figure in FIGURES:
        yield render(figure, reports, dpi=dpi, dark=dark)
