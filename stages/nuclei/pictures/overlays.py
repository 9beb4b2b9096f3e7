"""Pictures of label maps: instances in distinct colours, contours, and where a prediction is right or wrong.

Each picture is a transparent layer, (H, W, 4) uint8, painted over an image; the page keeps the two apart, everything
else asks for them together. An image is (H, W, 3) uint8, a label map (H, W) uint16 or uint32 with 0 = background.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFont
from scipy import ndimage, sparse

Rgb = NDArray[np.uint8]  # (H, W, 3)
Layer = NDArray[np.uint8]  # (H, W, 4), the last channel is opacity
Labels = NDArray[np.integer]  # (H, W), 0 = background
Verdicts = dict[int, str]  # a key of ERRORS for the label of each instance

# On a dark image every vivid colour shows; on a bright one they must differ from the purple or gray of the nuclei and
# from the white around them.
INSTANCES_ON_DARK = ("#ff4d4d", "#35e0ff", "#ffd92f", "#c77dff", "#5cf26b", "#ff8ad8", "#ff9d2e", "#5f9bff")
INSTANCES_ON_BRIGHT = ("#e8002d", "#00b4e6", "#ffc400", "#101010", "#00b84a", "#ff7300", "#00a896", "#2f4bff")
# Orange and blue are told apart by colour-blind readers too; where both contours meet, white on dark, black on bright.
PAIR_ON_DARK = ("#ffa000", "#22b8ff", "#ffffff")  # truth, prediction, both
PAIR_ON_BRIGHT = ("#f07000", "#0080ff", "#000000")
# After Okabe and Ito's palette for colour-blind readers; what was missed is hatched too, so that it needs no colour.
ERRORS = {
    "true positive": "#12c994",
    "false positive": "#ff5230",
    "false negative": "#29a8ff",
    "split": "#ffdc3d",
    "merged": "#f27ae0",
}
COLOURS = len(INSTANCES_ON_DARK)
BRIGHT = 110  # mean of the strongest channel, of 255, from which an image counts as bright
FILL, FILL_OF_ERRORS = 0.28, 0.6  # opacity of the area inside a contour


def contours(labels: Labels) -> NDArray[np.bool_]:
    """The pixels of every instance that have a 4-neighbour outside it: one pixel wide, inside the instance.

    The image's border is no contour: a nucleus that it cuts stays open there.
    """
    down = labels[1:] != labels[:-1]
    right = labels[:, 1:] != labels[:, :-1]
    edge = np.zeros(labels.shape, dtype=bool)
    edge[1:] |= down
    edge[:-1] |= down
    edge[:, 1:] |= right
    edge[:, :-1] |= right
    return edge & (labels > 0)


def overlay(rgb: Rgb, labels: Labels) -> Rgb:
    """The image with each instance tinted and outlined in a colour that none of its neighbours has."""
    return paint(visible(rgb), instances_layer(labels, bright=is_bright(rgb)))


def truth_vs_prediction(rgb: Rgb, truth: Labels, predicted: Labels) -> Rgb:
    """The image with the contours of the truth (orange) and the prediction (blue); white or black where they meet."""
    return paint(visible(rgb), contours_layer(truth, predicted, bright=is_bright(rgb)))


def errors(rgb: Rgb, truth: Labels, predicted: Labels) -> Rgb:
    """The image with each nucleus marked as found, invented, missed, split or merged, in the colours of `ERRORS`."""
    return paint(visible(rgb), errors_layer(truth, predicted, *verdicts(truth, predicted)))


def instances_layer(labels: Labels, *, bright: bool) -> Layer:
    """A tint and a contour for each instance, in colours that differ between neighbours and suit the image."""
    dense, present = _dense(labels)
    colours = INSTANCES_ON_BRIGHT if bright else INSTANCES_ON_DARK
    palette = np.array([ImageColor.getrgb(colour) for colour in colours], dtype=np.uint8)
    layer = np.zeros((*labels.shape, 4), dtype=np.uint8)
    inside = dense > 0
    layer[inside, :3] = palette[_colouring(dense, present.size)[dense[inside]]]
    layer[inside, 3] = round(255 * FILL)
    layer[contours(labels), 3] = 255
    return layer


def contours_layer(truth: Labels, predicted: Labels, *, bright: bool) -> Layer:
    """The contours of both label maps, 1 px wide; see `truth_vs_prediction`."""
    layer = np.zeros((*truth.shape, 4), dtype=np.uint8)
    of_truth, of_predicted = contours(truth), contours(predicted)
    lines = (of_truth, of_predicted, of_truth & of_predicted)
    for where, colour in zip(lines, PAIR_ON_BRIGHT if bright else PAIR_ON_DARK, strict=True):
        layer[where] = (*ImageColor.getrgb(colour), 255)
    return layer


def errors_layer(truth: Labels, predicted: Labels, of_truth: Verdicts, of_predicted: Verdicts) -> Layer:
    """Each nucleus marked by its verdict.

    What is right has a contour alone, what is wrong is filled, what is missed is hatched. A split nucleus has the
    area of the truth and the contours of its pieces, merged nuclei the area of the prediction and the contours of
    the true ones.

    Args:
        truth, predicted: the label maps, perhaps scaled since they were judged.
        of_truth, of_predicted: what `verdicts` said of them.
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
    """A function that tells, (H, W) bool, where the instances of a verdict are."""
    dense, present = _dense(labels)
    kinds = np.array(["", *(of_label[label] for label in present.tolist())])
    return lambda kind: (kinds == kind)[dense]


