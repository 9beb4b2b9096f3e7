"""The figures of the report, drawn from the tables that evaluate and train wrote, each with a text that says the same.

Validation is blue and dashed, test orange and solid, so that they differ without colour. The colours are Okabe and
Ito's (https://jfly.uni-koeln.de/color/). The same tables give the same bytes: no date, no software tag, and no setting
of the machine's own matplotlib.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, SymmetricalLogLocator
from PIL import Image

from nuclei.base.errors import InputError
from nuclei.images.records import REMAKE
from nuclei.report.tables import METRICS, Reports, Table

NAMES = {"val": "validation", "test": "test"}
COLOURS = {"val": "C0", "test": "C1"}
DASHES = {"val": (0, (4, 1.6)), "test": "solid"}
MARKERS = {"fluorescence": "o", "tissue": "^", "brightfield": "s"}
SIZE = (5.8, 4.4)  # inches, of every figure: two beside each other on a page, one below the other on a phone

STYLE: dict[str, Any] = {
    "figure.figsize": SIZE,
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 10.5,
    "axes.titlesize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.9,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
}
LIGHT: dict[str, Any] = {
    "paper": "#ffffff",
    "ink": "#1d2733",
    "faint": "#dfe4ea",
    "parts": ("#0072b2", "#d55e00", "#009e73"),
}
DARK: dict[str, Any] = {
    "paper": "#161b22",
    "ink": "#dde4ec",
    "faint": "#30363f",
    "parts": ("#56b4e9", "#f0913a", "#2fc79a"),
}


Shown = TypeVar("Shown")


@dataclass(frozen=True)
class Picture:
    """A drawn figure: its file name without ending, its title, what it shows in words, its PNG and the PNG's size."""

    name: str
    title: str
    alt: str
    png: bytes
    width_px: int
    height_px: int


@dataclass(frozen=True)
class Drawing:
    title: str
    alt: str
    figure: Figure


def draw(reports: Reports, *, dpi: int, dark: bool = False) -> Iterator[Picture]:
    """Draw every figure, in the order in which a reader wants them."""
    for figure in FIGURES:
        yield render(figure, reports, dpi=dpi, dark=dark)


def render(figure: Callable[[Shown], Drawing], shown: Shown, *, dpi: int, dark: bool = False) -> Picture:
    """Draw one of FIGURES, or another that returns a Drawing, in this project's style, on white or on a dark page."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_style(DARK if dark else LIGHT))
        drawing = figure(shown)
        buffer = io.BytesIO()
        # optimised, a PNG is a tenth smaller: it is kept in git
        drawing.figure.savefig(
            buffer, format="png", dpi=dpi, metadata={"Software": None}, pil_kwargs={"optimize": True}
        )
    width, height = Image.open(buffer).size
    return Picture(figure.__name__, drawing.title, drawing.alt, buffer.getvalue(), width, height)


def stored(picture: Picture, folder: Path) -> Picture:
    """The same figure as it was written to `folder` before, in that version's colours; InputError if it was not."""
    path = folder / f"{picture.name}.png"
    if not path.is_file():
        raise InputError("a figure is missing", file=path, fix=REMAKE)
    with Image.open(path) as image:
        width, height = image.size
    return replace(picture, png=path.read_bytes(), width_px=width, height_px=height)


