"""Decode image files to the pixels that they store; a damaged, inconsistent or ambiguous file is an error.

The format is recognised by the file's first bytes, not by its name. The size in the header is checked before decoding,
since a small file can unpack to a huge image. EXIF orientation and colour profiles are ignored.
"""

from __future__ import annotations

import io
import logging
import math
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import BmpImagePlugin, Image, JpegImagePlugin, TiffImagePlugin

from nuclei.base.errors import InputError

PNG, JPEG, BMP = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM"
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
TIFF_DEFLATE = (8, 32946)
TIFF_CODECS = (1, *TIFF_DEFLATE)  # decoded by tifffile alone; it decodes packbits too, but slowly and unbounded
TIFF_TILE_PX = 2**20  # tiles up to this size are accepted even in a smaller image
TIFF_FLOAT_PREDICTOR = 3
TIFF_WHITE_IS_ZERO, TIFF_BLACK_IS_ZERO, TIFF_RGB, TIFF_PALETTE = range(4)


def is_jpeg(data: bytes) -> bool:
    """Whether the file is a JPEG, whose lossy compression changes labels."""
    return data.startswith(JPEG)


def decoded(data: bytes, name: str, max_px: int, *, look_up: bool) -> NDArray[Any]:
    """Decode to (H, W), or (H, W, C) with C of 2 to 4 in RGB(A) order, of the type stored; `look_up` applies a palette.

    Raises:
        InputError: the file is empty, of another format, damaged, above `max_px` pixels, or not a single image.
    """
    if not data:
        raise InputError("an image file is empty", file=name)
    try:
        pixels = _decoded(data, name, max_px, look_up)
        if pixels.ndim not in (2, 3) or 0 in pixels.shape or (pixels.ndim == 3 and not 2 <= pixels.shape[2] <= 4):
            raise ValueError(f"it gives values of shape {pixels.shape}")
    except InputError:
        raise
    except Exception as error:  # decoders raise almost any exception on damaged files
        raise InputError("an image can not be decoded: it is damaged", file=name, got=error) from None
    return pixels


def _decoded(data: bytes, name: str, max_px: int, look_up: bool) -> NDArray[Any]:
    if data.startswith(PNG):
        return _decoded_png(data, name, max_px, look_up)
    if data.startswith(TIFF):
        with _quiet():
            return _decoded_tiff(data, name, max_px, look_up)
    if data.startswith(JPEG):
        return _decoded_pillow(JpegImagePlugin.JpegImageFile, data, name, max_px, look_up)
    if data.startswith(BMP):
        return _decoded_pillow(BmpImagePlugin.BmpImageFile, data, name, max_px, look_up)
    got = f"a file that starts with {data[:8]!r}"
    raise InputError("a file is not an image", file=name, got=got, expected="PNG, TIFF, JPEG or BMP")


def _check_size(height: int, width: int, name: str, max_px: int) -> None:
    if height < 1 or width < 1:
        raise InputError("an image has no pixels", file=name, got=f"{height} x {width}")
    if height * width > max_px:
        got = f"{height} x {width} = {height * width} pixels"
        fix = "cut it into smaller images, or raise prepare.max_image_px"
        raise InputError("an image is too large", file=name, got=got, expected=f"at most {max_px}", fix=fix)


def _decoded_png(data: bytes, name: str, max_px: int, look_up: bool) -> NDArray[Any]:
    """Decode by OpenCV, the fastest decoder; it reports damage only on stderr, so the chunks are checked first."""
    width, height, colour = _png_header(data)
    _check_size(height, width, name, max_px)
    animated = _check_png_chunks(data)
    if animated:
        raise InputError("an image is animated", file=name, expected="one image in one file")
    if colour == 3 and not look_up:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            return np.asarray(image)
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError("the compressed pixels are not what the header says")
    if pixels.ndim == 2:
        return pixels
    order = cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
    return cv2.cvtColor(pixels, order)


def _png_header(data: bytes) -> tuple[int, int, int]:
    """Width, height and colour type of the IHDR chunk, which comes first."""
    kind, width, height, _, colour = struct.unpack_from(">4sIIBB", data, 12)
    if kind != b"IHDR":
        raise ValueError("a PNG without a header")
    return width, height, colour


