"""The network as an ONNX graph computes what torch computes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from conftest import ROOT
from made_up import SETTINGS
from nuclei.base.errors import InputError
from nuclei.export import graph
from nuclei.network.runtime import INPUT
from nuclei.network.segmenter import Segmenter, make_net

SMALL = replace(SETTINGS, encoder_name="resnet18", precision="32-true")


class Twice(nn.Module):
    """A module with one weight, to export in no time."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return (image[:, :1] * self.weight,)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Segmenter, Path, float]:
    """A model with random weights, its graph, and the difference that `write` found."""
    torch.manual_seed(0)
    segmenter = Segmenter(make_net("Unet", "resnet18", "distance"), SMALL)
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    return segmenter, path, graph.write(segmenter, path)


@pytest.mark.parametrize("shape", [(1, 32, 32), (1, 96, 64), (3, 64, 160)])
def test_onnx_runtime_gives_what_torch_gives_at_any_size(
    exported: tuple[Segmenter, Path, float], shape: tuple[int, int, int]
) -> None:
    segmenter, path, _ = exported
    batch, height, width = shape
    image = torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = segmenter.net.predict(image).numpy()
    session = onnxruntime.InferenceSession(str(path))
    found = session.run(["probability", "distance"], {"image": image.numpy()})
    np.testing.assert_allclose(np.concatenate(found, axis=1), expected, atol=1e-5)
    assert np.ptp(expected) > 0.01


def test_the_difference_from_torch_is_told(exported: tuple[Segmenter, Path, float]) -> None:
    assert 0 < exported[2] < 1e-5


def test_the_file_holds_the_models_settings(exported: tuple[Segmenter, Path, float]) -> None:
    (settings,) = onnx.load(exported[1]).metadata_props
    assert settings.key == "nuclei"
    assert json.loads(settings.value)["foreground"] == SMALL.foreground


def test_the_file_names_no_path_and_no_module_of_this_repository(exported: tuple[Segmenter, Path, float]) -> None:
    data = exported[1].read_bytes()
    assert str(ROOT).encode() not in data
    assert b"nuclei.network" not in data


def test_an_encoder_that_pads_like_tensorflow_is_exported(tmp_path: Path) -> None:
    settings = replace(SMALL, encoder_name="timm-tf_efficientnet_lite0")
    segmenter = Segmenter(make_net("Unet", settings.encoder_name, "distance"), settings)
    assert graph.write(segmenter, tmp_path / "model.onnx") < 1e-4


def test_without_a_second_head_the_graph_has_one_output() -> None:
    assert graph.output_names(replace(SMALL, instance_target="none")) == ["probability"]
    assert graph.output_names(replace(SMALL, instance_target="border")) == ["probability", "border"]


def test_two_exports_write_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "other"):
        graph.export(Twice(), ["probability"], tmp_path / name / "model.onnx", {"b": "2", "a": "1"})
    assert (tmp_path / "one/model.onnx").read_bytes() == (tmp_path / "other/model.onnx").read_bytes()


def test_a_graph_that_computes_something_else_is_refused_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, exporter = Twice(), torch.onnx.export

    def then_change(*arguments: Any, **options: Any) -> None:
        exporter(*arguments, **options)
        net.weight = nn.Parameter(torch.tensor(3.0))

    monkeypatch.setattr(torch.onnx, "export", then_change)
    with pytest.raises(InputError, match="does not compute what the network does"):
        graph.export(net, ["probability"], tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


class Step(torch.nn.Module):
    """Whole numbers, and on which side of zero each lies."""

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        whole = image[:, :1].round()
        return whole, torch.where(whole >= 0, 1.0, -1.0)


def test_where_rounding_decides_on_a_side_the_other_outputs_are_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Rounded:
        def run(self, names: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
            whole = np.round(inputs[INPUT][:, :1]) - np.float32(1e-6)
            return [whole, np.where(whole >= 0, np.float32(1), np.float32(-1))]

    monkeypatch.setattr(graph, "session", lambda _: Rounded())
    assert graph.export(Step(), ["whole", "side"], tmp_path / "step.onnx", jump=0.0) < 1e-5
    with pytest.raises(InputError, match="a difference of 2"):
        graph.export(Step(), ["whole", "side"], tmp_path / "step.onnx")
    with pytest.raises(InputError, match="a difference of 2"):  # elsewhere they are compared
        graph.export(Step(), ["whole", "side"], tmp_path / "step.onnx", jump=0.5)
