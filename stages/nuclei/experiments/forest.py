"""A forest plot: one line for each experiment, with its difference from a reference and the interval of that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure


@dataclass(frozen=True)
class Panel:
    """The differences of one metric: the label of the axis, and (value, low, high) for each experiment."""

    label: str
    differences: Sequence[tuple[float, float, float]]


def forest(names: Sequence[str], panels: Sequence[Panel]) -> Figure:
    """Draw the panels side by side, the first experiment on top; filled blue where the interval excludes 0."""
    figure = Figure(figsize=(9.6, 1.3 + 0.34 * len(names)))
    for column, (axes, panel) in enumerate(
        zip(figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels, strict=True)
    ):
        for place, (value, low, high) in enumerate(panel.differences):
            excludes_zero = low > 0 or high < 0
            colour = "C0" if excludes_zero else "C4"
            axes.hlines(place, low, high, color=colour, linewidth=2.4)
            axes.plot(
                value, place, "o", color=colour, markerfacecolor=colour if excludes_zero else "none", markersize=6.5
            )
        axes.axvline(0, color="C3", linewidth=1.2, zorder=1)
        axes.set_xlabel(panel.label)
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
        if not column:
            axes.set_yticks(range(len(names)), names)
            axes.set_ylim(len(names) - 0.5, -0.5)
    return figure
