"""One large image by blocks, beside the same image as a whole: labels, seconds a megapixel, peak memory.

    python tests/benchmarks/slide.py IMAGES SIDE SCRATCH [--model FOLDER] [--blocks 1024 2048] [--whole]

IMAGES is a folder of RGB PNGs, such as data/prepared/images: they are turned, mirrored and laid side by side, in rows
of different heights, until an image of SIDE x SIDE pixels is full, so that their seams lie where no block ends. Without
--model a network takes part that only smooths brightness, which says nothing about the speed of a real one.
"""

from __future__ import annotations

import argparse
import resource
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import tifffile
import torch
import zarr
from torch import Tensor, nn
from torch.nn import functional as F

from nuclei.images.io import read_rgb
from nuclei.network.segmenter import Segmenter, Settings
from nuclei.segment.by_blocks import segment_slide

FAKE = Settings("Unet", "resnet34", "none", 1.0, 99.8, 1024, 128, False, 0.5, 0.8, 40, "32-true")


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
    parser.add_argument("--blocks", type=int, nargs="+", default=[4096])
    parser.add_argument("--whole", action="store_true")
    arguments = parser.parse_args()
    path = arguments.scratch / f"slide_{arguments.side}.tif"
    if not path.exists():
        write_slide(path, sorted(arguments.images.glob("*.png")), arguments.side)
    if arguments.model:
        segmenter = Segmenter.load(arguments.model, device="cpu")
        segmenter.settings = replace(segmenter.settings, flips=False)
    else:
        segmenter = Segmenter(Brightness(), FAKE)  # type: ignore[arg-type]
    megapixels, found = arguments.side**2 / 1e6, {}
    for block_px in arguments.blocks:
        out = arguments.scratch / f"{block_px}_labels.ome.zarr"
        start = time.perf_counter()
        summary, warnings = segment_slide(
            segmenter, path, out, lambda _: None, diameter_px=25, block_px=block_px, force=True
        )
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(
            f"blocks of {block_px} px: {summary['nuclei'][0]} nuclei, {seconds / megapixels:.2f} s a megapixel, "
            f"peak {peak:.2f} GiB {'; '.join(warnings)}",
            flush=True,
        )
        found[block_px] = out
    if arguments.whole:
        rgb = tifffile.imread(path)
        start = time.perf_counter()
        whole = segmenter.segment(rgb, diameter_px=25)
        print(f"whole: {whole.max()} nuclei, {(time.perf_counter() - start) / megapixels:.2f} s a megapixel")
        for block_px, out in found.items():
            labels = np.asarray(zarr.open_group(out, mode="r")["0"])
            pairs = np.unique(np.stack([whole.ravel(), labels.ravel()]), axis=1)
            alone = [len(np.unique(side)) for side in pairs]
            different = np.count_nonzero((whole > 0) != (labels > 0))
            same = pairs.shape[1] == alone[0] == alone[1]
            print(f"blocks of {block_px} px: same labels: {same}; foreground differs in {different} pixels, "
                  f"{pairs.shape[1] - max(alone)} nuclei have two partners")  # fmt: skip


def write_slide(path: Path, images: list[Path], side: int) -> None:
    """Fill an image with others, turned and mirrored, and write it in tiles."""
    rng = np.random.default_rng(0)
    slide, top = np.zeros((side, side, 3), np.uint8), 0
    while top < side:
        left, height = 0, int(rng.integers(200, 257))
        while left < side:
            rgb = np.rot90(read_rgb(images[rng.integers(len(images))]), rng.integers(4))
            rgb = rgb[:height, : int(rng.integers(200, 257)) :][:, :: rng.choice([-1, 1])]
            part = rgb[: side - top, : side - left]
            slide[top : top + part.shape[0], left : left + part.shape[1]] = part
            left += rgb.shape[1]
        top += height
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, slide, tile=(512, 512), compression="zlib", photometric="rgb", bigtiff=True)


if __name__ == "__main__":
    main()
