"""A comparison of two runs in words: headings, sentences and tables for documents.py to write."""

from __future__ import annotations

from nuclei.evaluate.aggregate import LOWER_IS_BETTER
from nuclei.experiments.comparison import Comparison, ImageDifference, PartComparison
from nuclei.experiments.documents import Block, Heading, Sentence, Table
from nuclei.experiments.revisions import Number

METHOD = (
    "Difference is head minus base, with a 95 % interval from a paired bootstrap over images. The verdict is better or "
    "worse where the interval excludes 0. Each metric is tested on its own, so where nothing changed, about one metric "
    "in twenty would still be called different. auc and average_precision rank the pixels of all images together; an "
    "interval would need the score of every pixel, which git does not track. auc_mean and average_precision_mean, the "
    "means of the images' own, have intervals."
)


def document(comparison: Comparison) -> list[Block]:
    """Parameters that differ, then for each part the metrics and the images that changed most, then the method."""
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
    return [*blocks, Sentence(METHOD)]


def _which_images(part: PartComparison) -> str:
    both = f"{part.images} images, {part.nuclei} nuclei"
    if part.same_images:
        return f"Both were scored on the same {both}."
    reasons = {
        "only in base": part.only_base,
        "only in head": part.only_head,
        "with different annotations": part.changed,
    }
    listed = ", ".join(f"{count} {reason}" for reason, count in reasons.items() if count)
    what = f"All scores here are of the {both} in common." if part.images else "Nothing can be compared."
    return f"NOT SCORED ON THE SAME IMAGES: {listed}. {what}"


def _metric_table(part: PartComparison) -> Table:
    rows = []
    for row in part.metrics:
        name = f"{row.metric} (lower is better)" if row.metric in LOWER_IS_BETTER else row.metric
        interval = "-" if row.low is None or row.high is None else f"{row.low:+.4f} to {row.high:+.4f}"
        values = [_shown(row.base), _shown(row.head), _shown(row.difference, "+")]
        rows.append([name, str(row.images), *values, interval, row.verdict])
    return Table(["metric", "images", "base", "head", "difference", "95 % interval", "verdict"], rows)


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
