"""Segment one large image block by block, in memory that does not grow with it, and go on where a killed run stopped.

Each block leaves a file with its nuclei in a hidden folder beside the results. When all are there, they are numbered in
the order of the blocks and put together, so that the results do not depend on where a run was interrupted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, reduce
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import spatial

from nuclei.base import citation, files
from nuclei.base.errors import InputError
from nuclei.images.stacks import Reading
from nuclei.network.segmenter import Segmenter
from nuclei.network.sizing import Scale, diameter_of
from nuclei.segment import multiscale
from nuclei.segment.blocks import BLOCK_PX, Block, neighbours, overlap, owned, plan
from nuclei.segment.manifest import Value
from nuclei.segment.measurements import IMAGE, Column, column_names, measure, seen_channel
from nuclei.segment.multiscale import LABELS
from nuclei.segment.opening import AS_IT_IS
from nuclei.segment.size import Diameter
from nuclei.segment.slides import Slide, opened
from nuclei.segment.survey import eight_bit_table, is_blank, normalised_table, read_rgb, sample, survey
from nuclei.segment.tiles import Tiles


@dataclass(frozen=True)
class Work:
    """What every block of an image needs.

    Attributes:
        table: (256,) or (65536,) uint8, what each stored value becomes for the network.
        channels: the names of those that are measured: of one where all are equal.
        min_score: nuclei with a lower score are dropped.
    """

    slide: Slide
    segmenter: Segmenter
    scale: Scale
    table: NDArray[np.uint8]
    channels: tuple[str, ...]
    min_score: float


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


def segment_slide(
    segmenter: Segmenter,
    path: Path,
    labels_path: Path,
    add: Callable[[Nuclei], None],
    *,
    reading: Reading = AS_IT_IS,
    diameter: Diameter | None = None,
    min_score: float = 0.0,
    block_px: int = BLOCK_PX,
    overlap_px: int | None = None,
    force: bool = False,
) -> tuple[dict[str, Value], list[str]]:
    """Segment a large image and write its label map as OME-Zarr or OME-TIFF.

    Args:
        path: a TIFF or the folder of an OME-Zarr.
        labels_path: the folder or file to write, which ends as one of `LABELS`.
        add: is given the nuclei of one block after another.
        reading: the channel of the nuclei, and the size of a pixel.
        diameter: of the nuclei; measured in a sample if None.
        min_score: nuclei with a lower score are dropped.
        block_px, overlap_px: side of the blocks, and what each sees beyond it; `blocks.overlap` if None.
        force: replace `labels_path`.

    Returns:
        The image's own measurements, and warnings.

    Raises:
        InputError: the image can not be read, or `labels_path` exists.
    """
    if labels_path.exists() and not force:
        fix = "move it away, give another folder after -o, or add --force to replace it"
        raise InputError("the label map of a large image is never replaced unasked", file=labels_path, fix=fix)
    with opened(path, reading) as slide:
        seen = survey(slide)
        eight_bit = eight_bit_table(slide, seen.counts)
        settings = segmenter.settings
        low, high = settings.normalise_low, settings.normalise_high
        invert_light = settings.invert_light and (seen.gray or slide.nuclear is not None)
        table = normalised_table(eight_bit, seen.counts, low, high, invert_light=invert_light)
        diameter_px = diameter and diameter.px(slide.pixel_size_um, path)
        scale = segmenter.scale(sample(slide, seen.windows, table), diameter_px)
        named = not slide.colour and any(slide.channels)
        count = 1 if seen.gray and not named else len(slide.channels)
        channels = column_names(slide.channels if named else (), count)
        work = Work(slide, segmenter, scale, table, channels, min_score)
        overlap_px = overlap(scale.diameter_px) if overlap_px is None else overlap_px
        blocks = plan(slide.height, slide.width, block_px, overlap_px)
        key = {
            "image": seen.digest,
            "model": _digest(segmenter),
            "scale": scale.zoom,
            "min_score": min_score,
            "blocks": [block_px, overlap_px],
            "channel": slide.nuclear,
        }
        scratch = labels_path.with_name(f".{labels_path.name}.blocks")
        _begin(scratch, key)
        grid = segmenter.grid(slide.height, slide.width, scale)
        tiles = Tiles(grid, blocks, scratch, partial(_predicted, work))
        for block in blocks:
            if not _result(scratch, block).exists():
                _write(_result(scratch, block), _segment_block(work, block, tiles.maps(block)))
            tiles.drop(block)
        summary, warnings = _assemble(work, blocks, scratch, labels_path, add)
    files.remove(scratch)
    return summary, [text for text in (*slide.notes, *warnings, scale.warning) if text]


def _begin(scratch: Path, key: dict[str, Any]) -> None:
    """Keep the blocks of an earlier run only if image, model and plan are the same."""
    if (scratch / "key.json").exists() and files.read_json(scratch / "key.json", "delete the folder") == key:
        return
    files.remove(scratch)
    files.write_json(scratch / "key.json", key)


def _digest(segmenter: Segmenter) -> str:
    digest = hashlib.sha256(repr(segmenter.settings).encode())
    for name, values in segmenter.net.state_dict().items():
        digest.update(name.encode())
        digest.update(values.cpu().contiguous().numpy())
    return digest.hexdigest()


def _result(scratch: Path, block: Block) -> Path:
    return scratch / f"{block.number:06}.npz"


def _write(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    with files.replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def _segment_block(work: Work, block: Block, maps: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """The labels of a block's nuclei, their measurements in pixels of the image, and counts of its background."""
    labels, scores = work.segmenter.nuclei(maps, work.min_score)
    mine = owned(block, labels, work.slide.height, work.slide.width)
    values = work.slide.read(*block.seen)[..., : len(work.channels)]
    outside = values[block.inner][labels[block.inner] == 0]
    size = 2 ** (8 * values.dtype.itemsize)
    background = np.stack([np.bincount(outside[:, channel], minlength=size) for channel in range(values.shape[2])])
    own = None if scores is None else scores[mine.kept]
    measured = measure(mine.labels, values, work.channels, work.slide.pixel_size_um, own)
    row, col = block.seen_rows.start, block.seen_cols.start
    for name, offset in (("row_px", row), ("col_px", col), ("top_px", row), ("left_px", col)):
        measured[name] = measured[name] + offset
    bottom, right = measured["top_px"] + measured["height_px"], measured["left_px"] + measured["width_px"]
    measured["touches_border"] = (
        (measured["top_px"] == 0) | (measured["left_px"] == 0)
        | (bottom == work.slide.height) | (right == work.slide.width)
    ).astype(np.int64)  # fmt: skip
    return {"labels": mine.labels, "cut": np.array(mine.cut), "background": background, **_prefixed(measured)}


