"""Images that show the same thing are found, and images that only look alike in their light are not."""

from __future__ import annotations

import struct
import zipfile
from collections import Counter, defaultdict
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from nuclei.images.io import read_rgb
from nuclei.simulate.images import draw
from nuclei.split import similarity
from nuclei.split.similarity import FACING, SEAM_CORRELATION, SEAM_STEP, Signature, duplicates, groups, signature

SIMILARITY = 0.8
Pairs = set[tuple[int, int]]


def field(seed: int, height: int = 128, width: int = 128, *, nuclei: int = 25) -> np.ndarray:
    """Bright soft discs on a dark ground with noise: (H, W) float."""
    random = np.random.default_rng(seed)
    rows, cols = np.indices((height, width))
    image = np.full((height, width), 10.0)
    for _ in range(nuclei):
        distance = np.hypot(rows - random.uniform(0, height), cols - random.uniform(0, width))
        image += random.uniform(50, 120) / (1 + np.exp((distance - random.uniform(5, 9)) * 1.2))
    return image + random.normal(0, 1, image.shape)


def rgb(gray: np.ndarray) -> np.ndarray:
    return np.repeat(np.rint(np.clip(gray, 0, 255)).astype(np.uint8)[..., None], 3, axis=2)


def pairs(found: np.ndarray) -> Pairs:
    return {(first, second) for first, second in found.tolist()}


def neighbours(signatures: list[Signature], alike: Pairs = frozenset()) -> tuple[Pairs, Pairs]:
    trusted, rejected = similarity.neighbours(signatures, np.array(sorted(alike), np.intp).reshape(-1, 2))
    return pairs(trusted), pairs(rejected)


def grouped(*images: np.ndarray) -> list[int]:
    return groups([signature(rgb(image)) for image in images], SIMILARITY).numbers.tolist()


def test_a_copy_that_is_darker_noisier_smaller_or_shifted_by_a_pixel_is_in_its_group() -> None:
    original, other = field(1), field(2)
    noise = np.random.default_rng(0).normal(0, 6, original.shape)
    copies = [original * 0.4, original + noise, original[::2, ::2], np.roll(original, (1, 1), (0, 1)), 255 - original]
    assert grouped(original, other, *copies[:4]) == [0, 1, 0, 0, 0, 0]
    assert grouped(original, copies[4]) == [0, 1]


def test_different_fields_are_apart() -> None:
    assert grouped(*(field(seed) for seed in range(30))) == list(range(30))


def test_black_and_nearly_black_and_uniform_images_are_not_taken_for_the_same() -> None:
    random = np.random.default_rng(0)
    dark = [random.normal(3, 1, (64, 64)) for _ in range(10)]
    assert grouped(*dark, np.zeros((64, 64)), np.zeros((64, 64)), np.full((64, 64), 200.0)) == list(range(13))


def test_the_same_uneven_light_does_not_make_images_the_same() -> None:
    rows, cols = np.mgrid[-1:1:128j, -1:1:128j]
    light = 60 * np.exp(-(rows**2 + cols**2))
    assert grouped(*(light + field(seed, nuclei=4) for seed in range(20))) == list(range(20))


def test_tiles_of_one_field_are_in_one_group() -> None:
    whole, other = field(3, 256, 256, nuclei=90), field(4)
    tiles = [whole[:128, :128], whole[128:, 128:], whole[:128, 128:], whole[128:, :128]]
    assert grouped(tiles[0], other, *tiles[1:]) == [0, 1, 0, 0, 0]


def test_a_seam_is_found_in_any_order_and_is_no_duplicate() -> None:
    whole = field(5, 200, 100, nuclei=40)
    tiles = [signature(rgb(tile)) for tile in (whole[100:], whole[:100], field(6, 100, 100))]
    assert neighbours(tiles) == ({(0, 1)}, set())
    assert pairs(duplicates(tiles, SIMILARITY)) == set()


def test_tiles_of_different_sizes_are_not_compared() -> None:
    whole = field(6, 200, 100, nuclei=40)
    assert neighbours([signature(rgb(whole[:100])), signature(rgb(whole[100:]))]) == ({(0, 1)}, set())
    assert neighbours([signature(rgb(whole[:90])), signature(rgb(whole[90:]))]) == (set(), set())


def test_tiles_stay_together_beside_unrelated_images_with_the_same_scale_bar() -> None:
    whole = field(3, 256, 256, nuclei=90)
    tiles = [whole[:128, :128], whole[128:, 128:], whole[:128, 128:], whole[128:, :128]]
    for bars in (2, 3, 8):
        others = [field(seed) for seed in range(10, 10 + bars)]
        for other in others:
            other[:4, 80:120] = 255
        assert grouped(*tiles, *others) == [0, 0, 0, 0, *range(1, 1 + bars)]


@pytest.mark.parametrize("mirrored", [False, True])
def test_an_edge_that_matches_one_that_it_cannot_continue_is_no_seam_and_is_reported(mirrored: bool) -> None:
    whole = field(5, 200, 100, nuclei=40)
    upper, lower, other = whole[:100], whole[100:], field(6, 100, 100)
    if mirrored:
        other[-2:] = lower[1::-1, ::-1]  # a bottom that reads backwards like a top
    else:
        other[:2] = lower[:2]  # two tops alike: chance, or something drawn on both
    trusted, rejected = neighbours([signature(rgb(image)) for image in (upper, lower, other)])
    assert trusted == set()
    assert (0, 1) in rejected


