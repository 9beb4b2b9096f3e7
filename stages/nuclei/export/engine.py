"""An exported graph in use: ONNX Runtime predicts in torch's place, everything else stays as it is.

It computes in float32, on the CPU, and gives torch's label maps in less time: docs/export.md.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from nuclei.base.errors import InputError
from nuclei.base.params import checked
from nuclei.export import graph
from nuclei.network.model import NucleusNet
from nuclei.network.runtime import computed, session
from nuclei.network.segmenter import Segmenter, Settings

FIX = "export it again: stages/export.py"


class OnnxNet(nn.Module):
    """What `predict_maps` needs of a network, computed by ONNX Runtime on the CPU."""

    def __init__(self, session: Any) -> None:
        super().__init__()
        self.session = session
        self.place = nn.Parameter(torch.empty(0))  # says that this network is on the CPU

    def predict(self, image: Tensor) -> Tensor:
        """Map normalised images (B, 3, H, W) to (B, 1 + C, H, W) float32."""
        return computed(self.session, image)


def open_model(path: Path, device: str = "auto") -> Segmenter:
    """Open the folder of a trained model, for torch, or the .onnx file of an exported one, for ONNX Runtime.

    Raises:
        InputError: there is no such model, it is damaged, or a graph is to run on another device than the CPU.
    """
    if path.suffix != ".onnx":
        return Segmenter.load(path, device=device)
    if device not in ("auto", "cpu"):
        fix = "leave the device out, or give the folder of the model"
        raise InputError("an exported model runs on the CPU", file=path, got=f"the device {device}", fix=fix)
    return load(path)


def load(path: Path, threads: int = 0) -> Segmenter:
    """Open a file that `graph.write` wrote; `threads`: 0 for as many as there are cores.

    The model segments as `Segmenter.load` has it, in float32. It can be neither trained nor saved.

    Raises:
        InputError: the file is missing, damaged, or not one of this project's.
    """
    if not path.is_file():
        raise InputError("there is no exported model", file=path, fix=FIX)
    try:
        opened = session(path, threads)
        said = opened.get_modelmeta().custom_metadata_map[graph.SETTINGS]
    except KeyError:
        got = "a graph without the settings of a model"
        raise InputError("the file is not an exported model", file=path, got=got, fix=FIX) from None
    except Exception as error:  # of ONNX Runtime, which has an exception of its own for each kind of damage
        got = str(error).splitlines()[0][:200]
        raise InputError("the exported model can not be read", file=path, got=got, fix=FIX) from None
    settings = replace(checked(Settings, json.loads(said), path), precision="32-true")
    return Segmenter(cast(NucleusNet, OnnxNet(opened)), settings)
