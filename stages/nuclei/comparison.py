"""Two revisions compared by what git tracks of them: metrics, per-image scores and parameters.

The differences are paired: both scored the same images, so what makes an image hard cancels out, and a small change
shows that two separate intervals would hide. Light on imports, for an answer within a second.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from nuclei import aggregate
from nuclei.aggregate import DIGITS, LOWER_IS_BETTER, Columns
from nuclei.bootstrap import intervals
from nuclei.documents import Block, Heading, Sentence, Table
from nuclei.errors import InputError

METRICS, PER_IMAGE, PARAMS = "reports/metrics.json", "reports/per_image.csv", "params.yaml"
RESAMPLES, SEED = 2000, 0  # fixed: the same two revisions always compare alike
SHOWN_IMAGES = 10
COUNTS = ("images", "nuclei")  # in metrics.json, but no scores
BETTER, WORSE, EVEN = "better", "worse", "no difference shown"
NO_INTERVAL, NOT_COMPARABLE = "no interval", "not comparable"

Number = float | None  # None: undefined


@dataclass(frozen=True)
class Snapshot:
    """What one revision says of itself.

    Attributes:
        name: as the user gave it.
        metrics: of each part.
        parameters: every leaf of params.yaml by its dotted name, as JSON.
        images: of each part, the ids and the numeric columns of their rows in the per-image table.
    """

    name: str
    metrics: Mapping[str, Mapping[str, Number]]
    parameters: Mapping[str, str]
    images: Mapping[str, tuple[list[str], Columns]]


@dataclass(frozen=True)
class Change:
    """A parameter that differs; None where a revision does not have it."""

    parameter: str
    base: str | None
    head: str | None


@dataclass(frozen=True)
class MetricDifference:
    """A metric of both, head minus base with its 95 % interval, and what that says."""

    metric: str
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
    map_base: float
    map_head: float
    map_difference: float
    dice_base: Number
    dice_head: Number


@dataclass(frozen=True)
class PartComparison:
    """One part.

    Attributes:
        images, nuclei: that both scored and whose truth is the same; all scores are of these.
        only_base, only_head: images that one alone scored.
        changed: images whose truth differs.
        metrics: in the order of metrics.json.
        lost, gained: images, from the largest change of mAP down.
    """

    part: str
    images: int
    nuclei: int
    only_base: int
    only_head: int
    changed: int
    metrics: list[MetricDifference]
    lost: list[ImageDifference]
    gained: list[ImageDifference]

    @property
    def same_images(self) -> bool:
        """Whether both were scored on the same images with the same truth."""
        return not (self.only_base or self.only_head or self.changed)


@dataclass(frozen=True)
class Comparison:
    """Everything that `compare` found."""

    base: str
    head: str
    parameters: list[Change]
    parts: list[PartComparison]

    @property
    def worse(self) -> list[str]:
        """The metrics that got worse, as part.metric."""
        return [f"{part.part}.{row.metric}" for part in self.parts for row in part.metrics if row.verdict == WORSE]


def read_revision(revision: str, folder: Path) -> Snapshot:
    """Read a branch, tag or commit of the repository that `folder` is in, or a DVC experiment by its name.

    Raises:
        InputError: there is no such revision, or it lacks a report or holds one that can not be read.
    """
    commit = _commit(revision, folder)

    def text(path: str) -> str:
        shown = _git(folder, "show", f"{commit}:./{path}")
        if shown.returncode:
            fix = "compare with a revision whose reports were committed after `dvc repro`"
            raise InputError(f"the revision {revision} has no {path}", file=path, got=commit[:9], fix=fix)
        return shown.stdout.decode("utf-8", errors="replace")

    return _snapshot(f"{revision} ({commit[:9]})", text)


def read_working_tree(folder: Path) -> Snapshot:
    """Read what lies in `folder`, committed or not.

    Raises:
        InputError: a report is absent or can not be read.
    """

    def text(path: str) -> str:
        try:
            return (folder / path).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            fix = "run from the repository's root, after `dvc repro`"
            raise InputError("a report is missing", file=folder / path, fix=fix) from None

    return _snapshot("the working tree", text)


def compare(base: Snapshot, head: Snapshot) -> Comparison:
    """Compare two revisions; a part that only one has is left out of the scores, but its images are counted."""
    names = {**base.parameters, **head.parameters}
    changes = [Change(name, base.parameters.get(name), head.parameters.get(name)) for name in names]
    parts = [_compare_part(part, base, head) for part in {**base.images, **head.images}]
    return Comparison(base.name, head.name, [change for change in changes if change.base != change.head], parts)


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
            blocks += [_metric_table(part), *_image_tables(part)]
    return [
        *blocks,
        Sentence(
            "Difference is head minus base. Its 95 % interval is a paired bootstrap over images; better or worse is "
            "what lies wholly on one side of 0. Each metric is judged on its own: where nothing changed, one in "
            "twenty would still be called different."
        ),
    ]


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        raise InputError("git is not installed", fix="install it: the comparison reads what git tracks") from None


def _commit(revision: str, folder: Path) -> str:
    """The hash of a revision that git knows, or of the DVC experiment of that name."""
    found = _git(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if not found.returncode:
        return found.stdout.decode().strip()
    listed = _git(folder, "for-each-ref", "--format=%(objectname) %(refname)", "refs/exps")
    if listed.returncode:
        said = listed.stderr.decode(errors="replace").strip()
        raise InputError("git can not read this folder", file=folder.resolve(), got=said)
    # DVC keeps an experiment as refs/exps/<the 40 digits of its baseline, cut after 2>/<name>
    refs = re.findall(r"^(\w+) refs/exps/[0-9a-f]{2}/[0-9a-f]{38}/(.+)$", listed.stdout.decode(), re.MULTILINE)
    commits = [commit for commit, name in refs if name == revision]
    if len(commits) > 1:
        fix = "give its hash: " + ", ".join(commit[:9] for commit in commits)
        raise InputError(f"{len(commits)} experiments have the name {revision}", fix=fix)
    if not commits:
        raise InputError(
            "there is no such revision",
            got=revision,
            expected="a branch, tag or commit, or the name of a DVC experiment (`dvc exp list --all-commits`)",
            fix="in a shallow clone fetch it first: git fetch --depth=1 origin NAME:NAME",
        )
    return str(commits[0])


def _snapshot(name: str, text: Any) -> Snapshot:
    where = f"{{}} of {name}".format
    try:
        metrics = json.loads(text(METRICS))
        values = [value for section in metrics.values() for value in section.values()]
        if not all(value is None or isinstance(value, int | float) for value in values):
            raise ValueError("a metric is not a number")
    except (AttributeError, ValueError) as error:
        raise InputError("the metrics can not be read", file=where(METRICS), got=error) from None
    try:
        parameters = yaml.safe_load(text(PARAMS))
    except yaml.YAMLError as error:
        raise InputError("the parameters are not valid YAML", file=where(PARAMS), got=error) from None
    rows, columns = aggregate.numbers(text(PER_IMAGE), where(PER_IMAGE))
    images = {}
    parts = np.array([row["part"] for row in rows])
    for part in dict.fromkeys(parts.tolist()):
        ids = [row["id"] for row in rows if row["part"] == part]
        if len(set(ids)) < len(ids):
            raise InputError("an image stands twice in the per-image table", file=where(PER_IMAGE), got=part)
        images[part] = ids, aggregate.chosen(columns, parts == part)
    return Snapshot(name, metrics, _leaves(parameters), images)


def _leaves(value: object, prefix: str = "") -> dict[str, str]:
    """Plain text, unlike `params.load`: another revision may have other parameters than this code knows."""
    if not isinstance(value, dict):
        return {prefix: json.dumps(value, ensure_ascii=False, default=str)}
    leaves: dict[str, str] = {}
    for name, item in value.items():
        leaves |= _leaves(item, f"{prefix}.{name}" if prefix else str(name))
    return leaves


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
    lost, gained = _image_differences(ids, before, after)
    metrics = _metric_differences(before, after, *(of.metrics.get(part, {}) for of in (base, head)), whole=whole)
    return PartComparison(part, **counts, metrics=metrics if ids else [], lost=lost, gained=gained)


def _truth(columns: Columns) -> list[NDArray[np.float64]]:
    """What the table tells of an image's truth; the last are the pixels of its nuclei."""
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
    values = [{name: _number(value) for name, value in aggregate.metrics(rows).items()} for rows in (before, after)]
    defined = _both_defined(before, after)
    undefined = {name: int(np.isnan(before[name] - after[name]).sum()) for name in aggregate.MEANS}

    def statistics(weights: NDArray[np.int64]) -> dict[str, Any]:
        # an image that has no score in one of the two drops out of both
        one, other = (aggregate.metrics(rows, weights) for rows in defined)
        return {name: other[name] - one[name] for name in one}

    found = intervals(statistics, images, resamples=RESAMPLES, seed=SEED, undefined=undefined)
    once = statistics(np.ones(images, dtype=np.int64))
    rows = []
    for name in dict.fromkeys([*base, *head, *found]):
        if name in COUNTS:
            continue
        if name in found:
            low, high = (_number(bound) for bound in found[name])
            difference = _number(once[name])
            verdict = _verdict(name, low, high)
            rows.append(MetricDifference(name, values[0][name], values[1][name], difference, low, high, verdict))
        else:
            one, other = _number(base.get(name)), _number(head.get(name))
            difference = _number(other - one) if whole and one is not None and other is not None else None
            verdict = NOT_COMPARABLE if difference is None else NO_INTERVAL
            rows.append(MetricDifference(name, one, other, difference, None, None, verdict))
    return rows


