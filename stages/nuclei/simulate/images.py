"""Synthetic microscope images of nuclei with exact label maps.

They imitate the kinds of the real data: fluorescence (dim and large, small and sparse, bright and crowded, in
clumps, noisy), stained tissue (purple on white, purple on purple), and cells in bright-field. Nuclei are irregular
ellipses that may touch but never overlap. The seed determines everything, and no image depends on how many are drawn.

All arithmetic is in float64 and rounded to 8 bits at the end, so that differences between processors in the last bit of
functions such as the sine do not reach the file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

Plane = NDArray[np.float64]  # (H, W), or (H, W, 3) in colour
Labels = NDArray[np.uint16]  # (H, W), 0 = background
WAVES = np.array([2, 3, 4, 5])  # Fourier modes that deform an ellipse: bumps along its outline

SMALL = ((128, 128), (128, 160), (160, 160))
MEDIUM = ((128, 192), (160, 192), (192, 192))
LARGE = ((192, 256), (256, 256), (256, 320))


@dataclass(frozen=True)
class Appearance:
    """The appearance of one kind of image.

    Attributes:
        draw: renders the nuclei as (H, W, 3) values from 0 to 255.
        sizes: heights and widths of images, in pixels; one is chosen at random.
        radius: smallest and largest mean radius of a nucleus, in pixels.
        area: mean image area per nucleus, in pixels.
        touching: probability that a nucleus is placed against another one.
        stretch: largest ratio of the axes of a nucleus.
        bumps: irregularity of the outlines; 0 is an ellipse.
    """

    draw: Callable[[Generator, Nuclei], Plane]
    sizes: tuple[tuple[int, int], ...]
    radius: tuple[float, float]
    area: float
    touching: float
    stretch: float
    bumps: float


@dataclass(frozen=True)
class Nuclei:
    """The positions and shapes of the nuclei of one image.

    Attributes:
        labels: (H, W), 1..n, each one connected component.
        depth: (H, W), 0 at the centre of each nucleus and in the background, 1 at the outline.
    """

    labels: Labels
    depth: Plane

    def each(self, values: Plane) -> Plane:
        """Give every pixel of a nucleus the value of that nucleus, one of `values`; 0 in the background."""
        return np.concatenate([[0.0], values])[self.labels]

    @property
    def count(self) -> int:
        return int(self.labels.max())


def draw(seed: int, number: int) -> tuple[NDArray[np.uint8], Labels]:
    """Draw image `number` of the sample: (H, W, 3) uint8 RGB and its label map (H, W) uint16, 0 = background."""
    rng = np.random.default_rng([seed, number])
    kind = APPEARANCES[number % len(APPEARANCES)]
    height, width = kind.sizes[rng.integers(len(kind.sizes))]
    nuclei = place(rng, kind, height, width)
    rgb = kind.draw(rng, nuclei)
    return np.rint(np.clip(rgb, 0, 255)).astype(np.uint8), nuclei.labels


# --- geometry ---------------------------------------------------------------------------------------------------------


def place(rng: Generator, kind: Appearance, height: int, width: int) -> Nuclei:
    """Place nuclei one by one, skipping those that earlier ones would hide too much."""
    labels, depth = np.zeros((height, width), np.uint16), np.zeros((height, width))
    wanted = max(2, round(height * width / kind.area * rng.uniform(0.6, 1.4)))
    placed: list[tuple[float, float, float]] = []
    for _ in range(4 * wanted):
        if len(placed) == wanted:
            break
        radius = rng.uniform(*kind.radius)
        if placed and rng.random() < kind.touching:
            row, col, other = placed[rng.integers(len(placed))]
            angle, away = rng.uniform(0, 2 * np.pi), (radius + other) * rng.uniform(0.85, 1.05)
            row, col = row + away * np.sin(angle), col + away * np.cos(angle)
        else:
            row, col = rng.uniform(0, height), rng.uniform(0, width)
        if not (0 <= row < height and 0 <= col < width):
            continue
        box, distance = blob(rng, (row, col), radius, kind, (height, width))
        inside = distance < 1
        free = _largest_component(inside & (labels[box] == 0))
        # the edge of the image may cut a nucleus, but must leave more than a sliver
        if free.sum() < max(0.75 * inside.sum(), 0.25 * np.pi * radius**2, 12):
            continue
        placed.append((row, col, radius))
        labels[box][free] = len(placed)
        depth[box][free] = distance[free]
    return Nuclei(labels, depth)


def blob(
    rng: Generator, centre: tuple[float, float], radius: float, kind: Appearance, shape: tuple[int, int]
) -> tuple[tuple[slice, slice], Plane]:
    """The bounding box of an irregular ellipse, and in it the distance from the centre, scaled to 1 at the outline."""
    ratio, turn = np.sqrt(rng.uniform(1, kind.stretch)), rng.uniform(0, np.pi)
    bumps = kind.bumps * rng.uniform(0, 1, len(WAVES)) / WAVES
    phases = rng.uniform(0, 2 * np.pi, len(WAVES))
    reach = radius * ratio * (1 + bumps.sum()) + 1
    low = [int(np.clip(middle - reach, 0, side)) for middle, side in zip(centre, shape, strict=True)]
    high = [int(np.clip(middle + reach + 2, 0, side)) for middle, side in zip(centre, shape, strict=True)]
    rows, cols = np.mgrid[low[0] : high[0], low[1] : high[1]]
    down, right = rows - centre[0], cols - centre[1]
    along = (np.cos(turn) * right + np.sin(turn) * down) / (radius * ratio)
    across = (np.cos(turn) * down - np.sin(turn) * right) / (radius / ratio)
    angle = np.arctan2(across, along)
    outline = 1 + sum(
        bump * np.cos(wave * angle + phase) for bump, wave, phase in zip(bumps, WAVES, phases, strict=True)
    )
    return (slice(low[0], high[0]), slice(low[1], high[1])), np.hypot(along, across) / outline


def _largest_component(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    components, count = ndimage.label(mask)
    if count < 2:
        return mask
    return np.asarray(components == 1 + np.argmax(np.bincount(components.ravel())[1:]))


# --- light ------------------------------------------------------------------------------------------------------------


def cloud(rng: Generator, shape: tuple[int, ...], sigma: float | tuple[float, float]) -> Plane:
    """Smooth noise of mean 0 and standard deviation 1; `sigma` is the size of its grain in pixels."""
    noise: Plane = ndimage.gaussian_filter(rng.standard_normal(shape), sigma, mode="wrap")
    return np.asarray((noise - noise.mean()) / noise.std())


def blurred(plane: Plane, sigma: float) -> Plane:
    return np.asarray(ndimage.gaussian_filter(plane, sigma, mode="nearest"))


def strands(rng: Generator, shape: tuple[int, ...]) -> Plane:
    """Wavy fibres of mean 0 and standard deviation 1: elongated noise, rotated and warped."""
    turn, (rows, cols) = rng.uniform(0, np.pi), np.indices(shape)
    along = np.cos(turn) * cols + np.sin(turn) * rows + 5 * cloud(rng, shape, 14)
    across = np.cos(turn) * rows - np.sin(turn) * cols + 7 * cloud(rng, shape, 20)
    straight = cloud(rng, (256, 256), (1.1, 9.0))
    bent = ndimage.map_coordinates(straight, [across, along], order=1, mode="grid-wrap")
    return np.asarray(bent, np.float64)


def uneven(rng: Generator, shape: tuple[int, ...], strength: float) -> Plane:
    """Illumination with a mean near 1: a gradient across the image and darker corners."""
    rows, cols = (np.linspace(-1, 1, side) for side in shape)
    angle = rng.uniform(0, 2 * np.pi)
    slope = np.sin(angle) * rows[:, None] + np.cos(angle) * cols[None, :]
    rim = (rows[:, None] ** 2 + cols[None, :] ** 2) / 2
    light: Plane = 1 + strength * (slope - rim * rng.uniform(0, 1))
    return light


def gray(plane: Plane) -> Plane:
    return np.repeat(plane[:, :, None], 3, axis=2)


def _fluorescence(
    *,
    peak: tuple[float, float],
    spread: float,
    floor: tuple[float, float],
    grain: float,
    spots: float,
    blur: tuple[float, float],
    noise: float,
    light: float,
) -> Callable[[Generator, Nuclei], Plane]:
    """Bright nuclei on a dark background.

    Args:
        peak: brightness of the nuclei, on a scale of 255.
        spread: relative standard deviation of that brightness between nuclei.
        floor: brightness of the background.
        grain: contrast of the chromatin, as a fraction.
        spots: contrast of bright spots in it (the chromocentres of mouse cells), as a fraction.
        blur: standard deviation of the optical blur, in pixels.
        noise: standard deviation of the photon noise at full brightness, on a scale of 255.
        light: largest relative deviation of the illumination.
    """

    def paint(rng: Generator, nuclei: Nuclei) -> Plane:
        shape, inside = nuclei.labels.shape, nuclei.labels > 0
        brightness = rng.uniform(*peak) * np.exp(spread * rng.standard_normal(nuclei.count))
        chromatin = 1 + grain * (cloud(rng, shape, 1.2) + cloud(rng, shape, 3)) / 1.4
        chromatin += spots * np.clip(cloud(rng, shape, 1.4) - 1.0, 0, None)
        dome = 1 - 0.35 * nuclei.depth**3
        glow = nuclei.each(brightness) * np.clip(chromatin, 0.2, None) * dome * inside
        sharp = blurred(glow, rng.uniform(*blur))
        haze = 0.05 * blurred(glow, 9) + rng.uniform(*floor) * (1 + 0.05 * cloud(rng, shape, 25))
        signal = (sharp + haze) * uneven(rng, shape, rng.uniform(0, light))
        # the standard deviation of photon noise grows with the square root of the signal
        return gray(signal + noise * np.sqrt(np.clip(signal, 1, None) / 255) * rng.standard_normal(shape))

    return paint


def _tissue(
    *, ground: tuple[float, float, float], stain: tuple[float, float, float], fibres: float, depth: tuple[float, float]
) -> Callable[[Generator, Nuclei], Plane]:
    """Stained nuclei in a tissue section, after the Beer-Lambert law: light = ground * exp(-density * stain).

    Args:
        ground: colour of the slide where there is no tissue.
        stain: absorption of the stain in red, green and blue.
        fibres: contrast of the tissue between the nuclei.
        depth: smallest and largest density of the stain in a nucleus.
    """

    def paint(rng: Generator, nuclei: Nuclei) -> Plane:
        shape, inside = nuclei.labels.shape, nuclei.labels > 0
        density = np.clip(nuclei.each(rng.uniform(*depth, nuclei.count)), 0, None)
        coarse = nuclei.each(rng.uniform(0.1, 0.5, nuclei.count))  # from uniform to coarsely speckled
        chromatin = 1 + coarse * (0.8 * cloud(rng, shape, 1.1) + 0.5 * cloud(rng, shape, 2.5))
        rim = 0.75 + 0.45 * nuclei.depth**4
        chroma = blurred(density * np.clip(chromatin, 0.25, 1.8) * rim * inside, rng.uniform(0.6, 1.0))
        wavy = np.clip(0.7 * strands(rng, shape) + 0.6 * cloud(rng, shape, 4), -1.5, 2.5)
        lumen = np.clip(2 * cloud(rng, shape, 22) + 1.5, 0, 1)  # pale gaps in the tissue
        matrix = fibres * lumen * np.clip(1 + 0.45 * wavy + 0.12 * cloud(rng, shape, 1), 0, None)
        # nuclei out of focus, which no annotator would mark
        ghosts = 0.35 * np.clip(blurred(np.clip(cloud(rng, shape, 4) - 1.8, 0, 1), 2), 0, None) * (1 - inside)
        tint = np.array(stain) * np.exp(0.05 * rng.standard_normal(3))
        halo = 0.10 * blurred(chroma, 5)
        light = np.array(ground) * np.exp(-(chroma + matrix + ghosts + halo)[:, :, None] * tint)
        light = light * uneven(rng, shape, rng.uniform(0, 0.06))[:, :, None]
        grain = 1.5 * cloud(rng, shape, 0.6)[:, :, None] + 0.8 * rng.standard_normal(light.shape)
        return np.asarray(light + grain)

    return paint


def brightfield(rng: Generator, nuclei: Nuclei) -> Plane:
    """Dark nuclei, each within a large pale cell, on a bright background."""
    shape, inside = nuclei.labels.shape, nuclei.labels > 0
    cells = np.zeros(shape)
    for row, col in ndimage.center_of_mass(inside, nuclei.labels, range(1, nuclei.count + 1)):
        centre = row + rng.uniform(-12, 12), col + rng.uniform(-12, 12)
        box, distance = blob(rng, centre, rng.uniform(28, 48), CELL, shape)
        body = np.clip((1 - distance) * 12, 0, 1)
        edge = np.exp(-(((distance - 0.97) / 0.03) ** 2))
        cells[box] += rng.uniform(0.06, 0.16) * body + 0.10 * edge * np.clip(cloud(rng, distance.shape, 5), 0, 2)
    in_cell = cells > 0.02
    folds = np.exp(-((cloud(rng, shape, 9) / 0.06) ** 2)) * in_cell
    speckles = np.clip(cloud(rng, shape, 1.0) - 1.3, 0, 1.5) * in_cell
    debris = np.clip(cloud(rng, shape, 1.5) - 3.2, 0, 1)
    chromatin = np.clip(1 + 0.12 * cloud(rng, shape, 1.2) + 0.1 * cloud(rng, shape, 3), 0.3, None)
    dark = nuclei.each(rng.uniform(0.5, 0.95, nuclei.count)) * chromatin * inside
    density = blurred(cells, 0.8) * (1 + 0.12 * cloud(rng, shape, 4)) + 0.05 * folds + 0.09 * speckles + 0.5 * debris
    light = rng.uniform(222, 234) * np.exp(-blurred(density + dark, rng.uniform(0.6, 1.0)))
    return gray(light * uneven(rng, shape, rng.uniform(0, 0.05)) + 1.2 * rng.standard_normal(shape))


CELL = Appearance(brightfield, (), (28, 48), 0, 0, 1.8, 0.35)

DIM = Appearance(
    _fluorescence(
        peak=(28, 60), spread=0.15, floor=(4, 9), grain=0.06, spots=0.0, blur=(1.0, 1.6), noise=5, light=0.15
    ),
    (*MEDIUM, *LARGE[:2]), (13, 19), 2600, 0.25, 1.9, 0.15,
)  # fmt: skip
SPARSE = Appearance(
    _fluorescence(
        peak=(60, 150), spread=0.4, floor=(5, 16), grain=0.10, spots=0.0, blur=(0.7, 1.2), noise=8, light=0.2
    ),
    (*SMALL, *MEDIUM), (4.5, 7), 1300, 0.25, 2.4, 0.15,
)  # fmt: skip
CROWDED = Appearance(
    _fluorescence(
        peak=(70, 150), spread=0.25, floor=(6, 20), grain=0.14, spots=0.6, blur=(0.8, 1.3), noise=12, light=0.25
    ),
    (*SMALL, *MEDIUM), (6.5, 9.5), 520, 0.45, 1.5, 0.2,
)  # fmt: skip
CLUMPS = Appearance(
    _fluorescence(
        peak=(90, 190), spread=0.25, floor=(8, 18), grain=0.22, spots=0.35, blur=(0.7, 1.0), noise=8, light=0.15
    ),
    (*SMALL, *MEDIUM), (4.5, 7), 1000, 0.65, 1.6, 0.5,
)  # fmt: skip
NOISY = Appearance(
    _fluorescence(
        peak=(40, 90), spread=0.45, floor=(5, 14), grain=0.15, spots=0.1, blur=(1.3, 2.4), noise=26, light=0.4
    ),
    (*SMALL, *MEDIUM), (8, 14), 1300, 0.5, 1.6, 0.25,
)  # fmt: skip
ON_WHITE = Appearance(
    _tissue(ground=(228, 230, 224), stain=(0.85, 1.5, 0.62), fibres=0.04, depth=(0.35, 1.4)),
    (*MEDIUM, *LARGE), (6, 9), 900, 0.6, 1.9, 0.4,
)  # fmt: skip
ON_PURPLE = Appearance(
    _tissue(ground=(200, 184, 222), stain=(1.1, 1.3, 0.36), fibres=0.13, depth=(0.4, 1.5)),
    (*MEDIUM, *LARGE), (7, 12), 1300, 0.45, 2.6, 0.25,
)  # fmt: skip
CELLS = Appearance(brightfield, (*MEDIUM, *LARGE[:2]), (6, 9.5), 6500, 0.0, 1.6, 0.3)

# of twenty, twelve are fluorescence, five tissue and three bright-field; the order mixes them
APPEARANCES = (
    DIM, ON_WHITE, CROWDED, CELLS, SPARSE, CLUMPS, ON_PURPLE, NOISY, CROWDED, ON_WHITE,
    DIM, CELLS, CROWDED, SPARSE, ON_PURPLE, CLUMPS, NOISY, CELLS, ON_PURPLE, SPARSE,
)  # fmt: skip
