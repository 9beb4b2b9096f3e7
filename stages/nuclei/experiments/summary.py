"""A comparison of two runs in words: headings, sentences and tables for documents.py to write."""

from __future__ import annotations

from nuclei.evaluate.aggregate import LOWER_IS_BETTER
from nuclei.experiments.comparison import Change, Comparison, ImageDifference, PartComparison
from nuclei.experiments.documents import Block, Heading, Sentence, Table
from nuclei.experiments.pairing import BOTH, NEITHER
from nuclei.experiments.revisions import Number

METHOD = (
    "Difference is head minus base, with a 95 % interval from a paired bootstrap over groups of images: fields of view "
    "with their tiles and near-duplicates. The verdict is better or worse where the interval excludes 0. Each metric "
    "is tested on its own, so where nothing changed, about one metric in twenty would still be called different; to "
    "judge many experiments at once, use leaderboard.py. auc and average_precision rank the pixels of all images "
    "together; an interval would need the score of every pixel, which git does not track. auc_mean and "
    "average_precision_mean, the means of the images' own, have intervals."
)


def document(comparison: Comparison) -> list[Block]:
    """What differs in parameters and training, then for each part the metrics and images, then the method."""
    blocks: list[Block] = [Heading(f"{comparison.head} against {comparison.base}", level=1)]
    if comparison.parameters:
        blocks += [Heading("Parameters"), _change_table("parameter", comparison.parameters)]
    else:
        blocks.append(Sentence("No parameter differs."))
    blocks += _training(comparison)
    for part in comparison.parts:
        blocks += [Heading(part.part), Sentence(_which_images(part))]
        if part.images:
            blocks += [_metric_table(part), *_one_sided(part), *_image_tables(part)]
    return [*blocks, Sentence(METHOD)]


def _change_table(name: str, changes: list[Change]) -> Table:
    return Table(
        [name, "base", "head"], [[change.parameter, change.base or "-", change.head or "-"] for change in changes]
    )


def _training(comparison: Comparison) -> list[Block]:
    """Whether the two models were trained alike, and how large a difference that alone explains."""
    if comparison.same_model:
        return [Sentence("Both have the same weights: only prediction or scoring can differ.")]
    blocks: list[Block] = []
    if comparison.unrecorded:
        names = " and ".join(comparison.unrecorded)
        blocks.append(Sentence(f"Where {names} was trained is not recorded: reports/run.js is missing or outdated."))
    elif comparison.training:
        blocks += [Heading("Training"), _change_table("", comparison.training)]
        blocks.append(Sentence("The two were not trained under the same conditions, which alone moves scores."))
    return [*blocks, Sentence(_noise(comparison))]


def _noise(comparison: Comparison) -> str:
    measured = {
        f"{part.part} {row.metric} {row.noise:.4f}"
        for part in comparison.parts
        for row in part.metrics
        if row.metric in ("dice", "map") and row.noise is not None
    }
    if not measured:
        return (
            "How far scores move on these images when one recipe is trained again, with another seed or on another "
            "machine, has not been measured (reports/noise.csv): the verdicts compare two models, not two recipes."
        )
    return (
        "Trained again with another seed or number of threads, one recipe moved by up to "
        f"{', '.join(sorted(measured))} (reports/noise.csv). A difference no larger is called within training noise."
    )


def _which_images(part: PartComparison) -> str:
    both = f"{part.images} images, {part.nuclei} nuclei"
    if part.groups is not None:
        both = f"{part.images} images in {part.groups} groups, {part.nuclei} nuclei"
    reasons = {
        "only in base": part.only_base,
        "only in head": part.only_head,
        "with different annotations": part.changed,
    }
    listed = ", ".join(f"{count} {reason}" for reason, count in reasons.items() if count)
    if part.same_images:
        text = f"Both were scored on the same {both}."
    elif part.images:
        text = f"NOT SCORED ON THE SAME IMAGES: {listed}. All scores here are of the {both} in common."
    else:
        return f"NOT SCORED ON THE SAME IMAGES: {listed}. Nothing can be compared."
    if part.groups_of == NEITHER:
        return (
            f"{text} Neither per-image table names groups, so there are no intervals: run `dvc repro` on one of them."
        )
    if part.groups_of != BOTH:
        return f"{text} The groups are those of {part.groups_of}; the other has none, or more and smaller ones."
    return text


def _metric_table(part: PartComparison) -> Table:
    rows = []
    for row in part.metrics:
        name = f"{row.metric} (lower is better)" if row.metric in LOWER_IS_BETTER else row.metric
        interval = "-" if row.low is None or row.high is None else f"{row.low:+.4f} to {row.high:+.4f}"
        counts = [str(row.images), "-" if row.groups is None else str(row.groups)]
        values = [_shown(row.base), _shown(row.head), _shown(row.difference, "+")]
        rows.append([name, *counts, *values, interval, row.verdict])
    return Table(["metric", "images", "groups", "base", "head", "difference", "95 % interval", "verdict"], rows)


def _one_sided(part: PartComparison) -> list[Sentence]:
    """For each metric, the number of images left out of both means because only one of the two has a score."""
    counts = [f"{row.metric} {row.only_one}" for row in part.metrics if row.only_one]
    if not counts:
        return []
    why = "Images whose score is undefined (0 / 0) in one of the two are left out of both means: "
    return [Sentence(why + ", ".join(counts) + ".")]


def _image_tables(part: PartComparison) -> list[Table]:
    tables = {
        f"The {part.part} images that lost most mAP": part.lost,
        f"The {part.part} images that gained most mAP": part.gained,
        f"The {part.part} images whose mAP is undefined in one of the two": part.one_sided,
    }
    return [_image_table(caption, images) for caption, images in tables.items() if images]


def _image_table(caption: str, images: list[ImageDifference]) -> Table:
    header = ["image", "mAP base", "mAP head", "difference", "Dice base", "Dice head"]
    rows = [
        [
            *(of.id, _shown(of.map_base), _shown(of.map_head), _shown(of.map_difference, "+")),
            *(_shown(of.dice_base), _shown(of.dice_head)),
        ]
        for of in images
    ]
    return Table(header, rows, f"{caption} ({len(rows)})", folded=True)


def _shown(value: Number, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.4f}"
