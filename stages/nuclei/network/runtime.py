"""The network as an ONNX graph. On a CPU, ONNX Runtime computes it in less time than torch: see docs/speed.md."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from nuclei.network.upsampling import joined

Net = TypeVar("Net", bound=nn.Module)

OPSET = 18  # of 2022, so that old programs can read it
INPUT = "image"
STRIDE = 32  # the network halves its input five times
TOLERANCE = 1e-4  # between the graph's outputs and torch's, both in float32


class Maps(nn.Module):
    """A network as a module with one output."""

    def __init__(self, net: nn.Module, maps: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.net, self.maps = net, maps

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) to a tensor of (B, C, H, W)."""
        return (self.maps(self.net, image),)


def traced(net: nn.Module, names: Sequence[str]) -> bytes:
    """The contents of an ONNX file that computes what a module does, with any batch, height and width.

    Args:
        net: takes (B, 3, H, W) and returns a tuple of tensors of (B, C, H, W); on the CPU, in the default memory format
            and in evaluation mode.
        names: of the outputs.
    """
    sizes, written = {0: "batch", 2: "rows", 3: "cols"}, BytesIO()
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # of a deprecated exporter, and of padding computed while tracing
        # The newer exporter computes with sizes as symbols, which takes it many minutes for encoders that pad like
        # TensorFlow. Tracing takes their padding at one size, and every multiple of 32 has the same.
        torch.onnx.export(
            net,
            (torch.zeros(2, 3, 2 * STRIDE, 3 * STRIDE),),
            written,  # type: ignore[arg-type]  # the annotation has left it out
            input_names=[INPUT],
            output_names=names,
            opset_version=OPSET,
            dynamic_axes=dict.fromkeys([INPUT, *names], sizes),
            dynamo=False,
        )
    return written.getvalue()


def session(graph: Path | bytes, threads: int = 0) -> onnxruntime.InferenceSession:
    """Open an ONNX file, or the contents of one, on the CPU; `threads`: 0 for as many as there are cores."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # while its threads wait they sleep, as those of torch do: see `machine.share_cores`
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    source = graph if isinstance(graph, bytes) else str(graph)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def computed(opened: onnxruntime.InferenceSession, image: Tensor) -> Tensor:
    """What a graph returns of an image (B, 3, H, W): (B, C, H, W) float32, its outputs side by side."""
    return torch.from_numpy(np.concatenate(opened.run(None, {INPUT: image.numpy()}), axis=1))


def difference(
    net: nn.Module,
    names: Sequence[str],
    opened: onnxruntime.InferenceSession,
    sizes: Sequence[tuple[int, int, int]],
    jump: float | None = None,
) -> float:
    """The largest difference between the outputs of a graph and of a module, on noise.

    Args:
        net, names: as for `traced`.
        opened: the graph.
        sizes: of the noise: B, and H and W in multiples of 32; not those that were traced.
        jump: the value of the first output at which the others are not continuous: where it is within TOLERANCE of
            this value, they are not compared, because rounding decides on which side they are.
    """
    random, differences = torch.Generator().manual_seed(0), []
    for batch, rows, cols in sizes:
        noise = torch.randn(batch, 3, rows * STRIDE, cols * STRIDE, generator=random)
        with torch.inference_mode():
            expected = net(noise)
        found = opened.run(list(names), {INPUT: noise.numpy()})
        off = [np.abs(one - other.numpy()) for one, other in zip(found, expected, strict=True)]
        certain = np.full(off[0].shape, True) if jump is None else np.abs(found[0] - jump) > TOLERANCE
        differences += [off[0].max(), *(other.max(where=certain, initial=0) for other in off[1:])]
    return float(max(differences))


def in_onnx_runtime(net: Net, maps: Callable[[Net, Tensor], Tensor]) -> Callable[[Tensor], Tensor] | None:
    """A network's maps, computed by ONNX Runtime with as many threads as torch; None where it can not compute them.

    Args:
        net: on the CPU, in evaluation mode. Later changes of its weights do not show in what is returned.
        maps: called with a network and an image (B, 3, H, W), float32; returns (B, C, H, W).
    """
    copied = Maps(deepcopy(net).to(memory_format=torch.contiguous_format), maps).eval()
    try:
        opened = session(traced(joined(copied), ["maps"]), torch.get_num_threads())
        same = difference(copied, ["maps"], opened, [(1, 3, 5)]) <= TOLERANCE
    except Exception:  # of the exporter and of ONNX Runtime, which have no common one for what they do not know
        return None
    return partial(computed, opened) if same else None
