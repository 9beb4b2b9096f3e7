"""The table and the figure of what a few images of an unknown family are worth.

    python tests/benchmarks/finetuned.py TABLE.csv [TABLE.csv ...] [-o finetuning.png]

A TABLE is what finetune.py printed for one family. Prints a Markdown table with a row for each family and number of
images, the scores as means over draws with the lowest and the highest, and writes with -o the mAP of each as a curve.
With --forgotten the table has, for each share of the model's weights (--start-share), the change of the scores in the
family and in other families.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "stages"))

from nuclei.report.drawing import Drawing, render

STARTS = {
    "scratch": "from scratch",
    "model": "from the model",
    "synthetic": "from the model, half of the crops synthetic",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, help="a PNG to write")
    parser.add_argument("--forgotten", action="store_true", help="print the changes, of tables that have them")
    arguments = parser.parse_args()
    found = pd.concat([pd.read_csv(path) for path in arguments.tables], ignore_index=True)
    if arguments.forgotten:
        print_changes(found)
        return
    print("| family | images | start | Dice | mAP |")
    print("|---|---|---|---|---|")
    for (family, images, start), rows in found.groupby(["family", "images", "start"], sort=False):
        cells = [shown(rows[score]) for score in ("dice", "map")]
        name = STARTS[start] if images else "the model as it is"
        print(f"| {family} | {images} | {name} | {' | '.join(cells)} |")
    if arguments.output:
        arguments.output.write_bytes(render(curves, found, dpi=130).png)


def print_changes(found: pd.DataFrame) -> None:
    """Print the changes after trainings from the model, with the mean standard error where it is known."""
    print("| family | images | share | draws | family: Dice | mAP | other families: Dice | mAP |")
    print("|---|---|---|---|---|---|---|---|")
    keys = ["family", "draw"]
    before = found[found["images"] == 0].drop_duplicates(keys)[[*keys, "dice", "map"]]
    tuned = found[found["images"] > 0].merge(before, on=keys, suffixes=("", "_before"))
    for (family, images, share), rows in tuned.groupby(["family", "images", "start_share"], sort=False):
        inside = [f"{(rows[score] - rows[f'{score}_before']).mean():+.3f}" for score in ("dice", "map")]
        outside = [
            f"{rows[f'{score}_change'].mean():+.3f} ± {rows[f'{score}_change_error'].mean():.3f}"
            for score in ("dice", "map")
        ]
        print(f"| {family} | {images} | {share:g} | {len(rows)} | {' | '.join([*inside, *outside])} |")


def shown(values: pd.Series[float]) -> str:
    """The mean over draws, with the lowest and the highest where they differ."""
    span = f" ({values.min():.3f} to {values.max():.3f})" if values.nunique() > 1 else ""
    return f"{values.mean():.3f}{span}"


def curves(found: pd.DataFrame) -> Drawing:
    """Draw mAP by number of images: a panel for each family, a line for each start, a point for each draw."""
    figure = Figure()
    families, starts = list(found["family"].unique()), set(found["start"][found["images"] > 0])
    panels = figure.subplots(-(-len(families) // 2), min(len(families), 2), sharex=True, squeeze=False)
    for axes in panels.flat[len(families) :]:
        axes.set_visible(False)
    for family, axes in zip(families, panels.flat, strict=False):
        of_family = found[found["family"] == family]
        for start, colour, dashes in zip(
            STARTS, ("C0", "C2", "C1"), ((0, (4, 1.6)), (0, (1, 1.2)), "solid"), strict=True
        ):
            if start not in starts:
                continue
            begun = of_family["images"] == 0 if start != "scratch" else False
            rows = of_family[(of_family["start"] == start) | begun]
            axes.plot(rows["images"], rows["map"], "o", color=colour, markersize=3, alpha=0.6)
            means = rows.groupby("images")["map"].mean()
            axes.plot(means.index, means, color=colour, linestyle=dashes, label=STARTS[start])
        axes.set_xscale("symlog", linthresh=1)
        ticks = sorted(found["images"].unique())
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
        axes.set_title(family)
        axes.set_ylim(bottom=0)
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper center")
    figure.supxlabel("images of the family in training", fontsize=10.5)
    figure.supylabel("mAP", fontsize=10.5)
    alt = "mAP on a family of images against the number of its images in training, from the model and from scratch."
    return Drawing("What a few images are worth", alt, figure)


if __name__ == "__main__":
    main()