def verdicts(truth: Labels, predicted: Labels) -> tuple[Verdicts, Verdicts]:
    """What became of each true and of each predicted instance, by its label; labels go up to 4,294,967,295.

    Matches (IoU at least 0.5), splits and merges are those that `scores.matching` counts. A split or merge wins
    over a match: its pieces are neither missed nor invented.
    """
    (truth, true_labels), (predicted, predicted_labels) = _dense(truth), _dense(predicted)
    ones = np.ones(truth.size, dtype=np.int64)
    pairs = sparse.coo_array((ones, (truth.ravel(), predicted.ravel()))).tocsr().tocoo()
    area_true = np.bincount(truth.ravel(), minlength=1)
    area_predicted = np.bincount(predicted.ravel(), minlength=1)
    both = (pairs.row > 0) & (pairs.col > 0)
    t, p, shared = pairs.row[both], pairs.col[both], pairs.data[both]
    match = np.flatnonzero(2 * shared >= area_true[t] + area_predicted[p] - shared)
    match = match[np.unique(t[match], return_index=True)[1]]  # an instance cut into exact halves matches one of them
    match = match[np.unique(p[match], return_index=True)[1]]
    piece, member = 2 * shared > area_predicted[p], 2 * shared > area_true[t]
    split = np.bincount(t[piece], minlength=area_true.size) >= 2
    merged = np.bincount(p[member], minlength=area_predicted.size) >= 2

    of_truth = np.full(area_true.size, "false negative", dtype="<U14")
    of_predicted = np.full(area_predicted.size, "false positive", dtype="<U14")
    of_truth[t[match]] = of_predicted[p[match]] = "true positive"
    of_truth[t[member & merged[p]]] = "merged"
    of_predicted[p[piece & split[t]]] = "split"
    of_truth[split], of_predicted[merged] = "split", "merged"
    return (
        dict(zip(true_labels.tolist(), of_truth[1:].tolist(), strict=True)),
        dict(zip(predicted_labels.tolist(), of_predicted[1:].tolist(), strict=True)),
    )


