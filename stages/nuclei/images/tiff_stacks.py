"""TIFF files of several channels, slices and time points: OME-TIFF, hyperstacks of ImageJ, and others.

tifffile finds out which page is which. This module reads no page that is not asked for, and states where a description
contradicts the pages.
"""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from tifffile import TIFF, TiffFile

from nuclei.base.errors import InputError
from nuclei.images import pixel_size
from nuclei.images.pixels import check_size
from nuclei.images.stacks import RGB, Reading, Stack
from nuclei.images.tiff import Pages, full_resolution, not_one_image

MOST_LAST, LEAST_SIDE = 8, 16  # of an array H x W x C that is stored as H pages of W x C: largest C, least H and W
WHOLE = 8  # values for each of the max_px pixels that an array may have which can only be read as a whole
NAMES = TIFF.AXES_NAMES | {"I": "pages", "Q": "pages", "C": "channels", "Z": "slices (Z)", "T": "time points"}
OF_SEVERAL = ("ome", "mmstack")  # kinds of files that may hold several fields of view

Read = Callable[[int, int, Sequence[int]], NDArray[Any]]


@contextmanager
def tiff_stacks(source: Path | bytes, name: str, max_px: int, reading: Reading) -> Iterator[list[Stack]]:
    """Open a TIFF and yield the fields of view in it, which can be read while the block lasts.

    Raises:
        InputError: the meaning of its pages is not known, or it is of a kind that is not supported.
        Exception: of many types, if the file is damaged.
    """
    with ExitStack() as closing:
        file = closing.enter_context(_opened(source))
        with _heard() as notes:
            try:
                series = full_resolution(file)
            except Exception as error:  # tifffile checks little of a description
                if not file.is_ome:
                    raise
                notes.append(f"its OME-XML can not be used: {type(error).__name__} {error}")
                file = closing.enter_context(_opened(source, is_ome=False))
                series = full_resolution(file)
        if not series:
            raise ValueError("it holds no image")
        if len(series) > 1 and any(some.kind not in OF_SEVERAL for some in series):
            raise not_one_image(f"{len(series)} images", "save each as a file of its own", name)
        described, found = sum(map(len, series)), len(file.pages)
        if series[0].kind in (*OF_SEVERAL, "imagej") and 1 < described < found:
            notes.append(f"{found - described} of its {found} pages are not in its description")
        images = _ome_images(file, len(series), notes) if file.is_ome else [None] * len(series)
        stacks = []
        for some, image in zip(series, images, strict=True):
            stack = _stack(some, name, max_px, reading, notes)
            names, pixel_um = _of_imagej(file, some) if image is None else _of_ome(image, notes)
            if not stack.colour and len(names) == len(stack.channels):
                stack = replace(stack, channels=names)
            stacks.append(replace(stack, pixel_um=pixel_um))
        if len(stacks) > 1:
            stacks = [replace(stack, number=number) for number, stack in enumerate(stacks, start=1)]
        yield [replace(stacks[0], notes=tuple(notes)), *stacks[1:]]


def described(file: TiffFile, notes: list[str]) -> tuple[tuple[str, ...], pixel_size.Size | None]:
    """The names of the channels of the first image of a TIFF, none if it does not say, and the size of a pixel."""
    series = full_resolution(file)
    image = _ome_images(file, len(series), notes)[0] if file.is_ome else None
    return _of_imagej(file, series[0]) if image is None else _of_ome(image, notes)


def _opened(source: Path | bytes, *, is_ome: bool | None = None) -> TiffFile:
    return TiffFile(source if isinstance(source, Path) else io.BytesIO(source), _multifile=False, is_ome=is_ome)


@contextmanager
def _heard() -> Iterator[list[str]]:
    """Yield a list that receives what tifffile finds wrong with a description, which it only logs."""
    notes: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            message = record.getMessage().split("> ", 1)[-1]  # after the representation of the file
            if "series" in message:
                notes.append(f"its description is not right: {message}")

    logger, listener = logging.getLogger("tifffile"), Listener(logging.WARNING)
    before = logger.disabled, logger.propagate
    logger.disabled, logger.propagate = False, False
    logger.addHandler(listener)
    try:
        yield notes
    finally:
        logger.removeHandler(listener)
        logger.disabled, logger.propagate = before


