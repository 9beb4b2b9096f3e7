"""What became of each nucleus: found, missed, invented, split or merged, by the counts of `scores.matching`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import ImageColor
from skimage.segmentation import relabel_sequential

from nuclei.pictures.overlays import Labels, Layer, contours
from nuclei.scores.matching import overlaps

Verdicts = dict[int, str]  # a key of ERRORS for the label of each instance

# After Okabe and Ito's palette for colour-blind readers; missed nuclei are hatched too, so that colour is not needed.
ERRORS = {
    "true positive": "#12c994",
    "false positive": "#ff5230",
    "false negative": "#29a8ff",
    "split": "#ffdc3d",
    "merged": "#f27ae0",
}
FILL_OF_ERRORS = 0.6  # opacity of the area inside a contour


def verdicts(truth: Labels, predicted: Labels) -> tuple[Verdicts, Verdicts]:
    """What became of each true and of each predicted instance, by its label.

    Matches (IoU at least 0.5), splits and merges are those that `scores.matching.match` counts. An instance that is
    part of a split or a merge is called that, whether it matches or not.

    Args:
        truth, predicted: (H, W) integers of the same shape, 0 = background; labels may have gaps.
    """
    pairs = overlaps(truth, predicted)
    t, p, match = pairs.t, pairs.p, pairs.matched
    of_truth = np.full(len(pairs.true_labels), "false negative", dtype="<U14")
    of_predicted = np.full(len(pairs.predicted_labels), "false positive", dtype="<U14")
    of_truth[t[match]] = of_predicted[p[match]] = "true positive"
    of_truth[t[pairs.true_inside & pairs.merged[p]]] = "merged"
    of_predicted[p[pairs.predicted_inside & pairs.split[t]]] = "split"
    of_truth[pairs.split], of_predicted[pairs.merged] = "split", "merged"
    return (
        dict(zip(pairs.true_labels.tolist(), of_truth.tolist(), strict=True)),
        dict(zip(pairs.predicted_labels.tolist(), of_predicted.tolist(), strict=True)),
    )


def errors_layer(truth: Labels, predicted: Labels, of_truth: Verdicts, of_predicted: Verdicts) -> Layer:
    """Each nucleus marked by its verdict, in the colours of `ERRORS`.

    A found nucleus has only its contour, a missed one is hatched, and other errors are filled. A split nucleus is drawn
    with its true area and the contours of the predicted fragments; merged nuclei are drawn with the predicted area and
    the contours of the true nuclei.

    Args:
        truth, predicted: the label maps, which may have been rescaled since `verdicts` saw them.
        of_truth, of_predicted: what `verdicts` returned.
    """
    layer = np.zeros((*truth.shape, 4), dtype=np.uint8)
    true_edge, predicted_edge = contours(truth), contours(predicted)
    true, guessed = _areas(truth, of_truth), _areas(predicted, of_predicted)
    merged = guessed("merged")
    hatched = np.add.outer(np.arange(truth.shape[0]), np.arange(truth.shape[1])) % 8 < 4
    areas = {
        "false negative": true("false negative") & hatched,
        "split": true("split"),
        "false positive": guessed("false positive"),
        "merged": merged,
    }
    lines = {
        "true positive": guessed("true positive") & predicted_edge,
        "false negative": true("false negative") & true_edge,
        "false positive": guessed("false positive") & predicted_edge,
        "split": true("split") & predicted_edge & ~merged,
        "merged": merged & (true_edge | predicted_edge),
    }
    for where_of, opacity in ((areas, FILL_OF_ERRORS), (lines, 1.0)):
        for kind, where in where_of.items():
            layer[where] = (*ImageColor.getrgb(ERRORS[kind]), round(255 * opacity))
    return layer


def _areas(labels: Labels, of_label: Verdicts) -> Callable[[str], NDArray[np.bool_]]:
    """A function that returns the pixels, (H, W) bool, of all instances with a given verdict."""
    dense, _, _ = relabel_sequential(labels)
    present = np.unique(labels)
    kinds = np.array(["", *(of_label[label] for label in present[present > 0].tolist())])
    return lambda kind: (kinds == kind)[dense]
