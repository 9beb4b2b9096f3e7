"""Read outlines of nuclei: regions of ImageJ and Fiji (.roi, or a ZIP file of them), and GeoJSON as QuPath exports it.

A pixel belongs to a region if its centre lies inside; the centre of the pixel (0, 0) is the point (0.5, 0.5). A centre
on the outline itself counts as inside on the left and at the top and as outside on the right and at the bottom, so that
regions with a common edge share no pixel. ImageJ has the same rule.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from roifile import ROI_SUBTYPE, ROI_TYPE, ImagejRoi

from nuclei.base.errors import InputError

MAX_BYTES = 2**30  # of the regions in a ZIP file, unpacked; a region of ImageJ has about 500
AREAS = (ROI_TYPE.POLYGON, ROI_TYPE.RECT, ROI_TYPE.OVAL, ROI_TYPE.FREEHAND, ROI_TYPE.TRACED)
DRAWN_ON = (ROI_SUBTYPE.TEXT, ROI_SUBTYPE.ARROW, ROI_SUBTYPE.IMAGE)  # what ImageJ stores as a rectangle too
NO_AREA, NO_NUCLEUS = "points, lines or texts", "cells without a nucleus"
TILES, ENCLOSING = "tiles or TMA cores", "annotations around other objects"

Rings = list[NDArray[np.float64]]  # each (N, 2), columns x and y; the last point is joined to the first


class Region(NamedTuple):
    """The pixels of one region, clipped to the image.

    Attributes:
        box: the rows and columns of its bounding box; they may be empty.
        inside: (h, w) bool, which pixels of the box belong to it.
    """

    box: tuple[slice, slice]
    inside: NDArray[np.bool_]


@dataclass(frozen=True)
class Outlines:
    """What a file of outlines holds: regions in the order of the file, and how many objects of which kind are none."""

    regions: list[Region]
    ignored: Counter[str]


def read_outlines(data: bytes, name: str, shape: tuple[int, int]) -> Outlines:
    """Read the regions of an image with an area: polygons, freehand and traced regions, rectangles, ovals, composites.

    Of QuPath's objects, annotations and detections are regions, and the nuclei of cells, not the cells themselves. An
    annotation that encloses at least two other objects is ignored, since such a one marks where to look, not a nucleus.

    Args:
        data: the content of the file.
        name: what errors call the file.
        shape: height and width of the image, in pixels.

    Raises:
        InputError: the file is damaged or of another format, it holds no region with an area, or a region lies outside
            the image.
    """
    try:
        if data[:4] == b"Iout":
            outlines = _of_imagej([data], shape)
        elif data[:2] == b"PK":
            outlines = _of_imagej(_members(data), shape)
        else:
            outlines = _of_geojson(json.loads(data.decode("utf-8-sig")), shape)
    except OutsideError as error:
        raise InputError(
            "a region lies outside the image",
            file=name,
            got=error,
            expected=f"within {shape[1]} x {shape[0]} pixels (width x height)",
            fix="if the outlines belong to another image, rename them after it; coordinates are pixels, not µm",
        ) from None
    except Exception as error:  # decoders raise almost any exception on damaged bytes
        raise InputError(
            "a file of outlines can not be read",
            file=name,
            got=f"{type(error).__name__}: {error}",
            expected="regions of ImageJ (.roi, or a ZIP file of them), or GeoJSON as QuPath exports it",
            fix="save it again, from Fiji's ROI Manager or with QuPath's export of objects",
        ) from None
    if not outlines.regions:
        raise InputError(
            "a file of outlines holds no nucleus",
            file=name,
            got=", ".join(f"{count} {kind}" for kind, count in outlines.ignored.items()) or "no regions",
            expected="regions with an area, such as polygons",
            fix="if the image has no nuclei, give it a label map that is all 0 instead",
        )
    return outlines


class OutsideError(Exception):
    """A region lies outside the image."""


def _members(data: bytes) -> Iterator[bytes]:
    """The regions in a ZIP file."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [member for member in archive.infolist() if member.filename.lower().endswith(".roi")]
        if sum(member.file_size for member in members) > MAX_BYTES:
            raise ValueError(f"the regions have more than {MAX_BYTES} bytes, unpacked")
        for member in members:
            yield archive.read(member)


def _of_imagej(members: Iterable[bytes], shape: tuple[int, int]) -> Outlines:
    regions: list[Region] = []
    ignored = Counter[str]()
    for data in members:
        region = ImagejRoi.frombytes(data)
        if region.roitype not in AREAS or region.subtype in DRAWN_ON:
            ignored[NO_AREA] += 1
            continue
        bounds = (float(region.left), float(region.top), float(region.right), float(region.bottom))
        if region.subpixelrect:
            bounds = (region.xd, region.yd, region.xd + region.widthd, region.yd + region.heightd)
        if region.roitype == ROI_TYPE.OVAL:
            regions.append(_oval(bounds, shape))
        elif region.roitype == ROI_TYPE.RECT and not region.composite:
            left, top, right, bottom = bounds
            regions.append(filled([np.array([(left, top), (right, top), (right, bottom), (left, bottom)])], shape))
        else:
            regions.append(filled([np.asarray(ring, np.float64) for ring in region.coordinates(multi=True)], shape))
    return Outlines(regions, ignored)


