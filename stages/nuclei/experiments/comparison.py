"""Two revisions compared by what git tracks of them: metrics, per-image scores and parameters.

The differences are paired: both revisions scored the same images, so the difficulty of an image cancels out, and a
change shows that is smaller than the interval of either score. Imports nothing heavy: the answer takes about a second.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nuclei.base.errors import InputError
from nuclei.evaluate import aggregate
from nuclei.evaluate.aggregate import DIGITS, LOWER_IS_BETTER, Columns
from nuclei.evaluate.bootstrap import intervals
from nuclei.experiments.revisions import Number, Snapshot

RESAMPLES, SEED = 2000, 0  # fixed, so that the same two revisions always give the same intervals
SHOWN_IMAGES = 10
COUNTS = ("images", "groups", "nuclei")  # in metrics.json, but not scores
BETTER, WORSE, EVEN = "better", "worse", "no difference shown"
NO_INTERVAL, NOT_COMPARABLE = "no interval", "not comparable"


@dataclass(frozen=True)
class Change:
    """A parameter that differs, both values as JSON; None where a revision lacks it."""

    parameter: str
    base: str | None
    head: str | None


@dataclass(frozen=True)
class MetricDifference:
    """One metric in base and head, their difference with its 95 % interval, and the verdict.

    Attributes:
        images: the number of images behind base, head and difference: those with a score in both. 0 where the metric
            is not comparable; base and head then cover all images for which each has a score.
        only_one: images left out because only one of the two has a score for them.
        difference: head minus base.
    """

    metric: str
    images: int
    only_one: int
    base: Number
    head: Number
    difference: Number
    low: Number
    high: Number
    verdict: str


@dataclass(frozen=True)
class ImageDifference:
    """mAP and Dice of one image in base and head; None where undefined."""

    id: str
    map_base: Number
    map_head: Number
    map_difference: Number
    dice_base: Number
    dice_head: Number


@dataclass(frozen=True)
class PartComparison:
    """The comparison on one part (val or test).

    Attributes:
        images, nuclei: scored by both with the same annotation; every score here is computed from these.
        only_base, only_head: images that only one of the two scored.
        changed: images that both scored, but with different annotations.
        same_images: whether both were scored on the same images with the same annotations.
        metrics: in the order of metrics.json.
        lost, gained: the images whose mAP changed most, largest change first.
        one_sided: images whose mAP is undefined in one of the two.
    """

    part: str
    images: int
    nuclei: int
    only_base: int
    only_head: int
    changed: int
    same_images: bool
    metrics: list[MetricDifference]
    lost: list[ImageDifference]
    gained: list[ImageDifference]
    one_sided: list[ImageDifference]


@dataclass(frozen=True)
class Comparison:
    """Everything that `compare` found; `worse` lists the metrics with that verdict, as part.metric."""

    base: str
    head: str
    parameters: list[Change]
    parts: list[PartComparison]
    worse: list[str]


def compare(base: Snapshot, head: Snapshot) -> Comparison:
    """Compare two revisions, part by part; of a part that only one has, only the images are counted."""
    names = {**base.parameters, **head.parameters}
    changes = [Change(name, base.parameters.get(name), head.parameters.get(name)) for name in names]
    parts = [_compare_part(part, base, head) for part in {**base.images, **head.images}]
    worse = [f"{part.part}.{row.metric}" for part in parts for row in part.metrics if row.verdict == WORSE]
    return Comparison(base.name, head.name, [change for change in changes if change.base != change.head], parts, worse)


def judged_worse(comparison: Comparison, metrics: Sequence[str] = ()) -> list[str]:
    """Return those of `comparison.worse` that are among the metrics, or all of them where none is named.

    Raises:
        InputError: a metric is unknown or has no verdict in any part; or no metric has a verdict. Nothing was judged
            then, which is not the same as nothing having got worse.
    """
    rows = [row for part in comparison.parts for row in part.metrics]
    known = {row.metric for row in rows}
    decided = {row.metric for row in rows if row.verdict in (BETTER, WORSE, EVEN)}
    if not decided:
        raise InputError(
            "nothing could be compared, so whether anything got worse is unknown",
            got=", ".join(f"{part.part}: {part.images} images in common" for part in comparison.parts) or "no part",
            fix="compare revisions that were scored on the same images",
        )
    for name in metrics:
        if name not in known:
            (near,) = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0)
            raise InputError("there is no such metric to compare", got=name, expected=f"perhaps {near}")
        if name not in decided:
            verdicts = sorted({row.verdict for row in rows if row.metric == name})
            raise InputError("a metric to judge has no verdict", got=f"{name}: {', '.join(verdicts)}")
    return [name for name in comparison.worse if not metrics or name.partition(".")[2] in metrics]


def _compare_part(part: str, base: Snapshot, head: Snapshot) -> PartComparison:
    nothing: tuple[list[str], Columns] = ([], {name: np.empty(0) for name in aggregate.NUMBERS})
    (base_ids, base_columns), (head_ids, head_columns) = (
        snapshot.images.get(part, nothing) for snapshot in (base, head)
    )
    both, at_base, at_head = np.intersect1d(base_ids, head_ids, assume_unique=True, return_indices=True)
    same = np.ones(len(both), dtype=bool)
    for of_base, of_head in zip(_truth(base_columns), _truth(head_columns), strict=True):
        same &= of_base[at_base] == of_head[at_head]
    before = aggregate.chosen(base_columns, at_base[same])
    after = aggregate.chosen(head_columns, at_head[same])
    ids = [str(id) for id in both[same]]
    counts = {
        "images": len(ids),
        "nuclei": int(before["nuclei"].sum()),
        "only_base": len(base_ids) - len(both),
        "only_head": len(head_ids) - len(both),
        "changed": len(both) - len(ids),
    }
    whole = len(ids) == len(base_ids) == len(head_ids)
    metrics = _metric_differences(before, after, *(of.metrics.get(part, {}) for of in (base, head)), whole=whole)
    lost, gained, one_sided = _image_differences(ids, before, after)
    return PartComparison(
        part, **counts, same_images=whole, metrics=metrics, lost=lost, gained=gained, one_sided=one_sided
    )


def _truth(columns: Columns) -> list[NDArray[np.float64]]:
    """The columns that identify an image's annotation: its size, nuclei and foreground pixels (TP + FN)."""
    return [columns["height"], columns["width"], columns["nuclei"], columns["tp"] + columns["fn"]]


