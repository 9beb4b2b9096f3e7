"""One large image by blocks, beside the same image as a whole: labels, seconds a megapixel, peak memory.

    python tests/benchmarks/slide.py IMAGES SIDE SCRATCH [--model FOLDER] [--diameter PX] [--blocks 1024 2048] [--whole]
    python tests/benchmarks/slide.py IMAGES SIDE SCRATCH --workers 2 [--model FOLDER] [--diameter PX] [--blocks 2048]

IMAGES is a folder of RGB PNGs, such as data/prepared/images: they are turned, mirrored and laid side by side, in rows
of different heights, until an image of SIDE x SIDE pixels is full, so that their seams lie where no block ends.
--enlarge makes them that many times as large first; --tissue 0.2 fills a square in the middle that is a fifth of the
image, and leaves the rest black, as most of a slide is empty. Without --model a network takes part that only smooths
brightness, which says nothing about the speed of a real one. The peak of memory is that of the process so far: for the
peak of one size of blocks, run that one alone.

--workers N measures one process on one core, then N workers on N cores, each with one thread, and compares all bytes of
their label maps and tables. The start of the workers is not timed, their opening of the model is.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import tifffile
import torch
import zarr
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "stages"))

from nuclei.base.files import remove
from nuclei.base.machine import keep_freed_memory
from nuclei.base.userfiles import model_files
from nuclei.images.io import read_rgb
from nuclei.network.segmenter import Segmenter, Settings
from nuclei.segment.assembling import assemble
from nuclei.segment.batch import Batch, LargeOptions, Options
from nuclei.segment.blocks import BLOCK_PX
from nuclei.segment.by_blocks import segment_blocks
from nuclei.segment.cluster import connected, segment_on
from nuclei.segment.finding import Image
from nuclei.segment.manifest import NAME, hash_of, opened
from nuclei.segment.pipelined import segment_pipelined
from nuclei.segment.prepared import prepare
from nuclei.segment.size import Diameter
from nuclei.segment.tasks import Model

FAKE = Settings("Unet", "resnet34", "none", 1.0, 99.8, 1024, 128, False, 0.5, 0.8, 40, "32-true", 25.0)
TILE_PX = 512


class Brightness(nn.Module):
    """The foreground is the mean brightness around a pixel."""

    instance_head = None

    def __init__(self) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(1))

    def predict(self, image: Tensor) -> Tensor:
        return F.avg_pool2d(image.mean(1, keepdim=True).clamp(0, 1), 5, stride=1, padding=2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("side", type=int)
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--diameter", type=float, default=25)
    parser.add_argument("--enlarge", type=int, default=1)
    parser.add_argument("--tissue", type=float, default=1)
    parser.add_argument("--blocks", type=int, nargs="+", default=[BLOCK_PX])
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--workers", type=int)
    arguments = parser.parse_args()
    keep_freed_memory()
    path = arguments.scratch / f"slide_{arguments.side}_{arguments.enlarge}_{arguments.tissue:g}.tif"
    if not path.exists():
        images = sorted(arguments.images.glob("*.png"))
        write_slide(path, images, arguments.side, arguments.enlarge, arguments.tissue)
    if arguments.workers:
        compare_workers(path, arguments)
        return
    segmenter = open_segmenter(arguments.model)
    megapixels, found = arguments.side**2 / 1e6, {}
    for block_px in arguments.blocks:
        out = arguments.scratch / f"{path.stem}_{arguments.diameter:g}_{block_px}_labels.ome.zarr"
        start = time.perf_counter()
        diameter = arguments.diameter and Diameter(arguments.diameter)
        prepared = prepare(segmenter, path, out, diameter=diameter, block_px=block_px, force=True)
        segment_blocks(segmenter, prepared)
        summary, warnings = assemble(prepared, lambda _: None)
        remove(prepared.scratch)
        report(f"{arguments.side} px, blocks of {block_px} px", summary["nuclei"], start, megapixels, warnings)
        found[block_px] = out
    if arguments.whole:
        rgb = tifffile.imread(path)
        start = time.perf_counter()
        whole = segmenter.segment(rgb, diameter_px=arguments.diameter)
        report(f"{arguments.side} px, whole", int(whole.max()), start, megapixels, [])
        for block_px, out in found.items():
            compare(f"blocks of {block_px} px", whole, np.asarray(zarr.open_group(out, mode="r")["0"]))


def open_segmenter(folder: Path | None, device: str = "cpu") -> Segmenter:
    """The model in a folder, or the network that only smooths."""
    if folder is None:
        return Segmenter(Brightness(), FAKE)  # type: ignore[arg-type]
    segmenter = Segmenter.load(folder, device=device)
    segmenter.settings = replace(segmenter.settings, flips=False)
    return segmenter


def open_for_worker(real: bool, folder: Path, device: str) -> Segmenter:
    return open_segmenter(folder if real else None, device)


def compare_workers(path: Path, arguments: argparse.Namespace) -> None:
    """Segment a slide with one process on one core and with several workers on as many, and compare the results."""
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # for the workers
    folder: Path = arguments.model or path.parent
    files = tuple(model_files(folder)) if arguments.model else ()
    model = Model(partial(open_for_worker, bool(arguments.model)), folder.resolve(), files, "cpu", hash_of(*files))
    options = Options(Diameter(arguments.diameter) if arguments.diameter else None)
    large, image, cores = LargeOptions(arguments.blocks[0]), Image(path, path.name), sorted(os.sched_getaffinity(0))
    seconds, found = [], []
    for count in (1, arguments.workers):
        out = path.with_name(f"{path.stem}_on_{count}")
        remove(out)
        os.sched_setaffinity(0, cores[:count])
        chosen = argparse.Namespace(workers=count, scheduler=None, cluster=None)
        with connected(chosen) as cluster, opened(out) as manifest:
            batch = Batch(open_segmenter(arguments.model), model.sha256, out, manifest, options)
            start = time.perf_counter()
            if cluster:
                ((_, error),) = segment_on(cluster, model, batch, [image], large)
            else:
                ((_, error),) = segment_pipelined(batch, [image], large)
            seconds.append(time.perf_counter() - start)
            if error:
                raise error
            (row,) = manifest.images()
        print(
            f"{arguments.side} px, {count} of {len(cores)} cores: {row.summary['nuclei']} nuclei, {seconds[-1]:.1f} s, "
            f"all tasks together {row.seconds:.1f} s",
            flush=True,
        )
        paths = (path for path in sorted(out.rglob("*")) if path.is_file() and path.name != NAME)
        found.append({str(path.relative_to(out)): path.read_bytes() for path in paths})
    print(f"{seconds[0] / seconds[1]:.2f} times as fast; same bytes in {len(found[0])} files: {found[0] == found[1]}")


def report(what: str, nuclei: object, start: float, megapixels: float, warnings: list[str]) -> None:
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    said = "; ".join(["", *warnings])
    print(
        f"{what}: {nuclei} nuclei, {seconds:.0f} s, {megapixels / seconds:.2f} megapixels a second, "
        f"peak {peak:.2f} GiB{said}",
        flush=True,
    )


def compare(what: str, whole: NDArray[np.integer], labels: NDArray[np.integer]) -> None:
    """Say how two label maps of one image differ, apart from the numbers of the nuclei."""
    pairs = np.unique(whole.astype(np.int64) * (int(labels.max()) + 1) + labels)
    ones, others = np.divmod(pairs, int(labels.max()) + 1)
    unmatched = np.count_nonzero((np.bincount(ones) > 1)[1:]), np.count_nonzero((np.bincount(others) > 1)[1:])
    different = np.count_nonzero((whole > 0) != (labels > 0))
    same = len(ones) == len(np.unique(ones)) == len(np.unique(others))
    print(
        f"{what}: same labels: {same}; foreground differs in {different} pixels; of {whole.max()} nuclei {unmatched[0]}"
        f" are not one nucleus in blocks, and {unmatched[1]} in blocks not one nucleus of the whole",
        flush=True,
    )


def write_slide(path: Path, images: list[Path], side: int, enlarge: int, tissue: float) -> None:
    """Fill an image with others, turned and mirrored, and write it in tiles, a row of tiles at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(
        path, tiles(images, side, enlarge, tissue), shape=(side, side, 3), dtype=np.uint8, tile=(TILE_PX, TILE_PX),
        compression="zlib", compressionargs={"level": 1}, photometric="rgb", bigtiff=True,
    )  # fmt: skip


