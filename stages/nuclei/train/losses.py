"""The losses: DiceBCELoss for the foreground, and the second head's."""

from __future__ import annotations

import segmentation_models_pytorch as smp
from torch import Tensor, nn
from torch.nn import functional as F

from nuclei.network.targets import Target


class DiceBCELoss(nn.Module):
    """Dice loss of the whole batch plus binary cross-entropy, weighted to sum to one.

    Dice loss is `1 - (2 |P T| + 1) / (|P| + |T| + 1)` over all pixels of the batch, P being probabilities
    (Milletari, Navab and Ahmadi, V-Net, 2016). For a batch without nuclei it is 0, which leaves cross-entropy alone.

    Args:
        dice_weight: the share of Dice, between 0 and 1; cross-entropy has the rest.

    Example:
        >>> loss = DiceBCELoss(0.5)
        >>> loss(torch.full((2, 1, 4, 4), 20.0), torch.ones(2, 1, 4, 4)).item() < 1e-6
        True
    """

    def __init__(self, dice_weight: float) -> None:
        super().__init__()
        self.dice_weight = dice_weight
        self.dice = smp.losses.DiceLoss("binary", from_logits=True, smooth=0.5)  # in Tversky form: 1 in Dice form
        self.cross_entropy = nn.BCEWithLogitsLoss()

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Take logits and a 0/1 target, both (B, 1, H, W) float; return a scalar."""
        return self.dice_weight * self.dice(logits, target) + (1 - self.dice_weight) * self.cross_entropy(
            logits, target
        )


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
