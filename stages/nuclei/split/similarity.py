"""Groups of images that show the same cells: near-duplicates, and tiles cut from one field of view.

If they were divided, a model would be tested on cells that it was trained on. BBBC038 holds one pair of near-duplicates
(two slices of one embryo), but 519 of its 664 images are tiles: 141 fields were cut into 2 to 12 tiles, mostly 2 by 2,
and a nucleus on a cut is in both.
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
ILLUMINATION_PX = 4  # of the thumbnail: coarser structure is taken for uneven light, which unrelated images may share
MIN_CONTRAST = 0.5  # standard deviation of a thumbnail, in gray levels: noise has 0.1, the faintest real image 1.8
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
    """The thumbnail and the edges of an image, for comparing it with others.

    Attributes:
        thumbnail: (THUMBNAIL_PX ** 2,) float32 of norm 1; all zero if the image has too little contrast.
        edges: for top, bottom, left and right the outermost line and the next one, each (2, L) float32.
    """

    thumbnail: NDArray[np.float32]
    edges: dict[str, NDArray[np.float32]]


def signature(rgb: NDArray[np.uint8]) -> Signature:
    """Compute the signature of an image, (H, W, 3) uint8."""
    gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    # in an image of one line, that line is its own neighbour
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
    """Number the groups of images that show the same cells.

    Two images are in one group if the correlation of their thumbnails, corrected for uneven light, is at least
    `duplicate_similarity`, if they are neighbouring tiles, or if a chain of such pairs connects them.

    Returns:
        (N,) the group of each image, numbered 0, 1, ... in the order of their first images.
    """
    alike = set(duplicates(signatures, duplicate_similarity))
    pairs = sorted(alike | neighbours(signatures, alike))
    first, second = np.array(pairs, np.intp).reshape(-1, 2).T
    graph = coo_array((np.ones(len(pairs), np.bool_), (first, second)), shape=(len(signatures), len(signatures)))
    _, found = connected_components(graph, directed=False)
    _, appearance = np.unique(found, return_index=True)
    return np.asarray(np.argsort(np.argsort(appearance))[found])


def duplicates(signatures: Sequence[Signature], similarity: float) -> Iterator[tuple[int, int]]:
    """Pairs of images whose thumbnails have at least this correlation."""
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
    """Pairs of indices of edges, (n, 2, L) each, where an edge of `after` continues an edge of `before`."""
    shapes = _normalised(after[:, 0])
    for start in range(0, len(before), BLOCK):
        alike = _normalised(before[start : start + BLOCK, 0]) @ shapes.T >= SEAM_CORRELATION
        for row, col in zip(*np.nonzero(alike), strict=True):
            one, other = before[start + row], after[col]
            usual = (np.abs(one[0] - one[1]).mean() + np.abs(other[0] - other[1]).mean()) / 2
            if start + row != col and np.abs(one[0] - other[0]).mean() <= SEAM_STEP * usual:
                yield int(start + row), int(col)


def _normalised(lines: NDArray[np.float32]) -> NDArray[np.float32]:
    """Lines (n, L) corrected for uneven light and scaled to norm 1; all zero where a line has no contrast."""
    detail = lines - gaussian_filter1d(lines, SEAM_LIGHT_PX, axis=1)
    length = np.linalg.norm(detail, axis=1, keepdims=True)
    visible = length >= np.sqrt(lines.shape[1])  # a standard deviation of one gray level
    return np.asarray(np.where(visible, detail / np.maximum(length, 1), 0))
