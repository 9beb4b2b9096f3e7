"""Two revisions compared by what git tracks of them: metrics, per-image scores and parameters.

The differences are paired: both revisions scored the same images, so the difficulty of an image cancels out, and a
change shows that is smaller than the interval of either score. Their intervals resample groups of images (see
evaluate/bootstrap.py). Imports nothing heavy: the answer takes about a second.
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
from nuclei.evaluate.aggregate import COUNTS, DIGITS, LOWER_IS_BETTER, Columns
from nuclei.evaluate.bootstrap import intervals
from nuclei.experiments.noise import Noise
from nuclei.experiments.pairing import Pair, pair
from nuclei.experiments.revisions import Number, Snapshot

RESAMPLES, SEED = 2000, 0  # fixed, so that the same two revisions always give the same intervals
SHOWN_IMAGES = 10
BETTER, WORSE, EVEN = "better", "worse", "no difference shown"
WITHIN_NOISE, NO_INTERVAL, NOT_COMPARABLE = "within training noise", "no interval", "not comparable"
CONDITIONS = {"processor": "cpu", "device": "device", "threads": "threads", "precision": "precision"}


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
        groups: the number of groups that these images form, which the interval resamples; None where it is not known.
        only_one: images left out because only one of the two has a score for them.
        difference: head minus base.
        noise: how far the metric moves between trainings of one recipe (see noise.py); None where it was not measured.
    """

    metric: str
    images: int
    groups: int | None
    only_one: int
    base: Number
    head: Number
    difference: Number
    low: Number
    high: Number
    noise: Number
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
        groups: the number of groups that these images form; None where neither table names groups.
        groups_of: whose groups these are: "base", "head", "both" or "neither".
        only_base, only_head: images that only one of the two scored.
        changed: images that both scored, but with different annotations.
        same_images: whether both were scored on the same images with the same annotations.
        metrics: in the order of metrics.json.
        lost, gained: the images whose mAP changed most, largest change first.
        one_sided: images whose mAP is undefined in one of the two.
    """

    part: str
    images: int
    groups: int | None
    groups_of: str
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
    """Everything that `compare` found.

    Attributes:
        base, head: the names of the two revisions.
        parameters: those that differ.
        same_model: whether both have the same weights, so that only prediction or scoring can differ.
        training: the facts of the two trainings that differ: processor, threads, precision, versions of packages.
        unrecorded: which of base and head have no record of their training.
        parts: val and test.
        worse: the metrics with that verdict, as part.metric.
    """

    base: str
    head: str
    parameters: list[Change]
    same_model: bool
    training: list[Change]
    unrecorded: list[str]
    parts: list[PartComparison]
    worse: list[str]


def compare(base: Snapshot, head: Snapshot, noise: Noise | None = None) -> Comparison:
    """Compare two revisions, part by part; of a part that only one has, only the images are counted.

    Args:
        base, head: the revisions; every difference is head minus base.
        noise: how far scores move between trainings of one recipe. A difference that is no larger gets the verdict
            WITHIN_NOISE, unless both have the same weights.
    """
    floor = Noise({}) if noise is None or same_model(base, head) else noise
    parts = [_compare_part(part, base, head, floor) for part in {**base.images, **head.images}]
    return Comparison(
        base=base.name,
        head=head.name,
        parameters=changes(base.parameters, head.parameters),
        same_model=same_model(base, head),
        training=conditions(base, head),
        unrecorded=[name for name, of in (("base", base), ("head", head)) if not of.training],
        parts=parts,
        worse=[f"{part.part}.{row.metric}" for part in parts for row in part.metrics if row.verdict == WORSE],
    )


def changes(base: Mapping[str, str], head: Mapping[str, str]) -> list[Change]:
    """The names whose values differ."""
    found = [Change(name, base.get(name), head.get(name)) for name in {**base, **head}]
    return [change for change in found if change.base != change.head]


def same_model(base: Snapshot, head: Snapshot) -> bool:
    """Whether both are known to have the same weights."""
    return bool(base.training) and base.training["weights_sha256"] == head.training.get("weights_sha256")


def conditions(base: Snapshot, head: Snapshot) -> list[Change]:
    """What differed in training though no parameter says so, and moves scores as another seed does.

    Empty where it is not recorded of both.
    """
    if not base.training or not head.training:
        return []
    found = [
        {name: str(of.training.get(fact)) for name, fact in CONDITIONS.items()} | of.training.get("versions", {})
        for of in (base, head)
    ]
    return changes(*found)


def judged_worse(comparison: Comparison, metrics: Sequence[str]) -> list[str]:
    """Return those of `comparison.worse` that are among the metrics.

    Raises:
        InputError: a metric is unknown or has no verdict in any part; or no metric has a verdict. Nothing was judged
            then, which is not the same as nothing having got worse.
    """
    rows = [row for part in comparison.parts for row in part.metrics]
    known = {row.metric for row in rows}
    decided = {row.metric for row in rows if row.verdict not in (NO_INTERVAL, NOT_COMPARABLE)}
    if not decided:
        counts = [f"{part.part}: {part.images} images in common, {part.groups} groups" for part in comparison.parts]
        raise InputError(
            "nothing could be compared, so whether anything got worse is unknown",
            got=", ".join(counts).replace("None", "unknown") or "no part",
            fix="compare revisions that were scored on the same images, and whose per-image tables name groups",
        )
    for name in metrics:
        if name not in known:
            (near,) = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0)
            raise InputError("there is no such metric to compare", got=name, expected=f"perhaps {near}")
        if name not in decided:
            verdicts = sorted({row.verdict for row in rows if row.metric == name})
            raise InputError("a metric to judge has no verdict", got=f"{name}: {', '.join(verdicts)}")
    return [name for name in comparison.worse if name.partition(".")[2] in metrics]


def _compare_part(part: str, base: Snapshot, head: Snapshot, noise: Noise) -> PartComparison:
    found = pair(part, base, head)
    in_base, in_head = (of.metrics.get(part, {}) for of in (base, head))
    data = head.parameters.get("data") if base.parameters.get("data") == head.parameters.get("data") else None
    lost, gained, one_sided = _image_differences(found.ids, found.before, found.after)
    return PartComparison(
        part=part,
        images=len(found.ids),
        groups=None if found.groups is None else len(np.unique(found.groups)),
        groups_of=found.groups_of,
        nuclei=int(found.before["nuclei"].sum()),
        only_base=found.only_base,
        only_head=found.only_head,
        changed=found.changed,
        same_images=found.whole,
        metrics=_metric_differences(found, in_base, in_head, noise.of(data, part, len(found.ids))) if found.ids else [],
        lost=lost,
        gained=gained,
        one_sided=one_sided,
    )


def _metric_differences(
    images: Pair, base: Mapping[str, Number], head: Mapping[str, Number], noise: Mapping[str, float]
) -> list[MetricDifference]:
    """Differences over the images in common.

    Args:
        images: their rows and groups.
        base, head: the metrics as reported, for those that can not be computed from rows: AUC and average precision.
        noise: of this part, by metric.
    """
    before, after = images.before, images.after
    scored, only_one = dict[str, NDArray[np.bool_]](), dict[str, int]()
    for name, column in aggregate.MEANS.items():
        one_has, other_has = np.isfinite(before[column]), np.isfinite(after[column])
        scored[name] = one_has & other_has
        only_one[name] = int((one_has != other_has).sum())
    common = both_defined(before, after)
    one_common, other_common = (_numbers(aggregate.metrics(rows)) for rows in common)
    one_alone, other_alone = (_numbers(aggregate.metrics(rows)) for rows in (before, after))

    def statistics(weights: NDArray[np.int64]) -> dict[str, Any]:
        one, other = (aggregate.metrics(rows, weights) for rows in common)
        return {name: other[name] - one[name] for name in one}

    found: Mapping[str, tuple[float, float]] = {}
    if images.groups is not None:
        undefined = {name: ~counts for name, counts in scored.items()}
        found = intervals(statistics, images.groups, resamples=RESAMPLES, seed=SEED, undefined=undefined)
    everyone = np.ones(len(images.ids), bool)
    rows = []
    for name in dict.fromkeys([*base, *head, *one_common]):
        if name in COUNTS:
            continue
        reported = [rounded(of.get(name)) for of in (base, head)]
        if name in one_common:
            one, other = one_common[name], other_common[name]
        else:
            one, other = reported if images.whole else (None, None)
        if one is None or other is None:  # a score in one of the two at most
            one, other = (one_alone[name], other_alone[name]) if name in one_common else reported
            rows.append(MetricDifference(name, 0, 0, 0, one, other, None, None, None, None, NOT_COMPARABLE))
            continue
        counts = scored.get(name, everyone)
        low, high = (rounded(bound) for bound in found.get(name, (None, None)))
        difference, floor = other - one, noise.get(name)
        rows.append(
            MetricDifference(
                metric=name,
                images=int(counts.sum()),
                groups=None if images.groups is None else len(np.unique(images.groups[counts])),
                only_one=only_one.get(name, 0),
                base=one,
                head=other,
                difference=rounded(difference),
                low=low,
                high=high,
                noise=floor,
                verdict=verdict(name, difference, low, high, floor),
            )
        )
    return rows


def both_defined(before: Columns, after: Columns) -> tuple[Columns, Columns]:
    """The rows, with each score set to NaN that is NaN in the other, so that such an image drops out of both means."""
    columns = aggregate.MEANS.values()
    gaps = {name: np.where(np.isnan(before[name] + after[name]), np.nan, 0.0) for name in columns}
    one, other = (
        {name: values + gaps[name] if name in gaps else values for name, values in rows.items()}
        for rows in (before, after)
    )
    return one, other


def verdict(metric: str, difference: float, low: Number, high: Number, noise: Number) -> str:
    """What a difference and its interval say, where the metric moves by `noise` when one recipe is trained again."""
    if low is None or high is None:
        return NO_INTERVAL
    if low <= 0 <= high:
        return EVEN
    if noise is not None and abs(difference) <= noise:
        return WITHIN_NOISE
    return BETTER if (low > 0) != (metric in LOWER_IS_BETTER) else WORSE


def _image_differences(ids: Sequence[str], before: Columns, after: Columns) -> tuple[list[ImageDifference], ...]:
    """The images that lost most mAP, those that gained most, and those whose mAP is undefined in one of the two.

    Ties in mAP are broken by the change of Dice, then by id.
    """
    scores = [[[rounded(value) for value in rows[name]] for rows in (before, after)] for name in ("map", "dice")]
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


def _numbers(values: Mapping[str, Any]) -> dict[str, Number]:
    return {name: rounded(value) for name, value in values.items()}


def rounded(value: Any) -> Number:
    """A plain number, rounded as in the reports; None for NaN."""
    if value is None or not math.isfinite(value):
        return None
    return round(float(value), DIGITS) + 0.0  # no minus zero
