"""What each target costs: to compute, to train with, and to label with, beside the network's forward pass.

    python tests/benchmarks/targets.py data/model... [--prepared data/prepared] [--split data/split.csv] [--images 30]

Give the folders of trained models, one of each target, to time the labelling of what a network really predicts (on the
val images, one thread each). Without any the first two columns are printed. Times are medians of interleaved rounds, in
ms: of a 256 x 256 crop to encode, of a training step for one image of such crops in batches of 8, and for 256 x 256
pixels of the forward pass and the labelling.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "stages"))

from nuclei.base.machine import cores, keep_freed_memory
from nuclei.images.io import read_labels, read_rgb
from nuclei.images.records import Record, image_path, label_path, read_part
from nuclei.network.segmenter import Segmenter, make_net
from nuclei.network.targets import TARGETS
from nuclei.train.losses import DiceBCELoss, instance_loss

SIDE, BATCH = 256, 8
AREA_PX = SIDE * SIDE


def encoding(name: str, crops: list[np.ndarray]) -> float:
    """Median ms to encode one crop."""
    times = []
    for labels in crops:
        start = perf_counter()
        TARGETS[name].encode(labels)
        times.append(1000 * (perf_counter() - start))
    return median(times)


def steps(names: list[str], rounds: int) -> dict[str, float]:
    """Median ms an image of a training step with each target, the targets taking turns."""
    image = torch.randn(BATCH, 3, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
    truth = (torch.rand(BATCH, 1, SIDE, SIDE) > 0.8).float()
    weight = torch.ones(BATCH, 1, SIDE, SIDE)
    loss = DiceBCELoss(0.5)
    nets = {name: make_net("Unet", "resnet34", name).to(memory_format=torch.channels_last).train() for name in names}
    optimizers = {name: torch.optim.AdamW(net.parameters(), fused=True) for name, net in nets.items()}
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds + 1):
        for name, net in nets.items():
            start = perf_counter()
            logits, maps = net(image)
            value = loss(logits, truth)
            if name != "none":
                value = value + instance_loss(TARGETS[name], maps, truth, weight)
            value.backward()
            optimizers[name].step()
            optimizers[name].zero_grad(set_to_none=True)
            if turn:  # the first one warms up
                times[name].append(1000 * (perf_counter() - start) / BATCH)
    return {name: median(values) for name, values in times.items()}


def labelling(segmenter: Segmenter, records: list[Record], prepared: Path) -> tuple[float, float]:
    """Median ms of the forward pass and of the labelling for AREA_PX pixels, one thread each."""
    torch.set_num_threads(1)
    forward, label = [], []
    for record in records:
        rgb = read_rgb(image_path(prepared, record.id))
        pixels = rgb.shape[0] * rgb.shape[1] / AREA_PX
        start = perf_counter()
        maps = segmenter.maps(rgb)
        between = perf_counter()
        segmenter.label(maps)
        forward.append(1000 * (between - start) / pixels)
        label.append(1000 * (perf_counter() - between) / pixels)
    torch.set_num_threads(cores())
    return median(forward), median(label)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="*", type=Path, help="folders of trained models")
    parser.add_argument("--prepared", type=Path, default=Path("data/prepared"))
    parser.add_argument("--split", type=Path, default=Path("data/split.csv"))
    parser.add_argument("--images", type=int, default=30, help="val images to label")
    parser.add_argument("--rounds", type=int, default=5, help="training steps with each target")
    given = parser.parse_args()
    keep_freed_memory()
    records = read_part(given.prepared, given.split, "val")[: given.images]
    crops = [
        labels
        for record in records
        if min((labels := read_labels(label_path(given.prepared, record.id))[:SIDE, :SIDE]).shape) == SIDE
    ]
    labelled = {}
    for folder in given.model:
        segmenter = Segmenter.load(folder, device="cpu")
        labelled[segmenter.settings.instance_target] = labelling(segmenter, records, given.prepared)
    names = ["none", *TARGETS]
    trained = steps(names, given.rounds)
    print(f"{len(records)} val images, {len(crops)} crops, {cores()} cores\n")
    print("| target | encode, ms | train step, ms an image | forward, ms | label, ms | label / forward |")
    print("|---|---|---|---|---|---|")
    for name in names:
        cells = ["" if name == "none" else f"{encoding(name, crops):.1f}", f"{trained[name]:.0f}"]
        if name in labelled:
            forward, label = labelled[name]
            cells += [f"{forward:.0f}", f"{label:.1f}", f"{label / forward:.3f}"]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
