"""Pictures of label maps: instances in distinct colours, and the contours of a prediction beside those of the truth.

Each drawing is a transparent layer, (H, W, 4) uint8. The page keeps image and layer apart; `overlay` and
`truth_vs_prediction` paint the one over the other. An image is (H, W, 3) uint8, a label map (H, W) of any integer type
with 0 = background.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import ImageColor
from scipy import sparse
from skimage.segmentation import expand_labels, relabel_sequential

Rgb = NDArray[np.uint8]  # (H, W, 3)
Layer = NDArray[np.uint8]  # (H, W, 4), the last channel is opacity
Labels = NDArray[np.integer]  # (H, W), 0 = background

# On a dark image every vivid colour shows; on a bright one they must differ from the purple or gray of the nuclei and
# from the white around them.
INSTANCES_ON_DARK = ("#ff4d4d", "#35e0ff", "#ffd92f", "#c77dff", "#5cf26b", "#ff8ad8", "#ff9d2e", "#5f9bff")
INSTANCES_ON_BRIGHT = ("#e8002d", "#00b4e6", "#ffc400", "#101010", "#00b84a", "#ff7300", "#00a896", "#2f4bff")
# Colour-blind readers can tell orange from blue. Where the two contours coincide: white on dark, black on bright.
PAIR_ON_DARK = ("#ffa000", "#22b8ff", "#ffffff")  # truth, prediction, both
PAIR_ON_BRIGHT = ("#f07000", "#0080ff", "#000000")
COLOURS = len(INSTANCES_ON_DARK)
BRIGHT = 110  # an image is bright if the mean of each pixel's strongest channel is at least this, of 255
FILL = 0.28  # opacity of the area inside a contour


def contours(labels: Labels) -> NDArray[np.bool_]:
    """(H, W) bool: the pixels of each instance that have a 4-neighbour outside it, so one pixel wide and inside.

    The image's border is no contour: an instance that the border cuts is left open there.
    """
    edge = np.zeros(labels.shape, bool)
    for here, there in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        differ = labels[here] != labels[there]
        edge[here] |= differ
        edge[there] |= differ
    return edge & (labels > 0)


def overlay(rgb: Rgb, labels: Labels) -> Rgb:
    """The image with each instance tinted and outlined in a colour that none of its neighbours has."""
    return paint(visible(rgb), instances_layer(labels, bright=is_bright(rgb)))


def truth_vs_prediction(rgb: Rgb, truth: Labels, predicted: Labels) -> Rgb:
    """The image with the contours of the truth (orange), the prediction (blue) and both (white or black)."""
    return paint(visible(rgb), contours_layer(truth, predicted, bright=is_bright(rgb)))


def instances_layer(labels: Labels, *, bright: bool) -> Layer:
    """A tint and a contour for each instance, in colours that differ between neighbours and suit the image."""
    dense, _, _ = relabel_sequential(labels)
    colours = INSTANCES_ON_BRIGHT if bright else INSTANCES_ON_DARK
    palette = np.array([ImageColor.getrgb(colour) for colour in colours], dtype=np.uint8)
    of_label = np.zeros((int(dense.max(initial=0)) + 1, 4), dtype=np.uint8)  # that of the background stays transparent
    of_label[1:, :3] = palette[_colouring(dense)[1:]]
    of_label[1:, 3] = round(255 * FILL)
    layer = of_label[dense]
    layer[contours(dense), 3] = 255
    return layer


def contours_layer(truth: Labels, predicted: Labels, *, bright: bool) -> Layer:
    """The contours of both label maps, 1 px wide; see `truth_vs_prediction`."""
    layer = np.zeros((*truth.shape, 4), dtype=np.uint8)
    of_truth, of_predicted = contours(truth), contours(predicted)
    lines = (of_truth, of_predicted, of_truth & of_predicted)
    for where, colour in zip(lines, PAIR_ON_BRIGHT if bright else PAIR_ON_DARK, strict=True):
        layer[where] = (*ImageColor.getrgb(colour), 255)
    return layer


def paint(rgb: Rgb, layer: Layer) -> Rgb:
    """The image with the layer over it."""
    opacity = layer[..., 3:].astype(np.uint16)  # 255 * 255 + 127 fits
    mixed = rgb * (255 - opacity) + layer[..., :3] * opacity
    return ((mixed + 127) // 255).astype(np.uint8)


def is_bright(rgb: Rgb) -> bool:
    """Whether the image has a bright background, like stained tissue, rather than a dark one, like fluorescence."""
    return bool(_strongest(rgb).mean() >= BRIGHT)


def visible(rgb: Rgb) -> Rgb:
    """A dark image with its 99.8th percentile made white and a gamma of 0.7, which lifts dim values.

    A bright image is returned unchanged. The result is for viewing, not for measuring.
    """
    if is_bright(rgb):
        return rgb
    white = max(float(np.percentile(_strongest(rgb), 99.8)), 16.0)  # so that the noise of an empty image stays dark
    curve = 255 * np.clip(np.arange(256) / white, 0, 1) ** 0.7
    return curve.round().astype(np.uint8)[rgb]


def _strongest(rgb: Rgb) -> NDArray[np.uint8]:
    """(H, W): the largest channel of each pixel. `max(axis=2)` takes ten times as long on an axis of three."""
    return np.maximum(np.maximum(rgb[..., 0], rgb[..., 1]), rgb[..., 2])


def _colouring(dense: Labels) -> NDArray[np.intp]:
    """The index of a colour for each label 0..n, never that of a neighbour (entry 0 belongs to the background).

    Two instances are neighbours if their Voronoi cells touch: they are close, with no other instance in between. The
    graph of neighbours is nearly planar, so a greedy colouring from the most neighbours down does with eight colours.
    Of the colours that no neighbour has, the one used least so far is taken, which keeps all eight in use; the greedy
    colouring of networkx uses four to six, and takes three times as long.
    """
    count = int(dense.max(initial=0))
    chosen = np.zeros(count + 1, dtype=np.intp)
    if count < 2:
        return chosen
    cells = expand_labels(dense, np.inf)
    sides = (
        (cells[1:], cells[:-1]),
        (cells[:, 1:], cells[:, :-1]),
        (cells[1:, 1:], cells[:-1, :-1]),
        (cells[1:, :-1], cells[:-1, 1:]),
    )
    pairs = np.concatenate([np.stack([one[one != other], other[one != other]]) for one, other in sides], axis=1)
    pairs = np.concatenate([pairs, pairs[::-1]], axis=1)
    touches = sparse.coo_array((np.ones(pairs.shape[1], dtype=bool), pairs), shape=(count + 1, count + 1)).tocsr()
    degree = np.diff(touches.indptr)
    used = np.zeros(COLOURS, dtype=int)
    chosen[:] = -1
    for label in np.argsort(-degree[1:], kind="stable") + 1:
        taken = chosen[touches.indices[touches.indptr[label] : touches.indptr[label + 1]]]
        clashes = np.bincount(taken[taken >= 0], minlength=COLOURS)
        chosen[label] = np.lexsort((used, clashes))[0]  # fewest clashes, then least used
        used[chosen[label]] += 1
    return chosen
