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
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "stages"))

from nuclei.base.machine import cores, cpu_model, keep_freed_memory
from nuclei.export import graph
from nuclei.export.engine import OnnxNet
from nuclei.images.io import read_labels, read_rgb
from nuclei.images.records import image_path, label_path, read_part
from nuclei.network.normalisation import normalise_percentiles, to_tensor
from nuclei.network.runtime import INPUT, STRIDE, session
from nuclei.network.segmenter import Segmenter, Settings
from nuclei.scores.matching import match

PREPARED, SPLIT = Path("data/prepared"), Path("data/split.csv")
CROP_PX = 256  # of what calibrates


class Crops(CalibrationDataReader):  # type: ignore[misc]
    """The upper left corners of images, normalised, one after the other."""

    def __init__(self, paths: list[Path], settings: Settings) -> None:
        self.crops = ({INPUT: crop(read_rgb(path), settings)} for path in paths)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.crops, None)


def crop(rgb: np.ndarray, settings: Settings) -> np.ndarray:
    """(1, 3, H, W), H and W multiples of 32, at most CROP_PX."""
    normalised = normalise_percentiles(rgb, settings.normalise_low, settings.normalise_high)
    height, width = (min(side, CROP_PX) // STRIDE * STRIDE for side in rgb.shape[:2])
    return to_tensor(normalised[:height, :width])[None].numpy()


def quantise(source: Path, path: Path, settings: Settings, paths: list[Path]) -> None:
    """Make the convolutions of a graph 8-bit, statically: their ranges are those that the images show."""
    prepared = path.with_name("prepared.onnx")
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    quantize_static(
        str(prepared),
        str(path),
        Crops(paths, settings),
        op_types_to_quantize=["Conv"],
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


class OpenVino:
    """A graph compiled by OpenVINO, with the interface of ONNX Runtime."""

    def __init__(self, path: Path, threads: int, precision: str) -> None:
        import openvino

        hints = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
        self.compiled = openvino.Core().compile_model(path, "CPU", hints)

    def run(self, names: None, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        return list(self.compiled(np.ascontiguousarray(inputs[INPUT])).to_tuple())


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
        training = [image_path(PREPARED, record.id) for record in read_part(PREPARED, SPLIT, "train")]
        every = max(len(training) // arguments.calibration, 1)
        quantise(whole, small, settings, training[::every][: arguments.calibration])
        engines = {
            "torch float32": Segmenter(deepcopy(model.net), settings),
            "torch bfloat16": Segmenter(deepcopy(model.net), replace(settings, precision="bf16-mixed")),
            "ONNX Runtime float32": Segmenter(OnnxNet(session(whole, arguments.threads)), settings),
            "ONNX Runtime int8": Segmenter(OnnxNet(session(small, arguments.threads)), settings),
        }
        try:
            for name, path, precision in (
                ("OpenVINO float32", whole, "f32"),
                ("OpenVINO bfloat16", whole, "bf16"),
                ("OpenVINO int8", small, "f32"),
            ):
                engines[name] = Segmenter(OnnxNet(OpenVino(path, arguments.threads, precision)), settings)
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
