"""Read images, label maps, masks and score maps, and write them reproducibly.

`decoding` turns a file into the values that it stores; this module interprets them as intensities, labels or masks.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from nuclei.base.errors import InputError
from nuclei.base.files import replacing
from nuclei.images.decoding import decoded, is_jpeg

INEXACT = "save it as PNG or TIFF, from the original and not from the JPEG"
MAX_PX = 10**9  # for files that the pipeline wrote itself

PERCENTILES = (0.1, 99.9)  # instead of minimum and maximum, so that hot or dead pixels do not decide the contrast
DARK = 100  # median intensity of 255 below which the background counts as dark
COLOURFUL = 6  # mean over pixels of largest minus smallest channel, of 255, above which an image counts as coloured


def read_rgb(source: Path | bytes, *, name: str = "", max_px: int = MAX_PX) -> NDArray[np.uint8]:
    """Read a PNG, TIFF, JPEG or BMP as (H, W, 3) uint8 RGB.

    Eight-bit images keep their values. All others (16 and 32 bit, float) are rescaled linearly so that `PERCENTILES`,
    taken over all pixels and channels together, become 0 and 255; a constant image becomes 0. Gray is repeated in
    three channels, a palette applied, CMYK converted, alpha dropped. A TIFF of several pages is refused unless they are
    three colour channels.

    Args:
        source: path of the file, or its contents.
        name: what errors call the file; its path if empty.
        max_px: largest height times width accepted.

    Raises:
        InputError: the file is of another format, damaged, too large, or not a single image of 1 to 4 channels.
    """
    data, name = _bytes(source, name)
    image = decoded(data, name, max_px, look_up=True)
    if image.ndim == 3:
        image = image[:, :, 0] if image.shape[2] == 2 else image[:, :, :3]
    if image.dtype == np.bool_:
        image = image.astype(np.uint8) * np.uint8(255)
    elif image.dtype != np.uint8:
        image = _rescaled(image, name)
    if image.ndim == 2:
        image = np.repeat(image[:, :, None], 3, axis=2)
    return np.ascontiguousarray(image, np.uint8)


def read_labels(source: Path | bytes, *, name: str = "", max_px: int = MAX_PX) -> NDArray[np.uint16 | np.uint32]:
    """Read a label map: (H, W) uint16, or uint32 where a label is above 65,535; 0 = background.

    The file is a PNG, TIFF or BMP of one channel that holds integers, or floats that are whole numbers. Labels keep
    their values; those of a palette image are its indices.

    Raises:
        InputError: as `read_rgb`, or the file is a JPEG, in colour, or has a negative, fractional or too large label.
    """
    data, name = _bytes(source, name)
    if is_jpeg(data):
        raise InputError("a label map is a JPEG, whose values are not exact", file=name, fix=INEXACT)
    labels = decoded(data, name, max_px, look_up=False)
    expected = "one channel of whole numbers from 0 (background) to 4294967295"
    if labels.ndim != 2:
        fix = "save the label of each pixel as one integer, not as a colour"
        raise InputError("a label map is in colour", file=name, got=_kind(labels), expected=expected, fix=fix)
    if labels.dtype.kind not in "buif" or (labels.dtype.kind == "f" and not _whole(labels)):
        raise InputError("a label map holds fractions", file=name, got=_kind(labels), expected=expected)
    low, high = labels.min().item(), labels.max().item()
    if low < 0 or high >= 2**32:
        got = f"{low:g} to {high:g}"
        raise InputError("a label map holds labels out of range", file=name, got=got, expected=expected)
    return labels.astype(np.uint16 if high < 2**16 else np.uint32)


def read_mask(source: Path | bytes, *, name: str = "", max_px: int = MAX_PX) -> NDArray[np.bool_]:
    """Read the mask of one nucleus as (H, W) bool; every non-zero value is the nucleus.

    0/1, 0/255 and bool are equivalent, also when saved as RGB or RGBA with equal channels.

    Raises:
        InputError: as `read_rgb`, or the file is a JPEG, in colour, or has more than two values, as a label map has.
    """
    data, name = _bytes(source, name)
    if is_jpeg(data):
        raise InputError("the mask of a nucleus is a JPEG, whose values are not exact", file=name, fix=INEXACT)
    mask = decoded(data, name, max_px, look_up=True)
    if mask.ndim == 3:
        gray = mask[:, :, 0]
        if mask.shape[2] > 2 and (np.any(mask[:, :, 1] != gray) or np.any(mask[:, :, 2] != gray)):
            raise InputError("the mask of one nucleus is in colour", file=name, expected="two values: 0, and 1 or 255")
        mask = gray
    nucleus: NDArray[np.bool_] = mask != 0
    value = mask.max() or mask.min()  # 255 stored as int8 is -1
    if np.count_nonzero(mask == value) != (np.count_nonzero(nucleus) if value else mask.size):
        values = np.unique(mask)
        raise InputError(
            "the mask of one nucleus holds more than two values",
            file=name,
            got=f"{len(values)} values from {values[0]:g} to {values[-1]:g}",
            expected="two values: 0, and 1 or 255",
            fix="if it is a label map of all nuclei, store it as masks/NAME beside images/NAME",
        )
    return nucleus


def read_scores(path: Path) -> NDArray[np.uint16]:
    """Read a score map: (H, W) uint16, the probability of foreground times 65,535.

    Raises:
        InputError: the file is missing, damaged, or not 16-bit gray.
    """
    scores = decoded(*_bytes(path, ""), MAX_PX, look_up=False)
    if scores.ndim != 2 or scores.dtype != np.uint16:
        expected = "one channel of 16 bit"
        raise InputError("a file is not a score map", file=path, got=_kind(scores), expected=expected)
    return scores


def write_rgb(path: Path, rgb: NDArray[np.uint8]) -> None:
    """Write (H, W, 3) uint8 as PNG."""
    _write_png(path, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))


def write_scores(path: Path, scores: NDArray[np.uint16]) -> None:
    """Write (H, W) uint16 as PNG."""
    _write_png(path, scores)


def write_labels(path: Path, labels: NDArray[np.integer]) -> None:
    """Write a label map (H, W) as TIFF, uint16, or uint32 where a label is above 65,535; bytes are reproducible."""
    kind = np.uint16 if labels.max(initial=0) < 2**16 else np.uint32
    # compressed here: what imagecodecs makes of the same pixels differs between its versions, and so would DVC's hashes
    strip = zlib.compress(labels.astype(np.dtype(kind).newbyteorder("<")).tobytes(), 6)
    with replacing(path) as temporary, temporary.open("wb") as file:
        # no software tag and no date; one strip, since the maps are small
        tifffile.imwrite(
            file,
            iter([strip]),
            shape=labels.shape,
            dtype=kind,
            photometric="minisblack",
            compression="zlib",
            rowsperstrip=len(labels),
            metadata=None,
            software=False,
            byteorder="<",
        )


def modality(rgb: NDArray[np.uint8]) -> str:
    """Classify an image (H, W, 3) uint8 as "fluorescence", "tissue" or "brightfield".

    A dark background is fluorescence; a bright one is stained tissue if coloured, bright-field if gray. On the 664 real
    images no median intensity lies between 44 and 132, and no mean channel difference between 0 and 11.
    """
    median = np.median(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))
    if median < DARK:
        return "fluorescence"
    spread = rgb.max(axis=2) - rgb.min(axis=2)
    return "tissue" if spread.mean() > COLOURFUL else "brightfield"


def _bytes(source: Path | bytes, name: str) -> tuple[bytes, str]:
    if isinstance(source, bytes):
        return source, name or "an image"
    try:
        return source.read_bytes(), name or str(source)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise InputError("an image file is missing", file=name or source) from None


def _write_png(path: Path, pixels: NDArray[Any]) -> None:
    # on the real images twice as fast as choosing the best filter for each row, for files 4 % larger
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_SUB]
    done, encoded = cv2.imencode(".png", pixels, options)
    if not done:
        raise ValueError(f"no PNG can hold {_kind(pixels)}")
    with replacing(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def _rescaled(image: NDArray[Any], name: str) -> NDArray[np.uint8]:
    if image.dtype.kind not in "uif":
        raise InputError("an image holds values that are no brightness", file=name, got=_kind(image))
    values = image.astype(np.float64)
    if not np.isfinite(values).all():
        raise InputError("an image holds values that are not finite", file=name, got=_kind(image))
    with np.errstate(over="ignore", invalid="ignore"):
        low, high = np.percentile(values, PERCENTILES)
        if high <= low:  # a few bright pixels on a constant background, or a constant image
            low, high = values.min(), values.max()
        scale = 255 / (high - low) if high > low else 0.0
        if not np.isfinite([values.max() - values.min(), scale]).all():
            raise InputError("an image holds values too large or too small for arithmetic", file=name, got=_kind(image))
    eight_bit: NDArray[np.uint8] = np.rint(np.clip((values - low) * scale, 0, 255)).astype(np.uint8)
    return eight_bit


def _whole(values: NDArray[Any]) -> bool:
    return bool(np.isfinite(values).all() and (values == np.floor(values)).all())


def _kind(array: NDArray[Any]) -> str:
    channels = 1 if array.ndim == 2 else array.shape[2]
    return f"{array.shape[0]} x {array.shape[1]}, {channels} channel{'s' if channels > 1 else ''} of {array.dtype}"