def _predicted(work: Work, rows: slice, cols: slice) -> NDArray[np.float32]:
    """The maps of a tile at the network's scale; one pixel of zeros stands for a tile without nuclei."""
    rgb = read_rgb(work.slide, rows, cols, work.table)
    if is_blank(rgb, work.scale.zoom):
        return np.zeros((1 if work.segmenter.net.instance_head is None else 2, 1, 1), np.float32)
    return work.segmenter.predict_tile(rgb, work.scale)


def _assemble(
    work: Work, blocks: list[Block], scratch: Path, labels_path: Path, add: Callable[[Nuclei], None]
) -> tuple[dict[str, Value], list[str]]:
    """Number the nuclei of all blocks, write them, and summarise the image."""
    slide = work.slide
    first, cut, areas = 0, 0, []
    background = reduce(np.add, (_load(scratch, block, "background") for block in blocks))
    medians = [_median(counts) for counts in background]
    with files.replacing(labels_path) as temporary:
        as_tiff = labels_path.name.endswith(LABELS["ome-tiff"])
        name = labels_path.name.removesuffix(LABELS["ome-zarr"]).removesuffix(LABELS["ome-tiff"])
        folder = scratch / "labels.ome.zarr" if as_tiff else temporary
        levels = multiscale.create(folder, slide.height, slide.width, slide.pixel_size_um, name)
        for block in blocks:
            with np.load(_result(scratch, block)) as stored:
                labels, cut = stored["labels"], cut + int(stored["cut"])
                measured = {key.removeprefix("nuclei_"): stored[key] for key in stored if key.startswith("nuclei_")}
            count = len(measured["label"])
            if count:
                multiscale.add(levels[0], block.seen, np.where(labels > 0, labels.astype(np.uint32) + first, 0))
            measured["label"] = measured["label"] + first
            measured["nearest_px"] = _nearest(blocks, block, scratch)
            if slide.pixel_size_um is not None:
                measured["nearest_um"] = measured["nearest_px"] * slide.pixel_size_um
            for channel, median in zip(work.channels, medians, strict=True):
                measured[f"background_median_{channel}"] = np.full(count, median)
            areas.append(measured["area_px"])
            add(Nuclei(labels, first, block.seen_rows.start, block.seen_cols.start, measured))
            first += count
        multiscale.fill_pyramid(levels)
        if as_tiff:
            multiscale.write_tiff(temporary, levels, slide.pixel_size_um)
    area_px = np.concatenate(areas) if areas else np.zeros(0, np.int64)
    foreground = float(area_px.sum() / (slide.height * slide.width))
    entries = (
        slide.height, slide.width, len(work.channels), seen_channel(work.channels, slide.nuclear), first, foreground,
        diameter_of(area_px), work.scale.zoom, slide.pixel_size_um, citation.version(),
    )  # fmt: skip
    summary: dict[str, Value] = dict(zip(IMAGE, entries, strict=True))
    return summary, [_cut_warning(cut)]


def _cut_warning(cut: int) -> str:
    if not cut:
        return ""
    return f"{cut} nuclei are in clusters larger than the overlap of the blocks, where outlines may differ"


def _prefixed(measured: dict[str, Column]) -> dict[str, Column]:
    return {f"nuclei_{name}": column for name, column in measured.items()}


def _load(scratch: Path, block: Block, name: str) -> NDArray[Any]:
    with np.load(_result(scratch, block)) as stored:
        array: NDArray[Any] = stored[name]
        return array


def _centroids(scratch: Path, block: Block) -> NDArray[np.float64]:
    return np.stack([_load(scratch, block, "nuclei_row_px"), _load(scratch, block, "nuclei_col_px")], axis=1)


def _nearest(blocks: list[Block], block: Block, scratch: Path) -> Column:
    """The distance of each nucleus of a block to the nearest other one in it and in the blocks around it."""
    around = np.concatenate([_centroids(scratch, other) for other in neighbours(blocks, block)])
    own = _centroids(scratch, block)
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
