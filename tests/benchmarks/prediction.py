"""Seconds a megapixel from an image to its maps: the model in models/nuclei, and the default recipe's network.

    python tests/benchmarks/prediction.py path/to/images [--images 100]

Each image is predicted in each way in turn, so that all share what else the machine does:

- the model as segment.py uses it, with the search for the diameter;
- the same with the diameter given;
- the same two in torch, instead of in ONNX Runtime, which computes models in float32 on a CPU;
- U-Net with resnet34, averaged over four flips, with the diameter given and at the image's own scale, in torch. Its
  weights are random: they do not matter here, because the diameters are those that the model has measured.

Printed are the seconds in all, divided by the megapixels in all.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "stages"))

from nuclei.base.machine import cores, cpu_model, keep_freed_memory
from nuclei.base.progress import track
from nuclei.images.io import read_rgb
from nuclei.network.segmenter import Segmenter, make_net


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=100, help="at most so many, drawn at random with seed 0")
    arguments = parser.parse_args()
    keep_freed_memory()
    paths = sorted(path for path in arguments.folder.iterdir() if path.is_file())
    random.Random(0).shuffle(paths)
    ways = ways_of(Segmenter.load(device="cpu"))
    seconds: dict[str, float] = defaultdict(float)
    megapixels = 0.0
    drawn = paths[: arguments.images]
    for path in track(drawn, what="predict", total=len(drawn)):
        rgb = read_rgb(path)
        megapixels += rgb.shape[0] * rgb.shape[1] / 1e6
        diameter_px: float | None = None
        for name, predict in ways.items():
            start = time.perf_counter()
            found = predict(rgb, diameter_px)
            seconds[name] += time.perf_counter() - start
            diameter_px = found if diameter_px is None else diameter_px
    print("| | seconds a megapixel |\n|---|---|")
    for name, whole in seconds.items():
        print(f"| {name} | {whole / megapixels:.2f} |")
    print(f"\n{len(drawn)} images, {megapixels:.2f} megapixels")
    uses = f"torch uses {torch.backends.cpu.get_cpu_capability()} and {torch.get_num_threads()} threads"
    print(f"{cpu_model()}, {cores()} cores, {uses}")


def ways_of(model: Segmenter) -> dict[str, Callable[[np.ndarray, float | None], float | None]]:
    """By name; each is called with an image and its diameter, and returns the diameter that it used."""
    in_torch = Segmenter(deepcopy(model.net), model.settings)
    resnet34 = replace(model.settings, encoder_name="resnet34", flips=True, invert_light=False)
    default = Segmenter(make_net("Unet", "resnet34", model.settings.instance_target), resnet34)
    unscaled = Segmenter(default.net, replace(resnet34, diameter_px=None))

    def measured(segmenter: Segmenter, rgb: np.ndarray, _: float | None) -> float | None:
        scale = segmenter.scale(rgb)
        segmenter.predict(rgb, scale)
        return scale.diameter_px or segmenter.settings.diameter_px

    def given(segmenter: Segmenter, rgb: np.ndarray, diameter_px: float | None) -> float | None:
        segmenter.maps(rgb, diameter_px)
        return diameter_px

    return {
        "models/nuclei, diameter measured": lambda *image: measured(model, *image),
        "models/nuclei, diameter given": lambda *image: given(model, *image),
        "the same in torch, diameter measured": lambda *image: measured(in_torch, *image),
        "the same in torch, diameter given": lambda *image: given(in_torch, *image),
        "resnet34 with flips, diameter given": lambda *image: given(default, *image),
        "resnet34 with flips, not rescaled": lambda *image: given(unscaled, *image),
    }


if __name__ == "__main__":
    main()