def _metric_differences(
    before: Columns, after: Columns, base: Mapping[str, Number], head: Mapping[str, Number], *, whole: bool
) -> list[MetricDifference]:
    """Differences over the images in common.

    Args:
        before, after: the rows of those images in base and head.
        base, head: the metrics as reported, for those that can not be computed from rows: AUC and average precision.
        whole: the images in common are all images of both.
    """
    images = len(before["nuclei"])
    if not images:
        return []
    paired, only_one = dict[str, int](), dict[str, int]()
    undefined = dict[str, NDArray[np.bool_]]()
    for name, column in aggregate.MEANS.items():
        one_has, other_has = np.isfinite(before[column]), np.isfinite(after[column])
        paired[name] = int((one_has & other_has).sum())
        undefined[name] = ~(one_has & other_has)
        only_one[name] = int((one_has != other_has).sum())
    defined = _both_defined(before, after)

    def statistics(weights: NDArray[np.int64]) -> dict[str, Any]:
        one, other = (aggregate.metrics(rows, weights) for rows in defined)
        return {name: other[name] - one[name] for name in one}

    found = intervals(statistics, np.arange(images), resamples=RESAMPLES, seed=SEED, undefined=undefined)
    alone, common = (
        [{name: _number(value) for name, value in aggregate.metrics(rows).items()} for rows in pair]
        for pair in ((before, after), defined)
    )
    rows = []
    for name in dict.fromkeys([*base, *head, *found]):
        if name in COUNTS:
            continue
        reported = [_number(of.get(name)) for of in (base, head)]
        one, other = [of[name] for of in common] if name in found else reported if whole else [None, None]
        if one is None or other is None:  # a score in one of the two at most
            one, other = [of[name] for of in alone] if name in found else reported
            rows.append(MetricDifference(name, 0, 0, one, other, None, None, None, NOT_COMPARABLE))
            continue
        low, high = (_number(bound) for bound in found.get(name, (None, None)))
        counts = paired.get(name, images), only_one.get(name, 0)
        verdict = _verdict(name, low, high)
        rows.append(MetricDifference(name, *counts, one, other, _number(other - one), low, high, verdict))
    return rows


def _both_defined(before: Columns, after: Columns) -> tuple[Columns, Columns]:
    """The rows, with each score set to NaN that is NaN in the other, so that such an image drops out of both means."""
    columns = aggregate.MEANS.values()
    gaps = {name: np.where(np.isnan(before[name] + after[name]), np.nan, 0.0) for name in columns}
    one, other = (
        {name: values + gaps[name] if name in gaps else values for name, values in rows.items()}
        for rows in (before, after)
    )
    return one, other


def _verdict(metric: str, low: Number, high: Number) -> str:
    if low is None or high is None:
        return NO_INTERVAL
    if low <= 0 <= high:
        return EVEN
    return BETTER if (low > 0) != (metric in LOWER_IS_BETTER) else WORSE


def _image_differences(ids: Sequence[str], before: Columns, after: Columns) -> tuple[list[ImageDifference], ...]:
    """The images that lost most mAP, those that gained most, and those whose mAP is undefined in one of the two.

    Ties in mAP are broken by the change of Dice, then by id.
    """
    scores = [[[_number(value) for value in rows[name]] for rows in (before, after)] for name in ("map", "dice")]
    paired: list[tuple[tuple[float, float], ImageDifference]] = []
    one_sided = []
    for id, one, other, dice_one, dice_other in zip(ids, *scores[0], *scores[1], strict=True):
        if one is not None and other is not None:
            change = round(other - one, DIGITS), (dice_other or 0) - (dice_one or 0)
            paired.append((change, ImageDifference(id, one, other, change[0], dice_one, dice_other)))
        elif one is not None or other is not None:
            one_sided.append(ImageDifference(id, one, other, None, dice_one, dice_other))
    paired.sort(key=lambda of: (of[0], of[1].id))
    lost = [image for change, image in paired if change < (0, 0)]
    gained = [image for change, image in reversed(paired) if change > (0, 0)]
    return lost[:SHOWN_IMAGES], gained[:SHOWN_IMAGES], one_sided


def _number(value: Any) -> Number:
    """A plain number, rounded as in the reports; None for NaN."""
    if value is None or not math.isfinite(value):
        return None
    return round(float(value), DIGITS) + 0.0  # no minus zero
