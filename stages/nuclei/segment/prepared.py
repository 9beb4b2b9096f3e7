"""What is found out once about a large image, before its first block, and where its blocks leave their files.

It is small and can be pickled, so that the blocks of one image can be segmented by many processes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nuclei.base import citation, files
from nuclei.base.errors import InputError
from nuclei.images.stacks import Reading
from nuclei.network.normalisation import has_light_background
from nuclei.network.segmenter import Segmenter
from nuclei.network.sizing import Scale
from nuclei.segment.blocks import BLOCK_PX, Block, overlap, plan
from nuclei.segment.measurements import column_names
from nuclei.segment.opening import AS_IT_IS
from nuclei.segment.size import Diameter
from nuclei.segment.slides import opened
from nuclei.segment.survey import eight_bit_table, normalised_table, sample, survey

KEY, WRITTEN = "key.json", "written"  # files in `Prepared.scratch`


@dataclass(frozen=True)
class Prepared:
    """What every block of an image needs.

    Attributes:
        path: of the image.
        labels_path: of its label map.
        reading: the channel of the nuclei, and the size of a pixel.
        min_score: nuclei with a lower score are dropped.
        min_best_score: all nuclei are dropped if none has this score.
        height, width: in pixels.
        block_px, overlap_px: side of the blocks, and what each sees beyond it.
        scale: that the network measured, without maps.
        table: (256,) or (65536,) uint8, what each stored value becomes for the network.
        channels: the names of those that are measured: of one where all are equal.
    """

    path: Path
    labels_path: Path
    reading: Reading
    min_score: float
    min_best_score: float
    height: int
    width: int
    block_px: int
    overlap_px: int
    scale: Scale
    table: NDArray[np.uint8]
    channels: tuple[str, ...]

    @property
    def blocks(self) -> list[Block]:
        """In reading order."""
        return plan(self.height, self.width, self.block_px, self.overlap_px)

    @property
    def scratch(self) -> Path:
        """The hidden folder beside the label map."""
        return scratch_of(self.labels_path)

    def file(self, block: Block) -> Path:
        """The file that a block leaves there when it is segmented."""
        return self.scratch / f"{block.number:06}.npz"

    def is_done(self, block: Block) -> bool:
        return self.file(block).exists()


def prepare(
    segmenter: Segmenter,
    path: Path,
    labels_path: Path,
    *,
    reading: Reading = AS_IT_IS,
    diameter: Diameter | None = None,
    min_score: float = 0.0,
    min_best_score: float = 0.0,
    block_px: int = BLOCK_PX,
    overlap_px: int | None = None,
    force: bool = False,
) -> Prepared:
    """Read a large image once, measure its nuclei in a sample, and keep the blocks of an earlier run if they fit.

    Args:
        segmenter: the model.
        path: a TIFF or the folder of an OME-Zarr.
        labels_path: the folder or file of the label map, which ends as one of `multiscale.LABELS`.
        reading: the channel of the nuclei, and the size of a pixel.
        diameter: of the nuclei; measured in a sample if None.
        min_score: nuclei with a lower score are dropped.
        min_best_score: all nuclei are dropped if none has this score.
        block_px, overlap_px: side of the blocks, and what each sees beyond it; `blocks.overlap` if None.
        force: replace `labels_path`.

    Raises:
        InputError: the image can not be read, or `labels_path` exists.
    """
    scratch = scratch_of(labels_path)
    if labels_path.exists() and not force and not (scratch / WRITTEN).exists():
        fix = "move it away, give another folder after -o, or add --force to replace it"
        raise InputError("the label map of a large image is never replaced unasked", file=labels_path, fix=fix)
    with opened(path, reading) as slide:
        seen = survey(slide)
        eight_bit = eight_bit_table(slide, seen.counts)
        settings = segmenter.settings
        low, high, invert_light = settings.normalise_low, settings.normalise_high, settings.invert_light is True
        gray = seen.gray or slide.nuclear is not None
        normalised = partial(normalised_table, eight_bit, seen, low, high, gray=gray)
        table = normalised(invert_light=invert_light)
        sampled = sample(slide, seen.windows, table)
        diameter_px = diameter and diameter.px(slide.pixel_size_um, path)
        scale = segmenter.scale(sampled, diameter_px)
        if scale.inverted or (invert_light and has_light_background(sampled, low, high)):
            table = normalised(invert_light=True, light=True)  # as in the sample, whatever the whole image holds
        named = not slide.colour and any(slide.channels)
        count = 1 if seen.gray and not named else len(slide.channels)
        prepared = Prepared(
            path=path,
            labels_path=labels_path,
            reading=reading,
            min_score=min_score,
            min_best_score=min_best_score,
            height=slide.height,
            width=slide.width,
            block_px=block_px,
            overlap_px=overlap(scale.diameter_px) if overlap_px is None else overlap_px,
            scale=_without_maps(scale),
            table=table,
            channels=column_names(slide.channels if named else (), count),
        )
        key = {
            "image": seen.digest,
            "model": _digest(segmenter),
            "scale": scale.zoom,
            "min_score": min_score,
            "blocks": [block_px, prepared.overlap_px],
            "channel": slide.nuclear,
            "table": hashlib.sha256(table.tobytes()).hexdigest(),
            "channels": list(prepared.channels),
            "pixel_size_um": slide.pixel_size_um,
            "version": citation.version(),
        }
    _begin(scratch, key)
    return prepared


def scratch_of(labels_path: Path) -> Path:
    """The hidden folder beside a label map."""
    return labels_path.with_name(f".{labels_path.name}.blocks")


def _without_maps(scale: Scale) -> Scale:
    """The same zoom without the maps, which are those of the sample and take tens of megabytes."""
    return scale if scale.maps is None else replace(scale, target_px=None, maps=None)


def _begin(scratch: Path, key: dict[str, Any]) -> None:
    """Keep the blocks of an earlier run only if all that decides what their files hold is the same."""
    if (scratch / KEY).exists() and files.read_json(scratch / KEY, "delete the folder") == key:
        return
    files.remove(scratch)
    files.write_json(scratch / KEY, key)


def _digest(segmenter: Segmenter) -> str:
    digest = hashlib.sha256(repr(segmenter.settings).encode())
    for name, values in segmenter.net.state_dict().items():
        digest.update(name.encode())
        digest.update(values.cpu().contiguous().numpy())
    return digest.hexdigest()
