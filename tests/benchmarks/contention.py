"""How long training and prediction take alone and beside a busy process, for several spin counts of libgomp.

    python tests/benchmarks/contention.py [--rounds 15] [--encoders resnet34 timm-tf_efficientnet_lite0]

Each setting has a process of its own, because libgomp reads the environment once. They take turns, one step at a time,
so that all of them meet the same state of the machine; the medians are printed, relative to libgomp's default alone.
Run it with nothing else on the machine. The spin count of nuclei.base.machine is in the table.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter

STAGES = Path(__file__).parents[2] / "stages"
SETTINGS: dict[str, dict[str, str]] = {
    "default (300,000)": {"GOMP_SPINCOUNT": "300000"},
    **{f"{count:,}": {"GOMP_SPINCOUNT": str(count)} for count in (100_000, 30_000, 10_000, 3_000, 1_000, 0)},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
}
TASKS = ("train", "predict")


def work(encoder: str, batch: int) -> None:
    """Do one step for each line that is read, `train` or `predict`, and answer with its seconds."""
    sys.path.insert(0, str(STAGES))
    import torch

    from nuclei.base.machine import keep_freed_memory
    from nuclei.network.model import NucleusNet
    from nuclei.train.losses import DiceBCELoss

    keep_freed_memory()
    torch.manual_seed(0)
    net = NucleusNet("Unet", encoder, map_channels=1).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.0, fused=True)
    loss = DiceBCELoss(0.5)
    crops = torch.randn(batch, 3, 96, 96).contiguous(memory_format=torch.channels_last)
    image = torch.randn(1, 3, 256, 256).contiguous(memory_format=torch.channels_last)
    truth = (torch.rand(batch, 1, 96, 96) > 0.7).float()
    print("ready", flush=True)
    for line in sys.stdin:
        start = perf_counter()
        if line.strip() == "train":
            logits, maps = net.train()(crops)
            (loss(logits, truth) + maps.sigmoid().mean()).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        else:
            with torch.inference_mode():
                net.eval().predict(image)
        print(perf_counter() - start, flush=True)


@contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes that never wait."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def start(setting: str, encoder: str, batch: int) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    worker = subprocess.Popen(
        [sys.executable, __file__, "--worker", encoder, str(batch)],
        env={**environment, **SETTINGS[setting]},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert worker.stdout is not None
    assert worker.stdout.readline() == "ready\n"
    return worker


def seconds(worker: subprocess.Popen[str], task: str) -> float:
    assert worker.stdin is not None
    assert worker.stdout is not None
    print(task, file=worker.stdin, flush=True)
    return float(worker.stdout.readline())


def measure(encoder: str, batch: int, rounds: int) -> None:
    workers = {setting: start(setting, encoder, batch) for setting in SETTINGS}
    times: dict[tuple[str, str, int], list[float]] = {}
    for task in TASKS:
        for worker in workers.values():
            seconds(worker, task)  # the first is slower
        for count in (0, 1):
            with busy(count):
                for _ in range(rounds):
                    for setting, worker in workers.items():
                        times.setdefault((setting, task, count), []).append(seconds(worker, task))
    for worker in workers.values():
        worker.kill()
        worker.wait()
    medians = {key: median(values) for key, values in times.items()}
    first = next(iter(SETTINGS))
    print(f"\n{encoder}, {batch} crops of 96 px; one image of 256 px; {rounds} rounds; {os.cpu_count()} cores")
    print(f"{'spin count':<20}" + "".join(f"{f'{task}: alone, beside':>32}" for task in TASKS))
    for setting in SETTINGS:
        cells = []
        for task in TASKS:
            unit = medians[first, task, 0]
            alone, beside = (medians[setting, task, count] for count in (0, 1))
            cells.append(f"{alone:8.3f} s {alone / unit:5.2f} {beside:8.3f} s {beside / unit:5.2f}")
        print(f"{setting:<20}" + "".join(cells), flush=True)


def main() -> None:
    if sys.argv[1:2] == ["--worker"]:
        work(sys.argv[2], int(sys.argv[3]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--encoders", nargs="+", default=["resnet34", "timm-tf_efficientnet_lite0"])
    arguments = parser.parse_args()
    for encoder in arguments.encoders:
        measure(encoder, arguments.batch, arguments.rounds)


if __name__ == "__main__":
    main()