def _stack(series: Any, name: str, max_px: int, reading: Reading, notes: list[str]) -> Stack:
    """A series of pages, with channels that have no names yet."""
    page = series.keyframe
    pages = Pages(page, name, max_px)
    axes, sizes = _axes(series, pages, notes)
    axes = _understood(axes, sizes, reading, page, name, notes)
    size = dict(zip(axes, sizes, strict=True))
    is_colour = pages.colours > 1 or (
        pages.palette is not None and math.prod(sizes) == page.imagelength * page.imagewidth
    )
    ending = "".join(axis for axis in page.axes if axis in size)
    if axes.endswith(ending) and set(axes.removesuffix(ending)).isdisjoint("YXS"):
        leading = axes.removesuffix(ending)
        _check_pages(series, math.prod(size[axis] for axis in leading), name)
        read = _paged(series, pages, leading, [size[axis] for axis in leading])
    else:
        check_size(size["Y"], size["X"], name, max_px)
        axes = axes.replace("S", "C")
        if axes.count("C") > 1 or math.prod(sizes) > WHOLE * max_px:
            raise not_one_image(f"an array of {' x '.join(map(str, sizes))}", "save each plane as a page", name)
        read = _whole(series, axes, sizes)
    channels = size.get("C", 1) * (1 if pages.colours > 1 else size.get("S", 1))
    if pages.colours > 1 and channels > 1:
        raise not_one_image(f"{channels} colour images", "save each as a file of its own", name)
    if is_colour and pages.palette is not None:
        read = _looked_up(read, pages.palette)
    return Stack(
        RGB if is_colour else ("",) * channels,
        read,
        times=size.get("T", 1),
        slices=size.get("Z", 1),
        colour=is_colour,
        bits=pages.bits,
        white_is_zero=pages.white_is_zero,
    )


def _axes(series: Any, pages: Pages, notes: list[str]) -> tuple[str, list[int]]:
    """The letters of tifffile for the axes of a series and their lengths, without those of length 1 except Y and X."""
    page = series.keyframe
    letters, shape = series.get_axes(False), series.get_shape(False)
    if math.prod(shape) == math.prod(page.shape):  # one page, whatever axes of length 1 were added
        letters, shape = page.axes, page.shape
    if "S" in letters and page.samplesperpixel == 1 and shape[letters.index("S")] > 1:
        raise ValueError("its description lists samples that its pages have not")
    kept = [
        (letter, pages.samples if letter == "S" else size)  # without alpha
        for letter, size in zip(letters, shape, strict=True)
        if letter in "YX" or (size > 1 and not (letter == "S" and pages.samples == 1))
    ]
    axes, sizes = "".join(letter for letter, _ in kept), [size for _, size in kept]
    if axes in ("QYX", "IYX") and sizes[2] <= MOST_LAST and min(sizes[:2]) >= LEAST_SIDE:
        notes.append(f"an array of {' x '.join(map(str, sizes))} was taken for {sizes[2]} channels")
        axes = "YXC"
    return axes, sizes


def _understood(axes: str, sizes: Sequence[int], reading: Reading, page: Any, name: str, notes: list[str]) -> str:
    """The axes in letters of TZCYXS alone; pages of which nothing is known are what the user chooses from.

    Raises:
        InputError: it is not known what the pages are.
    """
    unknown = [axis for axis in axes if axis not in "TZCYXS"]
    chosen = (("C", reading.channel), ("Z", reading.z))
    possible = [axis for axis, choice in chosen if choice is not None and axis not in axes]
    if len(set(axes)) == len(axes) and len(unknown) == 1 and len(possible) == 1:
        axes = axes.replace(unknown[0], possible[0])
        unknown = []
    if unknown or len(set(axes)) < len(axes):
        listed = zip(axes, sizes, strict=True)
        several = [f"{size} {NAMES.get(axis, axis)}" for axis, size in listed if axis not in "YXS"]
        raise InputError(
            "it is not known what the pages of a TIFF are",
            file=name,
            got="; ".join([f"{' x '.join(several)} of {page.imagelength} x {page.imagewidth}", *notes]),
            expected="a description by OME or ImageJ of which are channels, slices (Z) and time points",
            fix="if they are channels, choose one with --channel NUMBER (prepare.channel); if slices, add --z max",
        )
    return axes


def _check_pages(series: Any, expected: int, name: str) -> None:
    """Refuse a series that lacks a page, or in which one page stands for two."""
    if series.is_truncated or len(series) != expected:
        if series.dataoffset is None:
            raise ValueError(f"it has {len(series)} pages, and its description lists {expected}")
        return
    offsets = [None if page is None else page.offset for page in series]
    if None in offsets:
        got = f"{offsets.count(None)} of {expected} are missing"
        fix = "save the image with all its channels, slices and time points as one file"
        raise InputError("a TIFF lacks pages that its description lists", file=name, got=got, fix=fix)
    if len(set(offsets)) < expected:
        raise ValueError("its description lists one page twice")


