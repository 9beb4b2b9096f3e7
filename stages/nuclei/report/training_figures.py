"""The figures of the training: learning curves and the search for thresholds."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from nuclei.report.drawing import DASHES, Drawing, ramp
from nuclei.report.tables import Reports


def learning_curves(reports: Reports) -> Drawing:
    """Losses, validation scores and learning rate, epoch by epoch.

    The validation scores are not those of the evaluation: to be fast, they take the scale of each image from its ground
    truth, and 0.5 as threshold.
    """
    history = reports.table("history")
    epochs = history["epoch"]
    figure = Figure()
    loss, score, rate = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 1.3))
    dot = "o" if len(epochs) < 3 else None
    loss.plot(epochs, history["train_loss"], marker=dot, linestyle="solid", color="C2", label="training, foreground")
    if history["train_instance_loss"].any():
        second = {"linestyle": (0, (1, 1.2)), "color": "C2", "label": "training, instances"}
        loss.plot(epochs, history["train_instance_loss"], marker=dot, **second)
    loss.plot(
        epochs, history["val_loss"], marker=dot, linestyle=DASHES["val"], color="C0", label="validation, foreground"
    )
    score.plot(epochs, history["val_dice_true_scale"], marker=dot, linestyle="solid", color="C0", label="Dice")
    score.plot(epochs, history["val_iou_true_scale"], marker=dot, linestyle=(0, (1, 1.2)), color="C0", label="IoU")
    rate.plot(epochs, history["learning_rate"], marker=dot, linestyle="solid", color="C4")
    loss.set(ylabel="loss", ylim=(0, None))
    score.set(ylabel="validation score\nat true scale", ylim=(0, 1))
    rate.set(ylabel="learning\nrate", xlabel="epoch", ylim=(0, None))
    rate.xaxis.set_major_locator(MaxNLocator(integer=True))
    kept = history.loc[history["kept"].idxmax()]
    dice = "undefined"
    if not np.isnan(kept["val_dice_true_scale"]):
        dice = f"{kept['val_dice_true_scale']:.3f}"
        score.plot(
            kept["epoch"],
            kept["val_dice_true_scale"],
            "o",
            markersize=9,
            markerfacecolor="none",
            color="C1",
            label="kept",
        )
    for axes in (loss, score):
        axes.legend(loc="best")
    figure.align_ylabels()
    first, last = history.iloc[0], history.iloc[-1]
    alt = (
        f"Over {len(epochs)} epoch{'' if len(epochs) == 1 else 's'} the training loss goes from "
        f"{first['train_loss']:.3g} to {last['train_loss']:.3g}, the validation loss from {first['val_loss']:.3g} to "
        f"{last['val_loss']:.3g}; "
        f"validation Dice of the weights that were kept, with the true scale of each image and threshold 0.5: {dice}, "
        f"after epoch {kept['epoch']:.0f}."
    )
    return Drawing("Learning curves", alt, figure)


def threshold_search(reports: Reports) -> Drawing:
    """mAP on validation for each pair of thresholds, at the best of the minimum areas tried."""
    tried = reports.table("search").fillna({"saddle_ratio": 0.0})
    best = tried.loc[tried["map"].idxmax()]
    grid = tried.pivot_table("map", "foreground", "saddle_ratio", aggfunc="max").sort_index(ascending=False)
    figure = Figure()
    axes = figure.subplots()
    shown = axes.imshow(grid, cmap=ramp("val"), aspect="auto")
    low, high = float(np.nanmin(grid)), float(np.nanmax(grid))
    for row, foreground in enumerate(grid.index):
        for col, ratio in enumerate(grid.columns):
            value = grid.iloc[row, col]
            highest = foreground == best["foreground"] and ratio == best["saddle_ratio"]
            dark = high > low and (value - low) / (high - low) > 0.55
            ink = mpl.rcParams["axes.facecolor"] if dark else mpl.rcParams["text.color"]
            axes.text(col, row, f"{value:.3f}", ha="center", va="center", color=ink, fontsize=9,
                      weight="bold" if highest else "normal")  # fmt: skip
            if highest:
                axes.add_patch(Rectangle((col - 0.47, row - 0.46), 0.94, 0.92, fill=False, edgecolor="C1", lw=3))
    axes.set_xticks(range(len(grid.columns)), [f"{ratio:g}" for ratio in grid.columns])
    axes.set_yticks(range(len(grid.index)), [f"{foreground:g}" for foreground in grid.index])
    areas = ", ".join(f"{area:g}" for area in sorted(tried["min_area_px"].unique()))
    axes.set(xlabel="saddle ratio", ylabel="foreground threshold")
    axes.set_title(f"highest: minimum area {best['min_area_px']:g} px (tried: {areas})")
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(shown, label="mAP on validation")
    bar.outline.set_visible(False)
    alt = (
        f"mAP on validation over {len(tried)} combinations of thresholds; the best, {best['map']:.3f}, at foreground "
        f"{best['foreground']:g}, saddle ratio {best['saddle_ratio']:g}, minimum area {best['min_area_px']:g} px."
    )
    return Drawing("Search for thresholds", alt, figure)
