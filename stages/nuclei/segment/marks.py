"""Writing label maps and pictures with a mark, and never replacing a file that has none or does not fit its own.

`images.marks` says what a mark is.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from nuclei.base.errors import InputError
from nuclei.base.files import replacing
from nuclei.images.io import write_labels
from nuclei.images.marks import KEY, is_marked, mark_of

SHOWN = 10  # files that an error lists
FIX = "give another folder after -o, move them away, or add --force to replace them"


def write_marked_labels(path: Path, labels: NDArray[np.integer], pixel_size_um: float | None = None) -> None:
    """Write a label map (H, W) as `write_labels` does, with a mark."""
    write_labels(path, labels, software=mark_of(labels), pixel_size_um=pixel_size_um)


def write_marked_rgb(path: Path, rgb: NDArray[np.uint8]) -> None:
    """Write (H, W, 3) uint8 as PNG with a mark."""
    info = PngImagePlugin.PngInfo()
    info.add_text(KEY, mark_of(rgb))
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
    """Whether a file carries the mark of what it holds; False if it can not be read."""
    try:
        return is_marked(path.read_bytes(), path.suffix)
    except OSError:
        return False