def _check_png_chunks(data: bytes) -> bool:
    """Check length and checksum of each chunk up to IEND; return whether the PNG is animated."""
    position, animated, view = len(PNG), False, memoryview(data)
    while True:
        if position + 12 > len(data):
            raise ValueError("the file is truncated")
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        if end + 4 > len(data):
            raise ValueError("the file is truncated")
        if zlib.crc32(view[position + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise ValueError(f"the checksum of chunk {kind!r} is wrong")
        if kind == b"IEND":
            return animated
        animated |= kind == b"acTL"
        position = end + 4


def _decoded_pillow(plugin: type[Image.Image], data: bytes, name: str, max_px: int, look_up: bool) -> NDArray[Any]:
    """Decode JPEG, BMP and 8-bit TIFF by the plugin's class, since the size limit of `Image.open` is process-wide."""
    with plugin(io.BytesIO(data)) as image:  # type: ignore[call-arg]
        _check_size(image.height, image.width, name, max_px)
        image.load()
        if image.mode == "P" and not look_up:
            return np.asarray(image)
        plain = image.mode in ("1", "L", "LA", "RGB", "RGBA", "F", "I") or image.mode.startswith("I;16")
        return np.asarray(image if plain else image.convert("RGB"))


def _decoded_tiff(data: bytes, name: str, max_px: int, look_up: bool) -> NDArray[Any]:
    with tifffile.TiffFile(io.BytesIO(data), _multifile=False) as file:
        series, page = file.series, file.pages.first
        if len(series) != 1:
            raise _not_one_image(name, f"{len(series)} images")
        axes, shape = series[0].axes, series[0].shape
        size = dict(zip(axes, shape, strict=True))
        samples, planes = size.get("S", 1), size.get("C", 3)
        if set(axes) - set("YXSC") or "Y" not in axes or "X" not in axes or samples > 4 or planes != 3 or len(axes) > 3:
            raise _not_one_image(name, f"axes {axes} of shape {shape}")
        _check_size(size["Y"], size["X"], name, max_px)
        if page.is_tiled and page.tilelength * page.tilewidth > max(max_px, TIFF_TILE_PX):
            raise ValueError(f"it has tiles of {page.tilelength} x {page.tilewidth} pixels")
        plain = int(page.compression) in TIFF_CODECS and int(page.predictor) != TIFF_FLOAT_PREDICTOR
        if page.bitspersample <= 8 and not (plain and int(page.photometric) <= TIFF_PALETTE):
            return _decoded_pillow(TiffImagePlugin.TiffImageFile, data, name, max_px, look_up)
        if plain:
            if int(page.compression) in TIFF_DEFLATE:
                _check_inflated(page, data)
            pixels = series[0].asarray()
            if int(page.photometric) == TIFF_PALETTE and look_up and page.colormap is not None:
                return np.moveaxis((page.colormap >> 8).astype(np.uint8)[:, pixels], 0, -1)
            pixels = np.moveaxis(pixels, [axes.index(axis) for axis in "YX"], [0, 1])
        else:
            pixels = _decoded_tiff_by_opencv(data)
    if int(page.photometric) == TIFF_WHITE_IS_ZERO and pixels.dtype.kind in "bu":
        pixels = ~pixels
    return pixels


def _not_one_image(name: str, got: str) -> InputError:
    fix = "save each page as a file of its own"
    return InputError("a TIFF does not hold one image", file=name, got=got, expected="one page, gray or RGB", fix=fix)


def _check_inflated(page: Any, data: bytes) -> None:
    """Refuse strips and tiles that inflate beyond their nominal size; tifffile would inflate them entirely."""
    if len(page.dataoffsets) > math.prod(page.chunked):
        raise ValueError("it has more strips or tiles than its size needs")
    limit = math.prod(page.chunks) * page.dtype.itemsize
    for start, length in zip(page.dataoffsets, page.databytecounts, strict=True):
        if len(zlib.decompressobj().decompress(data[start : start + length], limit + 1)) > limit:
            raise ValueError("a strip or tile holds more pixels than it says")


def _decoded_tiff_by_opencv(data: bytes) -> NDArray[Any]:
    """Decode more than 8 bits with LZW, packbits or a floating-point predictor, which tifffile alone can not."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError("its compression is unknown or its data incomplete; save it uncompressed or as PNG")
    return pixels if pixels.ndim == 2 else pixels[:, :, [2, 1, 0, 3][: pixels.shape[2]]]


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence log messages and warnings of the TIFF decoders; problems are raised as errors."""
    logger = logging.getLogger("tifffile")
    before = logger.disabled, cv2.utils.logging.getLogLevel()
    logger.disabled = True
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = before[0]
        cv2.utils.logging.setLogLevel(before[1])
