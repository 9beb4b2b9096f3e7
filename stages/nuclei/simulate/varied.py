"""Synthetic images whose looks are drawn at random, to be mixed into training.

The sample (images.py) imitates the real data; these go beyond them. Every image has its own nucleus size, density,
outlines, contrast, blur, noise and light: fluorescence with rings, dark nucleoli, haze, glow, specks and nuclei out of
focus; tissue in two stains of any hue, with fibres, gaps and red blood cells; bright-field; fields without any nucleus.
What is not a nucleus in focus is never labelled. Such domain randomisation is after Tobin et al. (2017),
arXiv:1703.06907.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from nuclei.simulate.images import (
    Appearance,
    Labels,
    Nuclei,
    Plane,
    blurred,
    brightfield,
    cloud,
    gray,
    place,
    strands,
    uneven,
)

SIDES = (128, 256)  # smallest and largest side of an image, in pixels
RADIUS = (4.5, 18.0)  # smallest and largest typical radius of the nuclei of an image, in pixels
BLANK = 0.3  # of the fluorescence images have no nucleus
BARE = 0.5  # of the images without a nucleus show nothing but light and noise
DEFOCUSED = 0.4  # of the images without a nucleus have no sharp detail at all, and little noise
GLOWING = 0.4  # of the fluorescence images have light from far out of focus
GLOW_PX = (8.0, 80.0)  # smallest and largest standard deviation of its blur, in pixels
BROWN_MATRIX = 0.15  # of the tissue images have brown cytoplasm, in patches, around blue nuclei
HAEMATOXYLIN, EOSIN, DAB = (1.0, 1.1, 0.45), (0.12, 0.8, 0.4), (0.5, 0.9, 1.3)  # absorption in red, green and blue


def draw_varied(seed: int, number: int) -> tuple[NDArray[np.uint8], Labels]:
    """Draw image `number`: (H, W, 3) uint8 RGB and its label map (H, W) uint16, 0 = background.

    Of ten images five are fluorescence, four tissue and one bright-field. An image depends on the arguments alone.
    """
    rng = np.random.default_rng([seed, number, 1])
    paint = ORDER[number % len(ORDER)]
    height, width = rng.integers(*SIDES, 2, endpoint=True).tolist()
    radius = log_uniform(rng, *RADIUS)
    kind = Appearance(
        draw=paint,
        sizes=(),
        radius=(radius * rng.uniform(0.6, 0.9), radius * rng.uniform(1.1, 1.5)),
        area=np.pi * radius**2 * log_uniform(rng, 1.5, 12 if paint is not brightfield else 40),
        touching=rng.uniform(0, 0.8),
        stretch=rng.uniform(1.1, 3),
        bumps=rng.uniform(0, 0.5),
    )
    nuclei = place(rng, kind, height, width)
    if paint is fluorescence and rng.random() < BLANK:
        nuclei = Nuclei(np.zeros_like(nuclei.labels), np.zeros_like(nuclei.depth))
    return np.rint(np.clip(paint(rng, nuclei), 0, 255)).astype(np.uint8), nuclei.labels


def log_uniform(rng: Generator, low: float, high: float) -> float:
    """A random number between `low` and `high` whose logarithm is uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def fluorescence(rng: Generator, nuclei: Nuclei) -> Plane:
    """Bright nuclei on a dark background: (H, W, 3) values, of which those above 255 are saturated."""
    shape, inside = nuclei.labels.shape, nuclei.labels > 0
    peak, scale = log_uniform(rng, 25, 280), typical_radius(nuclei)
    brightness = peak * np.exp(rng.uniform(0.05, 0.5) * rng.standard_normal(nuclei.count))
    texture = cloud(rng, shape, 0.12 * scale + 0.4) + cloud(rng, shape, 0.3 * scale)
    chromatin = 1 + rng.uniform(0.02, 0.25) * texture
    chromatin += rng.choice([-0.6, 0, 0, 0.6]) * np.clip(cloud(rng, shape, 0.15 * scale + 0.4) - 1.2, 0, 1)
    profile = 1 + rng.uniform(-0.5, 0.3) * nuclei.depth ** rng.uniform(1.5, 4)  # a dome or a ring
    light = nuclei.each(brightness) * np.clip(chromatin, 0.15, None) * profile * inside
    sharp = blurred(light, 0.4 + scale * rng.uniform(0, 0.18))
    haze = rng.uniform(0, 0.25) * blurred(light, scale)
    bare = not nuclei.count and rng.random() < BARE
    ghosts = rng.uniform(0, 0.4) * peak * np.clip(blurred(spots(rng, shape, scale, 1.6), 0.5 * scale), 0, 1)
    specks = rng.uniform(0, 1) * peak * spots(rng, shape, 0.8, 3.2)
    floor = log_uniform(rng, 1, 45) * (1 + rng.uniform(0, 0.3) * cloud(rng, shape, log_uniform(rng, 5, 60)))
    far = glow(rng, shape, peak, scale) if rng.random() < GLOWING else 0.0
    signal = (sharp + haze + (ghosts + specks) * (not bare) + floor + far) * uneven(rng, shape, rng.uniform(0, 0.5))
    calm = 1.0
    if not nuclei.count and rng.random() < DEFOCUSED:
        signal, calm = blurred(signal, log_uniform(rng, 2, 20)), rng.uniform(0, 0.3)
    noise = log_uniform(rng, 1, 30) * np.sqrt(np.clip(signal, 1, None) / 255)  # of photons
    grain = noise * rng.standard_normal(shape) + rng.uniform(0, 3) * rng.standard_normal(shape)
    return gray(signal + calm * grain)


