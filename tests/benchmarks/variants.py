"""Variants of training that were tried for images from elsewhere and are not part of it; screen.py measures each.

| variant              | what it changes                                                           |
|----------------------|---------------------------------------------------------------------------|
| `StainTransfer`      | half of the crops of tissue have the colours of another image of tissue   |
| `LooseOutlines`      | the outlines of a synthetic image lie 0, 1 or 2 px outside the true ones  |
| `SeveralSizes`       | the crops of a batch measure 64, 96 or 128 px                             |
| `BoundaryLoss`       | a third term: probability outside the outlines, by its distance from them |
| `SignedDistance`     | the foreground is a regression of the distance to the outline             |
| `Mean`, `Distilling` | several networks, and one that learns from their mean                     |

`StainTransfer` is after Reinhard et al. (2001), Color transfer between images; `BoundaryLoss` after Kervadec et al.
(2019), Boundary loss for highly unbalanced segmentation; `Distilling` after Hinton, Vinyals and Dean (2015), Distilling
the knowledge in a neural network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nuclei.network.targets import loss_weight, outline_distance
from nuclei.train.augment import augmentation
from nuclei.train.crops import Crop, Crops
from nuclei.train.losses import DiceBCELoss
from nuclei.train.training import Training

RANGE_PX = 4.0  # the signed distance to the outline is clipped to this
SIZES_PX = (64, 96, 128)


class StainTransfer(Crops):
    """Crops of tissue, half of them with the mean and the deviation, in Lab, of another real image of tissue."""

    def __getitem__(self, index: int) -> Crop:
        self.index = index
        return super().__getitem__(index)

    def _read(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.integer]]:
        rgb, labels = super()._read(number)
        tissue = [i for i, record in enumerate(self.records) if record.modality == "tissue"]
        random = np.random.default_rng([self.seed, self.index, 2])
        if number not in tissue or random.random() < 0.5:
            return rgb, labels
        lab, donor = _lab(rgb), _lab(super()._read(int(random.choice(tissue)))[0])
        of_both = [(values.mean((0, 1)), values.std((0, 1))) for values in (lab, donor)]
        (mean, deviation), (wanted_mean, wanted_deviation) = of_both
        transferred = (lab - mean) * (wanted_deviation / deviation.clip(1)) + wanted_mean
        return (cv2.cvtColor(transferred, cv2.COLOR_LAB2RGB) * 255).round().clip(0, 255).astype(np.uint8), labels


class LooseOutlines(Crops):
    """Synthetic images whose annotation is 0, 1 or 2 px looser, at the network's scale; which, depends on the image."""

    def _read(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.integer]]:
        rgb, labels = super()._read(number)
        if number < len(self.records):
            return rgb, labels
        for _ in range(int(np.random.default_rng([self.seed, number, 3]).integers(3))):
            grown = cv2.dilate(labels.astype(np.uint16), np.ones((3, 3), np.uint8))
            labels = np.where(labels > 0, labels, grown)
        return rgb, labels


class SeveralSizes(Crops):
    """Crops of `SIZES_PX`, one size in each batch, in turn."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.of_size = [
            (replace(self.train, crop_px=size), augmentation(self.train.augment, size)) for size in SIZES_PX
        ]

    def __getitem__(self, index: int) -> Crop:
        self.train, self.augment = self.of_size[index // self.train.batch_size % len(SIZES_PX)]
        return super().__getitem__(index)


class BoundaryLoss(DiceBCELoss):
    """DiceBCELoss plus the mean of the probability times the distance outside of the outline, negative inside.

    Distances are clipped to twice `RANGE_PX` and divided by it.
    """

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        outside = -distance(target).clamp(-2 * RANGE_PX, 2 * RANGE_PX) / (2 * RANGE_PX)
        return super().forward(logits, target) + (logits.sigmoid() * outside).mean()


class SignedDistance(nn.Module):
    """The absolute error of the signed distance, which the sigmoid of the logits gives: 0.5 is the outline.

    Weighted by pixel as in the second head's loss. The distance is clipped to `RANGE_PX`, so a threshold of 0.6 draws
    outlines 0.8 px farther inside.
    """

    def __init__(self, dice_weight: float) -> None:
        super().__init__()

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        truth = (0.5 + distance(target) / (2 * RANGE_PX)).clamp(0, 1)
        weight = torch.stack([torch.from_numpy(loss_weight(mask.numpy().astype(np.uint8))) for mask in target[:, 0]])
        return ((logits.sigmoid() - truth).abs() * weight[:, None]).sum() / weight.sum()


class Mean(nn.Module):
    """Several networks whose maps are averaged."""

    def __init__(self, nets: Sequence[nn.Module]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)

    def predict(self, image: Tensor) -> Tensor:
        """As of NucleusNet."""
        return torch.stack([net.predict(image) for net in self.nets]).mean(0)


class Distilling(Training):
    """A training whose targets are half the annotation and half what `teacher` predicts for the same crop."""

    teacher: Mean

    def step(self, batch: Sequence[Tensor], epoch: int) -> tuple[float, float]:
        """As of Training."""
        image, foreground, maps, weight = batch
        with torch.no_grad():
            predicted = self.teacher.predict(image.contiguous(memory_format=torch.channels_last))
        foreground, maps = (foreground + predicted[:, :1]) / 2, (maps + predicted[:, 1:]) / 2
        return super().step((image, foreground, maps, weight), epoch)


def distance(target: Tensor) -> Tensor:
    """The `outline_distance` of a batch of masks, (B, 1, H, W) to the same."""
    masks = target[:, 0].numpy().astype(np.uint8)
    return torch.from_numpy(np.stack([outline_distance(mask) for mask in masks]))[:, None]


def _lab(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The same colours in CIE Lab, (H, W, 3)."""
    return cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
