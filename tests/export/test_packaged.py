"""What runs inside a bioimage.io package labels as this repository does."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from nuclei.export.packaged import LandscapeNet, Watershed
from nuclei.network.labelling import SMOOTHING_PX, Thresholds, label


def maps(seed: int, height: int = 96, width: int = 128) -> torch.Tensor:
    """(1, 2, H, W) float32: smooth random maps in [0, 1], in which many basins touch."""
    random = np.random.default_rng(seed)
    planes = [cv2.GaussianBlur(random.normal(size=(height, width)), (0, 0), 4) for _ in range(2)]
    return torch.from_numpy(np.stack([plane / np.ptp(plane) + 0.5 for plane in planes]).clip(0, 1)[None]).float()


class Given(torch.nn.Module):
    """A network that predicts what it is given."""

    def predict(self, image: torch.Tensor) -> torch.Tensor:
        return image


@pytest.fixture(scope="module")
def net() -> LandscapeNet:
    found = LandscapeNet("Unet", "resnet18", "distance", foreground=0.5)
    found.net = Given()  # type: ignore[assignment]
    return found


@pytest.mark.parametrize("target", ["distance", "border"])
@pytest.mark.parametrize("seed", range(5))
def test_the_landscape_and_its_watershed_give_the_repositorys_label_map(
    net: LandscapeNet, seed: int, target: str
) -> None:
    predicted = maps(seed)
    net.target = target
    probability, landscape = net(predicted)
    found = Watershed(0.8, 20, SMOOTHING_PX)(landscape.numpy())[0, 0]
    expected = label(target, predicted[0, 0].numpy(), predicted[0, 1:].numpy(), Thresholds(0.5, 0.8, 20))
    np.testing.assert_array_equal(found, expected)
    assert expected.max() > 5
    np.testing.assert_array_equal(probability, predicted[:, :1])


def test_an_image_without_foreground_has_no_nuclei_and_the_images_of_a_batch_are_apart() -> None:
    landscape = np.full((2, 1, 32, 32), -1, np.float32)
    landscape[1, 0, 4:12, 4:12] = 0.5
    labels = Watershed(0.8, 20, SMOOTHING_PX)(landscape)
    assert not labels[0].any()
    assert np.unique(labels[1]).tolist() == [0, 1]