def paint(rgb: Rgb, layer: Layer) -> Rgb:
    """The image with the layer over it."""
    opacity = layer[..., 3:].astype(np.uint32)
    mixed = rgb * (255 - opacity) + layer[..., :3] * opacity
    return ((mixed + 127) // 255).astype(np.uint8)


def is_bright(rgb: Rgb) -> bool:
    """Whether the image is bright all over, like tissue, rather than light on dark, like fluorescence."""
    return bool(_strongest(rgb).mean() >= BRIGHT)


def visible(rgb: Rgb) -> Rgb:
    """A dark image made bright enough to see: its 99.8th percentile becomes white, dim values rise (gamma 0.7).

    A bright image comes back as it is. For looking only: no measurement is made on the result.
    """
    if is_bright(rgb):
        return rgb
    white = max(
        float(np.percentile(_strongest(rgb), 99.8)), 16.0
    )  # an empty image stays dark, its noise is not blown up
    curve = 255 * np.clip(np.arange(256) / white, 0, 1) ** 0.7
    return curve.round().astype(np.uint8)[rgb]


def _strongest(rgb: Rgb) -> NDArray[np.uint8]:
    """The strongest channel of each pixel; `max` over so short an axis would take ten times as long."""
    return np.maximum(np.maximum(rgb[..., 0], rgb[..., 1]), rgb[..., 2])


def fitted(rgb: Rgb, labels: Sequence[Labels], side_px: int) -> tuple[Rgb, list[Labels]]:
    """The image and its label maps with the longer side near `side_px`, so that 1-px contours suit the size shown.

    Small images grow by a whole factor, which keeps every pixel a square; large ones shrink to `side_px`.
    """
    height, width = rgb.shape[:2]
    factor = side_px // max(height, width)
    if factor >= 1:
        grown: list[Labels] = [np.kron(array, np.ones((factor, factor), dtype=array.dtype)) for array in labels]
        return np.repeat(np.repeat(rgb, factor, axis=0), factor, axis=1), grown
    scale = side_px / max(height, width)
    small = (max(1, round(height * scale)), max(1, round(width * scale)))
    rows = ((np.arange(small[0]) + 0.5) * height / small[0]).astype(int)
    cols = ((np.arange(small[1]) + 0.5) * width / small[1]).astype(int)
    resized = Image.fromarray(rgb).resize((small[1], small[0]), Image.Resampling.BOX)
    return np.asarray(resized), [array[np.ix_(rows, cols)] for array in labels]


def montage(
    images: Sequence[Rgb], columns: int, captions: Sequence[str] | None = None, *, gap_px: int = 8, text_px: int = 13
) -> Rgb:
    """Images of any sizes in a grid on white, each in the middle of its cell with its caption below.

    Args:
        captions: one for each image; each line of a caption that is too wide for its cell is cut with an ellipsis.
    """
    if captions is not None and len(captions) != len(images):
        raise ValueError(f"got {len(captions)} captions for {len(images)} images")
    columns = max(1, min(columns, len(images)))
    rows = -(-len(images) // columns)
    height = max((image.shape[0] for image in images), default=0)
    width = max((image.shape[1] for image in images), default=0)
    lines = max((caption.count("\n") + 1 for caption in captions), default=0) if captions else 0
    line_px = round(text_px * 1.35)
    step_row, step_col = height + lines * line_px + gap_px, width + gap_px
    canvas = Image.new("RGB", (columns * step_col + gap_px, rows * step_row + gap_px), "white")
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(text_px)
    for number, image in enumerate(images):
        top, left = gap_px + number // columns * step_row, gap_px + number % columns * step_col
        offset_row, offset_col = (height - image.shape[0]) // 2, (width - image.shape[1]) // 2
        canvas.paste(Image.fromarray(image), (left + offset_col, top + offset_row))
        for line, text in enumerate(captions[number].split("\n") if captions else []):
            draw.text((left, top + height + line * line_px), _cut(text, draw, font, width), "#222222", font)
    return np.asarray(canvas)


def _cut(text: str, draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """The text, shortened with an ellipsis to `width` pixels."""
    short = text
    while short and draw.textlength(short + ("…" if short != text else ""), font) > width:
        short = short[:-1]
    return short if short == text else short.rstrip() + "…"


def _dense(labels: Labels) -> tuple[NDArray[np.intp], Labels]:
    """The same instances as labels 1..n without gaps, and the n labels that they had, ascending."""
    present = np.unique(labels)
    present = present[present > 0]
    dense = np.searchsorted(present, labels) + 1
    dense[labels == 0] = 0
    return dense, present


def _colouring(labels: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """The number of a colour for each label 1..count, never that of a neighbour (index 0 is the background's).

    Neighbours are instances whose Voronoi cells touch: near each other, with nothing in between. Their graph is all
    but planar, and greedy colouring from the most neighbours down has always a colour left among eight.
    """
    chosen = np.zeros(count + 1, dtype=np.intp)
    if count < 2:
        return chosen
    nearest = ndimage.distance_transform_edt(labels == 0, return_distances=False, return_indices=True)
    cells = labels[tuple(nearest)]
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
        chosen[label] = np.lexsort((used, clashes))[0]  # no clash first, then the colour seen least
        used[chosen[label]] += 1
    return chosen
