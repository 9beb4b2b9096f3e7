"""The built-in sample: synthetic images with exact masks, in the layout of Kaggle's archives."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from nuclei.base.files import remove, replacing
from nuclei.simulate.images import draw

DATE = (2018, 1, 16, 0, 0, 0)  # of every file in the archive, as in the real one


def write_sample(folder: Path, *, images: int, unlabelled: int, seed: int) -> None:
    """Write `folder`/stage1_train.zip with masks and, if `unlabelled` > 0, stage1_test.zip without.

    The same arguments give the same bytes. Files of these two names are replaced, or removed where none is written.

    Args:
        folder: created if absent.
        images: number of images with masks.
        unlabelled: number of images without masks.
        seed: seed of everything random.
    """
    _write_archive(folder / "stage1_train.zip", _members(images, seed, first=0, masks=True))
    if unlabelled:
        _write_archive(folder / "stage1_test.zip", _members(unlabelled, seed, first=images, masks=False))
    else:
        remove(folder / "stage1_test.zip")


def _members(count: int, seed: int, *, first: int, masks: bool) -> Iterator[tuple[str, bytes]]:
    for number in range(first, first + count):
        rgb, labels = draw(seed, number)
        id = f"synthetic_{number:04d}"
        yield f"{id}/images/{id}.png", _png(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
        for label in range(1, int(labels.max()) + 1) if masks else ():
            yield f"{id}/masks/{id}_{label:03d}.png", _png((labels == label).astype(np.uint8) * 255)


def _png(pixels: NDArray[Any]) -> bytes:
    return bytes(cv2.imencode(".png", pixels)[1].tobytes())


def _write_archive(path: Path, members: Iterator[tuple[str, bytes]]) -> None:
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:  # stored: PNG is compressed
        for name, data in members:
            info = zipfile.ZipInfo(name, DATE)
            info.create_system, info.external_attr = 3, 0o644 << 16  # the same on every system
            archive.writestr(info, data)
