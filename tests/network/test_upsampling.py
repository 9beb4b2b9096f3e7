"""Upsampling and convolution in one step."""

from __future__ import annotations

import pytest
import torch
from after_training import after_training
from hypothesis import given, settings
from hypothesis import strategies as st
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoderBlock
from torch import nn

from nuclei.network.folding import folded
from nuclei.network.model import NucleusNet
from nuclei.network.segmenter import make_net
from nuclei.network.upsampling import JoinedBlock, joined


@given(
    channels=st.tuples(*[st.integers(1, 5)] * 3),
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    norm=st.booleans(),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=40, deadline=None)
def test_it_computes_what_the_block_does(
    channels: tuple[int, int, int], size: tuple[int, int], norm: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    own, appended, out = channels
    rows, cols = size
    block = UnetDecoderBlock(own, appended, out, use_norm="batchnorm" if norm else False)
    if norm:
        block = after_training(block)
    features, skip = torch.randn(2, own, rows, cols), torch.randn(2, appended, 2 * rows, 2 * cols)
    with torch.inference_mode():
        expected = block.eval()(features, 2 * rows, 2 * cols, skip_connection=skip)
        found = JoinedBlock(block, own).eval()(features, 2 * rows, 2 * cols, skip_connection=skip)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def count(net: nn.Module) -> int:
    return sum(isinstance(module, JoinedBlock) for module in net.modules())


@pytest.mark.parametrize(
    ("arch", "encoder", "blocks"),
    [
        ("Unet", "resnet18", 3),
        ("Unet", "timm-tf_efficientnet_lite0", 3),
        ("Unet", "mit_b0", 2),
        ("Linknet", "resnet18", 0),
    ],
)
def test_a_network_computes_the_same_with_its_blocks_replaced(arch: str, encoder: str, blocks: int) -> None:
    net = folded(after_training(make_net(arch, encoder, "distance")), NucleusNet.maps)
    names = list(net.state_dict())
    found = joined(net)
    assert (count(found), count(net)) == (blocks, 0)
    assert list(net.state_dict()) == names
    image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(found.maps(image), net.maps(image), rtol=1e-4, atol=1e-5)
