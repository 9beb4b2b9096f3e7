"""Augmentation of a training crop with albumentations: geometry, colour, brightness, blur and noise."""

from __future__ import annotations

import os

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # on import it checks online for updates

import albumentations as A
import cv2

from nuclei.base.params import Augment

MARGIN = 1.5  # times the crop: the larger window keeps most of a rotated or downscaled crop inside the image


def window_px(crop_px: int) -> int:
    """The side of the window that `augmentation` needs for a crop of `crop_px`."""
    return round(crop_px * MARGIN)


def augmentation(augment: Augment, crop_px: int) -> A.Compose:
    """Build what turns a window of `window_px(crop_px)` into an augmented crop.

    Call it with `image` (H, W, 3) uint8 and `mask` (H, W) uint16; it returns both, `crop_px` square. Beyond the
    window both are mirrored, so one label may come back as several components: relabel afterwards.
    Call `set_random_seed` before each use to make that use reproducible.
    """
    mirrored = {"border_mode": cv2.BORDER_REFLECT_101, "mask_interpolation": cv2.INTER_NEAREST}
    zoom = {"scale": (1 - augment.scale, 1 + augment.scale), "keep_ratio": True, "balanced_scale": True, **mirrored}
    return A.Compose(
        [
            A.OneOf(
                [A.Affine(rotate=(-180, 180), **zoom, p=augment.rotate), A.Affine(**zoom, p=1 - augment.rotate)], p=1
            ),
            A.ElasticTransform(alpha=60, sigma=8, p=augment.elastic, **mirrored),
            A.CenterCrop(crop_px, crop_px),
            A.D4(),
            A.ToGray(p=augment.gray),
            A.ChannelShuffle(p=augment.shuffle),
            A.InvertImg(p=augment.invert),
            A.Compose(
                [
                    A.RandomBrightnessContrast(0.2, 0.3, p=0.7),
                    A.RandomGamma((60, 160), p=0.7),
                    A.Illumination(mode="linear", intensity_range=(0.05, 0.2), p=0.3),
                ],
                p=augment.light,
            ),
            A.GaussianBlur(sigma_limit=(0.5, 2.0), p=augment.blur),
            A.GaussNoise(std_range=(0.01, 0.08), p=augment.noise),
        ]
    )
