"""What `images.io` makes of every kind of image file, as the tables of docs/files.md.

    python tests/images/matrix.py

prints them. What reading gives is compared with what was written, computed here without the code under test.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import tifffile
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "stages"))

from written import CONTAINERS, DEPTHS, WRITERS, File, Values, files, tiff

from nuclei.base.errors import InputError
from nuclei.images.io import check_background, read_image, read_labels, read_mask

JPEG_TOLERANCE = 4  # mean absolute difference
NUCLEUS = np.zeros((20, 26), np.uint8)
NUCLEUS[3:9, 5:17] = 255  # like itself in no other orientation


def expected_rgb(values: Values) -> np.ndarray:
    """The image (H, W, 3), before its values are rounded to uint8."""
    image = values.stored.astype(np.float64)
    if values.bits < 8:
        image = image * 255 / (2**values.bits - 1)
    elif values.stored.dtype != np.uint8:
        low, high = np.percentile(image, (0.1, 99.9))
        image = np.clip((image - low) / (high - low), 0, 1) * 255
    return three(image) if image.ndim == 2 else image


def three(gray: np.ndarray) -> np.ndarray:
    return np.repeat(gray[..., None], 3, axis=2)


@cache
def outcome(file: File) -> str:
    """How a file is read: "yes", "image only" or "refused"; AssertionError if its values are wrong."""
    where = f"{file.container}, {file.values.depth}, {file.writer}, {file.layout}"
    try:
        rgb = read_image(file.data).rgb
    except InputError as error:
        assert "damaged" not in error.problem, f"{where}: {error}"
        return "refused"
    off = np.abs(rgb - expected_rgb(file.values))
    assert off.mean() < JPEG_TOLERANCE if file.lossy else off.max() < 0.51, f"{where}: off by {off.mean()}, {off.max()}"
    try:
        labels = read_labels(file.data)
    except InputError as error:
        assert "damaged" not in error.problem, f"{where}: {error}"
        return "image only"
    np.testing.assert_array_equal(labels, file.values.stored, err_msg=where)
    return "yes"


def containers_table() -> str:
    """Container by depth: how it is read, and which programs wrote the files."""
    lines = [f"| file | {' | '.join(DEPTHS)} | written by |", "|---" * (len(DEPTHS) + 2) + "|"]
    for container in CONTAINERS:
        written = [file for file in files() if file.container == container]
        cells = []
        for depth in DEPTHS:
            outcomes = sorted({outcome(file) for file in written if file.values.depth == depth})
            cells.append(" or ".join(outcomes) or "")
        writers = {file.writer for file in written}
        cells.append(", ".join(name for name in WRITERS if name in writers))
        lines.append(f"| {container} | {' | '.join(cells)} |")
    return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class Property:
    """A file with one nucleus and some property.

    Attributes:
        name: the row of the table.
        data: the file's content.
        rgb: what each possible reading as an image gives, by the words of the table.
        labels: the same for a label map; `NUCLEUS` in other values or orientations.
        mask: the same for a mask.
    """

    name: str
    data: bytes
    rgb: dict[str, np.ndarray] = field(default_factory=dict)
    labels: dict[str, np.ndarray] = field(default_factory=dict)
    mask: dict[str, np.ndarray] = field(default_factory=dict)


def pillow(image: Image.Image | np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, kind, **options)
    return file.getvalue()


def palette(colours: list[tuple[int, int, int]]) -> Image.Image:
    """The nucleus as an image of indices: the background 0, the nucleus the last of the colours."""
    image = Image.fromarray((NUCLEUS > 0) * np.uint8(len(colours) - 1), "L")
    image.putpalette(np.array(colours, np.uint8).tobytes())
    return image


def stored(name: str, data: bytes, gray: np.ndarray = NUCLEUS) -> Property:
    """A file of which every reading gives the values `gray` (H, W)."""
    return Property(name, data, {"as stored": three(gray)}, {"as stored": gray}, {"as stored": gray > 0})


def turned(name: str, write: Callable[[int], bytes]) -> Iterator[Property]:
    """Files with each orientation tag, all of which show the nucleus upright."""
    ways: dict[int, Callable[[np.ndarray], np.ndarray]] = {
        2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: np.transpose,
        6: lambda a: np.rot90(a, -1), 7: lambda a: np.rot90(a, 2).T, 8: np.rot90,
    }  # fmt: skip
    for orientation, turn in ways.items():
        upright = turn(NUCLEUS)
        words = "turned upright"
        yield Property(name, write(orientation), {words: three(upright)}, {words: upright}, {words: upright > 0})


def oriented(kind: str) -> Callable[[int], bytes]:
    def write(orientation: int) -> bytes:
        exif = Image.Exif()
        exif[0x0112] = orientation
        return pillow(NUCLEUS, kind, **({"tiffinfo": exif} if kind == "TIFF" else {"exif": exif, "quality": 100}))

    return write


@cache
def properties() -> list[Property]:
    """All rows of the table of properties; several in a row may have one name."""
    bw, inverted, index = NUCLEUS, 255 - NUCLEUS, NUCLEUS // 255
    colour = np.dstack([NUCLEUS, NUCLEUS // 2, NUCLEUS // 5])
    alpha = np.add.outer(np.arange(20), np.arange(26)).astype(np.uint8)
    rows = [stored("gray", data) for data in (pillow(bw), pillow(bw, "BMP"), tiff(bw))]
    rows += [stored("gray, saved as RGB", data) for data in (pillow(three(bw)), tiff(three(bw), photometric="rgb"))]
    rows += [
        Property("colour", data, {"as stored": colour}) for data in (pillow(colour), tiff(colour, photometric="rgb"))
    ]
    for kind in ("assocalpha", "unassalpha"):
        options = {"planarconfig": "contig", "extrasamples": [kind]}
        data = tiff(np.dstack([bw, alpha]), photometric="minisblack", **options)
        rows.append(stored("alpha, marked as such", data))
        rows.append(stored("alpha, marked as such", tiff(np.dstack([three(bw), alpha]), photometric="rgb", **options)))
    rows += [stored("alpha, marked as such", pillow(np.dstack([*some, alpha]))) for some in ([bw], [bw] * 3)]
    done, data = cv2.imencode(".tif", np.dstack([bw, bw, bw, alpha]))
    assert done
    rows.append(stored("RGB with a fourth sample that nothing describes (OpenCV)", data.tobytes()))
    rows.append(Property("a picture in the alpha channel alone", pillow(np.dstack([bw * 0] * 3 + [bw]))))
    for count, photometric in ((2, "minisblack"), (3, "minisblack"), (4, "minisblack"), (4, "rgb")):
        extra = ["unspecified"] * (count - (3 if photometric == "rgb" else 1))
        data = tiff(np.dstack([bw] * count), photometric=photometric, planarconfig="contig", extrasamples=extra)
        rows.append(Property("samples that are neither colour nor alpha", data))
    rows += [
        Property(
            "palette of colours",
            pillow(palette([(0, 0, 0), (9, 9, 9), (250, 20, 0)]), kind),
            {"palette applied": np.where(three(bw) > 0, (250, 20, 0), (0, 0, 0))},
            {"indices": index * 2},
            {"indices": index > 0},
        )
        for kind in ("PNG", "TIFF", "BMP")
    ]
    rows += [
        Property(
            "palette of fewer than 256 grays (optimised PNG)",
            pillow(palette([(255, 255, 255), (0, 0, 0)]).transpose(Image.Transpose.ROTATE_180).point([1, 0] * 128)),
            {"palette applied": three(bw[::-1, ::-1])},
            {"palette applied": bw[::-1, ::-1]},
            {"palette applied": bw[::-1, ::-1] > 0},
        )
    ]
    inverting = [(255 - value,) * 3 for value in range(256)]
    rows += [
        Property(
            "inverting look-up table of 256 grays (Fiji)",
            pillow(palette(inverting), kind),
            {"palette applied": three(inverted)},
            {"indices": bw},
            {"indices": bw > 0},
        )
        for kind in ("PNG", "TIFF", "BMP")
    ]
    whites = [bw > 0, bw, bw.astype(np.uint16), bw.astype(np.int16), bw.astype(np.float32)]
    rows += [
        Property(
            "MinIsWhite",
            tiff(values, photometric="miniswhite"),
            {"inverted": three(inverted)},
            {"as stored": values},
            {"as stored": bw > 0},
        )
        for values in whites
    ]
    rows.append(stored("CMYK", pillow(Image.fromarray(three(bw)).convert("CMYK"), "TIFF")))
    for kind in ("TIFF", "PNG"):
        rows += turned("orientation (TIFF tag; EXIF of PNG)", oriented(kind))
    rows += [Property("orientation (EXIF of JPEG)", turn.data, turn.rgb) for turn in turned("", oriented("JPEG"))]
    one = "axes of length 1"
    rows += [
        stored(one, tiff(bw[None, None], **options)) for options in ({"metadata": {}}, {"imagej": True}, {"ome": True})
    ]
    rows.append(stored(one, tiff(bw[..., None], photometric="minisblack", metadata={})))
    for options in ({"tile": (16, 16)}, {}):
        file = io.BytesIO()
        with tifffile.TiffWriter(file) as writer:
            writer.write(bw, subifds=1 if options else 0, **options)
            writer.write(bw[::2, ::2], subfiletype=1, **options)
        rows.append(stored("pyramid or thumbnail beside the image", file.getvalue()))
    stack = np.stack([bw] * 3)
    for axes in ("CYX", "ZYX", "TYX"):
        for options in ({"imagej": True}, {"ome": True}, {"ome": True, "compression": "lzw"}):
            name = {"C": "several channels (ImageJ, OME)", "Z": "several slices", "T": "several time points"}[axes[0]]
            data = tiff(stack, photometric="minisblack", metadata={"axes": axes}, **options)
            rows.append(Property(name, data, {"maximum": three(bw)} if axes[0] == "Z" else {}))
    pages = [Image.fromarray(page) for page in stack]
    rows.append(Property("several pages", tiff(stack, photometric="minisblack")))
    rows.append(Property("several pages", pillow(pages[0], "TIFF", save_all=True, append_images=pages[1:])))
    frames = [Image.fromarray(frame) for frame in (bw, inverted)]
    rows.append(Property("animated PNG", pillow(frames[0], save_all=True, append_images=frames[1:])))
    missing = np.where(np.arange(26) < 3, np.nan, bw).astype(np.float32)
    rows.append(Property("NaN", tiff(missing), {"NaN as 0": three(bw)}))
    rows.append(Property("fractions", tiff(bw / 510), {"rescaled": three(bw)}, {}, {"as stored": bw > 0}))
    rows.append(
        Property(
            "negative values", tiff(-bw.astype(np.int16)), {"rescaled": three(inverted)}, {}, {"as stored": bw > 0}
        )
    )
    blurred = cv2.blur(bw, (3, 3))
    rows.append(Property("edges blurred", pillow(blurred), {"as stored": three(blurred)}, {"as stored": blurred}))
    rows.append(
        Property("nucleus 0, background 255", pillow(inverted), {"as stored": three(inverted)}, {"as stored": inverted})
    )
    rows.append(
        Property(
            "TIFF compressed as JPEG",
            tiff(bw, compression="jpeg", compressionargs={"level": 100}),
            {"nearly as stored": three(bw)},
        )
    )
    rows.append(Property("JPEG of 12 bits", imagecodecs.jpeg_encode(bw.astype(np.uint16) * 16, bitspersample=12)))
    rows.append(Property("complex numbers", tiff(bw.astype(np.complex64))))
    rows.append(Property("CIELAB", pillow(Image.fromarray(three(bw)).convert("LAB"), "TIFF")))
    rows.append(
        Property(
            "CMYK of 16 bits",
            tiff(np.dstack([bw.astype(np.uint16)] * 4), photometric="separated", planarconfig="contig"),
        )
    )
    rows.append(Property("YCbCr without JPEG", tiff(three(bw), photometric="ycbcr")))
    rows.append(Property("GIF, WebP, JPEG 2000, CZI, ND2, HDF5 and others", pillow(bw, "GIF")))
    return rows


def reading(read: Callable[[bytes], np.ndarray], data: bytes, possible: dict[str, np.ndarray]) -> str:
    """The words for what `read` gives, or why it refuses; AssertionError if it gives nothing that is `possible`."""
    lossy = data.startswith(b"\xff\xd8") or any("nearly" in words for words in possible)
    try:
        found = read(data)
    except InputError as error:
        assert "damaged" not in error.problem, error
        return f"refused: {error.problem}"
    for words, values in possible.items():
        if found.shape == values.shape:
            off = np.abs(found.astype(np.float64) - values)
            if off.max() == 0 or (lossy and off.mean() < JPEG_TOLERANCE):
                return words
    raise AssertionError(f"read as {found.dtype} {found.shape}:\n{found if found.ndim == 2 else found[..., 0]}")


@cache
def readings(file: Property) -> tuple[str, str, str]:
    """How a file is read as an image, as a label map and as a mask."""

    def read_rgb(data: bytes) -> np.ndarray:
        return read_image(data).rgb

    def read_annotated(data: bytes) -> np.ndarray:
        labels = read_labels(data)
        check_background(labels, "")
        return labels

    return (
        reading(read_rgb, file.data, file.rgb),
        reading(read_annotated, file.data, file.labels),
        reading(read_mask, file.data, file.mask),
    )


def properties_table() -> str:
    """Property by use: how a file is read, and why it is refused."""
    lines = ["| a file with | image | label map | mask of one nucleus | refused because |", "|---|---|---|---|---|"]
    for name in dict.fromkeys(file.name for file in properties()):
        cells: list[set[str]] = [set(), set(), set()]
        reasons: dict[str, None] = {}
        for file in properties():
            for cell, found in zip(cells, readings(file) if file.name == name else (), strict=False):
                cell.add(found.split(":")[0])
                reasons |= dict.fromkeys(found.split(": ")[1:])
        columns = [*(" or ".join(sorted(cell)) for cell in cells), "; ".join(reasons)]
        lines.append(f"| {name} | {' | '.join(columns)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(containers_table(), properties_table(), sep="\n\n")
