"""Two revisions compared by what git tracks of them: metrics, per-image scores and parameters.

The differences are paired: both scored the same images, so what makes an image hard cancels out, and a small change
shows that two separate intervals would hide. Light on imports, for an answer within a second.
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
from nuclei.experiments.documents import Block, Heading, Sentence, Table
from nuclei.experiments.revisions import Number, Snapshot

RESAMPLES, SEED = 2000, 0  # fixed: the same two revisions always compare alike
SHOWN_IMAGES = 10
COUNTS = ("images", "groups", "nuclei")  # in metrics.json, but no scores
BETTER, WORSE, EVEN = "better", "worse", "no difference shown"
NO_INTERVAL, NOT_COMPARABLE = "no interval", "not comparable"


@dataclass(frozen=True)
class Change:
    """A parameter that differs; None where a revision does not have it."""

    parameter: str
    base: str | None
    head: str | None


@dataclass(frozen=True)
class MetricDifference:
    """A metric of both, head minus base with its 95 % interval, and what that says.

    Attributes:
        images: that base, head and their difference are of: those with a score in both. 0 where nothing is comparable;
            base and head are then of all images that they have a score for.
        only_one: images left out because their score is defined in one of the two alone.
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
    """mAP and Dice of one image in both."""

    id: str
    map_base: Number
    map_head: Number
    map_difference: Number
    dice_base: Number
    dice_head: Number


@dataclass(frozen=True)
class PartComparison:
    """One part.

    Attributes:
        images, nuclei: that both scored and whose truth is the same; all scores are of these.
        only_base, only_head: images that one alone scored.
        changed: images whose truth differs.
        same_images: whether both were scored on the same images with the same truth.
        metrics: in the order of metrics.json.
        lost, gained: images, from the largest change of mAP down.
        one_sided: images whose mAP is defined in one of the two alone.
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
    """Everything that `compare` found; `worse` are the metrics with this verdict, as part.metric."""

    base: str
    head: str
    parameters: list[Change]
    parts: list[PartComparison]
    worse: list[str]


def compare(base: Snapshot, head: Snapshot) -> Comparison:
    """Compare two revisions; a part that only one has is left out of the scores, but its images are counted."""
    names = {**base.parameters, **head.parameters}
    changes = [Change(name, base.parameters.get(name), head.parameters.get(name)) for name in names]
    parts = [_compare_part(part, base, head) for part in {**base.images, **head.images}]
    worse = [f"{part.part}.{row.metric}" for part in parts for row in part.metrics if row.verdict == WORSE]
    return Comparison(base.name, head.name, [change for change in changes if change.base != change.head], parts, worse)


def judged_worse(comparison: Comparison, metrics: Sequence[str] = ()) -> list[str]:
    """Those of `comparison.worse` that are among the metrics, or all of them where none is named.

    Raises:
        InputError: a metric is unknown, or has no verdict in any part; or no metric has one: then nothing was judged,
            which is not the same as nothing having got worse.
    """
    rows = [row for part in comparison.parts for row in part.metrics]
    known = {row.metric for row in rows}
    decided = {row.metric for row in rows if row.verdict in (BETTER, WORSE, EVEN)}
    if not decided:
        raise InputError(
            "nothing could be compared, so whether anything got worse is unknown",
            got="; ".join(f"{part.part}: {_which_images(part)}" for part in comparison.parts) or "no part",
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


def document(comparison: Comparison) -> list[Block]:
    """The comparison as headings, sentences and tables."""
    blocks: list[Block] = [Heading(f"{comparison.head} against {comparison.base}", level=1)]
    if comparison.parameters:
        rows = [[change.parameter, change.base or "-", change.head or "-"] for change in comparison.parameters]
        blocks += [Heading("Parameters"), Table(["parameter", "base", "head"], rows)]
    else:
        blocks.append(Sentence("No parameter differs."))
    for part in comparison.parts:
        blocks += [Heading(part.part), Sentence(_which_images(part))]
        if part.images:
            blocks += [_metric_table(part), *_one_sided(part), *_image_tables(part)]
    return [
        *blocks,
        Sentence(
            "Difference is head minus base. Its 95 % interval is a paired bootstrap over images; better or worse is "
            "what lies wholly on one side of 0. Each metric is judged on its own: where nothing changed, one in "
            "twenty would still be called different. auc and average_precision rank the pixels of all images "
            "together, which needs the score of every pixel, and git tracks none: they have no interval; the means "
            "of the images' own, auc_mean and average_precision_mean, have."
        ),
    ]


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
    """What the table tells of an image's truth, from TRUTH_COLUMNS; the last are the pixels of its nuclei."""
    return [columns["height"], columns["width"], columns["nuclei"], columns["tp"] + columns["fn"]]