def intervals(reports: Reports) -> Drawing:
    """The main metrics with their 95 % intervals over images."""
    shown = [name for name in ("dice", "iou", "map", "ap50", "ap75", "pq") if _known(reports, name)]
    figure, axes = _axes()
    said = []
    for offset, part in zip((-0.13, 0.13), ("val", "test"), strict=True):
        if part not in reports.metrics:
            continue
        values = np.array([reports.metrics[part].get(name, np.nan) for name in shown])
        bounds = [reports.intervals.get(part, {}).get(name) for name in shown]
        low = np.array([bound.low if bound else np.nan for bound in bounds])
        high = np.array([bound.high if bound else np.nan for bound in bounds])
        rows = np.arange(len(shown)) + offset
        axes.hlines(rows, low, high, color=COLOURS[part], linewidth=2.4, alpha=0.75)
        axes.plot(values, rows, "s" if part == "val" else "o", color=COLOURS[part], markersize=7, label=NAMES[part])
        said += [f"{NAMES[part]} {METRICS[name].title} {_with_interval(reports, part, name)}" for name in shown]
    axes.set(xlim=(0, 1), ylim=(len(shown) - 0.5, -0.5), xlabel="score; line: 95 % interval over images")
    axes.set_yticks(range(len(shown)), [METRICS[name].title for name in shown])
    axes.grid(axis="y", visible=False)
    _legends(figure, axes)
    return Drawing("The main metrics", f"Scores with 95 % intervals: {', '.join(said)}.", figure)


def roc(reports: Reports) -> Drawing:
    """True against false positive rate of the pixels, with the corner that matters enlarged."""
    figure, axes = _axes()
    zoom = axes.inset_axes((0.36, 0.12, 0.6, 0.56))
    said = []
    for part, table in _parts(reports, "roc"):
        table = table.sort_values(["fpr", "tpr"])
        label = f"{NAMES[part]}, AUC {_with_interval(reports, part, 'auc', 4)}"
        said.append(label)
        for where in (axes, zoom):
            where.plot(table["fpr"], table["tpr"], color=COLOURS[part], linestyle=DASHES[part], label=label)
    axes.plot([0, 1], [0, 1], color="C3", linewidth=1, zorder=1)
    axes.set(xlim=(-0.01, 1), ylim=(0, 1.01), xlabel="false positive rate (of background pixels)")
    axes.set_ylabel("true positive rate (of nucleus pixels)")
    zoom.set(xlim=(0, 0.1), ylim=(0.8, 1.002))
    zoom.set_title("upper left corner", fontsize=9, backgroundcolor=mpl.rcParams["axes.facecolor"])
    zoom.tick_params(labelsize=8.5)
    _legends(figure, axes)
    return Drawing("ROC curve", f"True against false positive rate of the pixels: {'; '.join(said)}.", figure)


def precision_recall(reports: Reports) -> Drawing:
    """Precision against recall of the pixels, over lines of equal F1."""
    figure, axes = _axes()
    recall = np.linspace(0.01, 1, 200)
    for f1 in (0.5, 0.7, 0.8, 0.9):
        line = f1 * recall / np.where(2 * recall > f1, 2 * recall - f1, np.nan)
        visible = line <= 1
        axes.plot(recall[visible], line[visible], color="C3", linewidth=0.9, zorder=1)
        axes.text(1.005, f1 / (2 - f1), f"F1 {f1}", fontsize=8.5, va="center", clip_on=False)
    said = []
    for part, table in _parts(reports, "precision_recall"):
        table = table.sort_values(["recall", "precision"], ascending=[True, False])
        label = f"{NAMES[part]}, average precision {_with_interval(reports, part, 'average_precision')}"
        said.append(label)
        axes.plot(table["recall"], table["precision"], color=COLOURS[part], linestyle=DASHES[part], label=label)
    axes.set(xlim=(0, 1), ylim=(0, 1.01), xlabel="recall (of nucleus pixels)", ylabel="precision (of pixels)")
    axes.grid(visible=False)
    _legends(figure, axes)
    return Drawing("Precision and recall", f"Precision against recall of the pixels: {'; '.join(said)}.", figure)


