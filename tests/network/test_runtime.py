"""The network in ONNX Runtime, which predicts in torch's place on a CPU."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from after_training import after_training
from torch import Tensor, nn

from made_up import SETTINGS
from nuclei.base.params import Precision
from nuclei.network.runtime import in_onnx_runtime
from nuclei.network.segmenter import Segmenter, make_net


@pytest.mark.parametrize("encoder", ["resnet18", "timm-tf_efficientnet_lite0", "densenet121"])
def test_onnx_runtime_predicts_what_torch_does(encoder: str) -> None:
    net = after_training(make_net("Unet", encoder, "distance"))
    image = torch.rand(1, 3, 96, 160, generator=torch.Generator().manual_seed(1))
    net.leave_torch()
    assert net.outside
    with torch.inference_mode():
        expected = net.maps(image)
        for given in (image, image.contiguous(memory_format=torch.channels_last), image.flip(-1).flip(-1)):
            torch.testing.assert_close(net.predict(given), expected, rtol=1e-4, atol=1e-5)
    assert expected.std() > 0.01


@pytest.mark.parametrize(("precision", "outside"), [("32-true", True), ("bf16-mixed", False)])
def test_a_model_in_float32_is_loaded_into_onnx_runtime(tmp_path: Path, precision: Precision, outside: bool) -> None:
    settings = replace(SETTINGS, encoder_name="resnet18", precision=precision)
    made = Segmenter(after_training(make_net("Unet", "resnet18", "distance")), settings)
    made.save(tmp_path)
    loaded = Segmenter.load(tmp_path, device="cpu")
    assert bool(loaded.net.outside) is outside and loaded.net.folded and not made.net.outside
    rgb = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    np.testing.assert_allclose(loaded.maps(rgb), made.maps(rgb), atol=1e-5)


class ByItsContrast(nn.Module):
    """It computes something else where an image has contrast, which tracing does not see."""

    def forward(self, image: Tensor) -> Tensor:
        return image[:, :1] * (2 if image.std() > 0.5 else 3)


def test_what_tracing_gets_wrong_and_what_can_not_be_exported_stay_in_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    assert in_onnx_runtime(ByItsContrast(), ByItsContrast.forward) is None
    net = after_training(make_net("Unet", "resnet18", "none"))

    def fail(*_: Any, **__: Any) -> None:
        raise torch.onnx.errors.OnnxExporterError("no such operator")

    monkeypatch.setattr(torch.onnx, "export", fail)
    net.fold()
    net.leave_torch()
    assert net.folded and not net.outside


@pytest.mark.parametrize("outside", [False, True])
@pytest.mark.parametrize("how", ["trained", "loaded"])
def test_a_network_whose_weights_changed_does_not_predict_with_older_ones(how: str, outside: bool) -> None:
    net, other = (after_training(make_net("Unet", "resnet18", "none")) for _ in range(2))
    image = torch.rand(1, 3, 32, 32)
    net.fold()
    if outside:
        net.leave_torch()
    assert net.folded and bool(net.outside) is outside
    if how == "trained":
        net.train()
        with torch.no_grad():
            net.unet.segmentation_head[0].bias += 1
        net.eval()
    else:
        net.load_state_dict(other.state_dict())
    with torch.inference_mode():
        torch.testing.assert_close(net.predict(image), torch.sigmoid(net(image)[0]), rtol=0, atol=0)


def test_it_can_be_copied_and_its_weights_are_those_of_the_network_alone() -> None:
    net = after_training(make_net("Unet", "resnet18", "none"))
    names = list(net.state_dict())
    net.fold()
    net.leave_torch()
    assert list(net.state_dict()) == names
    copied = deepcopy(net)
    with torch.no_grad():
        copied.unet.segmentation_head[0].bias += 1
    image = torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        assert (copied.predict(image) > net.predict(image)).all()