def _paged(series: Any, pages: Pages, leading: str, sizes: Sequence[int]) -> Read:
    """Read single pages of a series, whose leading axes have these sizes."""
    page, samples = series.keyframe, 1 if pages.colours > 1 else pages.samples
    file = series.parent
    # the pages of a hyperstack of ImageJ may have no entry of their own: they follow each other in the file
    offset = series.dataoffset if series.is_truncated else None

    def decoded(place: dict[str, int]) -> NDArray[Any]:
        index = int(np.ravel_multi_index([place[axis] for axis in leading], sizes)) if leading else 0
        if offset is None:
            return pages.values(series[index])
        dtype = page.dtype.newbyteorder(file.byteorder)
        values = file.filehandle.read_array(dtype, page.size, offset + index * page.nbytes)
        return pages.interpreted(values.reshape(page.shape))

    def read(time: int, number: int, channels: Sequence[int]) -> NDArray[Any]:
        place, held, planes = {"T": time, "Z": number}, -1, []
        values = np.empty((0, 0))
        if pages.colours > 1:
            return decoded(place)[..., list(channels)]
        for channel in channels:
            if held != channel // samples:
                held = channel // samples
                values = decoded(place | {"C": held})
            planes.append(values if values.ndim == 2 else values[..., channel % samples])
        return planes[0][..., None] if len(planes) == 1 else np.stack(planes, axis=-1)

    return read


def _whole(series: Any, order: str, sizes: Sequence[int]) -> Read:
    """Read a series whose pages are no planes, such as the pages of an array H x W x C, at once and keep it."""
    kept: list[NDArray[Any]] = []

    def read(time: int, number: int, channels: Sequence[int]) -> NDArray[Any]:
        if not kept:
            missing = "".join(axis for axis in "TZC" if axis not in order)
            values = series.asarray().reshape([1] * len(missing) + list(sizes))
            kept.append(values.transpose([(missing + order).index(axis) for axis in "TZYXC"]))
        return np.ascontiguousarray(kept[0][time, number][..., list(channels)])

    return read


def _looked_up(read: Read, palette: NDArray[np.uint8]) -> Read:
    return lambda time, number, channels: palette[read(time, number, [0])[..., 0]][..., list(channels)]


def _ome_images(file: TiffFile, count: int, notes: list[str]) -> list[ElementTree.Element | None]:
    """The elements Pixels of the OME-XML, one for each of `count` series; None for each if there are more or fewer."""
    try:
        root = ElementTree.fromstring(file.ome_metadata or "")
    except ElementTree.ParseError as error:
        notes.append(f"its OME-XML is damaged: {error}")
        return [None] * count
    found = [pixels for image in _children(root, "Image") for pixels in _children(image, "Pixels")]
    if len(found) != count:
        notes.append(
            f"its OME-XML lists {len(found)} images, the file holds {count}: names and sizes are not taken from it"
        )
        return [None] * count
    return list(found)


def _of_ome(pixels: ElementTree.Element, notes: list[str]) -> tuple[tuple[str, ...], pixel_size.Size | None]:
    """The names of the channels, and the size of a pixel."""
    channels = _children(pixels, "Channel")
    names: list[str] = []
    for channel in channels:
        samples = channel.get("SamplesPerPixel", "1")
        names += [channel.get("Name") or channel.get("Fluor") or ""] * (int(samples) if samples.isdecimal() else 1)
    if channels and str(len(names)) != pixels.get("SizeC"):
        notes.append(f"its OME-XML lists {len(names)} channels where SizeC is {pixels.get('SizeC')}: names are ignored")
        names = []
    return tuple(names), pixel_size.of_ome(pixels)


def _children(element: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    """The children of this name in any version of the namespace."""
    return [child for child in element if child.tag.rpartition("}")[2] == name]


def _of_imagej(file: TiffFile, series: Any) -> tuple[tuple[str, ...], pixel_size.Size | None]:
    """The names of the channels, if the labels of the slices tell them apart, and the size of a pixel."""
    page = series.keyframe
    if series.kind != "imagej":
        return (), pixel_size.of_tags(page)
    metadata = file.imagej_metadata or {}
    unit = pixel_size.imagej_unit(metadata)
    axes, shape = series.get_axes(False), series.get_shape(False)
    leading = [(axis, size) for axis, size in zip(axes, shape, strict=True) if axis not in "YXS"]
    labels = metadata.get("Labels")
    names: tuple[str, ...] = ()
    if isinstance(labels, list) and len(labels) == math.prod(size for _, size in leading):
        places = np.arange(len(labels)).reshape([size for _, size in leading])
        first = places[tuple(slice(None) if axis == "C" else 0 for axis, _ in leading)]
        names = tuple(str(labels[index]) for index in np.atleast_1d(first))
    return names if len(set(names)) == len(names) else (), pixel_size.of_tags(page, unit) if unit else None
