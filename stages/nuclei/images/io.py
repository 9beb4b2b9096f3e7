"""Read images, label maps, masks and score maps, and write them reproducibly.

`decoding` turns a file into the values that it stores; this module interprets them as intensities, labels or masks.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from nuclei.base.errors import InputError
from nuclei.base.files import replacing
from nuclei.images.decoding import decoded
from nuclei.images.reading import ImageFile, missing, read_plane, stacks
from nuclei.images.stacks import Reading, chosen_channel, taken_slices

IMAGEJ_UM = "ImageJ=1.54f\nunit=micron\n"  # the description by which ImageJ knows the unit of the resolution
MAX_PX = 10**9  # for files that the pipeline wrote itself

DARK = 100  # median intensity of 255 below which the background counts as dark
COLOURFUL = 6  # mean over pixels of largest minus smallest channel, of 255, above which an image counts as coloured


def read_rgb(source: Path | bytes, *, name: str = "", max_px: int = MAX_PX) -> NDArray[np.uint8]:
    """Read a file that holds a single image as (H, W, 3) uint8 RGB; see `read_image`, whose `rgb` it is."""
    return read_image(source, name=name, max_px=max_px).rgb


def read_image(
    source: Path | bytes, *, name: str = "", max_px: int = MAX_PX, channel: int | str | None = None
) -> ImageFile:
    """Read a file that holds a single image as a viewer shows it.

    Eight-bit images keep their values, fewer bits are scaled to 8. All others (16 and 32 bit, float) are rescaled by
    `intensity.to_eight_bit`. Gray is repeated in three channels, a palette applied, CMYK converted, alpha dropped. The
    image is turned as its EXIF or TIFF orientation says, and inverted if its photometric interpretation is MinIsWhite.
    Of a z-stack the maximum of each pixel is taken.

    Args:
        source: path of the file, or its contents.
        name: what errors call the file; its path if empty.
        max_px: largest height times width accepted.
        channel: the one to read, see `stacks.chosen_channel`.

    Raises:
        InputError: the file is of another format, damaged, too large, holds images of several time points or fields of
            view, or several channels of which it is not known which one shows nuclei.
    """
    name = name or (str(source) if isinstance(source, Path) else "an image")
    with stacks(source, name, max_px, Reading(channel)) as found:
        stack = found[0]
        if len(found) > 1 or stack.times > 1:
            got = f"{len(found)} fields of view" if len(found) > 1 else f"{stack.times} time points"
            fix = "save each as a file of its own"
            raise InputError("a file does not hold a single image", file=name, got=got, expected="one image", fix=fix)
        index, chosen = chosen_channel(stack.channels, stack.colour, channel, name)
        (taken,), reduced = taken_slices(stack, None, name)
        image = read_plane(stack, 0, taken, index, name)
    return replace(image, notes=tuple(note for note in (*stack.notes, chosen, reduced) if note))


def read_labels(source: Path | bytes, *, name: str = "", max_px: int = MAX_PX) -> NDArray[np.uint16 | np.uint32]:
    """Read a label map: (H, W) uint16, or uint32 where a label is above 65,535; 0 = background.

    The file is a PNG, TIFF or BMP of one channel, or of equal channels, that holds integers, or floats that are whole
    numbers. Labels are the values stored, turned as the orientation says: MinIsWhite does not invert them, and those of
    a palette image are its indices (see `_one_channel`).

    Raises:
        InputError: as `read_image`, or the compression is lossy, the image is in colour, or a label is negative,
            fractional or too large.
    """
    labels, name = _one_channel(source, name, max_px, "a label map")
    expected = "one channel of whole numbers from 0 (background) to 4294967295"
    if labels.dtype.kind not in "uif" or (labels.dtype.kind == "f" and not _whole(labels)):
        raise InputError("a label map holds fractions", file=name, got=_kind(labels), expected=expected)
    low, high = labels.min().item(), labels.max().item()
    if low < 0 or high >= 2**32:
        got = f"{low:g} to {high:g}"
        raise InputError("a label map holds labels out of range", file=name, got=got, expected=expected)
    return labels.astype(np.uint16 if high < 2**16 else np.uint32)


def read_mask(source: Path | bytes, *, name: str = "", max_px: int = MAX_PX) -> NDArray[np.bool_]:
    """Read the mask of one nucleus as (H, W) bool; every non-zero value is the nucleus.

    0/1, 0/255 and bool are equivalent, also when saved as RGB or RGBA with equal channels. As in `read_labels`, the
    values stored count.

    Raises:
        InputError: as `read_image`, or the compression is lossy, the mask is in colour, has more than two values, or
            no plausible background.
    """
    mask, name = _one_channel(source, name, max_px, "the mask of one nucleus")
    nucleus: NDArray[np.bool_] = mask != 0
    value = mask.max() or mask.min()  # 255 stored as int8 is -1
    if np.count_nonzero(mask == value) != (np.count_nonzero(nucleus) if value else mask.size):
        values = np.unique(mask)
        raise InputError(
            "the mask of one nucleus holds more than two values",
            file=name,
            got=f"{len(values)} values from {values[0]:g} to {values[-1]:g}",
            expected="two values: 0, and 1 or 255",
            fix="store a label map of all nuclei as masks/NAME beside images/NAME; where resizing or JPEG has blurred "
            "the edges, make all values below half the maximum 0",
        )
    check_background(nucleus, name, "the mask of one nucleus")
    return nucleus


def check_background(labels: NDArray[Any], name: str, what: str = "a label map") -> None:
    """Refuse an annotation (H, W) whose background is not 0.

    One label that covers more than half of the image and more than half of its border is taken for the background: an
    annotation saved inverted, or with classes counted from 1. The largest nucleus of the 664 real images covers 8 % of
    its image and 10 % of the border.

    Raises:
        InputError: no pixel is 0, or one label looks like the background.
    """
    expected = "background 0"
    if labels.all():
        fix = "give the background the value 0; if there is none, cut the image larger"
        raise InputError(f"{what} has no background", file=name, got="no pixel is 0", expected=expected, fix=fix)
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    values, counts = np.unique(border, return_counts=True)
    value, on_border = values[counts.argmax()], counts.max() / border.size
    covered = np.count_nonzero(labels == value) / labels.size
    if value and on_border > 0.5 and covered > 0.5:
        got = f"{int(value)} in {covered:.0%} of the image and {on_border:.0%} of its border"
        fix = "if it was saved inverted, or the background has another value, save it with background 0"
        raise InputError(f"{what} has a nucleus like a background", file=name, got=got, expected=expected, fix=fix)


def read_scores(path: Path) -> NDArray[np.uint16]:
    """Read a score map: (H, W) uint16, the probability of foreground times 65,535.

    Raises:
        InputError: the file is missing, damaged, or not 16-bit gray.
    """
    scores = decoded(*_bytes(path, ""), MAX_PX).values
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


def write_labels(
    path: Path, labels: NDArray[np.integer], *, software: str | None = None, pixel_size_um: float | None = None
) -> None:
    """Write a label map (H, W) as TIFF, uint16, or uint32 where a label is above 65,535; bytes are reproducible.

    Args:
        path: of the file.
        labels: 0 = background.
        software: ASCII text of the Software tag; there is no such tag if None.
        pixel_size_um: side of a pixel in µm, written as ImageJ writes it; None if unknown.
    """
    scale: dict[str, Any] = {}
    if pixel_size_um is not None:
        scale = {"description": IMAGEJ_UM, "resolution": (1 / pixel_size_um,) * 2, "resolutionunit": "NONE"}
    kind = np.uint16 if labels.max(initial=0) < 2**16 else np.uint32
    # compressed here: what imagecodecs makes of the same pixels differs between its versions, and so would DVC's hashes
    strip = zlib.compress(labels.astype(np.dtype(kind).newbyteorder("<")).tobytes(), 6)
    with replacing(path) as temporary, temporary.open("wb") as file:
        # no date; one strip, since the maps are small
        tifffile.imwrite(
            file,
            iter([strip]),
            shape=labels.shape,
            dtype=kind,
            photometric="minisblack",
            compression="zlib",
            rowsperstrip=len(labels),
            metadata=None,
            software=software or False,
            **scale,
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


def _one_channel(source: Path | bytes, name: str, max_px: int, what: str) -> tuple[NDArray[Any], str]:
    """The values (H, W) that an annotation stores, and what errors call it.

    Of a palette image these are the indices; but a palette of fewer than 256 entries, all gray, is how programs that
    make files smaller store gray values (a look-up table for display has 256), so these are looked up.
    """
    data, name = _bytes(source, name)
    pixels = decoded(data, name, max_px)
    if pixels.lossy:
        problem = f"{what} is compressed as JPEG, which changes values"
        raise InputError(problem, file=name, fix="save it as PNG or TIFF, from the original and not from the JPEG")
    values, palette = pixels.values, pixels.palette
    if palette is not None and len(palette) < 256 and (palette == palette[:, :1]).all():
        values = palette[:, 0][values]
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        fix = "give pixels without a value the background's, 0"
        raise InputError(f"{what} holds NaN or infinity", file=name, got=_kind(values), expected="numbers", fix=fix)
    if values.ndim == 3:
        if (values != values[:, :, :1]).any():
            fix = "save one integer for each pixel, not a colour"
            raise InputError(f"{what} is in colour", file=name, got=_kind(values), expected="one channel", fix=fix)
        values = values[:, :, 0]
    return values, name


def _bytes(source: Path | bytes, name: str) -> tuple[bytes, str]:
    if isinstance(source, bytes):
        return source, name or "an image"
    try:
        return source.read_bytes(), name or str(source)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise missing(name or source) from None
    except PermissionError:
        raise InputError("an image file may not be read", file=name or source, fix="check its permissions") from None


def _write_png(path: Path, pixels: NDArray[Any]) -> None:
    # on the real images twice as fast as choosing the best filter for each row, for files 4 % larger
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_SUB]
    done, encoded = cv2.imencode(".png", pixels, options)
    if not done:
        raise ValueError(f"no PNG can hold {_kind(pixels)}")
    with replacing(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def _whole(values: NDArray[Any]) -> bool:
    return bool((values == np.floor(values)).all())


def _kind(array: NDArray[Any]) -> str:
    channels = 1 if array.ndim == 2 else array.shape[2]
    return f"{array.shape[0]} x {array.shape[1]}, {channels} channel{'s' if channels > 1 else ''} of {array.dtype}"
