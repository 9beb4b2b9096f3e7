"""Batch normalisation folded into convolutions."""

from __future__ import annotations

import pytest
import torch
from after_training import after_training
from torch import Tensor, nn
from torch.nn import functional as F

from nuclei.network.folding import folded
from nuclei.network.model import NucleusNet
from nuclei.network.segmenter import make_net


def norms(net: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in net.modules())


@pytest.mark.parametrize(
    ("encoder", "left"), [("resnet18", 0), ("timm-tf_efficientnet_lite0", 1), ("densenet121", 62), ("mit_b0", 0)]
)
def test_a_folded_network_predicts_what_the_network_does(encoder: str, left: int) -> None:
    net = after_training(make_net("Unet", encoder, "distance"))
    image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    found = folded(net, NucleusNet.maps)
    assert norms(found) == left < norms(net)
    with torch.inference_mode():
        torch.testing.assert_close(found.maps(image), net.maps(image), rtol=1e-4, atol=1e-5)


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
    net = after_training(net)
    found = folded(net, lambda net, image: net(image))
    assert norms(found) == left
    image = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(found(image), net(image), rtol=1e-4, atol=1e-5)
