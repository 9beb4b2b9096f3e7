"""Whether an image shows anything, and whether it is in focus: what a run warns of.

tests/benchmarks/focus.py counts how often the warnings are right: on the images of a data set, as they are and blurred,
and on drawn images of nothing but noise.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from nuclei.network.sizing import zoomed_image

Gray = NDArray[Any]  # (H, W) float32

SECOND_DIFFERENCE = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
ROUNDING = 0.29  # standard deviation of the error of rounding to whole gray levels, 1 / sqrt(12)
FINE_PX, COARSE_PX = 2.0, 12.0  # standard deviations of the filters between which nuclei stand out
SMALLEST_PX = 50  # of what stands out
BLANK = 6.0  # standard deviations of the noise; nothing but noise has at most 4.5, the faintest of BBBC038 has 134
SHARP_PX, SOFT_PX = 1.5, 4.0  # standard deviations of the filters between which edges are compared
NEAR_PX = 17  # side of a square around a pixel beside an edge
STRONG = 0.5  # of the strongest gradient; edges of at least that are measured
OUT_OF_FOCUS = 0.12  # of the measured diameter of a nucleus, which blur enlarges; see docs/segment.md


def image_warnings(rgb: NDArray[np.uint8], zoom: float, target_px: float | None, nuclei: int) -> list[str]:
    """What a user should know of an image before believing what was found in it.

    Args:
        rgb: (H, W, 3) uint8.
        zoom: the factor by which the image was rescaled for the network.
        target_px: the diameter that its nuclei then have; None if images are never rescaled.
        nuclei: how many were found.
    """
    gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    if prominence(gray) < BLANK:
        return [
            f"blank: nothing in the image stands out from its noise{'; what was found may be noise' * (nuclei > 0)}"
        ]
    if target_px is None:
        return []
    seen = cv2.cvtColor(zoomed_image(rgb, zoom), cv2.COLOR_RGB2GRAY).astype(np.float32)
    if edge_blur(seen) > OUT_OF_FOCUS * target_px:
        return ["out of focus: edges are blurred over much of a nucleus"]
    return []


def why_none(scores: NDArray[np.floating], least: float) -> str:
    """Why all nuclei of an image are dropped: the surest is too unlikely to be true; "" if they are kept.

    Args:
        scores: (n,) of all nuclei of the image; NaN, which is not below anything, where the model gives none.
        least: the score that one of them has to have.
    """
    best = scores.max(initial=0)
    if not len(scores) or not best < least:
        return ""
    score = f"of {best:.2f}, below" if round(float(best), 2) < least else "just below"  # not: of 0.75, below 0.75
    return f"no nucleus: the surest has a score {score} {least:g}; --min-score 0 keeps all"


def prominence(gray: Gray) -> float:
    """How far what has about the size of nuclei stands out, in standard deviations that noise alone would have there.

    Args:
        gray: (H, W) float32, 0 to 255.

    Returns:
        The value that `SMALLEST_PX` pixels of the difference of two Gaussian filters reach, so that one small nucleus
        in a large image is enough. The noise is estimated as by Immerkær (1996, Computer Vision and Image Understanding
        64:300), but from the median, which nuclei hardly raise.
    """
    noise = float(np.median(np.abs(cv2.filter2D(gray, -1, SECOND_DIFFERENCE)))) / (6 * 0.6745)
    band = np.abs(cv2.GaussianBlur(gray, (0, 0), FINE_PX) - cv2.GaussianBlur(gray, (0, 0), COARSE_PX))
    left_px = 2 * np.sqrt(np.pi) * FINE_PX  # white noise is reduced by this factor
    rank = min(SMALLEST_PX, band.size)
    return float(np.partition(band, -rank, axis=None)[-rank]) * left_px / max(noise, ROUNDING)


def edge_blur(gray: Gray) -> float:
    """The standard deviation of the Gaussian blur of the strongest edges, in pixels; infinite without an edge.

    An edge blurred by b has, after a filter of s, a gradient in proportion to 1 / sqrt(b² + s²). The ratio of the
    gradients after two filters gives b; see Zhuo and Sim (2011), Pattern Recognition 44:1852.

    Args:
        gray: (H, W) float32.
    """
    sharp, soft = (_crests(cv2.GaussianBlur(gray, (0, 0), sigma)) for sigma in (SHARP_PX, SOFT_PX))
    strongest = float(soft.max())
    if not strongest:
        return float("inf")
    edges = soft >= STRONG * strongest
    ratio = float(np.median(sharp[edges] / soft[edges])) ** 2
    return float(np.sqrt(max(SOFT_PX**2 - ratio * SHARP_PX**2, 0) / (ratio - 1))) if ratio > 1 else float("inf")


def _crests(gray: Gray) -> Gray:
    """The largest gradient near each pixel, so that one beside an edge is compared as one on it."""
    gradient = cv2.magnitude(cv2.Sobel(gray, cv2.CV_32F, 1, 0), cv2.Sobel(gray, cv2.CV_32F, 0, 1))
    return cv2.dilate(gradient, np.ones((NEAR_PX, NEAR_PX), np.uint8))
