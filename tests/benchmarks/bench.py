"""What this pipeline costs, beside the notebook that it grew out of and beside the bare network, on your machine.

    make bench                                         # on the built-in sample, which is synthetic
    make bench DATA=path/to/stage1_train.zip
    python tests/benchmarks/bench.py [DATA] [--epochs 3] [--notebook-epochs 1] [--json bench.json]

It runs the stages of the last commit in a clone of their own, then the notebook on the same images and split, then
single parts against the same network in a bare loop, and prints one table; the JSON file holds every value. Rates of
parts are medians of interleaved rounds. Nothing else should run meanwhile. With the real data it takes about 25 minutes
on two cores, with the sample five.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "stages"))

from measuring import ROOT, Ran, ran, stage
from nuclei.base.machine import cores, cpu_model, keep_freed_memory
from nuclei.base.params import load
from nuclei.images.io import read_labels, read_rgb
from nuclei.images.records import Record, image_path, label_path, read_part
from nuclei.network.model import NucleusNet
from nuclei.network.normalisation import normalise_percentiles, to_tensor
from nuclei.network.runtime import STRIDE
from nuclei.network.segmenter import Segmenter, make_net
from nuclei.network.sizing import diameter, zoom_to, zoomed_image
from nuclei.train import checkpoint
from nuclei.train.crops import Crops
from nuclei.train.processes import make_fabric
from nuclei.train.training import Training, validate
from train import first_settings

DICE, IOU = 0.797, 0.703  # what the notebook reported on its validation images
STAGES = ("source", "fetch", "prepare", "split", "train", "evaluate", "plot", "page", "predict")
PREPARED, SPLIT = Path("data/prepared"), Path("data/split.csv")
BLOCK = 6  # steps, or images, of one kind before the other's turn


def clone(folder: Path, data: str, epochs: int) -> None:
    """Make a clone of the last commit that runs on `data`."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    values = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
    values |= {"data": data, "epochs": epochs}
    for section in ("train", "evaluate", "predict"):
        values[section]["device"] = "cpu"
    (folder / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")


def notebook(folder: Path, epochs: int) -> dict[str, Any]:
    """Run the notebook on the clone's images; its rows, one an epoch."""
    script = Path(__file__).with_name("notebook.py")
    archive = folder / "data/raw/stage1_train.zip"
    done = ran([sys.executable, script, archive, SPLIT, "--epochs", str(epochs)], folder)
    rows = [json.loads(line) for line in done.lines if line.startswith("{")]
    ends = [row["seconds"] for row in rows[1:]]
    starts = [rows[0]["unzip_s"], *ends[:-1]]
    reached = next((r["seconds"] for r in rows[1:] if r["val_dice"] >= DICE and r["val_iou"] >= IOU), None)
    return {
        "epochs": rows[1:],
        "unzip_s": rows[0]["unzip_s"],
        "epoch_s": median(end - start for start, end in zip(starts, ends, strict=True)),
        "reached_s": reached,
        "seconds": done.seconds,
        "peak_mb": done.peak_mb,
    }


def start_up(folder: Path) -> dict[str, float]:
    """Seconds that each stage needs before it does any work: until it says that its input is not there."""
    empty = folder / "empty"
    empty.mkdir()
    shutil.copy(folder / "params.yaml", empty)
    return {name: median(stage(name, empty, may_fail=True).seconds for _ in range(3)) for name in STAGES[1:]}


def nothing_to_do(folder: Path) -> dict[str, float]:
    """Seconds of `dvc status`, and of `dvc repro` where nothing has changed."""
    dvc = [sys.executable, "-m", "dvc"]
    ran([*dvc, "commit", "--force", "--quiet"], folder)
    ran([*dvc, "repro", "--quiet"], folder)  # what DVC's caches miss the first time
    commands = {"dvc status": [*dvc, "status"], "dvc repro": [*dvc, "repro"]}
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(5):
        for name, command in commands.items():
            times[name].append(ran(command, folder).seconds)
    return {name: median(seconds) for name, seconds in times.items()}


def training_steps() -> dict[str, float]:
    """Images a second of two epochs of training, and of a bare loop on one batch of them, taking turns."""
    params = load()
    fabric = make_fabric(params.train)
    records, train = read_part(PREPARED, SPLIT, "train"), params.train
    crops = Crops(records, PREPARED, train, epochs=3, seed=params.seed)  # one more, for the warm-up
    net = make_net(train.arch, train.encoder_name, train.instance_target)
    kept = checkpoint.Checkpoint("bench", Path(tempfile.gettempdir()))
    training = Training(net, crops, first_settings(params), train, fabric, kept)
    batches = training.batches(first=0)
    steps = training.steps_per_epoch // BLOCK * BLOCK
    bare, warm_up = None, next(batches)
    training.step(warm_up, 1)
    times: dict[str, list[float]] = {"first epoch": [], "second epoch": [], "bare": []}
    for epoch, name in enumerate(("first epoch", "second epoch"), start=1):
        for _ in range(steps // BLOCK):
            start, images = perf_counter(), 0
            for _ in range(BLOCK):
                batch = next(batches)
                training.step(batch, epoch)
                images += len(batch[0])
            times[name].append((perf_counter() - start) / images)
            bare = bare or bare_steps(net, warm_up, training)
            start = perf_counter()
            for _ in range(BLOCK):
                next(bare)
            times["bare"].append((perf_counter() - start) / (BLOCK * len(warm_up[0])))
    return {name: 1 / median(seconds) for name, seconds in times.items()}


def bare_steps(net: NucleusNet, batch: Sequence[torch.Tensor], training: Training) -> Iterator[None]:
    """Forward, loss, backward and optimiser on a batch that lies in memory, again and again."""
    image, foreground, maps, _ = batch
    image = image.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.0, fused=True)
    while True:
        with training.fabric.autocast():
            logits, predicted = net(image)
        loss = training.loss(logits.float(), foreground)
        if predicted is not None:
            loss = loss + (predicted.float().sigmoid() - maps).abs().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        yield


def inference(records: Sequence[Record]) -> dict[str, float]:
    """Pixels a second of the validation of an epoch, and of a bare forward pass over the same images, taking turns."""
    params = load()
    segmenter = Segmenter.load("data/model", device="cpu")
    crops = Crops(records, PREPARED, params.train, epochs=1, seed=0)
    kept = checkpoint.Checkpoint("bench", Path(tempfile.gettempdir()))
    training = Training(segmenter.net, crops, segmenter.settings, params.train, make_fabric(params.train), kept)
    times: dict[str, list[float]] = {"validation": [], "bare": []}
    for first in range(0, len(records), BLOCK):
        some = records[first : first + BLOCK]
        pixels = sum(record.height * record.width for record in some)
        inputs = [network_input(segmenter, record) for record in some]

        def forward(inputs: list[torch.Tensor] = inputs) -> None:
            with (
                torch.inference_mode(),
                torch.autocast("cpu", segmenter.dtype, enabled=segmenter.dtype != torch.float32),
            ):
                for image in inputs:
                    segmenter.net.predict(image)

        def validation(some: Sequence[Record] = some) -> None:
            validate(segmenter, some, training)
            segmenter.net.eval()

        for name, work in (("bare", forward), ("validation", validation), ("bare", forward)):
            times[name].append(timed(work) / pixels)
    return {name: 1 / median(seconds) for name, seconds in times.items()}


def network_input(segmenter: Segmenter, record: Record) -> torch.Tensor:
    """An image as the network takes it in validation: brought to size, padded, in memory."""
    settings = segmenter.settings
    rgb = normalise_percentiles(
        read_rgb(image_path(PREPARED, record.id)), settings.normalise_low, settings.normalise_high
    )
    if settings.diameter_px is not None:
        labels = read_labels(label_path(PREPARED, record.id))
        rgb = zoomed_image(rgb, zoom_to(settings.diameter_px, diameter(labels)))
    padding = [(0, -size % STRIDE) for size in rgb.shape[:2]]
    tensor = to_tensor(np.pad(rgb, [*padding, (0, 0)], mode="symmetric"))[None]
    return tensor.contiguous(memory_format=torch.channels_last)


def timed(work: Callable[[], None]) -> float:
    start = perf_counter()
    work()
    return perf_counter() - start


def segmenting(folder: Path, records: Sequence[Record]) -> tuple[Ran, float]:
    """`segment.py` over images, and the seconds that it takes for a single small one."""
    images, single = folder / "segment/all", folder / "segment/one"
    for place, some in ((images, records), (single, records[:1])):
        place.mkdir(parents=True)
        for record in some:
            shutil.copy(image_path(folder / PREPARED, record.id), place)
    command = [sys.executable, ROOT / "stages/segment.py", "-o", "segment/out", "--device", "cpu"]
    one = ran([*command, single], folder)
    return ran([*command, images], folder), one.seconds


def table(found: dict[str, Any]) -> str:
    """The measurements as one Markdown table: ours, what stands beside it, and how many times better ours is."""
    rows: list[tuple[str, str, str, str]] = []

    def row(what: str, ours: float, unit: str, beside: float | None, against: str, *, higher: bool = False) -> None:
        ratio = "" if beside is None else f"{ours / beside if higher else beside / ours:.2f}"
        other = "" if beside is None else f"{beside:,.4g} ({against})"
        rows.append((what, f"{ours:,.4g} {unit}", other, ratio))

    stages, theirs, quality = found["stages"], found["notebook"], found["val"]
    row("train, whole stage", stages["train"]["seconds"], "s", theirs["epoch_s"], "one epoch of the notebook")
    if theirs["reached_s"]:
        row("train, whole stage", stages["train"]["seconds"], "s", theirs["reached_s"], "notebook, to its own result")
    row("val Dice after it", quality["dice"], "", theirs["epochs"][-1]["val_dice"], "notebook", higher=True)
    row("val IoU after it", quality["iou"], "", theirs["epochs"][-1]["val_iou"], "notebook", higher=True)
    row("an epoch", found["epoch_s"], "s", theirs["epoch_s"], "notebook")
    row("memory of training", stages["train"]["peak_mb"], "MiB", theirs["peak_mb"], "notebook")
    for name in ("first epoch", "second epoch"):
        rate, bare = found["steps"][name], found["steps"]["bare"]
        row(f"training step, {name}", rate, "images/s", bare, "bare loop", higher=True)
    bare = found["inference"]["bare"] / 1e6
    row("validation", found["inference"]["validation"] / 1e6, "Mpx/s", bare, "bare forward pass", higher=True)
    row("evaluate", found["evaluate_px_s"] / 1e6, "Mpx/s", bare, "bare forward pass", higher=True)
    row("segment.py", found["segment_px_s"] / 1e6, "Mpx/s", bare, "bare forward pass", higher=True)
    row("dvc repro, nothing to do", found["idle"]["dvc repro"], "s", found["idle"]["dvc status"], "dvc status")
    for name, done in stages.items():
        row(f"stage {name}", done["seconds"], "s", None, "")
        row(f"stage {name}, memory", done["peak_mb"], "MiB", None, "")
        if name in found["start_up"]:
            row(f"stage {name}, start-up in it", found["start_up"][name], "s", None, "")
    widths = [max(len(cells[column]) for cells in rows) for column in range(4)]
    head = tuple(text.ljust(width) for text, width in zip(("", "pipeline", "beside it", "ratio"), widths, strict=True))
    lines = [head, tuple("-" * width for width in widths), *rows]
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))} |" for cells in lines
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default="sample", help="as `data` in params.yaml")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--notebook-epochs", type=int, default=1)
    parser.add_argument("--json", type=Path, default=Path("bench.json"))
    given = parser.parse_args()
    data = str(Path(given.data).resolve()) if Path(given.data).exists() else given.data
    out = given.json.resolve()
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        folder = Path(temporary) / "clone"
        clone(folder, data, given.epochs)
        found = measured(folder, given.notebook_epochs)
    found["machine"] = {"cpu": cpu_model(), "cores": cores(), "torch": torch.__version__}
    found["data"], found["train_epochs"] = given.data, given.epochs
    out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    kind = "synthetic sample" if given.data == "sample" else Path(given.data).name
    print(f"\n{cpu_model()}, {cores()} cores, torch {torch.__version__}; {kind}, {given.epochs} epochs\n")
    print(table(found))


