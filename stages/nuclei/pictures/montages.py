"""Images scaled to one size and arranged in a grid, each with its caption."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from nuclei.pictures.overlays import Labels, Rgb


def fitted(rgb: Rgb, labels: Sequence[Labels], side_px: int) -> tuple[Rgb, list[Labels]]:
    """The image and its label maps rescaled for display, before contours of 1 px are drawn on them.

    A small image is enlarged by a whole factor, so that each pixel stays a square; the longer side of a large one is
    reduced to `side_px`.
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
    """Images of any sizes in a grid on white, each centred in its cell with its caption below.

    Args:
        images: (H, W, 3) uint8 each.
        columns: at most so many images in a row.
        captions: one for each image, perhaps of several lines; a line too wide for its cell ends in an ellipsis.
        gap_px: between cells and around the grid.
        text_px: size of the captions' font.

    Raises:
        ValueError: there are not as many captions as images.
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
