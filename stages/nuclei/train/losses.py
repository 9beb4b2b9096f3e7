"""The losses: DiceBCELoss for the foreground, and the second head's."""

from __future__ import annotations

import numpy as np
import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nuclei.network.targets import Target, outline_distance

BOUNDARY_PX = 2.0  # standard deviation of the weight of a pixel over its distance from an outline


class DiceBCELoss(nn.Module):
    """Dice loss of the whole batch plus binary cross-entropy, weighted to sum to one.

    Dice loss is `1 - (2 |P T| + 1) / (|P| + |T| + 1)` over all pixels of the batch, P being probabilities
    (Milletari, Navab and Ahmadi, V-Net, 2016). For a batch without nuclei it is 0, which leaves cross-entropy alone.

    In cross-entropy a pixel at distance d from an outline weighs `1 + boundary_weight exp(-d² / 8)`, divided by the
    mean weight (after Ronneberger, Fischer and Brox, U-Net, 2015, who weigh the gaps between cells so).

    Args:
        dice_weight: the share of Dice, between 0 and 1; cross-entropy has the rest.
        boundary_weight: how much more a pixel on an outline counts than one far from any; 0: as much.

    Example:
        >>> loss = DiceBCELoss(0.5)
        >>> loss(torch.full((2, 1, 4, 4), 20.0), torch.ones(2, 1, 4, 4)).item() < 1e-6
        True
    """

    def __init__(self, dice_weight: float, boundary_weight: float = 0.0) -> None:
        super().__init__()
        self.dice_weight, self.boundary_weight = dice_weight, boundary_weight
        self.dice = smp.losses.DiceLoss("binary", from_logits=True, smooth=0.5)  # in Tversky form: 1 in Dice form

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Take logits and a 0/1 target, both (B, 1, H, W) float; return a scalar."""
        weight = self._weight(target) if self.boundary_weight else None
        cross_entropy = F.binary_cross_entropy_with_logits(logits, target, weight)
        return self.dice_weight * self.dice(logits, target) + (1 - self.dice_weight) * cross_entropy

    def _weight(self, target: Tensor) -> Tensor:
        masks = target[:, 0].cpu().numpy().astype(np.uint8)
        distance = torch.from_numpy(np.stack([outline_distance(mask) for mask in masks]))[:, None].to(target.device)
        weight = 1 + self.boundary_weight * torch.exp(-(distance**2) / (2 * BOUNDARY_PX**2))
        return weight / weight.mean()


def instance_loss(target: Target, raw: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Average the second head's loss over pixels, weighted.

    Args:
        target: what the head learns; names the loss.
        raw: (B, C, H, W) float, the head's output before the sigmoid.
        truth: (B, C, H, W) float, as `target.encode` makes it.
        weight: (B, 1, H, W) float, as `targets.loss_weight` makes it.
    """
    if target.loss == "bce":
        loss = F.binary_cross_entropy_with_logits(raw, truth, reduction="none")
    else:
        loss = F.l1_loss(raw.sigmoid(), truth, reduction="none")
    return (loss * weight).sum() / (weight.sum() * truth.shape[1]).clamp(min=1)
