"""The images of a run, one after the other: segmented, measured, written, and then noted in the manifest."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from scipy import ndimage

from nuclei.images.stacks import Reading
from nuclei.pictures.montages import fitted
from nuclei.pictures.overlays import overlay
from nuclei.segment.finding import Image
from nuclei.segment.manifest import Manifest, Segmented, Value, key_of
from nuclei.segment.marks import check_replaceable, is_ours, write_marked_labels, write_marked_rgb
from nuclei.segment.measurements import Column, channels_of, measure, seen_channel, summarise
from nuclei.segment.opening import AS_IT_IS, Plane, planes
from nuclei.segment.quality import image_warnings, why_none
from nuclei.segment.rois import ROIS, write_rois
from nuclei.segment.size import Diameter

if TYPE_CHECKING:  # torch takes seconds to import
    from nuclei.network.segmenter import Segmenter
    from nuclei.network.sizing import Scale

THUMBNAIL_PX, THUMBNAIL_QUALITY = 144, 70


@dataclass(frozen=True)
class Options:
    """What the user chose that changes the results.

    Attributes:
        diameter: of the nuclei; measured in each image if None.
        reading: what to take of a file that holds more than one image.
        rois: the names, in `ROIS`, of the kinds of outlines to write.
        min_score: nuclei with a lower score are dropped.
        min_best_score: all nuclei of an image are dropped if none has this score.
    """

    diameter: Diameter | None = None
    reading: Reading = AS_IT_IS
    rois: tuple[str, ...] = ()
    min_score: float = 0.0
    min_best_score: float = 0.0


@dataclass(frozen=True)
class LargeOptions:
    """What the user chose for large images alone.

    Attributes:
        block_px: side of the blocks; None for that of `blocks`.
        labels: a name in `multiscale.LABELS`, the format of the label map.
    """

    block_px: int | None = None
    labels: str = "ome-zarr"


@dataclass(frozen=True)
class Task:
    """A plane to segment.

    Attributes:
        plane: what was read.
        image: the plane, under its own name.
        file: the stem of the image file.
        key: of the file; see `manifest.key_of`.
    """

    plane: Plane
    image: Image
    file: str
    key: str


@dataclass(frozen=True)
class Predicted:
    """A plane that the network has seen.

    Attributes:
        maps: (1 + C, H, W) float32; see `Segmenter.maps`.
        seconds: that the network took.
    """

    task: Task
    scale: Scale
    maps: NDArray[np.float32]
    seconds: float


@dataclass(frozen=True)
class Batch:
    """A run over many images.

    Attributes:
        segmenter: the model.
        model: its hash, `manifest.hash_of` its files.
        out: the folder of results.
        manifest: of that folder.
        options: see `Options`.
        force: replace files that this program did not write.
    """

    segmenter: Segmenter
    model: str
    out: Path
    manifest: Manifest
    options: Options = Options()
    force: bool = False

    def key(self, image: Image) -> str:
        """What decides the results of an image file; see `manifest.key_of`."""
        return key_of(image.path, self.model, asdict(self.options))

    def tasks(self, image: Image, key: str) -> Iterator[Task]:
        """Read the planes of an image file, each when it is asked for, without those that are done.

        Raises:
            InputError: the file can not be read, or a result would replace a file of the user's.
        """
        if self.manifest.is_finished(image.stem, key) and all(
            done.key == key and self._is_written(Image(image.path, done.name))
            for done in self.manifest.images(image.stem)
        ):
            return
        for plane in planes(image.path, self.options.reading):
            of_plane = named(image, plane.suffix)
            if self.manifest.is_done(of_plane.stem, key) and self._is_written(of_plane):
                continue
            if not self.force:
                check_replaceable(results(of_plane, self.out, self.options.rois))
            yield Task(plane, of_plane, image.stem, key)

    def _is_written(self, image: Image) -> bool:
        return all(is_ours(path) for path in results(image, self.out, self.options.rois))

    def predicted(self, task: Task) -> Predicted:
        """Run the network over a plane."""
        start = time.perf_counter()
        given, plane = self.options.diameter, task.plane
        diameter_px = given and given.px(plane.pixel_size_um, task.image.path)
        scale = self.segmenter.scale(plane.rgb, diameter_px)
        maps = self.segmenter.predict(plane.rgb, scale)
        return Predicted(task, scale, maps, time.perf_counter() - start)

    def written(self, predicted: Predicted) -> Segmented:
        """Label and measure a plane, write its results, and return its row of the manifest."""
        start = time.perf_counter()
        task, scale, maps = predicted.task, predicted.scale, predicted.maps
        plane, image = task.plane, task.image
        labels, scores = self.segmenter.nuclei(maps, self.options.min_score, min_best_score=0)
        certain = certainty(maps[0], labels) if scores is None else mean(scores)
        none = "" if scores is None else why_none(scores, self.options.min_best_score)
        if scores is not None and none:
            labels, scores = np.zeros_like(labels), scores[:0]
        labels_path, overlay_path = image.results(self.out)
        write_marked_labels(labels_path, labels, plane.pixel_size_um)
        write_marked_rgb(overlay_path, overlay(plane.rgb, labels))
        warnings = image_warnings(plane.rgb, scale.zoom, scale.target_px, int(labels.max()))
        values, channels = channels_of(plane.stored, plane.channels)
        seen = seen_channel(channels, plane.channel)
        measured = measure(labels, values, channels, plane.pixel_size_um, scores)
        nuclei = {name: rounded(column) for name, column in measured.items()}
        for kind in self.options.rois:
            write_rois(kind, rois_path(image, self.out, kind), image.name, labels, nuclei)
        return Segmented(
            stem=image.stem,
            name=image.name,
            file=task.file,
            key=task.key,
            summary=summarise(labels, len(channels), seen, scale.zoom, plane.pixel_size_um),
            nuclei=nuclei,
            channels=channels,
            pixel_size_um=plane.pixel_size_um,
            notes=tuple(text for text in (*plane.notes, *scale.notes, none, *warnings) if text),
            certainty=certain,
            seconds=predicted.seconds + time.perf_counter() - start,
            thumbnail=thumbnail(plane.rgb, labels),
        )


def results(image: Image, out: Path, rois: Sequence[str]) -> list[Path]:
    """All files of an image with one plane: the label map, the overlay, and those of its outlines."""
    return [*image.results(out), *(rois_path(image, out, kind) for kind in rois)]


def rois_path(image: Image, out: Path, kind: str) -> Path:
    return out / f"{image.stem}{ROIS[kind]}"


def named(image: Image, suffix: str) -> Image:
    """One plane of an image file, whose name has the suffix before the extension."""
    name = PurePath(image.name)
    return Image(image.path, name.with_name(f"{name.stem}{suffix}{name.suffix}").as_posix())


def mean(scores: NDArray[np.float32]) -> float | None:
    return float(scores.mean()) if len(scores) else None


def certainty(foreground: NDArray[np.float32], labels: NDArray[np.integer]) -> float | None:
    """The mean over nuclei of the mean probability of the foreground in each; None without nuclei.

    Args:
        foreground: (H, W), the probability of belonging to any nucleus.
        labels: (H, W), 0 = background, 1..n the nuclei.
    """
    if not labels.any():
        return None
    return float(np.mean(ndimage.mean(foreground, labels, np.arange(1, labels.max() + 1))))


def rounded(column: Column) -> list[Value]:
    """Whole numbers as they are, others to eight digits, NaN as None."""
    if column.dtype.kind != "f":
        return list(column.tolist())
    return [None if value != value else float(f"{value:.8g}") for value in column.tolist()]


def thumbnail(rgb: NDArray[np.uint8], labels: NDArray[np.integer]) -> bytes:
    """A small JPEG of an image with its nuclei outlined."""
    small, (small_labels,) = fitted(rgb, [labels], THUMBNAIL_PX)
    data = io.BytesIO()
    Picture.fromarray(overlay(small, small_labels)).save(data, "JPEG", quality=THUMBNAIL_QUALITY)
    return data.getvalue()