def confusion(reports: Reports) -> Drawing:
    """Pixels by actual and predicted class: counts, and normalised over each actual class."""
    classes = ["background", "nucleus"]
    parts = list(_parts(reports, "confusion"))
    figure = Figure()
    panels = np.atleast_1d(figure.subplots(1, len(parts), sharey=True))
    said = []
    for axes, (part, table) in zip(panels, parts, strict=True):
        counts = table.pivot_table("pixels", "actual", "predicted", aggfunc="sum", fill_value=0)
        counts = counts.reindex(index=classes, columns=classes, fill_value=0)
        shares = counts.div(counts.sum(axis=1).replace(0, np.nan), axis=0)
        axes.imshow(shares.fillna(0), cmap=_ramp(part), vmin=0, vmax=1, aspect="auto")
        for row, actual in enumerate(classes):
            for col, guess in enumerate(classes):
                share, count = shares.iloc[row, col], counts.iloc[row, col]
                text = "no pixels" if np.isnan(share) else f"{share:.2%}\n{_short(count)} px"
                ink = mpl.rcParams["axes.facecolor"] if share > 0.5 else mpl.rcParams["text.color"]
                axes.text(col, row, text, ha="center", va="center", color=ink, linespacing=1.5)
                said.append(f"{NAMES[part]}: {text.splitlines()[0]} of {actual} predicted as {guess}")
        axes.set(title=NAMES[part], xlabel="predicted")
        axes.set_xticks(range(2), classes)
        axes.set_yticks(range(2), classes, rotation=90, va="center")
        axes.grid(visible=False)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    panels[0].set_ylabel("actual")
    return Drawing("Confusion matrix", f"Share of each actual class, and pixels. {'; '.join(said)}.", figure)


def learning_curves(reports: Reports) -> Drawing:
    """Losses, validation scores and learning rate after each epoch."""
    history = reports.table("history")
    epochs = history["epoch"]
    figure = Figure()
    loss, score, rate = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 1.3))
    dot = "o" if len(epochs) < 3 else None
    loss.plot(epochs, history["train_loss"], marker=dot, linestyle="solid", color="C2", label="training")
    loss.plot(epochs, history["val_loss"], marker=dot, linestyle=DASHES["val"], color="C0", label="validation")
    score.plot(epochs, history["val_dice"], marker=dot, linestyle="solid", color="C0", label="validation Dice")
    score.plot(epochs, history["val_iou"], marker=dot, linestyle=(0, (1, 1.2)), color="C0", label="validation IoU")
    rate.plot(epochs, history["learning_rate"], marker=dot, linestyle="solid", color="C4")
    loss.set(ylabel="loss", ylim=(0, None))
    score.set(ylabel="score", ylim=(0, 1))
    rate.set(ylabel="learning\nrate", xlabel="epoch", ylim=(0, None))
    rate.xaxis.set_major_locator(MaxNLocator(integer=True))
    kept = "none is defined"
    if history["val_dice"].notna().any():
        best = history.loc[history["val_dice"][::-1].idxmax()]  # of equals the last, as training keeps it
        kept = f"{best['val_dice']:.3f}, after epoch {best['epoch']:.0f}"
        score.plot(best["epoch"], best["val_dice"], "o", markersize=9, markerfacecolor="none", color="C1", label="kept")
    for axes in (loss, score):
        axes.legend(loc="best", ncols=3)
    figure.align_ylabels()
    first, last = history.iloc[0], history.iloc[-1]
    alt = (
        f"Over {len(epochs)} epoch{'' if len(epochs) == 1 else 's'} the training loss goes from "
        f"{first['train_loss']:.3g} to {last['train_loss']:.3g}, the validation loss from {first['val_loss']:.3g} to "
        f"{last['val_loss']:.3g}; the best validation Dice: {kept}."
    )
    return Drawing("Learning curves", alt, figure)


def dice_histogram(reports: Reports) -> Drawing:
    """How many images reach which Dice."""
    figure, axes = _axes()
    said = []
    bins = [step / 20 for step in range(21)]
    for part, table in _parts(reports, "per_image"):
        scores = table["dice"].dropna()
        undefined = len(table) - len(scores)
        label = f"{NAMES[part]}: {len(scores)} images, median {scores.median():.3f}"
        label += f", {undefined} undefined" if undefined else ""
        said.append(label)
        axes.hist(
            scores, bins, histtype="stepfilled", facecolor=(COLOURS[part], 0.25), edgecolor=COLOURS[part],
            linestyle=DASHES[part], linewidth=1.8, label=label,
        )  # fmt: skip
        axes.axvline(scores.median(), color=COLOURS[part], linestyle=DASHES[part], linewidth=1.2)
    axes.set(xlim=(0, 1), xlabel="Dice of an image; thin lines: medians", ylabel="images")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    _legends(figure, axes)
    return Drawing("Dice of the images", f"Histogram of Dice: {'; '.join(said)}.", figure)