def test_chance_groups_few_of_many_unrelated_images() -> None:
    """With few nuclei on each edge, some edges match by chance, but more often edges that cannot face each other do."""
    signatures = [signature(rgb(field(seed, nuclei=12))) for seed in range(150)]
    trusted, rejected = neighbours(signatures)
    assert len(trusted) <= 15 and rejected
    assert max(Counter(groups(signatures, SIMILARITY).numbers.tolist()).values()) <= 4


def all_pairs(signatures: list[Signature], alike: Pairs) -> tuple[Pairs, Pairs, Pairs]:
    """Duplicates, trusted seams and rejected seams, from a loop over all pairs of images of all edges."""
    images = list(combinations(range(len(signatures)), 2))
    thumbnails = [each.thumbnail for each in signatures]
    same = {(a, b) for a, b in images if float(thumbnails[a] @ thumbnails[b]) >= SIMILARITY}
    seams, chance = {}, defaultdict(float)
    for a, b in images:
        edges = (signatures[a].edges, signatures[b].edges)
        if (a, b) in alike or any(edges[0][side].shape != edges[1][side].shape for side in ("top", "left")):
            continue
        for sides in FACING:
            for one, other, backwards in product(sides, sides, (False, True)):
                first = edges[0][one].astype(float)
                second = edges[1][other].astype(float)[:, :: -1 if backwards else 1]
                usual = (np.abs(first[0] - first[1]).mean() + np.abs(second[0] - second[1]).mean()) / 2
                shapes = [line - gaussian_filter1d(line, 16) for line in (first[0], second[0])]
                lengths = [np.linalg.norm(shape) for shape in shapes]
                if min(lengths) < np.sqrt(first.shape[1]) or np.abs(first[0] - second[0]).mean() > SEAM_STEP * usual:
                    continue
                correlation = shapes[0] @ shapes[1] / np.prod(lengths)
                if correlation < SEAM_CORRELATION:
                    continue
                if one != other and not backwards:
                    seams[a, one, b, other] = correlation
                else:
                    for edge in ((a, one), (b, other)):
                        chance[edge] = max(chance[edge], correlation)
    trusted = {(a, b) for (a, one, b, other), found in seams.items() if found > max(chance[a, one], chance[b, other])}
    return same, trusted, {(a, b) for a, _, b, _ in seams} - trusted


@pytest.mark.parametrize("px", [5, 20, 64])
def test_the_pairs_are_those_of_comparing_all(px: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With blocks so small that pairs lie in one and in two; 5 px is less than the sections of an edge."""
    monkeypatch.setattr(similarity, "BLOCK", 7)
    monkeypatch.setattr(similarity, "BLOCK_PX", 100 * px)
    tall = [field(seed, 2 * px, px, nuclei=max(2, px // 8)) for seed in range(12)]
    images = [part for image in tall for part in (image[:px], image[px:])]
    images += [images[3] * 0.9, images[10][::-1], *tall[:2]]
    signatures = [signature(rgb(image)) for image in images]
    same, trusted, rejected = all_pairs(signatures, set())
    assert same and trusted
    assert pairs(duplicates(signatures, SIMILARITY)) == same
    assert neighbours(signatures) == (trusted, rejected)
    assert neighbours(signatures, {(0, 1)}) == all_pairs(signatures, {(0, 1)})[1:]


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (2, 2)])
def test_images_too_small_to_compare_are_groups_of_their_own(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    assert grouped(*(random.uniform(0, 255, shape) for _ in range(3))) == [0, 1, 2]


def test_one_image_and_none_have_their_groups() -> None:
    assert grouped(field(1)) == [0]
    assert grouped() == []


def test_the_real_tissue_images_are_tiles_of_a_quarter_as_many_fields(real_data: Path) -> None:
    with zipfile.ZipFile(real_data) as archive:
        names = [name for name in archive.namelist() if "/images/" in name]
        images = {name[:8]: read_rgb(archive.read(name)) for name in names if png_size(archive, name) == (256, 320)}
    ids, signatures = list(images), [signature(image) for image in images.values()]
    found = dict(zip(ids, groups(signatures, SIMILARITY).numbers.tolist(), strict=True))
    assert len(ids) == 111 and 25 <= len(set(found.values())) <= 40
    # looked at: the two images of each pair go on without a seam
    for upper, lower in (("ad473063", "ae570a67"), ("589f86de", "a7f767ca")):
        assert found[upper] == found[lower]
    assert neighbours(list(reversed(signatures[:40])))[0] != set()


def png_size(archive: zipfile.ZipFile, name: str) -> tuple[int, int]:
    with archive.open(name) as file:
        width, height = struct.unpack(">II", file.read(24)[16:])
    return height, width


def test_the_built_in_sample_has_no_near_duplicates() -> None:
    signatures = [signature(draw(0, number)[0]) for number in range(40)]
    assert groups(signatures, SIMILARITY).numbers.tolist() == list(range(40))
