"""A network that costs nothing for images that are segmented by blocks, and images for it."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from made_up import SETTINGS
from nuclei.network.model import MEAN, STD
from nuclei.network.segmenter import Segmenter


class Brightness(nn.Module):
    """A network without a second head: the foreground is the mean brightness around a pixel."""

    instance_head = None

    def __init__(self) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(1))
        self.tiles, self.fails_at = 0, -1

    def predict(self, image: Tensor) -> Tensor:
        if self.tiles == self.fails_at:
            raise KeyboardInterrupt
        self.tiles += 1
        gray = (image * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]).mean(1, keepdim=True)
        return F.avg_pool2d(gray, 5, stride=1, padding=2) + self.nothing


def open_brightness(path: Path, device: str) -> Segmenter:
    """In place of `engine.open_model`."""
    return _segmenter(Brightness())


class Deadly(Brightness):
    """A network that kills its process once, at the tenth tile, as a lack of memory does."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.died = path / "died"  # in the folder of the model

    def predict(self, image: Tensor) -> Tensor:
        if self.tiles == 10 and not self.died.exists():
            self.died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().predict(image)


def open_deadly(path: Path, device: str) -> Segmenter:
    """In place of `engine.open_model`."""
    return _segmenter(Deadly(path))


def _segmenter(net: nn.Module) -> Segmenter:
    settings = replace(
        SETTINGS, instance_target="none", tile_px=128, tile_overlap_px=32, precision="32-true", min_area_px=5
    )
    return Segmenter(net, settings)  # type: ignore[arg-type]


def discs(height: int, width: int, count: int) -> np.ndarray:
    """Bright discs, many of them touching, on a noisy dark background, with an empty corner: (H, W) uint8."""
    rng = np.random.default_rng(0)
    image = rng.normal(20, 2, (height, width))
    row, col = np.mgrid[:height, :width]
    places = rng.uniform(0, np.array([[height], [width]]), (2, count))
    for y, x, radius in zip(*places, rng.uniform(4, 11, count), strict=True):
        if y + x > 300:
            image[(row - y) ** 2 + (col - x) ** 2 < radius**2] = rng.uniform(140, 220)
    return image.clip(0, 255).astype(np.uint8)
