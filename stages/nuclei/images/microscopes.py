"""The files of Nikon (ND2), Zeiss (CZI) and Leica (LIF), by libraries that are installed separately."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nuclei.base.errors import InputError
from nuclei.images.pixels import check_size
from nuclei.images.stacks import RGB, Stack

EXTRA = "requirements-microscopes.txt"


def microscope_stacks(path: Path, name: str, max_px: int) -> AbstractContextManager[list[Stack]]:
    """Open an ND2, CZI or LIF file and yield the fields of view in it.

    Raises:
        InputError: the library that reads the format is not installed, or the file has an axis that is not known, or is
            too large.
        Exception: of many types, if the file is damaged.
    """
    module, stacks = READERS[path.suffix.lower()]
    try:
        library = importlib.import_module(module)
    except ImportError:
        problem = f"{path.suffix.lower()} files are read by a package that is not installed: {module.split('.')[0]}"
        raise InputError(problem, file=name, fix=f"pip install -r {EXTRA}, or convert the file to OME-TIFF") from None
    return stacks(library, path, name, max_px)


@contextmanager
def _nd2(library: Any, path: Path, name: str, max_px: int) -> Iterator[list[Stack]]:
    with library.ND2File(path) as file:
        sizes = dict(file.sizes)
        _check_axes(sizes, "TPZCYXS", name)
        check_size(sizes["Y"], sizes["X"], name, max_px)
        loops = [axis for axis in sizes if axis not in "CYXS"]
        colour = bool(file.is_rgb)
        voxel = file.voxel_size()
        names = tuple(channel.channel.name or "" for channel in file.metadata.channels or [])

        def reader(position: int) -> Callable[[int, int, Sequence[int]], NDArray[Any]]:
            def read(time: int, number: int, channels: Sequence[int]) -> NDArray[Any]:
                place = {"T": time, "Z": number, "P": position}
                index = 0
                for axis in loops:
                    index = index * sizes[axis] + place[axis]
                values = file.read_frame(index)  # (C, Y, X), (Y, X, S) or (Y, X)
                if values.shape[:2] != (sizes["Y"], sizes["X"]):
                    values = np.moveaxis(values, 0, -1)
                return np.ascontiguousarray(values.reshape(*values.shape[:2], -1)[..., list(channels)])

            return read

        count = sizes.get("P", 1)
        yield [
            Stack(
                _names(names, sizes.get("C", 1), colour),
                reader(position),
                times=sizes.get("T", 1),
                slices=sizes.get("Z", 1),
                colour=colour,
                pixel_um=_size(voxel.y, voxel.x),
                number=position + 1 if count > 1 else 0,
            )
            for position in range(count)
        ]


@contextmanager
def _czi(library: Any, path: Path, name: str, max_px: int) -> Iterator[list[Stack]]:
    with library.open_czi(str(path)) as file:
        bounds = file.total_bounding_box_no_pyramid
        sizes = {axis: end - start for axis, (start, end) in bounds.items()}
        _check_axes(sizes, "TZCYX", name)
        scenes = file.scenes_bounding_rectangle_no_pyramid or {None: file.total_bounding_rectangle_no_pyramid}
        colour = file.get_channel_pixel_type(0).startswith("Bgr")
        if colour and sizes.get("C", 1) > 1:
            raise InputError("a CZI holds several colour images", file=name, fix="export the channel as OME-TIFF")
        names, pixel_um = _czi_metadata(file.metadata)

        def reader(scene: int | None, area: Any) -> Callable[[int, int, Sequence[int]], NDArray[Any]]:
            def read(time: int, number: int, channels: Sequence[int]) -> NDArray[Any]:
                place = {
                    axis: bounds[axis][0] + index for axis, index in (("T", time), ("Z", number)) if axis in bounds
                }
                if colour:
                    return np.ascontiguousarray(
                        file.read(roi=area, plane=place, scene=scene)[..., ::-1][..., list(channels)]
                    )
                planes = [file.read(roi=area, plane=place | {"C": index}, scene=scene)[..., 0] for index in channels]
                return np.stack(planes, axis=-1)

            return read

        found = []
        for number, (scene, area) in enumerate(sorted(scenes.items(), key=str), start=1):
            check_size(area.h, area.w, name, max_px)
            stack = Stack(
                _names(names, sizes.get("C", 1), colour),
                reader(scene, area),
                times=sizes.get("T", 1),
                slices=sizes.get("Z", 1),
                colour=colour,
                pixel_um=pixel_um,
                number=number if len(scenes) > 1 else 0,
            )
            found.append(stack)
        yield found


def _czi_metadata(metadata: Any) -> tuple[tuple[str, ...], tuple[float, float] | None]:
    """The names of the channels and the size of a pixel, which the metadata gives in metres."""

    def items(*path: str) -> list[dict[str, Any]]:
        value = metadata
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, dict)]

    image = ("ImageDocument", "Metadata", "Information", "Image", "Dimensions", "Channels", "Channel")
    names = tuple(str(channel.get("@Name", "")) for channel in items(*image))
    scaling = {
        item.get("@Id"): item.get("Value")
        for item in items("ImageDocument", "Metadata", "Scaling", "Items", "Distance")
    }
    height, width = (float(scaling.get(axis) or 0) * 1e6 for axis in "YX")
    return names, _size(height, width)


@contextmanager
def _lif(library: Any, path: Path, name: str, max_px: int) -> Iterator[list[Stack]]:
    with library.LifFile(path) as file:
        found: list[Stack] = []
        images = list(file.images)
        for image in images:
            sizes = dict(image.sizes)
            _check_axes(sizes, "TZCYXSM", name)
            check_size(sizes["Y"], sizes["X"], name, max_px)
            tiles = sizes.get("M", 1)
            for tile in range(tiles):
                found.append(_lif_stack(image, sizes, tile, len(found) + 1 if len(images) * tiles > 1 else 0))
        yield found


def _lif_stack(image: Any, sizes: dict[str, int], tile: int, number: int) -> Stack:
    colour = sizes.get("S", 1) == 3
    steps = {axis: abs(float(image.coords[axis][1] - image.coords[axis][0])) * 1e6 for axis in "YX" if sizes[axis] > 1}

    def read(time: int, slice_: int, channels: Sequence[int]) -> NDArray[Any]:
        place = {axis: index for axis, index in (("T", time), ("Z", slice_), ("M", tile)) if axis in sizes}
        if colour:
            return np.ascontiguousarray(image.frame(**place)[..., list(channels)])
        planes = [image.frame(**place, **({"C": index} if "C" in sizes else {})) for index in channels]
        return np.stack(planes, axis=-1)

    return Stack(
        _names((), sizes.get("C", 1), colour),
        read,
        times=sizes.get("T", 1),
        slices=sizes.get("Z", 1),
        colour=colour,
        pixel_um=_size(steps.get("Y"), steps.get("X")),
        number=number,
    )


def _names(given: Sequence[str], count: int, colour: bool) -> tuple[str, ...]:
    if colour:
        return RGB
    return tuple(given) if len(given) == count else ("",) * count


def _size(height: float | None, width: float | None) -> tuple[float, float] | None:
    return (height, width) if height and width else None


def _check_axes(sizes: dict[str, int], known: str, name: str) -> None:
    unknown = [f"{size} {axis}" for axis, size in sizes.items() if axis not in known and size > 1]
    if unknown:
        fix = "export the images as OME-TIFF with channels, slices and time points alone"
        raise InputError("a file has axes that are not known", file=name, got=", ".join(unknown), fix=fix)


# the module that reads the files of each extension, and what makes stacks of them
READERS: dict[str, tuple[str, Callable[[Any, Path, str, int], AbstractContextManager[list[Stack]]]]] = {
    ".nd2": ("nd2", _nd2),
    ".czi": ("pylibCZIrw.czi", _czi),
    ".lif": ("liffile", _lif),
}
