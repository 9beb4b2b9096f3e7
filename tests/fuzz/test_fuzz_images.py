"""Images, label maps and masks, intact, damaged or with inconsistent headers, are read correctly or refused."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
import tifffile
from fuzzing import cases, damaged, judge, refused, taken
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from nuclei.images.io import read_labels, read_mask, read_rgb
from nuclei.prepare.annotations import from_label_map, from_masks

SHAPES = st.sampled_from([(1, 1), (1, 7), (9, 1), (1, 30_000), (30_000, 1)]) | st.tuples(
    st.integers(1, 24), st.integers(1, 24)
)
MAX_PX = 10**5
WIDE = (10, 30_000)
GRAYS = ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8")


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def tiff(pixels: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


@st.composite
def pictures(draw: st.DrawFn) -> tuple[bytes, np.ndarray]:
    """A file of 8 bit, and the (H, W, 3) that it has to be read as."""
    height, width = draw(SHAPES)
    rgba = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 256, (height, width, 4), dtype=np.uint8)
    mode = draw(st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"]))
    image = Image.fromarray(rgba).convert("RGB").convert(mode) if mode != "RGBA" else Image.fromarray(rgba)
    if mode == "CMYK":
        kind = "TIFF"
    elif mode == "LA":
        kind = draw(st.sampled_from(["PNG", "TIFF"]))
    else:
        kind = draw(st.sampled_from(["PNG", "TIFF", "BMP"]))
    options: dict[str, Any] = {}
    if kind == "TIFF":
        options["compression"] = draw(st.sampled_from([None, "tiff_lzw", "tiff_adobe_deflate", "packbits"]))
    return saved(image, kind, **options), np.asarray(image.convert("RGB"))


@st.composite
def gray_arrays(draw: st.DrawFn) -> np.ndarray:
    """Values of any type, the extreme ones and NaN among them."""
    dtype = np.dtype(draw(st.sampled_from(GRAYS)))
    shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    info = np.iinfo(dtype) if dtype.kind in "ui" else np.finfo(dtype)
    few = st.integers(0, 3).map(dtype.type)
    ends = st.sampled_from([dtype.type(0), info.max, info.min, getattr(info, "smallest_subnormal", 1)])
    return draw(arrays(dtype, shape) | arrays(dtype, shape, elements=few) | arrays(dtype, shape, elements=ends))


def stored(draw: st.DrawFn, pixels: np.ndarray) -> bytes:
    """One of the files that can hold these values."""
    options = draw(st.sampled_from([{}, {"compression": "zlib"}, {"tile": (16, 16)}, {"byteorder": ">"}]))
    if pixels.dtype in (np.uint8, np.uint16) and draw(st.booleans()):
        return saved(Image.fromarray(pixels), "PNG")
    return tiff(pixels, photometric="minisblack", **options)


GRAY_FILES = st.composite(lambda draw: (pixels := draw(gray_arrays()), stored(draw, pixels)))


def shaped(found: np.ndarray) -> None:
    assert found.dtype == np.uint8 and found.ndim == 3 and found.shape[2] == 3 and 0 < found[..., 0].size <= MAX_PX


@cases(100)
@given(picture=pictures())
def test_eight_bit_pixels_keep_their_values(picture: tuple[bytes, np.ndarray]) -> None:
    data, expected = picture
    taken("images", lambda: read_rgb(data, max_px=MAX_PX), lambda found: np.array_equal(found, expected))


@cases(150)
@given(data=st.data())
def test_a_damaged_image_is_refused_and_a_damaged_png_is_never_read_differently(data: st.DataObject) -> None:
    whole, expected = data.draw(pictures())
    changed = data.draw(damaged(whole))
    png = changed.startswith(b"\x89PNG\r\n\x1a\n")  # every chunk has its checksum
    judge(
        "images",
        lambda: read_rgb(changed, max_px=MAX_PX),
        lambda found: np.array_equal(found, expected) if png else shaped(found),
    )


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    found, position = [], 8
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        found.append((data[position + 4 : position + 8], data[position + 8 : position + 8 + length]))
        position += 12 + length
    return found


def png(parts: list[tuple[bytes, bytes]]) -> bytes:
    """A PNG of these chunks, each with its right length and checksum."""
    packed = [struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


@cases(100)
@given(data=st.data())
def test_a_png_with_inconsistent_chunks_is_refused_or_has_the_size_in_its_header(data: st.DataObject) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype=np.uint8)
    parts = chunks(saved(Image.fromarray(rows[:, :, 0] if data.draw(st.booleans()) else rows), "PNG"))
    which = data.draw(st.integers(0, len(parts) - 1))
    kind, body = parts[which]
    change = data.draw(st.sampled_from(["bytes", "lose", "double", "animate", "size", "pixels"]))
    if change == "bytes" and body:
        parts[which] = kind, data.draw(damaged(body))
    elif change == "lose":
        del parts[which]
    elif change == "double":
        parts.insert(which, parts[which])
    elif change == "animate":
        parts.insert(1, (b"acTL", struct.pack(">II", 2, 0)))
    elif change == "size":
        size = st.sampled_from([0, 1, 5, 9, 30_000, 2**16, 2**31 - 1, 2**32 - 1])
        parts[0] = b"IHDR", struct.pack(">II", data.draw(size), data.draw(size)) + parts[0][1][8:]
    else:
        pixels = zlib.decompress(b"".join(body for kind, body in parts if kind == b"IDAT"))
        fewer = pixels[: data.draw(st.integers(0, len(pixels) - 1))]
        parts = [parts[0], (b"IDAT", zlib.compress(fewer)), (b"IEND", b"")]
    changed = png(parts)
    if change in ("animate", "pixels"):
        refused("images with lying headers", lambda: read_rgb(changed, max_px=MAX_PX))
    else:
        judge("images with lying headers", lambda: read_rgb(changed, max_px=MAX_PX), shaped)


@cases(150)
@given(data=st.data())
def test_a_tiff_with_inconsistent_tags_is_refused_or_stays_within_the_size_limit(data: st.DataObject) -> None:
    pixels = data.draw(gray_arrays())
    changed = bytearray(stored(lambda strategy: data.draw(strategy), pixels))
    if changed[:4] != b"II*\0":
        changed = bytearray(tiff(pixels))
    (start,) = struct.unpack_from("<I", changed, 4)
    (count,) = struct.unpack_from("<H", changed, start)
    number = st.sampled_from([0, 1, 2, 3, 8, 16, 255, 65_535, 2**31 - 1, 2**32 - 1]) | st.integers(0, 400)
    for _ in range(data.draw(st.integers(1, 3))):
        entry = start + 2 + 12 * data.draw(st.integers(0, count - 1))
        field, form = data.draw(st.sampled_from([(0, "<H"), (2, "<H"), (4, "<I"), (8, "<I")]))
        struct.pack_into(form, changed, entry + field, data.draw(number) % 2 ** (8 * struct.calcsize(form)))
    for read in (read_rgb, read_labels):
        judge("images with lying headers", lambda read=read: read(bytes(changed), max_px=MAX_PX), bounded)


def bounded(found: np.ndarray) -> None:
    assert 0 < found.shape[0] * found.shape[1] <= MAX_PX


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "JPEG"])
def test_an_image_30000_pixels_wide_is_read_within_the_limit_and_refused_above(kind: str) -> None:
    pixels = np.zeros(WIDE, np.uint8)
    data = saved(Image.fromarray(pixels), kind)
    taken("images", lambda: read_rgb(data, max_px=300_000), lambda found: found.shape == (*WIDE, 3))
    refused("images", lambda: read_rgb(data, max_px=299_999))


@cases(20)
@given(pages=st.integers(2, 4), side=st.integers(1, 9), apart=st.booleans())
def test_several_pages_or_frames_are_refused(pages: int, side: int, apart: bool) -> None:
    frames = [Image.fromarray(np.full((side, side + (apart and number)), number, np.uint8)) for number in range(pages)]
    data = saved(frames[0], "TIFF", save_all=True, append_images=frames[1:])
    alike = [Image.fromarray(np.full((side, side), number, np.uint8)) for number in range(pages)]
    animated = saved(alike[0], "PNG", save_all=True, append_images=alike[1:])
    for read in (read_rgb, read_labels, read_mask):
        refused("images of several pages", lambda read=read: read(data))
        refused("images of several pages", lambda read=read: read(animated))


@cases(100)
@given(file=GRAY_FILES())
def test_rescaling_keeps_the_order_of_values_of_any_type(file: tuple[np.ndarray, bytes]) -> None:
    values, data = file

    def in_order(found: np.ndarray) -> None:
        assert found.shape == (*values.shape, 3)
        finite = np.isfinite(values)
        assert not found[~finite].any()
        gray = found[finite][:, 0].astype(int)
        assert np.all(np.diff(gray[np.argsort(values[finite], kind="stable")]) >= 0)
        if values.dtype == np.uint8:
            assert np.array_equal(found[..., 0], values)
        else:
            assert gray.min() == 0 and gray.max() == (255 if len(np.unique(values[finite])) > 1 else 0)

    judge("images of 16 bit and float", lambda: read_rgb(data), in_order)


@cases(150)
@given(file=GRAY_FILES())
def test_whole_numbers_keep_their_values_as_labels_and_all_else_is_refused(file: tuple[np.ndarray, bytes]) -> None:
    values, data = file
    numbers = [value for value in values.ravel().tolist()]
    if all(np.isfinite(value) and value == int(value) and 0 <= value < 2**32 for value in numbers):
        taken("label maps", lambda: read_labels(data), lambda found: found.tolist() == values.tolist())
        judge("label maps", lambda: from_label_map("", read_labels(data), values.shape).labels, numbered(values))
    else:
        refused("label maps", lambda: read_labels(data))


def numbered(values: np.ndarray) -> Any:
    """Whether labels run from 1 on, and divide the pixels as the values do."""

    def right(labels: np.ndarray) -> bool:
        present = np.unique(values[values != 0])
        expected = np.searchsorted(present, values) + 1
        return np.array_equal(labels, np.where(values == 0, 0, expected))

    return right


@cases(100)
@given(file=GRAY_FILES())
def test_two_values_are_a_nucleus_and_more_are_refused(file: tuple[np.ndarray, bytes]) -> None:
    values, data = file
    nucleus = values != 0
    edge = np.concatenate([nucleus[0], nucleus[-1], nucleus[:, 0], nucleus[:, -1]])
    background = not nucleus.all() and (nucleus.mean() <= 0.5 or edge.mean() <= 0.5)
    if background and np.isfinite(values).all() and len(np.unique(values[nucleus])) <= 1:
        taken("masks", lambda: read_mask(data), lambda found: np.array_equal(found, nucleus))
        area = int(nucleus.sum())
        labels = lambda: from_masks([("", read_mask(data))], values.shape)[0]  # noqa: E731
        taken("masks", labels, lambda found: int((found > 0).sum()) == area and found.max() == (area > 0))
    else:
        refused("masks", lambda: read_mask(data))


@cases(30)
@given(picture=pictures())
def test_colours_are_no_labels_and_no_mask(picture: tuple[bytes, np.ndarray]) -> None:
    data, rgb = picture
    flat = (rgb == rgb[..., :1]).all()
    judge("label maps", lambda: read_labels(data, max_px=MAX_PX), lambda found: found.shape == rgb.shape[:2])
    judge("masks", lambda: read_mask(data, max_px=MAX_PX), lambda found: flat and found.shape == rgb.shape[:2])
