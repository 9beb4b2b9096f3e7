"""The blocks of a large image put together: nuclei numbered in the order of the blocks, and one label map of all.

The result does not depend on the order in which the blocks were segmented, nor on the process that did it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import spatial

from nuclei.base import citation, files
from nuclei.network.sizing import diameter_of
from nuclei.segment import multiscale
from nuclei.segment.blocks import Block, neighbours
from nuclei.segment.manifest import Value
from nuclei.segment.measurements import IMAGE, Column, seen_channel
from nuclei.segment.multiscale import LABELS
from nuclei.segment.prepared import WRITTEN, Prepared
from nuclei.segment.quality import why_none
from nuclei.segment.slides import opened


@dataclass(frozen=True)
class Nuclei:
    """The nuclei of one block, when all are numbered.

    Attributes:
        labels: (h, w), 0 = background, 1..n.
        first: what is added to them in the whole image: the number of nuclei in the blocks before.
        top_px, left_px: the place of `labels` in the image.
        measured: by column, an entry for each nucleus; the column label is that of the whole image.
    """

    labels: NDArray[Any]
    first: int
    top_px: int
    left_px: int
    measured: dict[str, Column]


def assemble(prepared: Prepared, add: Callable[[Nuclei], None]) -> tuple[dict[str, Value], list[str]]:
    """Number the nuclei of all blocks, write the label map, and summarise the image.

    Args:
        prepared: of an image whose blocks are all done.
        add: is given the nuclei of one block after another.

    Returns:
        The image's own measurements, and warnings.

    Raises:
        InputError: the image can not be opened.
    """
    with opened(prepared.path, prepared.reading) as slide:
        pixel_size_um, nuclear, notes = slide.pixel_size_um, slide.nuclear, slide.notes
    blocks, channels, labels_path = prepared.blocks, prepared.channels, prepared.labels_path
    first, cut, areas = 0, 0, []
    none = why_none(_scores(prepared), prepared.min_best_score)
    background = reduce(np.add, (_load(prepared, block, "background") for block in blocks))
    medians = [_median(counts) for counts in background]
    with files.replacing(labels_path) as temporary:
        as_tiff = labels_path.name.endswith(LABELS["ome-tiff"])
        name = labels_path.name.removesuffix(LABELS["ome-zarr"]).removesuffix(LABELS["ome-tiff"])
        folder = prepared.scratch / "labels.ome.zarr" if as_tiff else temporary
        levels = multiscale.create(folder, prepared.height, prepared.width, pixel_size_um, name)
        for block in blocks:
            with np.load(prepared.file(block)) as stored:
                labels, cut_here = stored["labels"], int(stored["cut"])
                measured = {key.removeprefix("nuclei_"): stored[key] for key in stored if key.startswith("nuclei_")}
            if none:
                labels, cut_here = np.zeros_like(labels), 0
                measured = {key: column[:0] for key, column in measured.items()}
            count = len(measured["label"])
            if count:
                multiscale.add(levels[0], block.seen, np.where(labels > 0, labels.astype(np.uint32) + first, 0))
            measured["label"] = measured["label"] + first
            measured["nearest_px"] = _nearest(prepared, blocks, block) if count else np.zeros(0)
            if pixel_size_um is not None:
                measured["nearest_um"] = measured["nearest_px"] * pixel_size_um
            for channel, median in zip(channels, medians, strict=True):
                measured[f"background_median_{channel}"] = np.full(count, median)
            areas.append(measured["area_px"])
            add(Nuclei(labels, first, block.seen_rows.start, block.seen_cols.start, measured))
            first, cut = first + count, cut + cut_here
        multiscale.fill_pyramid(levels)
        if as_tiff:
            multiscale.write_tiff(temporary, levels, pixel_size_um)
        (prepared.scratch / WRITTEN).touch()  # from here on the label map is that of this run
    area_px = np.concatenate(areas) if areas else np.zeros(0, np.int64)
    foreground = float(area_px.sum() / (prepared.height * prepared.width))
    entries = (
        prepared.height, prepared.width, len(channels), seen_channel(channels, nuclear), first, foreground,
        diameter_of(area_px), prepared.scale.zoom, pixel_size_um, citation.version(),
    )  # fmt: skip
    summary: dict[str, Value] = dict(zip(IMAGE, entries, strict=True))
    return summary, [text for text in (*notes, none, _cut_warning(cut), *prepared.scale.notes) if text]


def _cut_warning(cut: int) -> str:
    if not cut:
        return ""
    return f"{cut} nuclei are in clusters larger than the overlap of the blocks, where outlines may differ"


def _scores(prepared: Prepared) -> NDArray[np.float64]:
    return np.concatenate([_load(prepared, block, "nuclei_score") for block in prepared.blocks])


def _load(prepared: Prepared, block: Block, name: str) -> NDArray[Any]:
    with np.load(prepared.file(block)) as stored:
        array: NDArray[Any] = stored[name]
        return array


def _centroids(prepared: Prepared, block: Block) -> NDArray[np.float64]:
    return np.stack([_load(prepared, block, "nuclei_row_px"), _load(prepared, block, "nuclei_col_px")], axis=1)


def _nearest(prepared: Prepared, blocks: list[Block], block: Block) -> Column:
    """The distance of each nucleus of a block to the nearest other one in it and in the blocks around it."""
    around = np.concatenate([_centroids(prepared, other) for other in neighbours(blocks, block)])
    own = _centroids(prepared, block)
    if len(around) < 2:
        return np.full(len(own), np.nan)
    distances: Column = spatial.KDTree(around).query(own, k=[2])[0][:, 0]
    return distances


def _median(counts: NDArray[np.int64]) -> float:
    """The median of values of which `counts` says how often each occurs; NaN without any."""
    total = int(counts.sum())
    if not total:
        return float("nan")
    return float(np.searchsorted(np.cumsum(counts), [(total - 1) // 2, total // 2], side="right").mean())
