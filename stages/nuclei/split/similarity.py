"""Which images show the same thing: near-duplicates, and tiles cut from one field of view.

Both would let a model be tested on what it was trained on. In the real data there is one near-duplicate pair (two
slices of one embryo), but 519 of the 664 images are tiles: 141 fields were cut into 2 to 12 pieces, mostly 2 by 2, and
a nucleus on a cut lies in both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

THUMBNAIL_PX = 32
ILLUMINATION_PX = 4  # of the thumbnail: what is coarser is taken for uneven light, which unlike images may share
MIN_CONTRAST = 0.5  # gray levels, of a thumbnail: noise alone has 0.1, the faintest real image 1.8
# Two tiles lie side by side when the pixels on both sides of the cut go up and down together, uneven light apart, and
# differ no more than neighbouring lines within the tiles do. On the real data 462 pairs of edges that can face each
# other (bottom and top, right and left) pass, and none of those that can not (such as top and top).
SEAM_CORRELATION = 0.9
SEAM_STEP = 1.25  # times the mean difference of neighbouring lines
SEAM_LIGHT_PX = 16  # what is coarser along an edge is taken for uneven light
CHANCE = 0.1  # seams are believed if so few of them, at most, pass between edges that can not face each other
EDGES = ("top", "bottom", "left", "right")
FACING = (("bottom", "top"), ("right", "left"))
NOT_FACING = (("top", "top"), ("bottom", "bottom"), ("left", "left"), ("right", "right"))
BLOCK = 1024  # images compared at once with all others, to bound the memory


@dataclass(frozen=True)
class Signature:
    """What is kept of an image to compare it with others.

    Attributes:
        thumbnail: (THUMBNAIL_PX ** 2,) float32 of length 1; all zero if the image is too even to be compared.
        edges: for top, bottom, left and right the outermost line and the next one, each (2, L) float32.
    """

    thumbnail: NDArray[np.float32]
    edges: dict[str, NDArray[np.float32]]


def signature(rgb: NDArray[np.uint8]) -> Signature:
    """Look at an image: (H, W, 3) uint8."""
    gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    # an image of one line has itself as the next one
    edges = {"top": gray[:2], "bottom": gray[:-3:-1], "left": gray[:, :2].T, "right": gray[:, :-3:-1].T}
    edges = {side: np.stack([lines[0], lines[-1]]) for side, lines in edges.items()}
    small = cv2.resize(gray, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA)
    detail = small - cv2.GaussianBlur(small, (0, 0), ILLUMINATION_PX)
    detail -= detail.mean()
    length = np.linalg.norm(detail)
    if length < MIN_CONTRAST * THUMBNAIL_PX:
        return Signature(np.zeros(THUMBNAIL_PX**2, np.float32), edges)
    return Signature((detail / length).ravel(), edges)


def groups(signatures: Sequence[Signature], duplicate_similarity: float) -> NDArray[np.intp]:
    """Number the groups of images that show the same thing.

    Two images are in one group if the correlation of their thumbnails, freed of uneven light, is at least
    `duplicate_similarity`, or if they are neighbouring tiles, or through others.

    Returns:
        (N,) the group of each image, 0, 1, ... in the order in which the groups first appear.
    """
    alike = set(duplicates(signatures, duplicate_similarity))
    pairs = sorted(alike | neighbours(signatures, alike))
    first, second = np.array(pairs, np.intp).reshape(-1, 2).T
    graph = coo_array((np.ones(len(pairs), np.bool_), (first, second)), shape=(len(signatures), len(signatures)))
    _, found = connected_components(graph, directed=False)
    _, appearance = np.unique(found, return_index=True)
    return np.asarray(np.argsort(np.argsort(appearance))[found])


def duplicates(signatures: Sequence[Signature], similarity: float) -> Iterator[tuple[int, int]]:
    """Pairs of images whose thumbnails correlate at least so much."""
    thumbnails = np.array([each.thumbnail for each in signatures])
    for start in range(0, len(thumbnails), BLOCK):
        alike = thumbnails[start : start + BLOCK] @ thumbnails.T >= similarity
        for row, col in zip(*np.nonzero(alike), strict=True):
            if start + row < col:
                yield int(start + row), int(col)


def neighbours(signatures: Sequence[Signature], alike: Collection[tuple[int, int]] = ()) -> set[tuple[int, int]]:
    """Pairs of images of one size that are neighbouring tiles; those in `alike` are passed over.

    Where nuclei are few, edges may fit by chance. How many do is told by the edges that can not face each other, of
    which there are as many pairs: if that is more than the fraction `CHANCE` of what was found, nothing is.
    """
    sizes: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, each in enumerate(signatures):
        sizes[each.edges["top"].shape[1], each.edges["left"].shape[1]].append(index)
    found: set[tuple[int, int]] = set()
    by_chance: set[tuple[int, int, str]] = set()
    for members in sizes.values():
        edges = {side: np.array([signatures[index].edges[side] for index in members]) for side in EDGES}  # (n, 2, L)
        for side, other in FACING + NOT_FACING:
            for first, second in _seams(edges[side], edges[other]):
                pair = min(members[first], members[second]), max(members[first], members[second])
                if pair in alike:
                    continue
                if side == other:
                    by_chance.add((*pair, side))
                else:
                    found.add(pair)
    return found if len(by_chance) <= CHANCE * len(found) else set()


def _seams(before: NDArray[np.float32], after: NDArray[np.float32]) -> Iterator[tuple[int, int]]:
    """Indices of edges of which the second, (n, 2, L), continues the first, (n, 2, L)."""
    shapes = _normalised(after[:, 0])
    for start in range(0, len(before), BLOCK):
        alike = _normalised(before[start : start + BLOCK, 0]) @ shapes.T >= SEAM_CORRELATION
        for row, col in zip(*np.nonzero(alike), strict=True):
            one, other = before[start + row], after[col]
            usual = (np.abs(one[0] - one[1]).mean() + np.abs(other[0] - other[1]).mean()) / 2
            if start + row != col and np.abs(one[0] - other[0]).mean() <= SEAM_STEP * usual:
                yield int(start + row), int(col)


def _normalised(lines: NDArray[np.float32]) -> NDArray[np.float32]:
    """Lines (n, L) without uneven light and of length 1; all zero where a line has no contrast."""
    detail = lines - gaussian_filter1d(lines, SEAM_LIGHT_PX, axis=1)
    length = np.linalg.norm(detail, axis=1, keepdims=True)
    visible = length >= np.sqrt(lines.shape[1])  # a deviation of one gray level
    return np.asarray(np.where(visible, detail / np.maximum(length, 1), 0))
