"""What runs inside a bioimage.io package: the network with the watershed's landscape as its output, and the watershed.

A package has to run without this repository, so `package.py` copies the source of these two classes, and of what they
use of the room `network`, into it; what else they use is imported at the head of the copy.

bioimage.io's custom postprocessing sees one output tensor and keeps its shape. So the network's output is the landscape
that the watershed floods (see `nuclei.network.labelling`), with the foreground as its mask: -1 in the background.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from nuclei.network.components import components, renumber
from nuclei.network.labelling import _Basins
from nuclei.network.model import NucleusNet


class LandscapeNet(nn.Module):
    """The network with two outputs: the probability of the foreground, and the landscape for the watershed.

    Args:
        arch, encoder_name: of segmentation_models_pytorch.
        target: what the second head predicts, `distance` or `border`.
        foreground: the probability from which a pixel belongs to a nucleus.
    """

    def __init__(self, arch: str, encoder_name: str, target: str, foreground: float) -> None:
        super().__init__()
        self.net = NucleusNet(arch, encoder_name, map_channels=1)
        self.target, self.foreground = target, foreground

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Map a normalised image (B, 3, H, W) to two tensors (B, 1, H, W): probability, and landscape or -1."""
        probability, second = self.net.predict(image).split(1, dim=1)
        landscape = probability * (1 - second if self.target == "border" else second)
        return probability, torch.where(probability >= self.foreground, landscape, -1.0)


class Watershed:
    """Postprocessing: the landscape becomes the label map.

    Args:
        saddle_ratio, min_area_px: see `nuclei.network.labelling.Thresholds`.
        smoothing_px: standard deviation of the Gaussian filter over the landscape.
    """

    def __init__(self, saddle_ratio: float, min_area_px: int, smoothing_px: float) -> None:
        self.saddle_ratio, self.min_area_px, self.smoothing_px = saddle_ratio, min_area_px, smoothing_px

    def __call__(self, landscape: NDArray[Any]) -> NDArray[np.float32]:
        """Label each (H, W) plane of (B, 1, H, W): 0 = background, 1..n the nuclei, as float32, exact up to 2**24."""
        labels = np.empty(landscape.shape, np.float32)
        for plane in np.ndindex(landscape.shape[:-2]):
            labels[plane] = self.label(landscape[plane])
        return labels

    def label(self, landscape: NDArray[Any]) -> NDArray[Any]:
        """Label one (H, W) landscape, negative in the background."""
        inside = landscape >= 0
        if not inside.any():
            return np.zeros(landscape.shape, np.uint16)
        masked = np.where(inside, landscape, 0).astype(np.float32)
        smooth = ndimage.gaussian_filter(masked, self.smoothing_px, mode="mirror", radius=3)  # OpenCV's choices
        parts = components(_Basins(smooth, inside).merged(self.saddle_ratio, self.min_area_px))
        return renumber(parts, np.bincount(parts.ravel()) >= self.min_area_px)
