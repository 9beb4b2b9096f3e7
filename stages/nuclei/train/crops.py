"""Training crops: which image each comes from, and its augmented pixels and targets."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from nuclei.base.params import Train
from nuclei.images.io import read_labels, read_rgb
from nuclei.images.records import Record, image_path, label_path
from nuclei.network.components import relabel
from nuclei.network.normalisation import normalise_percentiles, to_tensor
from nuclei.network.sizing import diameter, zoom_to, zoomed_image, zoomed_labels
from nuclei.network.targets import TARGETS, loss_weight
from nuclei.simulate.varied import draw_varied
from nuclei.train.augment import augmentation, seed_all, window_px

Crop = tuple[Tensor, Tensor, Tensor, Tensor]
SYNTHETIC_IMAGES = 600  # different ones, of which train.synthetic_fraction of the crops are cut


class Crops(Dataset[Crop]):
    """Every crop of a whole training, in order: crop `i` depends on the seed and on `i` alone.

    So neither the number of loading processes nor an interruption changes a crop.

    Example:
        >>> image, foreground, maps, weight = Crops(records, "data/prepared", params.train, epochs=5, seed=0)[0]
        >>> image.shape, foreground.shape, maps.shape, weight.shape    # with train.instance_target: distance
        ((3, 96, 96), (1, 96, 96), (1, 96, 96), (1, 96, 96))

    Args:
        records: the training images.
        folder: where `prepare` wrote them.
        train: the parameters of training.
        epochs: of the whole training.
        seed: of every random choice.
    """

    def __init__(self, records: Sequence[Record], folder: str | Path, train: Train, *, epochs: int, seed: int) -> None:
        self.records, self.folder, self.train, self.seed = list(records), Path(folder), train, seed
        batches = math.ceil(train.crops_per_image * len(self.records) / train.batch_size)
        self.per_epoch = batches * train.batch_size  # a smaller last batch would disturb batch normalisation
        self.epochs = epochs
        self.target = TARGETS.get(train.instance_target)
        self.augment = augmentation(train.augment, train.crop_px)
        self.weights = image_weights(self.records, train.size_exponent, train.rare_exponent)
        if train.synthetic_fraction:  # the synthetic images are numbered after the real ones
            synthetic = np.full(SYNTHETIC_IMAGES, train.synthetic_fraction / SYNTHETIC_IMAGES)
            self.weights = np.concatenate([(1 - train.synthetic_fraction) * self.weights, synthetic])
        self.drawn: tuple[int, NDArray[np.intp]] = (-1, np.zeros(0, np.intp))  # an epoch, and its image numbers
        self.kept: dict[str, tuple[NDArray[np.uint8], NDArray[np.integer]]] = {}
        self.free_bytes = train.keep_images_mb * 2**20

    def __len__(self) -> int:
        return self.per_epoch * self.epochs

    def __getitem__(self, index: int) -> Crop:
        epoch, position = divmod(index, self.per_epoch)
        if self.drawn[0] != epoch:
            self.drawn = epoch, draw(self.weights, self.per_epoch, self.seed, epoch)
        random = np.random.default_rng([self.seed, epoch, position, 1])
        rgb, labels = self._read(int(self.drawn[1][position]))
        zoom = self.train.augment.zoom ** random.uniform(-1, 1)
        rgb, labels = _window(rgb, labels, round(window_px(self.train.crop_px) / zoom), random)
        rgb, labels = zoomed_image(rgb, zoom), zoomed_labels(labels, zoom)
        seed_all(self.augment, int(random.integers(2**31)))
        out = self.augment(image=rgb, mask=labels)
        return self._tensors(out["image"], relabel(out["mask"]))

    def share_memory(self, processes: int) -> None:
        """Divide the memory for decoded images among loading processes, each of which has a copy of this."""
        self.free_bytes //= processes

    def _read(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.integer]]:
        """The normalised image and its label map, both rescaled; kept in memory, because decoding takes longest."""
        real = number < len(self.records)
        id = self.records[number].id if real else f"synthetic {number - len(self.records)}"
        if id in self.kept:
            return self.kept[id]
        if real:
            rgb, labels = read_rgb(image_path(self.folder, id)), read_labels(label_path(self.folder, id))
        else:
            rgb, labels = draw_varied(self.seed, number - len(self.records))
        target = self.train.diameter_px
        zoom = 1.0 if target is None else zoom_to(target, diameter(labels))
        low, high = self.train.normalise_low, self.train.normalise_high
        normalised = normalise_percentiles(rgb, low, high, invert_light=self.train.invert_light is True)
        both = zoomed_image(normalised, zoom), zoomed_labels(labels, zoom)
        size = sum(array.nbytes for array in both)
        if size <= self.free_bytes:
            self.kept[id] = both
            self.free_bytes -= size
        return both

    def _tensors(self, rgb: NDArray[np.uint8], labels: NDArray[np.integer]) -> Crop:
        foreground = torch.from_numpy((labels > 0).astype(np.float32))[None]
        if self.target is None:
            maps, weight = torch.zeros(0, *labels.shape), torch.zeros(1, *labels.shape)
        else:
            maps = torch.from_numpy(self.target.encode(labels))
            weight = torch.from_numpy(loss_weight(labels))[None]
        return to_tensor(rgb), foreground, maps, weight


def image_weights(records: Sequence[Record], size_exponent: float, rare_exponent: float) -> NDArray[np.float64]:
    """How often each image is drawn, relative to the others: more often if it is large and if its modality is rare.

    Returns:
        (N,) float64 that sums to 1.
    """
    images_of = Counter(record.modality for record in records)
    weights = np.array(
        [
            (record.height * record.width) ** size_exponent * images_of[record.modality] ** -rare_exponent
            for record in records
        ]
    )
    return weights / weights.sum()


def draw(weights: NDArray[np.float64], count: int, seed: int, epoch: int) -> NDArray[np.intp]:
    """Draw `count` image numbers in proportion to `weights`, shuffled, the same for the same seed and epoch.

    Systematic sampling: image i is drawn floor(count * weight) times or once more, so none is left out by chance.
    """
    random = np.random.default_rng([seed, epoch])
    points = (np.arange(count) + random.random()) / count
    drawn = np.searchsorted(np.cumsum(weights), points, side="right").clip(max=len(weights) - 1)
    return random.permutation(drawn)


def _window(
    rgb: NDArray[np.uint8], labels: NDArray[np.integer], side: int, random: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """Cut the same random square out of both, mirrored where the image is smaller; the labels renumbered if uint32."""
    corners = []
    for size in labels.shape:
        corners.append(int(random.integers(max(size - side, 0) + 1)))
    row, col = corners
    inside = (slice(row, row + side), slice(col, col + side))
    small = labels[inside]
    if small.dtype != np.uint16:
        first = 1 if small.all() else 0  # without background the smallest label is a nucleus
        small = np.unique(small, return_inverse=True)[1].reshape(small.shape) + first
    down, right = (max(side - size, 0) for size in labels.shape)
    padding = (down // 2, down - down // 2, right // 2, right - right // 2)
    mirrored: list[Any] = [
        cv2.copyMakeBorder(np.ascontiguousarray(part), *padding, cv2.BORDER_REFLECT_101)
        for part in (rgb[inside], small.astype(np.uint16))
    ]
    return mirrored[0], mirrored[1]