def _metric_differences(
    before: Columns, after: Columns, base: Mapping[str, Number], head: Mapping[str, Number], *, whole: bool
) -> list[MetricDifference]:
    """Differences over the images in common.

    Args:
        before, after: their rows.
        base, head: the metrics as reported: what the rows do not give, AUC and average precision, is taken from here.
        whole: these are all images of both.
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
        if one is None or other is None:  # one has no score to set against the other's
            one, other = [of[name] for of in alone] if name in found else reported
            rows.append(MetricDifference(name, 0, 0, one, other, None, None, None, NOT_COMPARABLE))
            continue
        low, high = (_number(bound) for bound in found.get(name, (None, None)))
        counts = paired.get(name, images), only_one.get(name, 0)
        verdict = _verdict(name, low, high)
        rows.append(MetricDifference(name, *counts, one, other, _number(other - one), low, high, verdict))
    return rows


def _both_defined(before: Columns, after: Columns) -> tuple[Columns, Columns]:
    """The rows with every mean score undefined that is undefined in the other: such an image drops out of both."""
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
    """The images that lost most mAP, that gained most, and that have one in only one of the two.

    Of equal ones those whose Dice changed more come first.
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
    """A plain number, rounded as the reports are, None for NaN."""
    if value is None or not math.isfinite(value):
        return None
    return round(float(value), DIGITS) + 0.0  # no minus zero


def _which_images(part: PartComparison) -> str:
    both = f"{part.images} images, {part.nuclei} nuclei"
    if part.same_images:
        return f"Both were scored on the same {both}."
    reasons = {
        "only in base": part.only_base,
        "only in head": part.only_head,
        "with another truth": part.changed,
    }
    listed = ", ".join(f"{count} {reason}" for reason, count in reasons.items() if count)
    what = f"All scores here are of the {both} in common." if part.images else "Nothing can be compared."
    return f"NOT SCORED ON THE SAME IMAGES: {listed}. {what}"


def _one_sided(part: PartComparison) -> list[Sentence]:
    """How many images count for neither revision, because the other has no score to set against theirs."""
    counts = [f"{row.metric} {row.only_one}" for row in part.metrics if row.only_one]
    if not counts:
        return []
    what = "Images with a score in only one of the two (in the other it is undefined, 0 / 0) count in neither mean: "
    return [Sentence(what + ", ".join(counts) + ".")]


def _metric_table(part: PartComparison) -> Table:
    rows = []
    for row in part.metrics:
        name = f"{row.metric} (lower is better)" if row.metric in LOWER_IS_BETTER else row.metric
        interval = "-" if row.low is None or row.high is None else f"{row.low:+.4f} to {row.high:+.4f}"
        values = [_shown(row.base), _shown(row.head), _shown(row.difference, "+")]
        rows.append([name, str(row.images), *values, interval, row.verdict])
    return Table(["metric", "images", "base", "head", "difference", "95 % interval", "verdict"], rows)


def _image_tables(part: PartComparison) -> list[Table]:
    header = ["image", "mAP base", "mAP head", "difference", "Dice base", "Dice head"]
    captions = {
        f"The {part.part} images that lost most": part.lost,
        f"The {part.part} images that gained most": part.gained,
        f"The {part.part} images with a mAP in only one of the two, which can not be ranked": part.one_sided,
    }
    tables = []
    for caption, images in captions.items():
        rows = [
            [
                *(of.id, _shown(of.map_base), _shown(of.map_head), _shown(of.map_difference, "+")),
                *(_shown(of.dice_base), _shown(of.dice_head)),
            ]
            for of in images
        ]
        if rows:
            tables.append(Table(header, rows, f"{caption} ({len(rows)})", folded=True))
    return tables


def _shown(value: Number, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.4f}"
