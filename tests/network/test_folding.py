"""Batch normalisation folded into convolutions."""

from __future__ import annotations

from typing import TypeVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nuclei.network.folding import folded
from nuclei.network.segmenter import make_net

Net = TypeVar("Net", bound=nn.Module)


def trained(net: Net) -> Net:
    """The network with statistics and weights of batch normalisation as after a training, for evaluation."""
    random = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.running_mean, -0.5, 0.5),
                (module.running_var, 0.5, 2.0),
                (module.weight, 0.5, 1.5),
                (module.bias, -0.5, 0.5),
            ):
                assert tensor is not None
                tensor.data.uniform_(low, high, generator=random)
    return net.eval()


def norms(net: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in net.modules())


@pytest.mark.parametrize(
    ("encoder", "left"), [("resnet18", 0), ("timm-tf_efficientnet_lite0", 1), ("densenet121", 62), ("mit_b0", 0)]
)
def test_a_folded_network_predicts_what_the_network_does(encoder: str, left: int) -> None:
    net = trained(make_net("Unet", encoder, "distance"))
    image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = net.predict(image)
        net.fold()
        torch.testing.assert_close(net.predict(image), expected, rtol=1e-4, atol=1e-5)
    assert norms(net.folded[0]) == left < norms(net)
    assert not any(name.startswith("folded") for name in net.state_dict())


def test_a_network_that_was_trained_on_does_not_predict_with_older_weights() -> None:
    net, other = (trained(make_net("Unet", "resnet18", "none")) for _ in range(2))
    image = torch.rand(1, 3, 32, 32)
    for how in ("trained", "loaded"):
        net.eval()
        net.fold()
        if how == "trained":
            net.train()
            with torch.no_grad():
                net.unet.segmentation_head[0].bias += 1
            net.eval()
        else:
            net.load_state_dict(other.state_dict())
        with torch.inference_mode():
            torch.testing.assert_close(net.predict(image), torch.sigmoid(net(image)[0]), rtol=0, atol=0)


class Used(nn.Module):
    """What its convolution returns is read by the normalisation and, a second time, elsewhere."""

    def __init__(self, *, again: bool) -> None:
        super().__init__()
        self.convolution, self.norm, self.again = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), again

    def forward(self, image: Tensor) -> Tensor:
        found = self.convolution(image)
        return self.norm(found) + (F.relu(found) if self.again else 0)


class Twice(nn.Module):
    """Its one convolution runs twice, and the normalisation after the second time only."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)

    def forward(self, image: Tensor) -> Tensor:
        return self.norm(self.convolution(self.convolution(image)))


@pytest.mark.parametrize(
    ("net", "left"), [(Used(again=False), 0), (Used(again=True), 1), (Twice(), 1)], ids=["once", "again", "twice"]
)
def test_a_convolution_that_something_else_reads_is_left_alone(net: nn.Module, left: int) -> None:
    net = trained(net)
    found = folded(net, lambda net, image: net(image))
    assert norms(found) == left
    image = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(found(image), net(image), rtol=1e-4, atol=1e-5)
