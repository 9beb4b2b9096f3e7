"""A network's graph in an ONNX file, which ONNX Runtime, OpenVINO and programs without Python run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from nuclei.base import files
from nuclei.base.errors import InputError
from nuclei.network.model import NucleusNet
from nuclei.network.runtime import TOLERANCE, difference, session, traced
from nuclei.network.segmenter import Segmenter, Settings

FOREGROUND = "probability"
SETTINGS = "nuclei"  # the key of the model's settings, as JSON, in the file's metadata

NOISE = ((1, 1, 1), (1, 3, 5), (3, 4, 2))  # sizes of what compares a graph with torch, see `difference`


class Outputs(nn.Module):
    """The network's prediction with one output for each map."""

    def __init__(self, net: NucleusNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) to tensors of (B, 1, H, W)."""
        return self.net.maps(image).split(1, dim=1)


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
        jump: see `difference`.

    Returns:
        The largest difference between an output of the graph in ONNX Runtime and torch's, on noise.

    Raises:
        InputError: the graph computes something else than the module.
    """
    net = net.eval().to("cpu").to(memory_format=torch.contiguous_format)
    with files.replacing(path) as temporary:
        model = onnx.load_model_from_string(traced(net, names))
        onnx.helper.set_model_props(model, dict(metadata or {}))
        onnx.checker.check_model(model, full_check=True)
        temporary.write_bytes(model.SerializeToString(deterministic=True))
        found = difference(net, names, session(temporary), NOISE, jump)
        if found > TOLERANCE:
            raise InputError(
                "the exported graph does not compute what the network does",
                file=path,
                got=f"a difference of {found:.2g}",
                expected=f"at most {TOLERANCE:g}",
                fix="export a network of another train.arch or train.encoder_name",
            )
    return found