def average_precision_over_iou(reports: Reports) -> Drawing:
    """AP of the nuclei as the overlap asked for grows."""
    figure, axes = _axes()
    said = []
    for part, table in _parts(reports, "ap"):
        table = table.sort_values("iou")
        axes.plot(
            table["iou"], table["ap"], "o-", color=COLOURS[part], markersize=5, label=f"{NAMES[part]}, mean of images"
        )
        axes.plot(
            table["iou"], table["ap_pooled"], "D", linestyle=(0, (1, 1.5)), color=COLOURS[part], markersize=4,
            markerfacecolor="none", linewidth=1.2, label=f"{NAMES[part]}, all nuclei pooled",
        )  # fmt: skip
        first, last = table.iloc[0], table.iloc[-1]
        said.append(
            f"{NAMES[part]} from {first['ap']:.3f} at {first['iou']:.2f} to {last['ap']:.3f} at {last['iou']:.2f}"
        )
    axes.set(xlim=(0.49, 0.96), ylim=(0, 1), xlabel="IoU from which a nucleus counts as found")
    axes.set_ylabel("AP = TP / (TP + FP + FN)")
    axes.set_xticks(np.arange(0.5, 1, 0.1))
    _legends(figure, axes)
    return Drawing(
        "AP over IoU", f"Average precision of the nuclei falls with the IoU asked for: {'; '.join(said)}.", figure
    )


def calibration(reports: Reports) -> Drawing:
    """Whether a pixel's score is the probability that it belongs to a nucleus, and how often each score is given."""
    figure = Figure()
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    axes.plot([0, 1], [0, 1], color="C3", linewidth=1, zorder=1)
    said = []
    for part, table in _parts(reports, "calibration"):
        table = table.sort_values("low")
        filled = table[table["pixels"] > 0]
        gap = (filled["mean_score"] - filled["fraction_positive"]).abs()
        error = float((gap * filled["pixels"]).sum() / filled["pixels"].sum()) if len(filled) else np.nan
        label = f"{NAMES[part]}, expected calibration error {error:.4f}"
        said.append(label)
        style = {"color": COLOURS[part], "linestyle": DASHES[part]}
        axes.plot(filled["mean_score"], filled["fraction_positive"], "o", markersize=4.5, label=label, **style)
        edges = np.append(table["low"], table["high"].iloc[-1])
        below.stairs(table["pixels"], edges, linewidth=1.5, **style)
    axes.set(xlim=(0, 1), ylim=(0, 1), ylabel="fraction that are nucleus")
    scale = "log" if (reports.table("calibration")["pixels"] > 0).any() else "linear"
    below.set(xlabel="predicted probability of a pixel", ylabel="pixels", yscale=scale)
    figure.align_ylabels()
    _legends(figure, axes)
    return Drawing(
        "Calibration", f"Predicted probability against the fraction that is nucleus: {'; '.join(said)}.", figure
    )


