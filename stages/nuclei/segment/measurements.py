"""Measurements of each nucleus and of the whole image.

Shapes are measured in pixels, intensities in the values that the image file stores.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, spatial
from skimage.measure import regionprops_table

from nuclei.network.sizing import diameter

Column = NDArray[Any]  # (n,), an entry for each nucleus

SHAPE = (
    "row_px", "col_px", "area_px", "perimeter_px", "major_axis_px", "minor_axis_px", "angle_deg", "eccentricity",
    "solidity", "top_px", "left_px", "height_px", "width_px", "touches_border", "nearest_px",
)  # fmt: skip
INTENSITY = (
    "intensity_mean", "intensity_std", "intensity_min", "intensity_max", "intensity_sum", "background_median",
)  # fmt: skip
IMAGE = ("height_px", "width_px", "channels", "nuclei", "foreground", "diameter_px")
PROPERTIES = (
    "label", "centroid", "area", "perimeter_crofton", "axis_major_length", "axis_minor_length", "orientation",
    "eccentricity", "solidity", "bbox",
)  # fmt: skip


def columns(channels: int) -> list[str]:
    """The names of the measurements of an image with so many channels, after its label."""
    return ["label", *SHAPE, *(f"{name}_ch{channel}" for channel in range(1, channels + 1) for name in INTENSITY)]


def channels_of(stored: NDArray[Any]) -> NDArray[Any]:
    """(H, W, C) from (H, W) or (H, W, C), with C = 1 if all channels are equal, as of a gray image saved as RGB."""
    values = stored.reshape(*stored.shape[:2], -1)
    return values[..., :1] if (values == values[..., :1]).all() else values


def summarise(labels: NDArray[np.integer], channels: int) -> dict[str, Column]:
    """The measurements of a whole image, the columns `IMAGE` with one entry each.

    height_px, width_px, channels: the image's size, and how many channels were measured.
    nuclei: their number.
    foreground: fraction of the pixels that belong to a nucleus.
    diameter_px: the area-weighted median diameter of the nuclei; NaN if there are none.

    Args:
        labels: (H, W), 0 = background, 1..n the nuclei.
        channels: of the image.
    """
    typical = diameter(labels)
    entries = (*labels.shape, channels, labels.max(), (labels > 0).mean(), np.nan if typical is None else typical)
    return {name: np.array([entry]) for name, entry in zip(IMAGE, entries, strict=True)}


def measure(labels: NDArray[np.integer], values: NDArray[Any]) -> dict[str, Column]:
    """Measure every nucleus.

    Args:
        labels: (H, W), 0 = background.
        values: (H, W, C), what the image file stores, of any real type. Values that are not finite do not count.

    Returns:
        The columns named by `columns(C)`, with an entry for each nucleus, by ascending label:

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
        intensity_*_chN: of channel N; the standard deviation is that of the population.
        background_median_chN: median of channel N outside all nuclei; NaN if there is no such pixel.
    """
    found = regionprops_table(labels, properties=PROPERTIES)
    top, left, bottom, right = (found[f"bbox-{side}"] for side in range(4))
    centroids = np.stack([found["centroid-0"], found["centroid-1"]], axis=1)
    at_border = (top == 0) | (left == 0) | (bottom == labels.shape[0]) | (right == labels.shape[1])
    shape = (
        centroids[:, 0], centroids[:, 1], found["area"].astype(np.int64), found["perimeter_crofton"],
        found["axis_major_length"], found["axis_minor_length"], (np.degrees(found["orientation"]) + 90) % 180,
        found["eccentricity"], found["solidity"], top, left, bottom - top, right - left, at_border.astype(np.int64),
        _nearest(centroids),
    )  # fmt: skip
    intensities = (_intensities(found["label"], labels, values[..., channel]) for channel in range(values.shape[2]))
    entries = [found["label"], *shape, *(column for channel in intensities for column in channel)]
    return dict(zip(columns(values.shape[2]), entries, strict=True))


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
