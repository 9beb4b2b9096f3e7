"""An exported graph segments as torch does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import draw_discs
from made_up import SETTINGS
from nuclei.base.errors import InputError
from nuclei.export import engine, graph
from nuclei.network.segmenter import Segmenter, make_net


def test_the_label_map_of_an_exported_model_is_torchs(tmp_path: Path) -> None:
    torch.manual_seed(0)
    settings = replace(SETTINGS, encoder_name="resnet18", flips=True, diameter_px=25.0, precision="32-true")
    segmenter = Segmenter(make_net("Unet", "resnet18", "distance"), settings)
    rgb, _ = draw_discs(0, 70, 90)
    segmenter.settings = replace(settings, foreground=round(float(np.median(segmenter.maps(rgb)[0])), 3), min_area_px=4)
    graph.write(segmenter, tmp_path / "model.onnx")
    loaded = engine.open_model(tmp_path / "model.onnx")
    assert isinstance(loaded.net, engine.OnnxNet)
    assert loaded.settings == segmenter.settings
    labels = loaded.segment(rgb)
    assert labels.max() > 1
    np.testing.assert_array_equal(labels, segmenter.segment(rgb))


def test_a_graph_on_another_device_than_the_cpu_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"runs on the CPU(.|\n)*the device cuda"):
        engine.open_model(tmp_path / "model.onnx", "cuda")


def test_a_graph_of_another_origin_is_no_model(tmp_path: Path) -> None:
    class Nothing(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor]:
            return (image[:, :1] * 2,)

    graph.export(Nothing(), ["probability"], tmp_path / "model.onnx")
    with pytest.raises(InputError, match="without the settings of a model"):
        engine.load(tmp_path / "model.onnx")


def test_a_damaged_file_and_none_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with pytest.raises(InputError, match="there is no exported model"):
        engine.load(path)
    path.write_bytes(b"no graph")
    with pytest.raises(InputError, match="the exported model can not be read"):
        engine.load(path)
