"""A network as after a training, without the training."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

Net = TypeVar("Net", bound=nn.Module)


def after_training(net: Net) -> Net:
    """The network in evaluation mode, with statistics and weights of batch normalisation that do something."""
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
