"""The losses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nuclei.network.targets import TARGETS, loss_weight
from nuclei.train.losses import DiceBCELoss, instance_loss


def test_dice_bce_is_the_published_formula() -> None:
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 1, 8, 8, generator=random)
    target = (torch.rand(2, 1, 8, 8, generator=random) > 0.6).float()
    p = logits.sigmoid().double()
    dice = 1 - (2 * (p * target).sum() + 1) / (p.sum() + target.sum() + 1)
    cross_entropy = -(target * p.log() + (1 - target) * (1 - p).log()).mean()
    for weight in (0.0, 0.3, 1.0):
        expected = weight * dice + (1 - weight) * cross_entropy
        assert DiceBCELoss(weight)(logits, target).item() == pytest.approx(expected.item(), abs=1e-5)


def test_near_an_outline_cross_entropy_weighs_more_as_the_formula_says() -> None:
    logits = torch.randn(1, 1, 1, 8, generator=torch.Generator().manual_seed(0))
    target = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1.0])[None, None, None]
    distance = np.array(
        [3.5, 2.5, 1.5, 0.5, 0.5, 1.5, 2.5, 3.5]
    )  # from the outline between the fourth pixel and the fifth
    weight = torch.from_numpy(1 + 4 * np.exp(-(distance**2) / 8))
    p = logits.sigmoid().double()
    pixels = -(target * p.log() + (1 - target) * (1 - p).log()).flatten()
    expected = float((pixels * weight).sum() / weight.sum())
    assert DiceBCELoss(0.0, boundary_weight=4)(logits, target).item() == pytest.approx(expected, abs=1e-5)
    one = torch.zeros(1, 1, 4, 4)  # without an outline every pixel counts alike
    assert DiceBCELoss(0.0, boundary_weight=4)(one, one).item() == pytest.approx(np.log(2), abs=1e-5)


def test_without_nuclei_and_with_none_predicted_the_loss_is_almost_zero() -> None:
    assert DiceBCELoss(0.5)(torch.full((1, 1, 8, 8), -20.0), torch.zeros(1, 1, 8, 8)).item() < 1e-3


@pytest.mark.parametrize("name", TARGETS)
def test_the_second_heads_loss_is_small_for_the_truth_and_large_for_its_opposite(name: str) -> None:
    labels = np.zeros((32, 32), np.uint16)
    labels[4:14, 4:14], labels[4:14, 14:24] = 1, 2
    target = TARGETS[name]
    truth = torch.from_numpy(target.encode(labels))[None]
    weight = torch.from_numpy(loss_weight(labels))[None, None]
    raw = torch.logit(truth, eps=1e-4)
    assert instance_loss(target, raw, truth, weight).item() < 1e-3
    assert instance_loss(target, -raw, truth, weight).item() > 0.2


def test_pixels_of_weight_zero_do_not_count() -> None:
    target = TARGETS["distance"]
    raw, truth = torch.zeros(1, 1, 4, 4), torch.full((1, 1, 4, 4), 0.5)
    truth[..., 0] = 1.0
    weight = torch.ones(1, 1, 4, 4)
    weight[..., 0] = 0
    assert instance_loss(target, raw, truth, weight).item() == pytest.approx(0)
    assert instance_loss(target, raw, truth, torch.zeros_like(weight)).item() == 0
