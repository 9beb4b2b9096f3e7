"""Telling results that this program wrote, and nobody has changed since, from files of the user's own.

A label map or overlay carries a mark, the SHA-256 of its pixels, in its Software tag (TIFF) or text chunk (PNG), and a
file of outlines that of its content, in its comment (ZIP) or a member (GeoJSON). Other programs drop the mark or change
the content when they save the file, so a corrected label map is never taken for ours.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from nuclei.base.errors import InputError
from nuclei.base.files import replacing
from nuclei.images.io import write_labels

KEY = "Software"  # of the text chunk; the TIFF tag is called the same
PREFIX = "nuclei segment.py, pixels sha256 "
GEOJSON_START, GEOJSON_END = '{"type": "FeatureCollection", "features": [', '\n], "software": "{mark}"}}\n'
SHOWN = 10  # files that an error lists
FIX = "give another folder after -o, move them away, or add --force to replace them"


def write_marked_labels(path: Path, labels: NDArray[np.integer]) -> None:
    """Write a label map (H, W) as `write_labels` does, with a mark."""
    write_labels(path, labels, software=_mark(labels))


def write_marked_rgb(path: Path, rgb: NDArray[np.uint8]) -> None:
    """Write (H, W, 3) uint8 as PNG with a mark."""
    info = PngImagePlugin.PngInfo()
    info.add_text(KEY, _mark(rgb))
    with replacing(path) as temporary:
        Image.fromarray(rgb).save(temporary, format="PNG", pnginfo=info, compress_level=1)


def check_replaceable(paths: Iterable[Path]) -> None:
    """Raise InputError if a file exists that this program did not write, or that was changed since."""
    foreign = [path for path in paths if path.exists() and not is_ours(path)]
    if foreign:
        more = f"\n            and {len(foreign) - SHOWN} more" if len(foreign) > SHOWN else ""
        listed = "\n            ".join(map(str, foreign[:SHOWN])) + more
        problem = "the results would replace files that this program did not write, or that were changed since"
        raise InputError(problem, got=listed, fix=FIX)


def is_ours(path: Path) -> bool:
    """Whether a file carries the mark of the pixels that it holds."""
    try:
        if path.suffix == ".tif":
            with tifffile.TiffFile(path) as file:
                mark = file.pages.first.software
                return mark.startswith(PREFIX) and mark == _mark(file.asarray())
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                return archive.comment.decode() == mark_of_zip(archive)
        if path.suffix == ".geojson":
            features, _, end = path.read_text(encoding="utf-8").removeprefix(GEOJSON_START).rpartition("\n]")
            return "\n]" + end == GEOJSON_END.format(mark=PREFIX + hashlib.sha256(features.encode()).hexdigest())
        with PngImagePlugin.PngImageFile(path) as image:  # Image.open has a size limit for the whole process
            mark = image.info.get(KEY, "")
            return mark.startswith(PREFIX) and mark == _mark(np.asarray(image))
    except Exception:  # decoders raise almost any exception on files that are not what they seem
        return False


def mark_of_zip(file: zipfile.ZipFile) -> str:
    """The mark of a ZIP file, its comment: a hash of the names and checksums of its members."""
    content = repr([(member.filename, member.CRC, member.file_size) for member in file.infolist()])
    return PREFIX + hashlib.sha256(content.encode()).hexdigest()


def _mark(pixels: NDArray[Any]) -> str:
    content = repr(pixels.shape).encode() + np.ascontiguousarray(pixels, "<u4").tobytes()
    return PREFIX + hashlib.sha256(content).hexdigest()
