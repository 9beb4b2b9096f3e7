"""Measurements of each nucleus and of the whole image.

Shapes are measured in pixels, and in µm where the size of a pixel is known; intensities in the values that the image
file stores.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, spatial
from skimage.measure import regionprops_table

from nuclei.base import citation
from nuclei.network.sizing import diameter

Column = NDArray[Any]  # (n,), an entry for each nucleus

SHAPE = (
    "score", "row_px", "col_px", "area_px", "perimeter_px", "major_axis_px", "minor_axis_px", "angle_deg",
    "eccentricity", "solidity", "top_px", "left_px", "height_px", "width_px", "touches_border", "nearest_px",
)  # fmt: skip
INTENSITY = (
    "intensity_mean", "intensity_std", "intensity_min", "intensity_max", "intensity_sum", "background_median",
)  # fmt: skip
MICROMETRES = {  # the column in µm, or µm², of one in pixels
    "area_um2": "area_px", "perimeter_um": "perimeter_px", "major_axis_um": "major_axis_px",
    "minor_axis_um": "minor_axis_px", "nearest_um": "nearest_px",
}  # fmt: skip
IMAGE = (
    "height_px", "width_px", "channels", "channel", "nuclei", "foreground", "diameter_px", "zoom", "pixel_size_um",
    "version",
)  # fmt: skip
PROPERTIES = (
    "label", "centroid", "area", "perimeter_crofton", "axis_major_length", "axis_minor_length", "orientation",
    "eccentricity", "solidity", "bbox",
)  # fmt: skip


def columns(channels: Sequence[str], *, micrometres: bool = False) -> list[str]:
    """The names of the measurements of an image with these channels, after its label."""
    intensities = (f"{name}_{channel}" for channel in channels for name in INTENSITY)
    return ["label", *SHAPE, *(MICROMETRES if micrometres else ()), *intensities]


def channels_of(stored: NDArray[Any], names: Sequence[str] = ()) -> tuple[NDArray[Any], tuple[str, ...]]:
    """The channels to measure, and what their columns are called.

    Args:
        stored: (H, W) or (H, W, C), what the image file stores.
        names: of the C channels as the file gives them, any of which may be empty; empty if it names none.

    Returns:
        (H, W, C) with C names: those given, or ch1, ch2, ... If none were given and all channels are equal, as in a
        gray image saved as RGB, there is one.
    """
    values = stored.reshape(*stored.shape[:2], -1)
    if not names and (values == values[..., :1]).all():
        values = values[..., :1]
    return values, column_names(names, values.shape[2])


def column_names(names: Sequence[str], count: int) -> tuple[str, ...]:
    """What the columns of `count` channels are called: as in the file, numbered where it gives no name or one twice."""
    numbered = [f"ch{number}" for number in range(1, count + 1)]
    given = names or numbered
    return tuple(
        name if name and given.count(name) == 1 else f"{name}_{number}".lstrip("_")
        for name, number in zip(given, numbered, strict=True)
    )


def seen_channel(channels: Sequence[str], index: int | None) -> str:
    """The name of the channel that the network sees; "" for a colour image.

    Args:
        channels: those that are measured, of which equal ones are one.
        index: of the channel in the file; None for a colour image.
    """
    return "" if index is None else channels[min(index, len(channels) - 1)]


def summarise(
    labels: NDArray[np.integer], channels: int, channel: str, zoom: float, pixel_size_um: float | None = None
) -> dict[str, int | float | str | None]:
    """The measurements of a whole image, by the columns `IMAGE`.

    height_px, width_px, channels: the image's size, and how many channels were measured.
    channel: the name of the one that the network saw; "" for a colour image.
    nuclei: their number.
    foreground: fraction of the pixels that belong to a nucleus.
    diameter_px: the area-weighted median diameter of the nuclei; None if there are none.
    zoom: the factor by which the image was rescaled for the network.
    pixel_size_um: side of a pixel in µm; None if unknown.
    version: of this program.

    Args:
        labels: (H, W), 0 = background, 1..n the nuclei.
        channels, channel, zoom, pixel_size_um: as above.
    """
    entries = (
        *labels.shape, channels, channel, int(labels.max()), float((labels > 0).mean()), diameter(labels), zoom,
        pixel_size_um, citation.version(),
    )  # fmt: skip
    return dict(zip(IMAGE, entries, strict=True))


def measure(
    labels: NDArray[np.integer],
    values: NDArray[Any],
    channels: Sequence[str],
    pixel_size_um: float | None = None,
    scores: NDArray[np.float32] | None = None,
) -> dict[str, Column]:
    """Measure every nucleus.

    Args:
        labels: (H, W), 0 = background.
        values: (H, W, C), what the image file stores, of any real type. Values that are not finite do not count.
        channels: the names of the C channels.
        pixel_size_um: side of a pixel in µm; None if unknown.
        scores: (n,), see `Segmenter.scores`; None if there are none.

    Returns:
        The columns named by `columns`, with an entry for each nucleus, by ascending label:

        score: the probability that the nucleus is a true one; NaN without `scores`.
        row_px, col_px: centroid; the centre of the upper left pixel is (0, 0).
        area_px: number of pixels.
        perimeter_px: Crofton's formula in four directions, on average within 1 % of the circumference of a disc.
        major_axis_px, minor_axis_px: axes of the ellipse with the same second moments.
        angle_deg: of the major axis, counter-clockwise from horizontal, from 0 up to 180.
        eccentricity: of that ellipse, 0 for a circle.
        solidity: area over that of the convex hull.
        top_px, left_px, height_px, width_px: the bounding box.
        touches_border: 1 if the nucleus reaches the border of the image, so that part of it may be missing, else 0.
        nearest_px: distance to the nearest other centroid; NaN for the only nucleus.
        *_um, *_um2: of the column in pixels, in µm or µm²; absent if `pixel_size_um` is None.
        intensity_*_NAME: of the channel NAME; the standard deviation is that of the population.
        background_median_NAME: median of the channel outside all nuclei; NaN if there is no such pixel.
    """
    found = regionprops_table(labels, properties=PROPERTIES)
    top, left, bottom, right = (found[f"bbox-{side}"] for side in range(4))
    centroids = np.stack([found["centroid-0"], found["centroid-1"]], axis=1)
    at_border = (top == 0) | (left == 0) | (bottom == labels.shape[0]) | (right == labels.shape[1])
    shape = (
        np.full(len(top), np.nan) if scores is None else scores.astype(np.float64),
        centroids[:, 0], centroids[:, 1], found["area"].astype(np.int64), found["perimeter_crofton"],
        found["axis_major_length"], found["axis_minor_length"], (np.degrees(found["orientation"]) + 90) % 180,
        found["eccentricity"], found["solidity"], top, left, bottom - top, right - left, at_border.astype(np.int64),
        _nearest(centroids),
    )  # fmt: skip
    intensities = (_intensities(found["label"], labels, values[..., channel]) for channel in range(values.shape[2]))
    in_px = dict(zip(SHAPE, shape, strict=True))
    in_um: list[Column] = []
    if pixel_size_um is not None:
        in_um = [in_px[px] * pixel_size_um ** (2 if um.endswith("2") else 1) for um, px in MICROMETRES.items()]
    entries = [found["label"], *shape, *in_um, *(column for channel in intensities for column in channel)]
    return dict(zip(columns(channels, micrometres=pixel_size_um is not None), entries, strict=True))


def _nearest(centroids: Column) -> Column:
    """The distance of each point of (n, 2) to the nearest other one."""
    if len(centroids) < 2:
        return np.full(len(centroids), np.nan)
    distances: Column = spatial.KDTree(centroids).query(centroids, k=[2])[0][:, 0]  # the nearest is the point itself
    return distances


def _intensities(present: Column, labels: NDArray[np.integer], channel: NDArray[Any]) -> list[Column]:
    """The columns `INTENSITY` of one channel (H, W) for the labels `present`."""
    finite = np.isfinite(channel)
    background = channel[finite & (labels == 0)]
    median = np.full(len(present), np.median(background) if background.size else np.nan)
    counted = finite & (labels > 0)
    owners, values = labels[counted], channel[counted]
    if not len(owners):
        return [*([np.full(len(present), np.nan)] * 5), median]
    low, high, _, _ = ndimage.extrema(values, owners, present)
    with np.errstate(invalid="ignore"):  # a nucleus without a finite value has no mean: NaN
        mean = ndimage.mean(values, owners, present)
        std = ndimage.standard_deviation(values, owners, present)
    sums = ndimage.sum_labels(values, owners, present)
    if channel.dtype.kind in "iu":
        sums = sums.astype(np.int64)
    else:
        low, high, sums = (np.where(np.isnan(mean), np.nan, column) for column in (low, high, sums))
    return [mean, std, low, high, sums, median]
