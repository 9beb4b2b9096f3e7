"""Upsampling and the convolution after it in one step, with which a U-Net's decoder predicts faster."""

from __future__ import annotations

from copy import deepcopy
from typing import TypeVar

import torch
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder, UnetDecoderBlock
from torch import Tensor, nn
from torch.nn import functional as F

Net = TypeVar("Net", bound=nn.Module)


class JoinedBlock(nn.Module):
    """Computes what a block of smp's U-Net decoder does, with fewer multiplications.

    The block repeats every value of its features in two rows and two columns, appends the encoder's features, and
    convolves all of them with kernels of 3 by 3. Such a kernel meets only four different values of a repeated feature,
    so that four products, with sums of its weights, do for nine. A transposed convolution with kernels of 4 by 4 and
    stride 2 computes them.

    Args:
        block: doubles the features' size by repeating them, appends the encoder's, and has no attention before its
            first convolution; in evaluation mode.
        channels: of the features, without the encoder's.
    """

    def __init__(self, block: UnetDecoderBlock, channels: int) -> None:
        super().__init__()
        convolution, *after = block.conv1
        appended = convolution.in_channels - channels
        self.repeated = nn.ConvTranspose2d(channels, convolution.out_channels, 4, stride=2, padding=1, bias=False)
        self.appended = nn.Conv2d(appended, convolution.out_channels, 3, padding=1, bias=False)
        self.appended.bias = convolution.bias
        self.after = nn.Sequential(*after, block.conv2, block.attention2)
        with torch.no_grad():
            of_repeated, of_appended = convolution.weight.split([channels, appended], 1)
            turned = of_repeated.flip(2, 3).transpose(0, 1)
            shifts = [(left, 1 - left, top, 1 - top) for top in (0, 1) for left in (0, 1)]
            self.repeated.weight.copy_(torch.stack([F.pad(turned, shift) for shift in shifts]).sum(0))
            self.appended.weight.copy_(of_appended)

    def forward(self, features: Tensor, height: int, width: int, skip_connection: Tensor) -> Tensor:
        """As of the block: (B, channels, H, W) and the encoder's (B, C, 2 H, 2 W) to (B, C', 2 H, 2 W)."""
        return self.after(self.repeated(features) + self.appended(skip_connection))


def joined(net: Net) -> Net:
    """Copy a network, in evaluation mode, with a JoinedBlock in place of the blocks of a U-Net's decoder that gain.

    Those are all but the first, and those to which the encoder's features are not appended.
    """
    copied = deepcopy(net)
    for decoder in [module for module in copied.modules() if isinstance(module, UnetDecoder)]:
        before = [block.conv2[0].out_channels for block in decoder.blocks[:-1]]
        for number, channels in enumerate(before, start=1):
            block = decoder.blocks[number]
            if block.conv1[0].in_channels > channels:
                decoder.blocks[number] = JoinedBlock(block, channels)
    return copied.eval()
