"""Batch normalisation folded into the convolutions before it, with which a network predicts faster."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import TypeVar

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

Net = TypeVar("Net", bound=nn.Module)
SIDE_PX = 64  # of the image by which is seen which module follows which
CLOSE = 1e-3  # relative and absolute: rounding makes less, a wrong pair far more


def folded(net: Net, outputs: Callable[[Net, Tensor], Tensor]) -> Net:
    """Copy a network without the batch normalisations that follow a convolution directly.

    Their scale and shift become part of the convolution's weights, so the copy computes the same but for rounding.
    Which module follows which is seen while the network runs. If the copy computes something else, because what a
    convolution returns is used elsewhere too or a module runs twice, the network itself is returned.

    Args:
        net: in evaluation mode, with images of three channels.
        outputs: called with a network and an image (1, 3, H, W); returns a tensor that depends on all of the network.
    """
    device = next(net.parameters()).device
    image = torch.linspace(-2, 2, 3 * SIDE_PX**2, device=device).view(1, 3, SIDE_PX, SIDE_PX)
    with torch.inference_mode(False), torch.no_grad(), torch.autocast(device.type, enabled=False):
        pairs, expected = _pairs(net, lambda: outputs(net, image))
        copied = deepcopy(net)
        for norm, convolution in pairs.items():
            before, after = copied.get_submodule(convolution), copied.get_submodule(norm)
            assert isinstance(before, nn.Conv2d) and isinstance(after, nn.BatchNorm2d)
            copied.set_submodule(convolution, fuse_conv_bn_eval(before, after))
            copied.set_submodule(norm, _rest(after))
        copied = copied.to(memory_format=torch.channels_last).requires_grad_(False)
        same = torch.allclose(outputs(copied, image), expected, rtol=CLOSE, atol=CLOSE)
    return copied if same else net


def _pairs(net: nn.Module, compute: Callable[[], Tensor]) -> tuple[dict[str, str], Tensor]:
    """By name, the normalisations that read what a convolution returned, with that one; and what `compute` returns."""
    returned: list[tuple[str, Tensor]] = []
    read: list[tuple[str, Tensor]] = []
    hooks = []
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d):
            hooks.append(module.register_forward_hook(partial(_keep_output, returned, name)))
        elif type(module) in (nn.BatchNorm2d, BatchNormAct2d):
            hooks.append(module.register_forward_pre_hook(partial(_keep_input, read, name)))
    found = compute()
    for hook in hooks:
        hook.remove()
    makers = {id(output): name for name, output in returned}
    return {name: makers[id(image)] for name, image in read if id(image) in makers}, found


def _keep_output(kept: list[tuple[str, Tensor]], name: str, _: nn.Module, inputs: object, output: Tensor) -> None:
    kept.append((name, output))


def _keep_input(kept: list[tuple[str, Tensor]], name: str, _: nn.Module, inputs: tuple[Tensor]) -> None:
    kept.append((name, inputs[0]))


def _rest(norm: nn.Module) -> nn.Module:
    """What a normalisation does besides: nothing, or an activation."""
    return nn.Sequential(norm.drop, norm.act) if isinstance(norm, BatchNormAct2d) else nn.Identity()
