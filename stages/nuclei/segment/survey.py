"""What must be known of a whole large image before its first block: its intensities, and a sample of nuclei."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from nuclei.images.intensity import PERCENTILES, contrast, rescaled_block
from nuclei.network.normalisation import is_gray, is_light, percentile_table
from nuclei.segment.slides import Slide

READ_PX = 2048  # side of what is read at a time
STRIP_PX = 1024  # rows of a tile of the network that are read at a time
SAMPLE_PX, SAMPLES = 512, 16  # side and number of the windows from which the diameter is measured
CONTRAST = 0.5  # of the 99th percentile over windows: those below it hold few nuclei
BLANK_LEVELS = 4  # of 255; a tile whose averaged brightness varies less shows no nucleus; measured in docs/scale.md
AVERAGED_PX = 8  # side of what is averaged, at the network's scale, where nuclei are larger


@dataclass(frozen=True)
class Survey:
    """What one pass over a large image found.

    Attributes:
        counts: (256,) or (65536,), how often what the network sees holds each value: one channel, or a colour image.
        uniform: the same of the windows of one value, such as those of a margin or of missing tiles.
        gray: whether all channels are equal, as of a gray image saved as RGB.
        digest: SHA-256 of the pixels.
        windows: rows and columns of up to `SAMPLES` windows with much contrast, spread over the image.
    """

    counts: NDArray[np.int64]
    uniform: NDArray[np.int64]
    gray: bool
    digest: str
    windows: list[tuple[slice, slice]]


def survey(slide: Slide) -> Survey:
    """Read a slide once; memory does not grow with it."""
    counts = np.zeros(2 ** (8 * slide.dtype.itemsize), np.int64)
    uniform = np.zeros_like(counts)
    gray, digest = True, hashlib.sha256(f"{slide.height} {slide.width}".encode())
    windows, contrasts = [], []
    for rows, cols in _windows(slide.height, slide.width, READ_PX):
        values = slide.read(rows, cols)
        seen = values if slide.nuclear is None else values[..., slide.nuclear]
        counts += np.bincount(seen.reshape(-1), minlength=len(counts))
        gray = gray and is_gray(values)
        digest.update(values.data)
        for inner_rows, inner_cols in _windows(values.shape[0], values.shape[1], SAMPLE_PX):
            window = seen[inner_rows, inner_cols]
            contrasts.append(float(window.std()))
            if not contrasts[-1]:
                uniform[window.flat[0]] += window.size
            windows.append((_moved(inner_rows, rows.start), _moved(inner_cols, cols.start)))
    return Survey(counts, uniform, gray, digest.hexdigest(), _chosen(windows, np.array(contrasts)))


def eight_bit_table(slide: Slide, counts: NDArray[np.int64]) -> NDArray[np.uint8]:
    """What each stored value becomes in 8 bits, as `read_image` does for small images: (256,) or (65536,) uint8.

    The percentiles of a 16-bit image are those of all its values.
    """
    values = np.arange(len(counts))
    table: NDArray[np.uint8] = values.astype(np.uint8)
    if slide.dtype != np.uint8:
        low, high = (_percentile(counts, percentile) for percentile in PERCENTILES)
        least, most = (float(value) for value in np.flatnonzero(counts)[[0, -1]])
        table = rescaled_block(values.astype(np.float64), *contrast(low, high, least, most)).astype(np.uint8)
    return 255 - table if slide.white_is_zero else table


def normalised_table(
    eight_bit: NDArray[np.uint8],
    seen: Survey,
    low: float,
    high: float,
    *,
    gray: bool,
    invert_light: bool,
    light: bool | None = None,
) -> NDArray[np.uint8]:
    """What each stored value becomes for the network: see `percentile_table`, whose other arguments these are.

    If whole windows of a gray image are black and what lies in the others has a light background, the black is a margin
    or missing tiles: it does not count, and becomes what the background becomes.
    """
    counts, uniform = np.zeros((2, 256), np.int64)
    np.add.at(counts, eight_bit, seen.counts)
    np.add.at(uniform, eight_bit, seen.uniform)
    black = np.flatnonzero(counts)[0]
    content, others = counts - uniform, np.where(np.arange(256) == black, 0, counts)
    missing = gray and uniform[black] > 0 and content.any() and all(is_light(c, low, high) for c in (content, others))
    table = percentile_table(
        others if missing else counts, low, high, gray=gray, invert_light=invert_light, light=light
    )
    if missing:
        table[black] = table[int(_percentile(others, 50))]
    return table[eight_bit]


def read_rgb(slide: Slide, rows: slice, cols: slice, table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What the network sees of a part of a slide, (h, w, 3) uint8, each value replaced by that in the table.

    It is read in strips, so that a large part is never in memory as the file stores it.
    """
    rgb = np.empty((rows.stop - rows.start, cols.stop - cols.start, 3), np.uint8)
    for strip in _cuts(rows):
        rgb[strip.start - rows.start : strip.stop - rows.start] = table[slide.read(strip, cols, slide.nuclear)]
    return rgb


