"""Augmentation of a training crop with albumentations: rotation, colour, light, image quality, blur and noise.

A crop is also rescaled at random, by `crops.Crops`, with the functions that rescale an image for prediction.
"""

from __future__ import annotations

import os
from random import Random

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # on import it checks online for updates

import albumentations as A
import cv2
import numpy as np

from nuclei.base.params import Augment

MARGIN = 1.5  # times the crop: holds a crop rotated by any angle, which takes 1.42 times, and its elastic deformation


def window_px(crop_px: int) -> int:
    """The side of the window that `augmentation` needs for a crop of `crop_px`."""
    return round(crop_px * MARGIN)


def augmentation(augment: Augment, crop_px: int) -> A.Compose:
    """Build what turns a window of `window_px(crop_px)` into an augmented crop.

    Call it with `image` (H, W, 3) uint8 and `mask` (H, W) uint16; it returns both, `crop_px` square. An elastic
    deformation may divide a label into several components: relabel afterwards.
    Call `seed_all` before each use to make that use reproducible.
    """
    mirrored = {"border_mode": cv2.BORDER_REFLECT_101, "mask_interpolation": cv2.INTER_NEAREST}
    return A.Compose(
        [
            A.Affine(rotate=(-180, 180), p=augment.rotate, **mirrored),
            A.ElasticTransform(alpha=60, sigma=8, p=augment.elastic, **mirrored),
            A.CenterCrop(crop_px, crop_px),
            A.D4(),
            A.OneOf(
                [
                    A.HEStain("random_preset", augment_background=True),  # of the two dyes of a tissue section
                    A.HueSaturationValue(25, 40, 0),
                    A.ChannelDropout((1, 2)),  # fluorescence shown in its colour, such as blue
                ],
                p=augment.colour,
            ),
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
            A.OneOf(
                [
                    A.ImageCompression(quality_range=(25, 90)),
                    A.Downscale((0.35, 0.8), {"downscale": cv2.INTER_AREA, "upscale": cv2.INTER_LINEAR}),
                    A.Defocus((1, 3)),
                    A.UnsharpMask(sigma_limit=(0.5, 2.0), alpha=(0.2, 0.7), threshold=0),
                    A.PlasmaBrightnessContrast((-0.2, 0.2), (-0.2, 0.2), plasma_size=128),  # an uneven background
                ],
                p=augment.quality,
            ),
        ]
    )


def seed_all(compose: A.Compose, seed: int) -> None:
    """Let all transforms draw from the same two generators, one after the other, which begin with `seed`.

    `Compose.set_random_seed` would give each transform generators of its own in the same state, so all of them would
    draw the same numbers: every crop that is inverted would be blurred too.
    """
    compose.set_random_state(np.random.default_rng(seed), Random(seed))
