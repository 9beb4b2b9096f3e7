"""What another engine than torch is worth: speed, agreement and mAP on val, every engine on each image in turn.

    python tests/benchmarks/engines.py MODEL [--images 66] [--calibration 48] [--threads 2] [--clock wall]

It runs in a workspace with data/prepared and data/split.csv: train images calibrate the 8-bit graph, val images are
segmented, without flips whatever the model says. OpenVINO takes part where it is installed. `--clock cpu` counts
processor time, for a machine with other work to do; use it with `--threads 1`. To see how torch and OpenVINO do on a
processor without AVX-512, set ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2; ONNX Runtime has no such switch.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "stages"))

from nuclei.base.machine import cores, cpu_model, keep_freed_memory
from nuclei.export import graph, quantise
from nuclei.images.io import read_labels, read_rgb
from nuclei.images.records import image_path, label_path, read_part
from nuclei.network.segmenter import Segmenter
from nuclei.scores.matching import match

PREPARED, SPLIT = Path("data/prepared"), Path("data/split.csv")


class Engine(nn.Module):
    """A compiled graph in the network's place."""

    def __init__(self, run: object) -> None:
        super().__init__()
        self.run, self.nothing = run, nn.Parameter(torch.empty(0))

    def predict(self, image: Tensor) -> Tensor:
        return torch.from_numpy(np.concatenate(self.run(image.numpy()), 1))


def onnx_runtime(path: Path, threads: int) -> Engine:
    session = graph.session(path, threads)
    return Engine(lambda image: session.run(None, {graph.INPUT: image}))


def openvino(path: Path, threads: int, precision: str) -> Engine:
    import openvino as ov

    hints = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
    compiled = ov.Core().compile_model(path, "CPU", hints)
    return Engine(lambda image: list(compiled(np.ascontiguousarray(image)).to_tuple()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--images", type=int, default=66)
    parser.add_argument("--calibration", type=int, default=48)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    arguments = parser.parse_args()
    clock = time.perf_counter if arguments.clock == "wall" else time.process_time
    keep_freed_memory()
    torch.set_num_threads(arguments.threads)
    model = Segmenter.load(arguments.model, device="cpu")
    settings = replace(model.settings, flips=False, precision="32-true")
    with tempfile.TemporaryDirectory() as folder:
        whole, small = Path(folder) / "model.onnx", Path(folder) / "int8.onnx"
        graph.write(model, whole)
        images = (read_rgb(image_path(PREPARED, record.id)) for record in read_part(PREPARED, SPLIT, "train"))
        quantise.write(whole, small, settings, list(images), count=arguments.calibration)
        engines = {
            "torch float32": Segmenter(model.net, settings),
            "torch bfloat16": Segmenter(model.net, replace(settings, precision="bf16-mixed")),
            "ONNX Runtime float32": Segmenter(onnx_runtime(whole, arguments.threads), settings),
            "ONNX Runtime int8": Segmenter(onnx_runtime(small, arguments.threads), settings),
        }
        try:
            for name, path, precision in (
                ("OpenVINO float32", whole, "f32"),
                ("OpenVINO bfloat16", whole, "bf16"),
                ("OpenVINO int8", small, "f32"),
            ):
                engines[name] = Segmenter(openvino(path, arguments.threads, precision), settings)
        except (ImportError, RuntimeError) as error:  # RuntimeError: no bfloat16 on this processor
            print(f"left out: {name}, {type(error).__name__}")
        compare(engines, clock, arguments.images)
    capability = torch.backends.cpu.get_cpu_capability()
    print(f"{cpu_model()}, torch uses {capability}, {arguments.threads} threads, {arguments.clock} clock")


def compare(engines: dict[str, Segmenter], clock: object, count: int) -> None:
    """Segment `count` val images with each engine in turn, and print a row for each."""
    records = read_part(PREPARED, SPLIT, "val")[:count]
    warm_up = np.zeros((256, 256, 3), np.uint8)
    for segmenter in engines.values():
        segmenter.maps(warm_up)
    seconds, difference, equal, scores = ({name: [] for name in engines} for _ in range(4))
    for record in records:
        rgb, truth = read_rgb(image_path(PREPARED, record.id)), read_labels(label_path(PREPARED, record.id))
        found = {}
        for name, segmenter in engines.items():
            start = clock()
            maps = segmenter.maps(rgb)
            seconds[name].append(clock() - start)
            found[name] = (maps, segmenter.label(maps))
            scores[name].append(match(truth, found[name][1]).map)
        first, labels = found["torch float32"]
        for name, (maps, other) in found.items():
            difference[name].append(np.abs(maps - first).max())
            equal[name].append(np.array_equal(labels, other))
    megapixels = sum(record.height * record.width for record in records) / 1e6
    print("| engine | seconds a megapixel | times as fast | largest difference | label maps equal | mAP |")
    print("|---|---|---|---|---|---|")
    base = np.array(seconds["torch float32"])
    for name in engines:
        print(
            f"| {name} | {sum(seconds[name]) / megapixels:.2f} | {np.median(base / np.array(seconds[name])):.2f} |"
            f" {max(difference[name]):.1e} | {sum(equal[name])} of {len(records)} | {np.nanmean(scores[name]):.4f} |"
        )


if __name__ == "__main__":
    main()
