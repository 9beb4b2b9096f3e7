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
# A seam is where two tiles lay side by side: the pixels on both sides of the cut rise and fall together, apart from
# uneven light, and differ no more than neighbouring lines within the tiles do. In BBBC038, 462 pairs of edges do both.
SEAM_CORRELATION = 0.9
SEAM_STEP = 1.25  # times the mean difference of neighbouring lines
SEAM_LIGHT_PX = 16  # coarser structure along an edge is taken for uneven light
EDGES = ("top", "bottom", "left", "right")
FACING = (("bottom", "top"), ("right", "left"))
SAME_SIDE = tuple((side, side) for side in EDGES)
BLOCK = 1024  # images compared with all others at once, which bounds the memory
Edge = tuple[int, str]  # the index of an image, and one of EDGES
Pairs = set[tuple[int, int]]  # of indices of images, the smaller one first


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


@dataclass(frozen=True)
class Grouping:
    """The groups of a data set.

    Attributes:
        numbers: (N,) the group of each image, numbered 0, 1, ... in the order of their first images.
        rejected: pairs of images with edges that continue each other, but no better than edges that cannot.
    """

    numbers: NDArray[np.intp]
    rejected: Pairs


def groups(signatures: Sequence[Signature], duplicate_similarity: float) -> Grouping:
    """Group the images that show the same cells.

    Two images are in one group if the correlation of their thumbnails, corrected for uneven light, is at least
    `duplicate_similarity`, if they are neighbouring tiles, or if a chain of such pairs connects them.
    """
    alike = set(duplicates(signatures, duplicate_similarity))
    tiles, rejected = neighbours(signatures, alike)
    first, second = np.array(sorted(alike | tiles), np.intp).reshape(-1, 2).T
    graph = coo_array((np.ones(len(first), np.bool_), (first, second)), shape=(len(signatures), len(signatures)))
    _, found = connected_components(graph, directed=False)
    _, appearance = np.unique(found, return_index=True)
    return Grouping(np.asarray(np.argsort(np.argsort(appearance))[found]), rejected)


def duplicates(signatures: Sequence[Signature], similarity: float) -> Iterator[tuple[int, int]]:
    """Pairs of images whose thumbnails have at least this correlation."""
    thumbnails = np.array([each.thumbnail for each in signatures])
    for start in range(0, len(thumbnails), BLOCK):
        alike = thumbnails[start : start + BLOCK] @ thumbnails.T >= similarity
        for row, col in zip(*np.nonzero(alike), strict=True):
            if start + row < col:
                yield int(start + row), int(col)


def neighbours(signatures: Sequence[Signature], alike: Collection[tuple[int, int]] = ()) -> tuple[Pairs, Pairs]:
    """Pairs of images of one size that are neighbouring tiles; those in `alike` are not compared.

    Edges may also match by chance, because few nuclei lie on them, or because something is drawn on them, such as a
    scale bar. So each edge is compared with edges that it cannot continue as well: those on the same side of other
    images, and all edges read backwards. Where one of these correlates at least as much, the seam is not trusted.

    Returns:
        The pairs with a trusted seam, and the pairs with none but one that is not trusted.
    """
    sizes: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, each in enumerate(signatures):
        sizes[each.edges["top"].shape[1], each.edges["left"].shape[1]].append(index)
    seams: list[tuple[Edge, Edge, float]] = []
    chance: dict[Edge, float] = defaultdict(float)  # the highest correlation with an edge that this one cannot continue
    for members in sizes.values():
        edges = {side: np.array([signatures[index].edges[side] for index in members]) for side in EDGES}  # (n, 2, L)
        for side, other in FACING + SAME_SIDE:
            for after, possible in ((edges[other], side != other), (edges[other][:, :, ::-1], False)):
                for first, second, correlation in _matches(edges[side], after):
                    one, another = (members[first], side), (members[second], other)
                    if (min(one[0], another[0]), max(one[0], another[0])) in alike:
                        continue
                    if possible:
                        seams.append((one, another, correlation))
                        continue
                    for edge in (one, another):
                        chance[edge] = max(chance[edge], correlation)
    trusted: Pairs = set()
    rejected: Pairs = set()
    for one, another, correlation in seams:
        pairs = trusted if correlation > max(chance[one], chance[another]) else rejected
        pairs.add((min(one[0], another[0]), max(one[0], another[0])))
    return trusted, rejected - trusted


def _matches(before: NDArray[np.float32], after: NDArray[np.float32]) -> Iterator[tuple[int, int, float]]:
    """Indices of edges, (n, 2, L) each, where an edge of `after` continues one of `before`, and their correlation."""
    shapes = _normalised(after[:, 0])
    for start in range(0, len(before), BLOCK):
        correlations = _normalised(before[start : start + BLOCK, 0]) @ shapes.T
        for row, col in zip(*np.nonzero(correlations >= SEAM_CORRELATION), strict=True):
            one, other = before[start + row], after[col]
            usual = (np.abs(one[0] - one[1]).mean() + np.abs(other[0] - other[1]).mean()) / 2
            if start + row != col and np.abs(one[0] - other[0]).mean() <= SEAM_STEP * usual:
                yield int(start + row), int(col), float(correlations[row, col])


def _normalised(lines: NDArray[np.float32]) -> NDArray[np.float32]:
    """Lines (n, L) corrected for uneven light and scaled to norm 1; all zero where a line has no contrast."""
    detail = lines - gaussian_filter1d(lines, SEAM_LIGHT_PX, axis=1)
    length = np.linalg.norm(detail, axis=1, keepdims=True)
    visible = length >= np.sqrt(lines.shape[1])  # a standard deviation of one gray level
    return np.asarray(np.where(visible, detail / np.maximum(length, 1), 0))
