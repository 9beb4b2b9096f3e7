"""The network as an ONNX graph, which ONNX Runtime, OpenVINO and programs without Python run."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from nuclei.base import files
from nuclei.base.errors import InputError
from nuclei.network.inference import STRIDE
from nuclei.network.model import NucleusNet
from nuclei.network.segmenter import Segmenter, Settings

OPSET = 18  # of 2022, so that old programs can read it
INPUT, FOREGROUND = "image", "probability"
SETTINGS = "nuclei"  # the key of the model's settings, as JSON, in the file's metadata
TOLERANCE = 1e-4  # between the graph's outputs and torch's, both in float32


class Outputs(nn.Module):
    """The network's prediction with one output for each map."""

    def __init__(self, net: NucleusNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) to tensors of (B, 1, H, W)."""
        return self.net.predict(image).split(1, dim=1)


def write(segmenter: Segmenter, path: Path) -> float:
    """Write a model's network as one ONNX file that holds its weights, and the model's settings as metadata.

    The graph takes `image`, (B, 3, H, W) float32, normalised as `nuclei.network.normalisation` does, with any H and W
    that are multiples of 32, and gives `probability` and, with a second head, its map under the name of its target:
    each (B, 1, H, W) float32 in [0, 1].

    Returns:
        The largest difference between an output of the graph in ONNX Runtime and torch's, on noise.

    Raises:
        InputError: as `export`.
    """
    metadata = {SETTINGS: json.dumps(asdict(segmenter.settings))}
    return export(Outputs(segmenter.net), output_names(segmenter.settings), path, metadata)


def output_names(settings: Settings) -> list[str]:
    """The graph's outputs in their order: `probability`, then what the second head predicts, as `distance`."""
    return [FOREGROUND, *([] if settings.instance_target == "none" else [settings.instance_target])]


def export(
    net: nn.Module,
    names: Sequence[str],
    path: Path,
    metadata: Mapping[str, str] | None = None,
    *,
    jump: float | None = None,
) -> float:
    """Write a module as an ONNX file, and compare it with the module before the file takes its name.

    The file's bytes depend on the weights, the metadata and the versions of torch and ONNX alone.

    Args:
        net: takes (B, 3, H, W) and returns a tuple of tensors of (B, 1, H, W); it comes back on the CPU.
        names: of the outputs.
        path: of the file.
        metadata: written into the file.
        jump: the value of the first output at which the others are not continuous: where it is within TOLERANCE of
            this value, they are not compared, because rounding decides on which side they are.

    Returns:
        The largest difference between an output of the graph in ONNX Runtime and torch's, on noise.

    Raises:
        InputError: the graph computes something else than the module.
    """
    net = net.eval().to("cpu").to(memory_format=torch.contiguous_format)
    sizes = {0: "batch", 2: "rows", 3: "cols"}
    with files.replacing(path) as temporary:
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")  # of a deprecated exporter, and of padding computed while tracing
            # The newer exporter computes with sizes as symbols, which takes it many minutes for encoders that pad like
            # TensorFlow. Tracing takes their padding at one size, and every multiple of 32 has the same.
            torch.onnx.export(
                net,
                (torch.zeros(2, 3, 2 * STRIDE, 3 * STRIDE),),
                temporary,
                input_names=[INPUT],
                output_names=names,
                opset_version=OPSET,
                dynamic_axes=dict.fromkeys([INPUT, *names], sizes),
                dynamo=False,
            )
        model = onnx.load_model(temporary)
        onnx.helper.set_model_props(model, dict(metadata or {}))
        onnx.checker.check_model(model, full_check=True)
        temporary.write_bytes(model.SerializeToString(deterministic=True))
        difference = _difference(net, names, temporary, jump)
        if difference > TOLERANCE:
            raise InputError(
                "the exported graph does not compute what the network does",
                file=path,
                got=f"a difference of {difference:.2g}",
                expected=f"at most {TOLERANCE:g}",
                fix="export a network of another train.arch or train.encoder_name",
            )
    return difference


def session(path: Path, threads: int = 0) -> onnxruntime.InferenceSession:
    """Open a graph in ONNX Runtime on the CPU; `threads`: 0 for as many as there are cores."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _difference(net: nn.Module, names: Sequence[str], path: Path, jump: float | None) -> float:
    """The largest difference between the outputs of a graph and of a module, on noise of sizes not traced."""
    opened, random = session(path), torch.Generator().manual_seed(0)
    differences = []
    for batch, rows, cols in ((1, 1, 1), (1, 3, 5), (3, 4, 2)):
        noise = torch.randn(batch, 3, rows * STRIDE, cols * STRIDE, generator=random)
        with torch.inference_mode():
            expected = net(noise)
        found = opened.run(list(names), {INPUT: noise.numpy()})
        off = [np.abs(one - other.numpy()) for one, other in zip(found, expected, strict=True)]
        certain = np.full(off[0].shape, True) if jump is None else np.abs(found[0] - jump) > TOLERANCE
        differences += [off[0].max(), *(other.max(where=certain, initial=0) for other in off[1:])]
    return float(max(differences))