def measured(folder: Path, notebook_epochs: int) -> dict[str, Any]:
    """Run everything in a clone and return what was measured."""
    stages: dict[str, Ran] = {}
    for name in STAGES:
        print(f"stage {name}", file=sys.stderr, flush=True)
        stages[name] = stage(name, folder)
    epochs = [line for line in stages["train"].lines if "train loss" in line]
    print("the notebook", file=sys.stderr, flush=True)
    theirs = notebook(folder, notebook_epochs)
    print("start-up", file=sys.stderr, flush=True)
    begun = start_up(folder)
    idle = nothing_to_do(folder)
    records = [record for part in ("val", "test") for record in read_part(folder / PREPARED, folder / SPLIT, part)]
    pixels = sum(record.height * record.width for record in records)
    print("parts", file=sys.stderr, flush=True)
    all_images, one_image = segmenting(folder, records)
    os.chdir(folder)
    keep_freed_memory()
    return {
        "stages": {name: {"seconds": done.seconds, "peak_mb": done.peak_mb} for name, done in stages.items()},
        "epoch_s": median(float(line.rsplit(" ", 2)[-2]) for line in epochs),
        "val": json.loads((folder / "reports/metrics.json").read_text(encoding="utf-8"))["val"],
        "notebook": theirs,
        "start_up": begun,
        "idle": idle,
        "evaluate_px_s": pixels / (stages["evaluate"].seconds - begun["evaluate"]),
        "segment_px_s": pixels / (all_images.seconds - one_image),
        "inference": inference(records),
        "steps": training_steps(),
    }


if __name__ == "__main__":
    main()