def _of_geojson(content: Any, shape: tuple[int, int]) -> Outlines:
    features = content if isinstance(content, list) else content.get("features", [content])
    regions: list[Region] = []
    ignored = Counter[str]()
    annotations = []  # indices of regions
    for feature in features:
        properties = feature.get("properties") or {}
        kind = str(properties.get("objectType", properties.get("object_type", ""))).lower()
        geometry = feature.get("nucleusGeometry") or feature.get("geometry") or {}
        if kind == "cell" and not feature.get("nucleusGeometry"):
            ignored[NO_NUCLEUS] += 1
        elif kind.startswith(("tile", "tma")):
            ignored[TILES] += 1
        elif geometry.get("type") not in ("Polygon", "MultiPolygon"):
            ignored[NO_AREA] += 1
        else:
            if kind == "annotation":
                annotations.append(len(regions))
            coordinates = geometry["coordinates"]
            polygons = coordinates if geometry["type"] == "MultiPolygon" else [coordinates]
            rings = [np.array([point[:2] for point in ring], np.float64) for polygon in polygons for ring in polygon]
            regions.append(filled(rings, shape))
    enclosing = _enclosing(regions, annotations)
    if enclosing:
        ignored[ENCLOSING] = len(enclosing)
    return Outlines([region for index, region in enumerate(regions) if index not in enclosing], ignored)


def filled(rings: Rings, shape: tuple[int, int]) -> Region:
    """The pixels whose centres lie inside an odd number of rings, so that a ring within another one is a hole."""
    starts = np.concatenate(rings)
    ends = np.concatenate([np.roll(ring, -1, axis=0) for ring in rings])
    box = _box(starts.min(axis=0), starts.max(axis=0), shape)
    top, bottom, left, right = box[0].start, box[0].stop, box[1].start, box[1].stop
    low, high = np.sort([starts[:, 1], ends[:, 1]], axis=0)
    first, stop = (_pixel(np.clip(y, top, bottom)) for y in (low, high))
    # every edge crosses the middle of the rows from `first` to before `stop`, each of which is an entry of what follows
    crossed = stop - first
    edges = np.repeat(np.arange(len(starts)), crossed)
    rows = first[edges] + np.arange(len(edges)) - np.repeat(np.cumsum(crossed) - crossed, crossed)
    (x0, y0), (x1, y1) = starts[edges].T, ends[edges].T
    x = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
    changes = np.zeros((bottom - top, right - left + 1), np.bool_)
    np.logical_xor.at(changes, (rows - top, _pixel(np.clip(x, left, right)) - left), True)
    return Region(box, np.logical_xor.accumulate(changes, axis=1)[:, :-1])


def _oval(bounds: Sequence[float], shape: tuple[int, int]) -> Region:
    """The pixels whose centres lie inside the ellipse in a rectangle (left, top, right, bottom)."""
    low, high = np.array(bounds[:2]), np.array(bounds[2:])
    box = _box(low, high, shape)
    rows, cols = np.ogrid[box]
    (x, y), (width, height) = (low + high) / 2, np.maximum(high - low, np.finfo(np.float64).tiny)
    return Region(box, ((cols + 0.5 - x) / width) ** 2 + ((rows + 0.5 - y) / height) ** 2 < 0.25)


def _box(low: NDArray[np.float64], high: NDArray[np.float64], shape: tuple[int, int]) -> tuple[slice, slice]:
    """The rows and columns whose pixels have their centres between two corners, clipped to the image."""
    limits = np.array([shape[1], shape[0]], np.float64)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise ValueError("a coordinate is no number")
    if (high <= 0).any() or (low >= limits).any():
        corners = [f"({x:g}, {y:g})" for x, y in (low, high)]
        raise OutsideError(f"a region from {corners[0]} to {corners[1]}, as (x, y)")
    (left, top), (right, bottom) = (_pixel(np.clip(corner, 0, limits)) for corner in (low, high))
    return slice(int(top), int(bottom)), slice(int(left), int(right))


def _pixel(coordinate: NDArray[np.float64]) -> NDArray[np.int64]:
    """The first pixel, along an axis, whose centre is not below the coordinate."""
    return np.ceil(coordinate - 0.5).astype(np.int64)


def _enclosing(regions: Sequence[Region], candidates: Iterable[int]) -> set[int]:
    """Which of the candidates, indices of regions, have at least two other regions within."""
    boxes = np.array([(rows.start, rows.stop, cols.start, cols.stop) for (rows, cols), _ in regions]).reshape(-1, 4)
    found = set()
    for index in candidates:
        (rows, cols), inside = regions[index]
        top, bottom, left, right = boxes.T
        within = (top >= rows.start) & (bottom <= rows.stop) & (left >= cols.start) & (right <= cols.stop)
        within &= (top < bottom) & (left < right)
        others = [
            inside[box[0].start - rows.start :, box[1].start - cols.start :][: len(pixels), : pixels.shape[1]][pixels]
            for box, pixels in (regions[other] for other in np.flatnonzero(within).tolist() if other != index)
        ]
        if sum(bool(covered.all()) for covered in others) >= 2:
            found.add(index)
    return found