def _cuts(rows: slice) -> Iterator[slice]:
    """Strips that begin at multiples of `STRIP_PX`, so that few tiles of a file lie in two of them."""
    start = rows.start
    while start < rows.stop:
        stop = min((start // STRIP_PX + 1) * STRIP_PX, rows.stop)
        yield slice(start, stop)
        start = stop


def is_blank(rgb: NDArray[np.uint8], zoom: float) -> bool:
    """Whether a normalised tile, which is rescaled by `zoom` for the network, shows nothing but noise."""
    height, width = (max(min(round(side * zoom / AVERAGED_PX), side), 1) for side in rgb.shape[:2])
    averaged = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA).reshape(-1, 3)
    return bool((np.ptp(averaged, axis=0) < BLANK_LEVELS).all())


def sample(slide: Slide, windows: list[tuple[slice, slice]], table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The windows of a survey side by side, as one RGB image (H, W, 3) from which the diameter can be measured.

    What they leave free gets their median colour, so that its background is theirs.
    """
    parts = [read_rgb(slide, rows, cols, table) for rows, cols in windows]
    side = int(np.ceil(np.sqrt(len(parts))))
    sheet = np.empty((side * SAMPLE_PX, side * SAMPLE_PX, 3), np.uint8)
    sheet[:] = np.median(np.concatenate([part.reshape(-1, 3) for part in parts]), axis=0)
    for number, part in enumerate(parts):
        row, col = (place * SAMPLE_PX for place in divmod(number, side))
        sheet[row : row + part.shape[0], col : col + part.shape[1]] = part
    return sheet


def _windows(height: int, width: int, side_px: int) -> Iterator[tuple[slice, slice]]:
    for row in range(0, height, side_px):
        for col in range(0, width, side_px):
            yield slice(row, min(row + side_px, height)), slice(col, min(col + side_px, width))


def _moved(span: slice, by: int) -> slice:
    return slice(span.start + by, span.stop + by)


def _chosen(windows: list[tuple[slice, slice]], contrasts: NDArray[np.float64]) -> list[tuple[slice, slice]]:
    good = np.flatnonzero(contrasts >= CONTRAST * np.percentile(contrasts, 99))
    spread = np.unique(np.linspace(0, len(good) - 1, SAMPLES).round().astype(int))
    return [windows[number] for number in good[spread]]


def _percentile(counts: NDArray[np.int64], percentile: float) -> float:
    """Interpolated linearly between the two nearest values, as NumPy's."""
    cumulative = np.cumsum(counts)
    place = percentile / 100 * (int(cumulative[-1]) - 1)
    lower, upper = np.searchsorted(cumulative, [np.floor(place), np.ceil(place)], side="right")
    return float(lower + (upper - lower) * (place - np.floor(place)))