def counts(reports: Reports) -> Drawing:
    """Number of nuclei in each image, true and predicted."""
    figure, axes = _axes()
    said = []
    highest = 1.0
    for part, table in _parts(reports, "per_image"):
        error = (table["nuclei_predicted"] - table["nuclei"]).mean()
        label = f"{NAMES[part]}, mean error {error:+.1f} nuclei an image"
        said.append(label)
        _scatter(axes, table["nuclei"], table["nuclei_predicted"], table["modality"], part, label)
        highest = max(highest, table["nuclei"].max(), table["nuclei_predicted"].max())
    line = np.geomspace(1, highest * 1.3, 50)
    axes.plot(np.append(0, line), np.append(0, line), color="C3", linewidth=1, zorder=1)
    axes.fill_between(line, line / 1.2, line * 1.2, color="C3", alpha=0.18, linewidth=0, zorder=0)
    for scale in (axes.set_xscale, axes.set_yscale):
        scale("symlog", linthresh=1, linscale=0.4)  # an image without nuclei has its place
    limits = (-0.15, highest * 1.3)
    axes.set(xlim=limits, ylim=limits, xlabel="true nuclei in an image; band: within 20 %", ylabel="predicted nuclei")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=1, subs=[1, 2, 5]))
        axis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    _legends(figure, axes, modalities=reports.table("per_image")["modality"])
    return Drawing("Counts", f"Predicted against true number of nuclei in each image: {'; '.join(said)}.", figure)


def dice_by_size(reports: Reports) -> Drawing:
    """Dice of each image against the size of its nuclei."""
    return _dice_against(
        reports,
        lambda table: table["median_area_px"],
        "median area of the image's nuclei (px)",
        ("Dice and nucleus size", "Dice of each image against the median area of its nuclei"),
    )


def dice_by_density(reports: Reports) -> Drawing:
    """Dice of each image against how many nuclei there are on its area."""
    return _dice_against(
        reports,
        lambda table: table["nuclei"] / (table["height"] * table["width"]) * 1e4,
        "nuclei per 100 x 100 px",
        ("Dice and density", "Dice of each image against the number of nuclei per 100 x 100 px"),
    )


def threshold_search(reports: Reports) -> Drawing:
    """What the search for thresholds found on the validation images: the best of the smallest areas in each cell."""
    tried = reports.table("search").fillna({"saddle_ratio": 0.0})
    best = tried.loc[tried["map"].idxmax()]
    grid = tried.pivot_table("map", "foreground", "saddle_ratio", aggfunc="max").sort_index(ascending=False)
    figure, axes = _axes()
    shown = axes.imshow(grid, cmap=_ramp("val"), aspect="auto")
    low, high = float(np.nanmin(grid)), float(np.nanmax(grid))
    for row, foreground in enumerate(grid.index):
        for col, ratio in enumerate(grid.columns):
            value = grid.iloc[row, col]
            chosen = foreground == best["foreground"] and ratio == best["saddle_ratio"]
            dark = high > low and (value - low) / (high - low) > 0.55
            ink = mpl.rcParams["axes.facecolor"] if dark else mpl.rcParams["text.color"]
            axes.text(col, row, f"{value:.3f}", ha="center", va="center", color=ink, fontsize=9,
                      weight="bold" if chosen else "normal")  # fmt: skip
            if chosen:
                axes.add_patch(Rectangle((col - 0.47, row - 0.46), 0.94, 0.92, fill=False, edgecolor="C1", lw=3))
    axes.set_xticks(range(len(grid.columns)), [f"{ratio:g}" for ratio in grid.columns])
    axes.set_yticks(range(len(grid.index)), [f"{foreground:g}" for foreground in grid.index])
    areas = ", ".join(f"{area:g}" for area in sorted(tried["min_area_px"].unique()))
    axes.set(xlabel="saddle ratio", ylabel="foreground threshold")
    axes.set_title(f"chosen: smallest area {best['min_area_px']:g} px, of {areas} px")
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(shown, label="mAP on validation")
    bar.outline.set_visible(False)
    alt = (
        f"mAP on validation over {len(tried)} combinations of thresholds; the best, {best['map']:.3f}, at foreground "
        f"{best['foreground']:g}, saddle ratio {best['saddle_ratio']:g}, smallest area {best['min_area_px']:g} px."
    )
    return Drawing("Search for thresholds", alt, figure)


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


