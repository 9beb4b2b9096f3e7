"""The figures of the evaluation: scores with intervals, pixels by class, and the images one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, SymmetricalLogLocator

from nuclei.report.drawing import COLOURS, DASHES, MARKERS, NAMES, Drawing, ramp
from nuclei.report.tables import METRICS, Reports, Table


def intervals(reports: Reports) -> Drawing:
    """The main metrics with their 95 % intervals over groups of images."""
    shown = [name for name in ("dice", "iou", "map", "ap50", "ap75", "pq") if _known(reports, name)]
    figure, axes = _axes()
    texts = []
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
        texts += [f"{NAMES[part]} {METRICS[name].title} {_with_interval(reports, part, name)}" for name in shown]
    axes.set(xlim=(0, 1), ylim=(len(shown) - 0.5, -0.5), xlabel="score; line: 95 % interval over groups of images")
    axes.set_yticks(range(len(shown)), [METRICS[name].title for name in shown])
    axes.grid(axis="y", visible=False)
    _legends(figure, axes)
    return Drawing("The main metrics", f"Scores with 95 % intervals: {', '.join(texts)}.", figure)


def roc(reports: Reports) -> Drawing:
    """ROC curve of the pixels, with the upper left corner enlarged."""
    figure, axes = _axes()
    zoom = axes.inset_axes((0.36, 0.12, 0.6, 0.56))
    texts = []
    for part, table in _parts(reports, "roc"):
        table = table.sort_values(["fpr", "tpr"])
        label = f"{NAMES[part]}, AUC {_with_interval(reports, part, 'auc', 4)}"
        texts.append(label)
        for where in (axes, zoom):
            where.plot(table["fpr"], table["tpr"], color=COLOURS[part], linestyle=DASHES[part], label=label)
    axes.plot([0, 1], [0, 1], color="C3", linewidth=1, zorder=1)
    axes.set(xlim=(-0.01, 1), ylim=(0, 1.01), xlabel="false positive rate (of background pixels)")
    axes.set_ylabel("true positive rate (of nucleus pixels)")
    zoom.set(xlim=(0, 0.1), ylim=(0.8, 1.002))
    zoom.set_title("upper left corner", fontsize=9, backgroundcolor=mpl.rcParams["axes.facecolor"])
    zoom.tick_params(labelsize=8.5)
    _legends(figure, axes)
    return Drawing("ROC curve", f"True against false positive rate of the pixels: {'; '.join(texts)}.", figure)


def precision_recall(reports: Reports) -> Drawing:
    """Precision-recall curve of the pixels, with lines of equal F1."""
    figure, axes = _axes()
    recall = np.linspace(0.01, 1, 200)
    for f1 in (0.5, 0.7, 0.8, 0.9):
        line = f1 * recall / np.where(2 * recall > f1, 2 * recall - f1, np.nan)
        visible = line <= 1
        axes.plot(recall[visible], line[visible], color="C3", linewidth=0.9, zorder=1)
        axes.text(1.005, f1 / (2 - f1), f"F1 {f1}", fontsize=8.5, va="center", clip_on=False)
    texts = []
    for part, table in _parts(reports, "precision_recall"):
        table = table.sort_values(["recall", "precision"], ascending=[True, False])
        label = f"{NAMES[part]}, average precision {_with_interval(reports, part, 'average_precision')}"
        texts.append(label)
        axes.plot(table["recall"], table["precision"], color=COLOURS[part], linestyle=DASHES[part], label=label)
    axes.set(xlim=(0, 1), ylim=(0, 1.01), xlabel="recall (of nucleus pixels)", ylabel="precision (of pixels)")
    axes.grid(visible=False)
    _legends(figure, axes)
    return Drawing("Precision and recall", f"Precision against recall of the pixels: {'; '.join(texts)}.", figure)


def confusion(reports: Reports) -> Drawing:
    """Confusion matrix of the pixels: counts, and shares of each actual class."""
    classes = ["background", "nucleus"]
    parts = list(_parts(reports, "confusion"))
    figure = Figure()
    panels = np.atleast_1d(figure.subplots(1, len(parts), sharey=True))
    texts = []
    for axes, (part, table) in zip(panels, parts, strict=True):
        counts = table.pivot_table("pixels", "actual", "predicted", aggfunc="sum", fill_value=0)
        counts = counts.reindex(index=classes, columns=classes, fill_value=0)
        shares = counts.div(counts.sum(axis=1).replace(0, np.nan), axis=0)
        axes.imshow(shares.fillna(0), cmap=ramp(part), vmin=0, vmax=1, aspect="auto")
        for row, actual in enumerate(classes):
            for col, guess in enumerate(classes):
                share, count = shares.iloc[row, col], counts.iloc[row, col]
                text = "no pixels" if np.isnan(share) else f"{share:.2%}\n{_short(count)} px"
                ink = mpl.rcParams["axes.facecolor"] if share > 0.5 else mpl.rcParams["text.color"]
                axes.text(col, row, text, ha="center", va="center", color=ink, linespacing=1.5)
                texts.append(f"{NAMES[part]}: {text.splitlines()[0]} of {actual} predicted as {guess}")
        axes.set(title=NAMES[part], xlabel="predicted")
        axes.set_xticks(range(2), classes)
        axes.set_yticks(range(2), classes, rotation=90, va="center")
        axes.grid(visible=False)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    panels[0].set_ylabel("actual")
    return Drawing("Confusion matrix", f"Share of each actual class, and pixels. {'; '.join(texts)}.", figure)


def dice_histogram(reports: Reports) -> Drawing:
    """Histogram of the images by Dice."""
    figure, axes = _axes()
    texts = []
    bins = [step / 20 for step in range(21)]
    for part, table in _parts(reports, "per_image"):
        scores = table["dice"].dropna()
        undefined = len(table) - len(scores)
        label = f"{NAMES[part]}: {len(scores)} images, median {scores.median():.3f}"
        label += f", {undefined} undefined" if undefined else ""
        texts.append(label)
        axes.hist(
            scores, bins, histtype="stepfilled", facecolor=(COLOURS[part], 0.25), edgecolor=COLOURS[part],
            linestyle=DASHES[part], linewidth=1.8, label=label,
        )  # fmt: skip
        axes.axvline(scores.median(), color=COLOURS[part], linestyle=DASHES[part], linewidth=1.2)
    axes.set(xlim=(0, 1), xlabel="Dice of an image; thin lines: medians", ylabel="images")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    _legends(figure, axes)
    return Drawing("Dice of the images", f"Histogram of Dice: {'; '.join(texts)}.", figure)


def average_precision_over_iou(reports: Reports) -> Drawing:
    """AP of the nuclei against the IoU from which a nucleus counts as found."""
    figure, axes = _axes()
    texts = []
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
        texts.append(
            f"{NAMES[part]} from {first['ap']:.3f} at {first['iou']:.2f} to {last['ap']:.3f} at {last['iou']:.2f}"
        )
    axes.set(xlim=(0.49, 0.96), ylim=(0, 1), xlabel="IoU from which a nucleus counts as found")
    axes.set_ylabel("AP = TP / (TP + FP + FN)")
    axes.set_xticks(np.arange(0.5, 1, 0.1))
    _legends(figure, axes)
    return Drawing("AP over IoU", f"Average precision of the nuclei by IoU threshold: {'; '.join(texts)}.", figure)


def calibration(reports: Reports) -> Drawing:
    """Reliability diagram: predicted probability against the fraction that is nucleus, and pixels by probability."""
    figure = Figure()
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    axes.plot([0, 1], [0, 1], color="C3", linewidth=1, zorder=1)
    texts = []
    for part, table in _parts(reports, "calibration"):
        table = table.sort_values("low")
        filled = table[table["pixels"] > 0]
        gap = (filled["mean_score"] - filled["fraction_positive"]).abs()
        error = float((gap * filled["pixels"]).sum() / filled["pixels"].sum()) if len(filled) else np.nan
        label = f"{NAMES[part]}, expected calibration error {error:.4f}"
        texts.append(label)
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
        "Calibration", f"Predicted probability against the fraction that is nucleus: {'; '.join(texts)}.", figure
    )


def counts(reports: Reports) -> Drawing:
    """Predicted against true number of nuclei in each image."""
    figure, axes = _axes()
    texts = []
    highest = 1.0
    for part, table in _parts(reports, "per_image"):
        error = (table["nuclei_predicted"] - table["nuclei"]).mean()
        label = f"{NAMES[part]}, mean error {error:+.1f} nuclei per image"
        texts.append(label)
        _scatter(axes, table["nuclei"], table["nuclei_predicted"], table["modality"], part, label)
        highest = max(highest, table["nuclei"].max(), table["nuclei_predicted"].max())
    line = np.geomspace(1, highest * 1.3, 50)
    axes.plot(np.append(0, line), np.append(0, line), color="C3", linewidth=1, zorder=1)
    axes.fill_between(line, line / 1.2, line * 1.2, color="C3", alpha=0.18, linewidth=0, zorder=0)
    for scale in (axes.set_xscale, axes.set_yscale):
        scale("symlog", linthresh=1, linscale=0.4)  # so that an image without nuclei is shown
    limits = (-0.15, highest * 1.3)
    axes.set(xlim=limits, ylim=limits, xlabel="true nuclei in an image; band: within 20 %", ylabel="predicted nuclei")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=1, subs=[1, 2, 5]))
        axis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    _legends(figure, axes, modalities=reports.table("per_image")["modality"])
    return Drawing("Counts", f"Predicted against true number of nuclei in each image: {'; '.join(texts)}.", figure)


def dice_by_size(reports: Reports) -> Drawing:
    """Dice of each image against the median area of its nuclei."""
    return _dice_against(
        reports,
        lambda table: table["median_area_px"],
        "median area of the image's nuclei (px)",
        ("Dice and nucleus size", "Dice of each image against the median area of its nuclei"),
    )


def dice_by_density(reports: Reports) -> Drawing:
    """Dice of each image against the density of its nuclei."""
    return _dice_against(
        reports,
        lambda table: table["nuclei"] / (table["height"] * table["width"]) * 1e4,
        "nuclei per 100 x 100 px",
        ("Dice and density", "Dice of each image against the number of nuclei per 100 x 100 px"),
    )


def _axes() -> tuple[Figure, Axes]:
    figure = Figure()
    return figure, figure.subplots()


def _parts(reports: Reports, name: str) -> Iterator[tuple[str, Table]]:
    """The rows of val, then those of test, if there are any."""
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
    """A legend above the axes, where it hides no data, and one of the modalities below them if there are several."""
    handles, labels = axes.get_legend_handles_labels()
    columns = 1 if max(map(len, labels), default=0) > 34 else 2
    figure.legend(handles, labels, loc="outside upper left", ncols=columns, columnspacing=1.4, handletextpad=0.6)
    shown = [name for name in MARKERS if modalities is not None and (modalities == name).any()]
    if len(shown) > 1:
        markers = [Line2D([], [], linestyle="", marker=MARKERS[name], color="C3") for name in shown]
        figure.legend(markers, shown, loc="outside lower center", ncols=len(shown), handletextpad=0.2)


def _scatter(axes: Axes, x: Table, y: Table, modality: Table, part: str, label: str) -> None:
    """One marker per image, its shape given by the modality."""
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
    texts = []
    for part, table in _parts(reports, "per_image"):
        x, y = quantity(table), table["dice"]
        both = (x > 0) & y.notna()
        rank = x[both].corr(y[both], method="spearman") if min(x[both].nunique(), y[both].nunique()) > 2 else np.nan
        label = f"{NAMES[part]}, {both.sum()} images"
        label += "" if np.isnan(rank) else f", rank correlation {rank:+.2f}"
        texts.append(label)
        _scatter(axes, x[both], y[both], table["modality"][both], part, label)
    axes.set(xscale="log", ylim=(0, 1.01), xlabel=xlabel, ylabel="Dice of the image")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:.0e}"[0] in "25" else "")
    _legends(figure, axes, modalities=reports.table("per_image")["modality"])
    title, alt = words
    return Drawing(title, f"{alt}: {'; '.join(texts)}.", figure)


def _short(count: float) -> str:
    for unit, name in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if count >= unit:
            return f"{count / unit:.3g}{name}"
    return f"{count:.0f}"
