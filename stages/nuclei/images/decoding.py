"""Decode image files to the values that they store; a damaged, inconsistent or ambiguous file is an error.

The format is recognised by the file's first bytes, not by its name. The size in the header is checked before decoding,
since a small file can unpack to a huge image. Colour profiles are ignored.
"""

from __future__ import annotations

import io
import logging
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import BmpImagePlugin, Image, JpegImagePlugin, PngImagePlugin

from nuclei.base.errors import InputError
from nuclei.images.pixels import ORIENTATION, Pixels, check_size, upright, without_alpha
from nuclei.images.tiff import SIGNATURES as TIFF
from nuclei.images.tiff import decoded_tiff

PNG, JPEG, BMP = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM"
PNG_PALETTE, PNG_WITH_ALPHA, PNG_IN_COLOUR = 3, (4, 6), (2, 6)  # colour types


def decoded(data: bytes, name: str, max_px: int) -> Pixels:
    """Decode a PNG, TIFF, JPEG or BMP, upright and without alpha.

    Raises:
        InputError: the file is empty, of another format, damaged, above `max_px` pixels, or not a single image.
    """
    with damage_named(name):
        pixels = _decoded(data, name, max_px)
        if pixels.palette is not None and pixels.values.max() >= len(pixels.palette):
            raise ValueError("a pixel's colour is not in the palette")
        return pixels


@contextmanager
def damage_named(name: str) -> Iterator[None]:
    """Turn what decoders raise on damaged files, almost any exception, into an InputError; keep them quiet."""
    try:
        with _quiet():
            yield
    except InputError:
        raise
    except Exception as error:
        raise InputError("an image can not be decoded: it is damaged", file=name, got=str(error)) from None


def _decoded(data: bytes, name: str, max_px: int) -> Pixels:
    if not data:
        raise InputError("an image file is empty", file=name)
    if data.startswith(PNG):
        return _decoded_png(data, name, max_px)
    if data.startswith(TIFF):
        return decoded_tiff(data, name, max_px)
    if data.startswith(JPEG):
        return _decoded_jpeg(data, name, max_px)
    if data.startswith(BMP):
        with BmpImagePlugin.BmpImageFile(io.BytesIO(data)) as image:
            return _loaded(image, name, max_px)
    problem, got = "a file is not an image of a format that is read", f"a file that starts with {data[:8]!r}"
    fix = "if it is an image, convert it to TIFF or PNG"
    raise InputError(problem, file=name, got=got, expected="PNG, TIFF, JPEG or BMP", fix=fix)


def _decoded_png(data: bytes, name: str, max_px: int) -> Pixels:
    """Decode by OpenCV, the fastest decoder; it reports damage only on stderr, so the chunks are checked first."""
    width, height, bits, colour_type = _png_header(data)
    check_size(height, width, name, max_px)
    chunks = _png_chunks(data)
    if b"acTL" in chunks:
        raise InputError("an image is animated", file=name, expected="one image in one file")
    orientation = _exif_orientation(chunks.get(b"eXIf", b""))
    if colour_type == PNG_PALETTE:
        with PngImagePlugin.PngImageFile(io.BytesIO(data)) as image:
            return _loaded(image, name, max_px, orientation)
    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None:
        raise ValueError("the compressed pixels are not what the header says")
    if values.ndim == 3:
        if colour_type in PNG_WITH_ALPHA:
            values = without_alpha(values, name)
        # OpenCV expands gray with alpha, or with a transparent value, to BGRA
        values = cv2.cvtColor(values[..., :3], cv2.COLOR_BGR2RGB) if colour_type in PNG_IN_COLOUR else values[..., 0]
    if bits < 8:
        values = values // (255 // (2**bits - 1))  # OpenCV scales them to 8 bits
    return Pixels(upright(values, orientation), bits)


def _png_header(data: bytes) -> tuple[int, int, int, int]:
    """Width, height, bits per sample and colour type of the IHDR chunk, which comes first."""
    kind, width, height, bits, colour_type = struct.unpack_from(">4sIIBB", data, 12)
    if kind != b"IHDR":
        raise ValueError("a PNG without a header")
    return width, height, bits, colour_type


def _png_chunks(data: bytes) -> dict[bytes, bytes]:
    """Check length and checksum of each chunk up to IEND; return the content of each kind of ancillary chunk."""
    position, view = len(PNG), memoryview(data)
    chunks: dict[bytes, bytes] = {}
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
            return chunks
        if kind in (b"acTL", b"eXIf"):
            chunks[kind] = data[position + 8 : end]
        position = end + 4


def _decoded_jpeg(data: bytes, name: str, max_px: int) -> Pixels:
    try:
        image = JpegImagePlugin.JpegImageFile(io.BytesIO(data))
    except SyntaxError as error:
        if "cannot handle" not in str(error):
            raise
        fix = "save it as TIFF or PNG"
        raise InputError("a JPEG is of a kind that is not supported", file=name, got=str(error), fix=fix) from None
    with image:
        return _loaded(image, name, max_px, _exif_orientation(image.info.get("exif", b"")), lossy=True)


def _exif_orientation(exif: bytes) -> object:
    """The orientation in a block of EXIF; 1, upright, if there is none or the block is damaged."""
    tags = Image.Exif()
    try:
        tags.load(exif)
        return tags.get(ORIENTATION, 1)
    except Exception:  # metadata must not make an image unreadable
        return 1


def _loaded(image: Image.Image, name: str, max_px: int, orientation: object = 1, *, lossy: bool = False) -> Pixels:
    """Decode a file that Pillow has opened by its plugin's class, since the limit of `Image.open` is process-wide."""
    check_size(image.height, image.width, name, max_px)
    image.load()
    bits, palette = 1 if image.mode == "1" else 8, None
    if image.mode == "P":
        palette = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    elif image.mode not in ("1", "L", "RGB", "RGBA"):
        image = image.convert("RGB")
    values: NDArray[Any] = np.asarray(image)
    if image.mode == "RGBA":
        values = without_alpha(values, name)
    return Pixels(upright(values.astype(np.uint8, copy=False), orientation), bits, palette, lossy=lossy)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the warnings of Pillow and the log messages of tifffile; problems are raised as errors."""
    logger = logging.getLogger("tifffile")
    before, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = before