def _style(theme: dict[str, Any]) -> Any:
    ink, paper, faint = theme["ink"], theme["paper"], theme["faint"]
    ink_names = ("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor")
    cycle = [*theme["parts"], "#8b949e", ink]  # C0 val, C1 test, C2 training, C3 reference lines, C4 neutral
    return {
        **STYLE,
        **dict.fromkeys(ink_names, ink),
        **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), paper),
        "grid.color": faint,
        "axes.prop_cycle": cycler(color=cycle),
    }


def _axes() -> tuple[Figure, Axes]:
    figure = Figure()
    return figure, figure.subplots()


def _parts(reports: Reports, name: str) -> Iterator[tuple[str, Table]]:
    """The rows of val, then of test, where there are any."""
    for part in NAMES:
        table = reports.table(name, part)
        if len(table):
            yield part, table


def _known(reports: Reports, name: str) -> bool:
    return any(name in reports.metrics[part] for part in reports.parts())


def _with_interval(reports: Reports, part: str, name: str, digits: int = 3) -> str:
    value = reports.metrics.get(part, {}).get(name, np.nan)
    bound = reports.intervals.get(part, {}).get(name)
    said = f"{value:.{digits}f}"
    return said if bound is None or np.isnan(bound.low) else f"{said} [{bound.low:.{digits}f}, {bound.high:.{digits}f}]"


def _legends(figure: Figure, axes: Axes, modalities: Table | None = None) -> None:
    """The legend above the axes, where it hides no data; below them the markers of the modalities, where several."""
    handles, labels = axes.get_legend_handles_labels()
    columns = 1 if max(map(len, labels), default=0) > 34 else 2
    figure.legend(handles, labels, loc="outside upper left", ncols=columns, columnspacing=1.4, handletextpad=0.6)
    shown = [name for name in MARKERS if modalities is not None and (modalities == name).any()]
    if len(shown) > 1:
        markers = [Line2D([], [], linestyle="", marker=MARKERS[name], color="C3") for name in shown]
        figure.legend(markers, shown, loc="outside lower center", ncols=len(shown), handletextpad=0.2)


def _scatter(axes: Axes, x: Table, y: Table, modality: Table, part: str, label: str) -> None:
    """One dot an image, its shape telling the modality."""
    for name in sorted(set(modality), key=lambda name: (name not in MARKERS, name)):
        of = modality == name
        axes.scatter(
            x[of], y[of], s=30, marker=MARKERS.get(name, "x"), alpha=0.65, linewidths=1.2,
            facecolors="none" if part == "val" else COLOURS[part], edgecolors=COLOURS[part],
        )  # fmt: skip
    face = "none" if part == "val" else COLOURS[part]
    axes.plot([], [], "o", linestyle="", markerfacecolor=face, color=COLOURS[part], label=label)


def _dice_against(reports: Reports, quantity: Callable[[Table], Table], xlabel: str, words: tuple[str, str]) -> Drawing:
    figure, axes = _axes()
    said = []
    for part, table in _parts(reports, "per_image"):
        x, y = quantity(table), table["dice"]
        both = (x > 0) & y.notna()
        rank = x[both].corr(y[both], method="spearman") if min(x[both].nunique(), y[both].nunique()) > 2 else np.nan
        label = f"{NAMES[part]}, {both.sum()} images"
        label += "" if np.isnan(rank) else f", rank correlation {rank:+.2f}"
        said.append(label)
        _scatter(axes, x[both], y[both], table["modality"][both], part, label)
    axes.set(xscale="log", ylim=(0, 1.01), xlabel=xlabel, ylabel="Dice of the image")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:.0e}"[0] in "25" else "")
    _legends(figure, axes, modalities=reports.table("per_image")["modality"])
    title, alt = words
    return Drawing(title, f"{alt}: {'; '.join(said)}.", figure)


def _ramp(part: str) -> LinearSegmentedColormap:
    """From the paper's colour to the part's."""
    return LinearSegmentedColormap.from_list("ramp", [mpl.rcParams["axes.facecolor"], COLOURS[part]])


def _short(count: float) -> str:
    for unit, name in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if count >= unit:
            return f"{count / unit:.3g}{name}"
    return f"{count:.0f}"
