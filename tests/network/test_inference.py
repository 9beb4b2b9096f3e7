"""Whole images of any size, in tiles where they are large."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nuclei.network.inference import TileGrid, _spans, predict_maps
from nuclei.network.model import MEAN, STD


class Echo(nn.Module):
    """A network whose prediction at a pixel is that pixel's own three values, as 0 to 1."""

    def __init__(self) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(1))

    def predict(self, image: Tensor) -> Tensor:
        assert image.shape[2] % 32 == 0
        assert image.shape[3] % 32 == 0
        return image * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None] + self.nothing


class Watched(Echo):
    """The same; it remembers the height and width of what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[tuple[int, ...]] = []

    def predict(self, image: Tensor) -> Tensor:
        self.sizes.append(tuple(image.shape[2:]))
        return super().predict(image)


class Ramp(Echo):
    """A network that says 0 on the left and 1 on the right, whatever it sees."""

    def predict(self, image: Tensor) -> Tensor:
        return torch.linspace(0, 1, image.shape[3]).expand(1, 1, *image.shape[2:]) + self.nothing


def predict(
    rgb: np.ndarray,
    tile_px: int = 64,
    overlap_px: int = 16,
    flips: bool = False,
    zoom: float = 1.0,
    net: Echo | None = None,
) -> np.ndarray:
    return predict_maps(
        net or Echo(),  # type: ignore[arg-type]
        rgb,
        tile_px=tile_px,
        overlap_px=overlap_px,
        flips=flips,
        zoom=zoom,
        precision=torch.float32,
    )


@given(height=st.integers(1, 200), width=st.integers(1, 200), flips=st.booleans())
@settings(max_examples=40, deadline=None)
def test_every_pixel_is_predicted_in_its_place_whatever_the_size(height: int, width: int, flips: bool) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    maps = predict(rgb, flips=flips)
    assert maps.dtype == np.float32
    np.testing.assert_allclose(maps, rgb.transpose(2, 0, 1) / 255, atol=1e-5)


@given(size=st.integers(1, 5000), tile=st.sampled_from([64, 128, 1024]), overlap=st.sampled_from([0, 16, 32]))
def test_tiles_cover_the_image_overlap_as_asked_and_are_no_larger_than_they_must_be(
    size: int, tile: int, overlap: int
) -> None:
    spans = _spans(size, tile, overlap)
    (length,) = {span.stop - span.start for span in spans}
    assert spans[0].start == 0
    assert spans[-1].stop == size
    assert length <= tile
    assert all(earlier.stop - later.start >= overlap for earlier, later in pairwise(spans))
    covered = size + (len(spans) - 1) * overlap  # in which the overlaps count twice
    assert covered <= length * len(spans) < covered + len(spans)
    assert len(spans) == 1 or (len(spans) - 1) * tile < size + (len(spans) - 2) * overlap  # one less would not do


def test_the_maps_of_a_window_that_is_one_tile_are_those_of_the_whole_image() -> None:
    def random(rows: slice, cols: slice) -> np.ndarray:
        return np.random.default_rng([rows.start, cols.start]).random((1, 1024, 1024), np.float32)

    grid = TileGrid(3000, 3000, 1024, 128)
    whole = grid.blend(random)
    for rows, cols in (grid.spans(0)[0], grid.spans(1)[0]), (grid.spans(0)[1], grid.spans(1)[2]):
        np.testing.assert_array_equal(grid.blend(random, (rows, cols)), whole[:, rows, cols])
    alone = slice(0, 700), slice(50, 600)  # only one tile reaches into it
    np.testing.assert_array_equal(grid.blend(random, alone), whole[:, *alone])


def test_flips_average_what_the_network_says_of_each_view() -> None:
    rgb = np.zeros((64, 96, 3), np.uint8)
    maps = predict(rgb, tile_px=256, overlap_px=0, flips=True, net=Ramp())
    np.testing.assert_allclose(maps, 0.5, atol=1e-6)  # a ramp and its mirror image


@pytest.mark.parametrize(("zoom", "seen"), [(1.0, (96, 96)), (2.0, (160, 192)), (0.5, (64, 64))])
def test_what_the_network_says_of_an_enlarged_image_returns_to_its_place(zoom: float, seen: tuple[int, int]) -> None:
    net = Watched()
    rows, cols = np.indices((70, 90))
    disc = np.exp(-((rows - 20) ** 2 + (cols - 61) ** 2) / 60)
    rgb = np.repeat(np.rint(255 * disc).astype(np.uint8)[..., None], 3, axis=2)
    maps = predict(rgb, tile_px=256, overlap_px=0, zoom=zoom, net=net)
    assert net.sizes == [seen]  # up to a multiple of 32
    assert maps.shape == (3, 70, 90)
    assert maps.dtype == np.float32
    np.testing.assert_allclose(maps[0], disc, atol=0.05)  # a shift by half a pixel would be 0.08


@given(height=st.integers(1, 150), width=st.integers(1, 150), zoom=st.sampled_from([0.6, 1.7, 2.5]))
@settings(max_examples=30, deadline=None)
def test_an_enlarged_image_is_predicted_in_tiles_of_what_the_network_may_see(
    height: int, width: int, zoom: float
) -> None:
    net = Watched()
    rows, cols = np.indices((height, width))
    smooth = 0.5 + 0.2 * np.sin(rows / 9) + 0.2 * np.cos(cols / 11)
    rgb = np.repeat(np.rint(255 * smooth).astype(np.uint8)[..., None], 3, axis=2)
    maps = predict(rgb, tile_px=64, overlap_px=32, zoom=zoom, net=net)
    assert max(max(size) for size in net.sizes) <= 64
    np.testing.assert_allclose(maps[0], smooth, atol=0.03)
