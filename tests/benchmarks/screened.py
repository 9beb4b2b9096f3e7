"""The table of what each ingredient of the shipped recipe is worth: python tests/benchmarks/screened.py FILE.csv...

A FILE is what screen.py printed. Prints a Markdown table with a row for each change: its mean scores less those of the
recipe, paired by image, with the 95 % interval over groups. The recipe's are means over its seeds, and the first row
has them. The row of each of its seeds is compared with the mean of the others, and shows how much is chance.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "stages"))

from nuclei.evaluate.bootstrap import intervals

KINDS = ("fluorescence", "tissue", "brightfield")  # words of the names of families
KEY = ["fold", "part", "family", "group", "id"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    rows = pd.concat([pd.read_csv(path) for path in parser.parse_args().files], ignore_index=True)
    scores = rows.groupby(["change", "seed", *KEY], sort=False)[["dice", "map"]].first()
    recipe = scores.loc["none"].groupby(KEY, sort=False).mean()
    columns = {
        "left out: Dice": ("elsewhere", "", "dice"),
        "mAP": ("elsewhere", "", "map"),
        **{f"{kind}: mAP": ("elsewhere", kind, "map") for kind in KINDS},
        "at home: Dice": ("home", "", "dice"),
        "at home: mAP": ("home", "", "map"),
    }
    print(f"| change | {' | '.join(columns)} |\n|{'---|' * (1 + len(columns))}")
    print(f"| none: the scores | {' | '.join(score(recipe, *column) for column in columns.values())} |")
    seeds = scores.loc["none"].index.unique("seed")
    for (change, seed), of_change in scores.groupby(["change", "seed"], sort=False):
        if change == "none" and len(seeds) == 1:
            continue
        of_change = of_change.droplevel(["change", "seed"])
        if len(of_change.index.difference(recipe.index)):
            raise SystemExit(f"error: {change} was scored on images on which the recipe was not")
        others = scores.loc["none"].drop(seed, level="seed").groupby(KEY).mean() if change == "none" else recipe
        difference = (of_change - others).dropna(how="all")
        cells = [score(difference, *column, interval=True) for column in columns.values()]
        print(f"| {f'none, seed {seed}' if change == 'none' else change} | {' | '.join(cells)} |")


def score(rows: pd.DataFrame, part: str, kind: str, metric: str, *, interval: bool = False) -> str:
    """The mean of a metric over the images of a part, of one kind of family, or a mean difference with its interval."""
    levels = rows.index
    chosen = (levels.get_level_values("part") == part) & levels.get_level_values("family").str.contains(kind)
    found = rows.loc[chosen, metric].dropna()
    values, groups = found.to_numpy(np.float64), found.index.get_level_values("group").to_numpy()
    count = len(np.unique(groups))
    if not count:
        return ""
    if not interval:
        return f"{values.mean():.3f} ({count} groups)"
    low, high = intervals(lambda drawn: {metric: drawn @ values / drawn.sum(axis=1)}, groups, resamples=2000, seed=0)[
        metric
    ]
    return f"{values.mean():+.3f}" + ("" if np.isnan(low) else f" [{low:+.3f}, {high:+.3f}]")


if __name__ == "__main__":
    main()