def _both_defined(before: Columns, after: Columns) -> tuple[Columns, Columns]:
    """The rows with every mean score undefined that is undefined in the other."""
    gaps = {name: np.where(np.isnan(before[name] + after[name]), np.nan, 0.0) for name in aggregate.MEANS}
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


def _image_differences(
    ids: Sequence[str], before: Columns, after: Columns
) -> tuple[list[ImageDifference], list[ImageDifference]]:
    """The images that lost most and that gained most mAP; of equal ones those whose Dice changed more come first."""
    differences = [
        ImageDifference(
            id,
            round(float(before["map"][row]), DIGITS),
            round(float(after["map"][row]), DIGITS),
            round(float(after["map"][row] - before["map"][row]), DIGITS),
            _number(before["dice"][row]),
            _number(after["dice"][row]),
        )
        for row, id in enumerate(ids)
        if math.isfinite(before["map"][row] + after["map"][row])
    ]

    def change(of: ImageDifference) -> tuple[float, float]:
        return of.map_difference, (of.dice_head or 0) - (of.dice_base or 0)

    lost = sorted((of for of in differences if change(of) < (0, 0)), key=lambda of: (change(of), of.id))
    gained = sorted((of for of in differences if change(of) > (0, 0)), key=lambda of: (change(of), of.id), reverse=True)
    return lost[:SHOWN_IMAGES], gained[:SHOWN_IMAGES]


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


def _metric_table(part: PartComparison) -> Table:
    rows = []
    for row in part.metrics:
        name = f"{row.metric} (lower is better)" if row.metric in LOWER_IS_BETTER else row.metric
        interval = "-" if row.low is None or row.high is None else f"{row.low:+.4f} to {row.high:+.4f}"
        rows.append([name, _shown(row.base), _shown(row.head), _shown(row.difference, "+"), interval, row.verdict])
    return Table(["metric", "base", "head", "difference", "95 % interval", "verdict"], rows)


def _image_tables(part: PartComparison) -> list[Table]:
    header = ["image", "mAP base", "mAP head", "difference", "Dice base", "Dice head"]
    tables = []
    for what, images in (("lost", part.lost), ("gained", part.gained)):
        rows = [
            [
                *(of.id, _shown(of.map_base), _shown(of.map_head), _shown(of.map_difference, "+")),
                *(_shown(of.dice_base), _shown(of.dice_head)),
            ]
            for of in images
        ]
        if rows:
            tables.append(Table(header, rows, f"The {part.part} images that {what} most ({len(rows)})", folded=True))
    return tables


def _shown(value: Number, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.4f}"
