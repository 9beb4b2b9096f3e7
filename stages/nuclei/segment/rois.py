"""Outlines of nuclei for other programs: regions of interest for ImageJ and Fiji, detections for QuPath.

An outline follows the edges of the pixels, so that a program which fills it gets the pixels of the label map back. The
corner where the pixels (0, 0), (0, 1), (1, 0) and (1, 1) meet is the point (1, 1).
"""

from __future__ import annotations

import hashlib
import json
import math
import uuid
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

import numpy as np
import shapely
from numpy.typing import NDArray
from roifile import ROI_TYPE, ImagejRoi
from scipy import ndimage
from shapely.geometry.base import BaseGeometry

from nuclei.base.files import replacing
from nuclei.images.marks import GEOJSON_END, GEOJSON_START, PREFIX, mark_of_zip
from nuclei.segment.manifest import Value

MOVE, LINE, CLOSE = 0, 1, 4  # the operations of ImageJ's composite regions, those of java.awt.geom.PathIterator
ROIS = {"imagej": "_rois.zip", "geojson": ".geojson"}  # how the files of each kind end
FIXED_TIME = (1980, 1, 1, 0, 0, 0)  # of the members of the ZIP file, so that the same label map gives the same bytes


def outlines(labels: NDArray[np.integer]) -> Iterator[tuple[int, BaseGeometry]]:
    """Yield each label, in ascending order, and the polygon of its pixels, with holes and separate parts.

    Args:
        labels: (H, W), 0 = background.
    """
    for number, place in enumerate(ndimage.find_objects(labels), start=1):
        if place is None:
            continue
        inside = np.pad(labels[place] == number, 1)
        rows, starts = np.nonzero(~inside[:, :-1] & inside[:, 1:])  # each row of pixels is a few runs
        stops = np.nonzero(inside[:, :-1] & ~inside[:, 1:])[1]
        top, left = rows - 1 + place[0].start, place[1].start
        runs = shapely.union_all(shapely.box(starts + left, top, stops + left, top + 1))
        yield number, shapely.normalize(shapely.simplify(runs, 0))  # without the points within straight edges


def write_rois(
    kind: str, path: Path, name: str, labels: NDArray[np.integer], nuclei: Mapping[str, Sequence[Value]]
) -> None:
    """Write the outlines of an image's nuclei, of a kind in `ROIS`; `nuclei` has the measurements, by column."""
    if kind == "imagej":
        write_imagej(path, labels)
    else:
        write_geojson(path, name, labels, {key: column for key, column in nuclei.items() if key != "label"})


def write_imagej(path: Path, labels: NDArray[np.integer]) -> None:
    """Write a ZIP file of ImageJ regions, one for each nucleus, named by its label; ImageJ's ROI Manager opens it.

    A nucleus without holes becomes a traced region, any other a composite one. The comment of the file is a mark, which
    ImageJ drops when it saves the regions: see `images.marks`.
    """
    width = len(str(labels.max()))
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as file:
        for number, outline in outlines(labels):
            member = zipfile.ZipInfo(f"{number:0{width}}.roi", FIXED_TIME)
            file.writestr(member, _imagej(outline, str(number)).tobytes(), zipfile.ZIP_DEFLATED)
        file.comment = mark_of_zip(file).encode()


def write_geojson(
    path: Path, name: str, labels: NDArray[np.integer], measurements: Mapping[str, Sequence[Value]]
) -> None:
    """Write a GeoJSON FeatureCollection, whose features QuPath imports as detections, in pixels of the image.

    Args:
        path: of the file.
        name: of the image, from which the features' unique ids are derived, so that they are the same each time.
        labels: (H, W), 0 = background.
        measurements: by name, an entry for each label in ascending order; those that are no finite number are left out.
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        features = Features(file, name)
        features.add(labels, measurements)
        features.end()


class Features:
    """A GeoJSON FeatureCollection that is written part by part.

    Args:
        file: an open text file with `\\n` line ends.
        name: as for `write_geojson`.
    """

    def __init__(self, file: TextIO, name: str) -> None:
        self._file, self._name = file, name
        self._written, self._separator = hashlib.sha256(), "\n"
        file.write(GEOJSON_START)

    def add(
        self,
        labels: NDArray[np.integer],
        measurements: Mapping[str, Sequence[Value]],
        *,
        first: int = 0,
        top_px: int = 0,
        left_px: int = 0,
    ) -> None:
        """Add the nuclei of a part of the image.

        Args:
            labels, measurements: as for `write_geojson`.
            first: is added to the labels.
            top_px, left_px: the place of `labels` in the image.
        """
        for index, (number, outline) in enumerate(outlines(labels)):
            values = {key: column[index] for key, column in measurements.items()}
            moved = shapely.transform(outline, lambda points: points + (left_px, top_px))
            feature = {
                "type": "Feature",
                "id": str(uuid.uuid5(uuid.NAMESPACE_URL, json.dumps([self._name, number + first]))),
                "geometry": shapely.geometry.mapping(moved),
                "properties": {
                    "objectType": "detection",
                    "name": str(number + first),
                    "measurements": {key: value for key, value in values.items() if _is_finite(value)},
                },
            }
            text = self._separator + json.dumps(feature)
            self._separator = ",\n"
            self._written.update(text.encode())
            self._file.write(text)

    def end(self) -> None:
        """Write what follows the last feature."""
        self._file.write(GEOJSON_END.format(mark=PREFIX + self._written.hexdigest()))


def _is_finite(value: Value) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _imagej(outline: BaseGeometry, name: str) -> ImagejRoi:
    rings = [
        shapely.get_coordinates(ring)[:-1]  # the last point is the first again
        for part in shapely.get_parts(outline)
        for ring in (part.exterior, *part.interiors)
    ]
    left, top, right, bottom = map(int, outline.bounds)
    if len(rings) == 1:
        points = rings[0].astype(np.int32) - np.array([left, top], np.int32)
        region = ImagejRoi(roitype=ROI_TYPE.TRACED, n_coordinates=len(points))
        region.integer_coordinates = points
    else:
        path = [
            value
            for ring in rings
            for index, point in enumerate(ring)
            for value in (LINE if index else MOVE, *point, *([CLOSE] if index == len(ring) - 1 else []))
        ]
        region = ImagejRoi(roitype=ROI_TYPE.RECT, shape_roi_size=len(path))
        region.multi_coordinates = np.array(path, np.float32)
    region.name, region.left, region.top, region.right, region.bottom = name, left, top, right, bottom
    return region
