"""Telling results that this program wrote, and nobody has changed since, from files of the user's own.

A label map or overlay carries a mark, the SHA-256 of its pixels, in its Software tag (TIFF) or text chunk (PNG), and a
file of outlines that of its content, in its comment (ZIP) or a member (GeoJSON). Other programs drop the mark or change
the content when they save the file, so a corrected label map is never taken for ours.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import PngImagePlugin

KEY = "Software"  # of the text chunk; the TIFF tag is called the same
PREFIX = "nuclei segment.py, pixels sha256 "
GEOJSON_START, GEOJSON_END = '{"type": "FeatureCollection", "features": [', '\n], "software": "{mark}"}}\n'


def mark_of(pixels: NDArray[Any]) -> str:
    """The mark of a label map (H, W) or an RGB image (H, W, 3)."""
    content = repr(pixels.shape).encode() + np.ascontiguousarray(pixels, "<u4").tobytes()
    return PREFIX + hashlib.sha256(content).hexdigest()


def mark_of_zip(file: zipfile.ZipFile) -> str:
    """The mark of a ZIP file, its comment: a hash of the names and checksums of its members."""
    content = repr([(member.filename, member.CRC, member.file_size) for member in file.infolist()])
    return PREFIX + hashlib.sha256(content.encode()).hexdigest()


def is_marked(data: bytes, suffix: str) -> bool:
    """Whether a file carries the mark of what it holds.

    Args:
        data: the content of the file.
        suffix: of its name: ".tif", ".zip" or ".geojson"; any other is taken for ".png".
    """
    try:
        if suffix == ".tif":
            with tifffile.TiffFile(io.BytesIO(data)) as file:
                mark = file.pages.first.software
                return mark.startswith(PREFIX) and mark == mark_of(file.asarray())
        if suffix == ".zip":
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                return archive.comment.decode() == mark_of_zip(archive)
        if suffix == ".geojson":
            features, _, end = data.decode().removeprefix(GEOJSON_START).rpartition("\n]")
            return "\n]" + end == GEOJSON_END.format(mark=PREFIX + hashlib.sha256(features.encode()).hexdigest())
        with PngImagePlugin.PngImageFile(
            io.BytesIO(data)
        ) as image:  # Image.open has a size limit for the whole process
            mark = image.info.get(KEY, "")
            return mark.startswith(PREFIX) and mark == mark_of(np.asarray(image))
    except Exception:  # decoders raise almost any exception on files that are not what they seem
        return False
