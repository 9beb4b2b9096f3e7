"""Image files of every kind, as five programs write them, with the values that were written."""

from __future__ import annotations

import io
import itertools
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from PIL import Image

WRITERS = ("tifffile", "Pillow", "OpenCV", "ImageMagick", "tiffcp")
COMMANDS = {"ImageMagick": "convert", "tiffcp": "tiffcp"}

ROWS, COLS = np.indices((20, 26))
RAMP = ROWS * 7 + COLS * 3  # 0 to 208: smooth, so that JPEG changes it little, and different in every orientation


@dataclass(frozen=True, eq=False)
class Values:
    """What is written: (H, W) gray or (H, W, 3) RGB, of so many bits a value."""

    depth: str
    stored: np.ndarray
    bits: int


def unsigned(bits: int) -> np.ndarray:
    if bits < 8:
        return ((ROWS // 3 + COLS // 4) % 2**bits).astype(np.uint8)
    return (RAMP * ((2 ** min(bits, 32) - 1) // 208)).astype("u2" if bits == 12 else f"u{bits // 8}")


def signed(bits: int) -> np.ndarray:
    return (RAMP * (2 ** (min(bits, 32) - 1) // 256)).astype(f"i{bits // 8}") if bits > 8 else (RAMP // 2).astype("i1")


def colour(bits: int) -> np.ndarray:
    channels = RAMP, 208 - RAMP, RAMP // 2 + 60
    return (np.dstack(channels) * ((2**bits - 1) // 208)).astype(f"u{bits // 8}")


ALL = (
    *(Values(f"{bits} bit", unsigned(bits), bits) for bits in (1, 2, 4, 8, 12, 16, 32, 64)),
    *(Values(f"{bits} bit", signed(bits), bits) for bits in (8, 16, 32, 64)),
    *(Values("float", RAMP.astype(f"f{bits // 8}"), bits) for bits in (16, 32, 64)),
    *(Values(f"RGB {bits} bit", colour(bits), bits) for bits in (8, 16)),
)
DEPTHS = tuple(dict.fromkeys(values.depth for values in ALL))
# a container by the name of the compression in tifffile, Pillow, OpenCV, ImageMagick and tiffcp
CODECS: dict[str, tuple[str | None, str | None, int | None, str | None, tuple[str, ...]]] = {
    "TIFF, uncompressed": ("none", "raw", 1, "None", ("none",)),
    "TIFF, LZW": ("lzw", "tiff_lzw", 5, "LZW", ("lzw", "lzw:2")),
    "TIFF, Deflate": ("zlib", "tiff_adobe_deflate", 8, "Zip", ("zip", "zip:2")),
    "TIFF, PackBits": ("packbits", "packbits", 32773, "RLE", ("packbits",)),
    "TIFF, Zstandard": ("zstd", "zstd", None, "ZSTD", ("zstd", "zstd:2")),
    "TIFF, LZMA": ("lzma", "lzma", None, "LZMA", ("lzma",)),
    "TIFF, LERC": ("lerc", None, None, None, ("lerc",)),
    "TIFF, CCITT fax 3": (None, "group3", None, "Fax", ("g3", "g3:2d")),
    "TIFF, CCITT fax 4": (None, "group4", None, "Group4", ("g4",)),
    "TIFF, JPEG": ("jpeg", "jpeg", None, "JPEG", ("jpeg:95",)),
    "TIFF, JPEG 2000": ("jpeg2000", None, None, None, ()),
    "TIFF, JPEG XL": ("jpegxl", None, None, None, ()),
    "TIFF, JPEG XR": ("jpegxr", None, None, None, ()),
    "TIFF, WebP": ("webp", None, None, None, ()),
    "TIFF, PNG": ("png", None, None, None, ()),
}
CONTAINERS = ("PNG", "BMP", "JPEG", *CODECS)


@dataclass(frozen=True, eq=False)
class File:
    """A file that some program wrote.

    Attributes:
        container: format and compression, one of `CONTAINERS`.
        values: what was written.
        writer: the program, one of `WRITERS`.
        layout: strips or tiles, byte order, predictor.
        data: the content of the file.
    """

    container: str
    values: Values
    writer: str
    layout: str
    data: bytes

    @property
    def lossy(self) -> bool:
        return self.container in ("JPEG", "TIFF, JPEG")


def holds(container: str, values: Values) -> bool:
    """Whether the format allows these values, and a program here writes them."""
    depth, in_bytes = values.depth, values.bits >= 8 and values.bits != 12
    if "fax" in container:
        return depth == "1 bit"
    if container in ("JPEG", "TIFF, JPEG"):
        return values.stored.dtype == np.uint8 and values.bits == 8
    if container == "TIFF, LERC":
        return in_bytes
    if container == "BMP":
        return depth in ("1 bit", "8 bit", "RGB 8 bit")
    return container != "PNG" or (values.bits <= 16 and depth != "float")


def tiff(pixels: np.ndarray, **options: Any) -> bytes:
    """The content of a TIFF that tifffile writes."""
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **{"metadata": None, **options})
    return file.getvalue()


def by_tifffile() -> Iterator[File]:
    layouts: dict[str, dict[str, Any]] = {
        "strips": {"rowsperstrip": 7},
        "tiles": {"tile": (16, 16)},
        "big-endian": {"byteorder": ">"},
        "BigTIFF": {"bigtiff": True},
        "planar": {"planarconfig": "separate"},
        "planar, tiles": {"planarconfig": "separate", "tile": (16, 16)},
        "predictor": {"predictor": True, "tile": (16, 16)},
        "predictor, big-endian": {"predictor": True, "byteorder": ">"},
    }
    for (container, (codec, *_)), values, (layout, options) in itertools.product(CODECS.items(), ALL, layouts.items()):
        stored, bits, packed = values.stored, values.bits, values.bits in (2, 4, 12)
        planar, swapped = "planar" in layout, "big-endian" in layout
        if codec is None or not holds(container, values) or (planar and stored.ndim == 2):
            continue
        if "predictor" in layout and (bits < 8 or packed or codec not in ("lzw", "zlib", "zstd", "lzma")):
            continue
        if packed and codec != "none":
            continue  # tifffile packs bits without compression alone
        if swapped and (packed or codec == "jpeg2000"):
            continue  # tifffile swaps the bytes before it packs or compresses them; it reads wrong values itself
        written = np.moveaxis(stored, -1, 0) if planar else stored.astype(bool) if bits == 1 else stored
        chosen = {"photometric": "minisblack" if stored.ndim == 2 else "rgb", "compression": codec, **options}
        try:
            data = tiff(written, **chosen, **({"bitspersample": bits} if packed else {}))
        except (ValueError, KeyError, NotImplementedError):  # the codec has no such type
            continue
        yield File(container, values, "tifffile", layout, data)


def by_pillow() -> Iterator[File]:
    gray_types = (np.uint8, np.uint16, np.int32, np.float32)
    for values in ALL:
        stored, bits = values.stored, values.bits
        if bits in (2, 4, 12) or (stored.ndim == 2 and stored.dtype not in gray_types) or values.depth == "RGB 16 bit":
            continue
        image = Image.fromarray(stored.astype(bool) if bits == 1 else stored)
        for container in CONTAINERS:
            kind, codec = container.split(",")[0], CODECS.get(container, ("", ""))[1]
            if codec is None or not holds(container, values):
                continue
            options: dict[str, Any] = {"compression": codec} if codec else {"quality": 95} if kind == "JPEG" else {}
            file = io.BytesIO()
            image.save(file, kind, **options)
            yield File(container, values, "Pillow", "", file.getvalue())


def by_opencv() -> Iterator[File]:
    types = (np.uint8, np.uint16, np.int32, np.float32, np.float64)
    for values in ALL:
        stored = values.stored
        if values.bits in (1, 2, 4, 12) or stored.dtype not in types:
            continue
        for container in CONTAINERS:
            codec = CODECS.get(container, (0, 0, 0))[2]
            if codec is None or not holds(container, values):
                continue
            options = [cv2.IMWRITE_TIFF_COMPRESSION, codec] if codec else []
            ending = f".{container.split(',')[0].lower()}"
            done, data = cv2.imencode(ending, stored[..., ::-1] if stored.ndim == 3 else stored, options)
            assert done, (container, values)
            yield File(container, values, "OpenCV", "", data.tobytes())
    done, data = cv2.imencode(".png", unsigned(1) * 255, [cv2.IMWRITE_PNG_BILEVEL, 1])
    assert done
    yield File("PNG", ALL[0], "OpenCV", "bilevel", data.tobytes())


def by_imagemagick(folder: Path) -> Iterator[File]:
    for number, values in enumerate(ALL):
        stored, bits = values.stored, values.bits
        if bits not in (1, 2, 4, 8, 16) or stored.dtype.kind != "u":
            continue
        source = folder / f"{number}.png"
        scaled = stored * (255 // (2**bits - 1)) if bits < 8 else stored
        cv2.imwrite(str(source), scaled[..., ::-1] if scaled.ndim == 3 else scaled)
        files: list[tuple[str, str, Path]] = []
        command: list[str | Path] = ["convert", source, "-quality", "95", "-depth", str(bits)]
        for container, (layout, options) in itertools.product(
            CONTAINERS,
            {
                "": ("-interlace", "none", "-endian", "LSB"),
                "interlaced": ("-interlace", "plane", "-endian", "LSB"),
                "big-endian": ("-interlace", "none", "-endian", "MSB"),
            }.items(),
        ):
            kind, codec = container.split(",")[0].lower(), CODECS.get(container, ("",) * 4)[3]
            if codec is None or not holds(container, values) or (container, bits) == ("BMP", 1):  # writes 24 bits
                continue
            if layout and container not in ("PNG", "TIFF, LZW", "TIFF, JPEG"):
                continue
            target = folder / f"{number}-{len(files)}.{kind}"
            # without the prefix it may store colours as a palette
            prefix = f"PNG{3 * bits}:" if kind == "png" and stored.ndim == 3 else ""
            compress = ("-compress", codec) if codec else ()
            command += ["(", "+clone", *compress, *options, "-write", f"{prefix}{target}", "+delete", ")"]
            files.append((container, layout, target))
        subprocess.run([*command, "null:"], check=True)
        for container, layout, target in files:
            yield File(container, values, "ImageMagick", layout, target.read_bytes())


def by_tiffcp(folder: Path) -> Iterator[File]:
    layouts = {
        "strips, big-endian": ("-r", "16", "-B"),
        "tiles, BigTIFF": ("-t", "-w", "16", "-l", "16", "-8"),
        "fill order": ("-f", "lsb2msb"),
    }
    source, target = folder / "source.tif", folder / "target.tif"
    for values in ALL:
        stored, bits = values.stored, values.bits
        if bits == 64 or stored.dtype.kind == "i" or stored.dtype == np.float16:
            continue
        options = {"bitspersample": bits} if bits in (2, 4, 12) else {}
        photometric = "minisblack" if stored.ndim == 2 else "rgb"
        source.write_bytes(tiff(stored.astype(bool) if bits == 1 else stored, photometric=photometric, **options))
        for container, (*_, codecs) in CODECS.items():
            if not codecs or not holds(container, values):
                continue
            for number, (layout, arguments) in enumerate(layouts.items()):
                codec = codecs[number % len(codecs)]
                if codec.endswith(":2") and (bits not in (8, 16) or values.depth == "float"):  # the predictor
                    codec = codecs[0]
                subprocess.run(["tiffcp", "-c", codec, *arguments, source, target], check=True)
                yield File(container, values, "tiffcp", f"{codec}, {layout}", target.read_bytes())


@cache
def files() -> list[File]:
    """What all programs that are installed write."""
    found = [*by_tifffile(), *by_pillow(), *by_opencv()]
    with tempfile.TemporaryDirectory() as folder:
        for writer, write in (("ImageMagick", by_imagemagick), ("tiffcp", by_tiffcp)):
            if shutil.which(COMMANDS[writer]):
                found += write(Path(folder))
    return found
