"""How far scores move when one recipe is trained again: with another seed, or another number of threads.

A network trained on another processor, with other threads, another precision or other versions ends as a slightly
different one, as with another seed: sums are added in another order, and training amplifies the last bit. A difference
of that size says nothing about a parameter. tests/benchmarks/noise.py measures it and writes the table.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from nuclei.base import files
from nuclei.base.errors import InputError
from nuclei.evaluate.aggregate import COUNTS

COLUMNS = ["data", "part", "images", "metric", "trainings", "mean", "std", "largest"]
DIGITS = 6
MEASURE = "run tests/benchmarks/noise.py, which makes it again"

Key = tuple[str, str, int]  # data, part, images


@dataclass(frozen=True)
class Noise:
    """The largest difference between any two trainings of one recipe, by (data, part, images) and metric."""

    largest: Mapping[Key, Mapping[str, float]]

    def of(self, data: str | None, part: str, images: int) -> Mapping[str, float]:
        """Of each metric on one part of a data set; empty where it was not measured on as many images.

        Args:
            data: the parameter `data`, as JSON; None where two revisions differ in it.
        """
        return {} if data is None else self.largest.get((json.loads(data), part, images), {})


def read(path: Path) -> Noise:
    """Read the table; without one nothing is known.

    Raises:
        InputError: it is malformed.
    """
    found: dict[Key, dict[str, float]] = {}
    if not path.is_file():
        return Noise(found)
    for number, row in enumerate(files.read_rows(path, COLUMNS, MEASURE), start=2):
        try:
            key, largest = (row["data"], row["part"], int(row["images"])), float(row["largest"])
        except ValueError as error:
            raise InputError(f"line {number}: not a number", file=path, got=error, fix=MEASURE) from None
        found.setdefault(key, {})[row["metric"]] = largest
    return Noise(found)


def rows(data: str, part: str, images: int, trainings: Sequence[Mapping[str, float | None]]) -> list[dict[str, object]]:
    """Tabulate the metrics of several trainings of one recipe, scored on the same images.

    Returns:
        Rows of COLUMNS: mean, sample standard deviation (n - 1 in the denominator), and the largest difference between
        two trainings. A metric that is undefined in one of them is left out.
    """
    found: list[dict[str, object]] = []
    for metric in (name for name in trainings[0] if name not in COUNTS):
        values = [value for training in trainings if (value := training[metric]) is not None]
        if len(values) < len(trainings):
            continue
        numbers = {
            "mean": statistics.mean(values),
            "std": statistics.stdev(values),
            "largest": max(abs(one - other) for one, other in combinations(values, 2)),
        }
        rounded = {name: round(value, DIGITS) for name, value in numbers.items()}
        found.append(
            {"data": data, "part": part, "images": images, "metric": metric, "trainings": len(values), **rounded}
        )
    return found
