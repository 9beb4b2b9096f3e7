"""The size of a pixel in µm, from the metadata of OME and ImageJ and from resolution tags."""

from __future__ import annotations

import math
import re
import unicodedata
from typing import Any
from xml.etree.ElementTree import Element

MICROMETRES = ("\N{GREEK SMALL LETTER MU}m", "um", "micron", "microns", "micrometer", "micrometre")
NANOMETRES = ("nm", "nanometer", "nanometre")
UM = {  # in one unit, as OME, ImageJ and others write it, in lower case
    **dict.fromkeys(MICROMETRES, 1.0),
    **dict.fromkeys(NANOMETRES, 1e-3),
    **dict.fromkeys(("\N{LATIN SMALL LETTER A WITH RING ABOVE}", "angstrom"), 1e-4),
    **dict.fromkeys(("mm", "millimeter", "millimetre"), 1e3),
    **dict.fromkeys(("cm", "centimeter", "centimetre"), 1e4),
    **dict.fromkeys(("m", "meter", "metre"), 1e6),
    **dict.fromkeys(("in", "inch", "inches"), 25_400.0),
}
COARSEST_UM = 10.0  # a pixel given in inches or centimetres that is larger is that of a printer: 72 to 2,400 dpi
RESOLUTION_UNITS = {2: "inch", 3: "cm"}  # of TIFF 6.0
SQUARE = 0.01  # relative difference of height and width up to which a pixel counts as square

Size = tuple[float, float]  # height and width of a pixel in µm


def in_um(value: object, unit: str) -> float | None:
    """A length in µm; None if it is not one, or too large for a pixel of a microscope in a unit that printers use."""
    # ImageJ escapes the micro sign, and UTF-8 read as Latin-1 has another letter before it
    plain = unit.strip().replace("\\u00B5", "\N{MICRO SIGN}").replace("\N{LATIN CAPITAL LETTER A WITH CIRCUMFLEX}", "")
    plain = unicodedata.normalize("NFKC", plain).casefold()  # of the two signs for micro, the Greek letter
    try:
        length = float(str(value)) * UM[plain]
    except (ValueError, KeyError):
        return None
    if not math.isfinite(length) or length <= 0 or (plain not in (*MICROMETRES, *NANOMETRES) and length > COARSEST_UM):
        return None
    return length


def of_ome(pixels: Element) -> Size | None:
    """The size of a pixel from the element Pixels of OME-XML, in µm where it names no unit."""
    sizes = [
        in_um(pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm")) for axis in ("Y", "X")
    ]
    return _both(*sizes)


def of_tags(page: Any, unit: str | None = None) -> Size | None:
    """The size of a pixel from the resolution tags of a page of TIFF, per the tag's unit, or per `unit`, of ImageJ."""
    unit = unit or RESOLUTION_UNITS.get(int(page.tags.valueof("ResolutionUnit", 2) or 0), "")
    return _both(*(in_um(_period(page.tags.valueof(f"{axis}Resolution")), unit) for axis in "YX"))


def imagej_unit(metadata: dict[str, Any]) -> str | None:
    """The unit of length in the description that ImageJ writes."""
    unit = metadata.get("unit")
    return unit if isinstance(unit, str) and re.sub(r"pixels?|none", "", unit.casefold()) else None


def side(size: Size | None, given_um: float | None) -> tuple[float | None, str]:
    """The side of a square pixel in µm, None if unknown, and a note on pixels that are not square."""
    if given_um is not None:
        return given_um, ""
    if size is None:
        return None, ""
    height, width = size
    if abs(height - width) > SQUARE * max(size):
        said = f"pixels are {height:g} µm high and {width:g} µm wide, not square: sizes are given in pixels alone"
        return None, f"{said}; resample the image, or give --pixel-size"
    return (height + width) / 2, ""


def _both(height: float | None, width: float | None) -> Size | None:
    return None if height is None or width is None else (height, width)


def _period(resolution: object) -> float | None:
    """The length of a pixel from a tag such as XResolution, a fraction of pixels per unit."""
    try:
        pixels, units = (float(part) for part in resolution)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        return None
    return units / pixels if pixels > 0 else None