def glow(rng: Generator, shape: tuple[int, ...], peak: float, radius: float) -> Plane:
    """Patches of light without an edge, as from cells far out of focus: (H, W), 0 and more.

    Args:
        rng, shape: the generator and (H, W).
        peak: brightness of the nuclei, on a scale of 255.
        radius: of the nuclei, in pixels; no patch is less blurred than by this.
    """
    patches = cloud(rng, shape, max(log_uniform(rng, *GLOW_PX), radius)) - rng.uniform(-1, 1.2)
    return np.asarray(log_uniform(rng, 0.03, 0.6) * peak * np.clip(patches, 0, None))


def tissue(rng: Generator, nuclei: Nuclei) -> Plane:
    """A stained section, after the Beer-Lambert law: nuclei in one stain, everything else in another, and unstained."""
    shape, inside, scale = nuclei.labels.shape, nuclei.labels > 0, typical_radius(nuclei)
    brown = rng.random() < 0.15  # immunohistochemistry: some nuclei are brown, the others blue
    density = np.clip(nuclei.each(rng.uniform(0.15, 0.6) + rng.uniform(0, 0.7, nuclei.count)), 0, None)
    chromatin = 1 + nuclei.each(rng.uniform(0.05, 0.5, nuclei.count)) * cloud(rng, shape, 0.15 * scale + 0.3)
    rim = 1 + rng.uniform(-0.4, 0.4) * (nuclei.depth ** rng.uniform(2, 5) - 0.5)
    chroma = blurred(density * np.clip(chromatin, 0.2, 2) * rim * inside, rng.uniform(0.4, 0.6 + 0.1 * scale))
    fibres = np.clip(0.7 * strands(rng, shape) + 0.6 * cloud(rng, shape, 0.5 * scale), -1.5, 2.5)
    lumen = np.clip(2 * cloud(rng, shape, log_uniform(rng, 10, 40)) + rng.uniform(0, 3), 0, 1)  # pale gaps
    matrix = rng.uniform(0.05, 0.5) * lumen * np.clip(1 + rng.uniform(0.1, 0.6) * fibres, 0.1, None)
    blood = rng.choice([0, 0, 0.6]) * spots(rng, shape, 0.6 * scale, 1.8)  # red cells without a nucleus
    ghosts = 0.4 * blurred(spots(rng, shape, 0.5 * scale, 1.9), 0.3 * scale)  # nuclei out of focus
    counterstain = EOSIN if rng.random() < 0.7 else HAEMATOXYLIN
    if rng.random() < BROWN_MATRIX:
        patches = np.clip(2 * cloud(rng, shape, log_uniform(rng, 0.7, 4) * scale) + rng.uniform(-1, 1), 0, 1)
        matrix += rng.uniform(0.2, 1) * patches * np.clip(1 + 0.3 * fibres, 0.2, None)
        counterstain = DAB
    of_nuclei, of_matrix = stain(rng, HAEMATOXYLIN), stain(rng, counterstain)
    absorbed = (
        (chroma + (ghosts + rng.uniform(0, 0.15) * blurred(chroma, scale)) * ~inside)[:, :, None] * of_nuclei
        + ((matrix + blood) * ~inside + 0.5 * matrix * inside)[:, :, None] * of_matrix
    )  # fmt: skip
    if brown:
        chosen = nuclei.each((rng.random(nuclei.count) < rng.uniform(0.1, 0.9)).astype(float))[:, :, None]
        absorbed += chosen * chroma[:, :, None] * (stain(rng, DAB) - of_nuclei)
    ground = rng.uniform(195, 250) * rng.uniform(0.93, 1.0, 3)
    light = ground * np.exp(-np.clip(absorbed, 0, None)) * uneven(rng, shape, rng.uniform(0, 0.12))[:, :, None]
    grain = rng.uniform(0, 4) * cloud(rng, shape, 0.6)[:, :, None]
    return np.asarray(light + grain + rng.uniform(0, 4) * rng.standard_normal(light.shape))


def stain(rng: Generator, absorption: tuple[float, float, float]) -> Plane:
    """(3,) the absorption of a stain, varied in hue and strength as between laboratories."""
    return np.array(absorption) * np.exp(0.2 * rng.standard_normal(3)) * rng.uniform(0.8, 1.25)


def spots(rng: Generator, shape: tuple[int, ...], radius: float, threshold: float) -> Plane:
    """Irregular spots of about `radius` pixels with soft edges, from 0 to 1; the higher `threshold`, the fewer."""
    return np.clip(2 * (cloud(rng, shape, radius) - threshold), 0, 1)


def typical_radius(nuclei: Nuclei) -> float:
    """The radius of the mean nucleus, in pixels; 8 without nuclei."""
    return float(np.sqrt(np.sum(nuclei.labels > 0) / nuclei.count / np.pi)) if nuclei.count else 8.0


ORDER = (
    *(fluorescence, tissue, fluorescence, tissue, fluorescence),
    *(brightfield, fluorescence, tissue, fluorescence, tissue),
)