def tiles(images: list[Path], side: int, enlarge: int, tissue: float) -> Iterator[NDArray[np.uint8]]:
    filled = round(side * tissue**0.5)
    margin = (side - filled) // 2
    rows = bands(images, filled, enlarge)
    held = np.zeros((margin, side, 3), np.uint8)
    for top in range(0, side, TILE_PX):
        height = min(TILE_PX, side - top)
        while len(held) < height:
            empty = top + len(held) > margin + filled
            band = np.zeros((TILE_PX, filled, 3), np.uint8) if empty else next(rows)
            held = np.concatenate([held, np.pad(band, ((0, 0), (margin, side - margin - filled), (0, 0)))])
        for left in range(0, side, TILE_PX):
            tile = np.zeros((TILE_PX, TILE_PX, 3), np.uint8)
            part = held[:height, left : left + TILE_PX]
            tile[: part.shape[0], : part.shape[1]] = part
            yield tile
        held = held[height:]


def bands(images: list[Path], side: int, enlarge: int) -> Iterator[NDArray[np.uint8]]:
    """Rows of images, each `side` pixels wide."""
    rng = np.random.default_rng(0)
    while True:
        left, height = 0, int(rng.integers(200, 257)) * enlarge
        band = np.zeros((height, side, 3), np.uint8)
        while left < side:
            rgb = read_rgb(images[rng.integers(len(images))])
            rgb = rgb if enlarge == 1 else cv2.resize(rgb, None, fx=enlarge, fy=enlarge, interpolation=cv2.INTER_CUBIC)  # type: ignore[assignment]
            rgb = np.rot90(rgb, rng.integers(4))[:, :: rng.choice([-1, 1])]
            part = rgb[:height, : int(rng.integers(200, 257)) * enlarge][:, : side - left]
            band[: part.shape[0], left : left + part.shape[1]] = part
            left += part.shape[1]
        yield band


if __name__ == "__main__":
    main()
