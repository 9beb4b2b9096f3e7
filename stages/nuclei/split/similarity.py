"""Groups of images that show the same cells: near-duplicates, and tiles cut from one field of view.

If they were divided, a model would be tested on cells that it was trained on. BBBC038 holds one pair of near-duplicates
(two slices of one embryo), but 519 of its 664 images are tiles: 141 fields were cut into 2 to 12 tiles, mostly 2 by 2,
and a nucleus on a cut is in both.

Comparing every image with every other takes hours for 10^5 images, so bounds that are cheap to compute leave out pairs
that can not reach the thresholds. They leave out no other pair, so the groups are those of comparing all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn
from scipy.ndimage import gaussian_filter1d
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

THUMBNAIL_PX = 32
ILLUMINATION_PX = 4  # of the thumbnail: coarser structure is taken for uneven light, which unrelated images may share
MIN_CONTRAST = 0.5  # standard deviation of a thumbnail, in gray levels: noise has 0.1, the faintest real image 1.8
# A seam is where two tiles lay side by side: the pixels on both sides of the cut rise and fall together, apart from
# uneven light, and differ no more than neighbouring lines within the tiles do. In BBBC038, 462 pairs of edges do both.
SEAM_CORRELATION = 0.9
SEAM_STEP = 1.25  # times the mean difference of neighbouring lines
SEAM_LIGHT_PX = 16  # coarser structure along an edge is taken for uneven light
EDGES = ("top", "bottom", "left", "right")
FACING = (("top", "bottom"), ("left", "right"))
COSINES = 192  # of a thumbnail's 1,024: enough to tell almost all unrelated images apart
SECTIONS = 8  # of an edge, whose means tell almost all unrelated edges apart
BLOCK = 4096  # images compared with as many others at once, which bounds the memory
BLOCK_PX = 2**23  # of the edges compared at once, for the same reason
TOLERANCE = 1e-3  # of the bounds, far above the errors of rounding
Pairs = NDArray[np.intp]  # (n, 2) indices of images, the smaller one first; sorted, each once
NO_PAIRS: Pairs = np.zeros((0, 2), np.intp)


@dataclass(frozen=True)
class Signature:
    """The thumbnail and the edges of an image, for comparing it with others.

    Attributes:
        thumbnail: (THUMBNAIL_PX ** 2,) float32 of norm 1; all zero if the image has too little contrast.
        edges: for top, bottom, left and right the outermost line and the next one, each (2, L) uint8.
    """

    thumbnail: NDArray[np.float32]
    edges: dict[str, NDArray[np.uint8]]


def signature(rgb: NDArray[np.uint8]) -> Signature:
    """Compute the signature of an image, (H, W, 3) uint8."""
    gray: NDArray[np.uint8] = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)
    # in an image of one line, that line is its own neighbour
    edges = {"top": gray[:2], "bottom": gray[:-3:-1], "left": gray[:, :2].T, "right": gray[:, :-3:-1].T}
    edges = {side: np.stack([lines[0], lines[-1]]) for side, lines in edges.items()}
    small = cv2.resize(gray.astype(np.float32), (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA)
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
    alike = duplicates(signatures, duplicate_similarity)
    tiles, rejected = neighbours(signatures, alike)
    first, second = np.concatenate([alike, tiles]).T
    graph = coo_array((np.ones(len(first), np.bool_), (first, second)), shape=(len(signatures), len(signatures)))
    _, found = connected_components(graph, directed=False)
    _, appearance = np.unique(found, return_index=True)
    return Grouping(np.asarray(np.argsort(np.argsort(appearance))[found]), rejected)


def duplicates(signatures: Sequence[Signature], similarity: float) -> Pairs:
    """Pairs of images whose thumbnails have at least this correlation.

    The discrete cosine transform keeps scalar products. Its strongest COSINES and the norm of the rest bound the
    correlation of two thumbnails from above (Cauchy and Schwarz); only pairs that may reach it are compared in full.
    """
    bounds = _bounds(signatures)
    found = [NO_PAIRS]
    for first in range(0, len(bounds), BLOCK):
        for second in range(first, len(bounds), BLOCK):
            possible = bounds[first : first + BLOCK] @ bounds[second : second + BLOCK].T >= similarity - TOLERANCE
            pairs = np.argwhere(possible) + (first, second)
            found.append(pairs[pairs[:, 0] < pairs[:, 1]])
    pairs = np.concatenate(found)
    alike = [float(signatures[one].thumbnail @ signatures[two].thumbnail) >= similarity for one, two in pairs]
    return _sorted(pairs[np.array(alike, np.bool_)])


def _bounds(signatures: Sequence[Signature]) -> NDArray[np.float32]:
    """Vectors (N, 1 + COSINES) whose scalar product is at least the correlation of the thumbnails."""

    def cosines(some: Sequence[Signature]) -> NDArray[np.float32]:
        thumbnails = np.array([each.thumbnail for each in some]).reshape(-1, THUMBNAIL_PX, THUMBNAIL_PX)
        return np.asarray(dctn(thumbnails, axes=(1, 2), norm="ortho")).reshape(len(some), -1)

    if not signatures:
        return np.zeros((0, 1 + COSINES), np.float32)
    power = np.square(cosines(signatures[:: 1 + len(signatures) // BLOCK])).mean(axis=0)
    strongest = np.argsort(-power, kind="stable")[:COSINES]
    rows = []
    for start in range(0, len(signatures), BLOCK):
        every = cosines(signatures[start : start + BLOCK])
        kept = every[:, strongest]
        rest = np.square(every).sum(axis=1) - np.square(kept).sum(axis=1)
        rows.append(np.column_stack([kept, np.sqrt(rest.clip(min=0))]))
    return np.concatenate(rows)


def neighbours(signatures: Sequence[Signature], alike: Pairs = NO_PAIRS) -> tuple[Pairs, Pairs]:
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
    count = len(signatures)
    known = alike @ (count, 1)
    chance = np.zeros(len(EDGES) * count)  # the highest correlation with an edge that this one cannot continue
    seams = [(np.zeros((2, 0), np.intp), np.zeros(0))]  # (2, n) edges that may continue each other, their correlation
    for members in sizes.values():
        for sides in FACING:
            lines = np.array([signatures[index].edges[side] for side in sides for index in members])  # (2 n, 2, L)
            image = np.tile(members, 2)
            edge = np.repeat([EDGES.index(side) for side in sides], len(members)) * count + image
            for backwards in (False, True):
                for found, correlation in _matches(lines, backwards):
                    images = np.sort(image[found], axis=0)
                    other = (images[0] != images[1]) & ~np.isin((count, 1) @ images, known)
                    edges, correlation = edge[found[:, other]], correlation[other]
                    possible = (edges[0] // count != edges[1] // count) & (not backwards)
                    seams.append((edges[:, possible], correlation[possible]))
                    for ends in edges[:, ~possible]:
                        np.maximum.at(chance, ends, correlation[~possible])
    edges, correlation = (np.concatenate(parts, axis=-1) for parts in zip(*seams, strict=True))
    pairs = np.sort(edges % max(count, 1), axis=0).T
    right = correlation > chance[edges].max(axis=0, initial=0)
    trusted, rejected = _sorted(pairs[right]), _sorted(pairs[~right])
    return trusted, rejected[~np.isin(rejected @ (count, 1), trusted @ (count, 1))]


def _matches(lines: NDArray[np.uint8], backwards: bool) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float64]]]:
    """Pairs of edges of which one continues the other, or the other read backwards, and their correlation.

    Args:
        lines: (n, 2, L), for each edge the outermost line and the next one.
        backwards: whether one of the two is read backwards.

    Yields:
        Indices (2, m) of the edges and their correlation (m,); each pair once.
    """
    outer = lines[:, 0].astype(np.float32)
    roughness = np.abs(outer - lines[:, 1]).mean(axis=1)
    shapes = _normalised(outer)
    visible = np.flatnonzero(shapes.any(axis=1))
    # from the smoothest to the roughest, so that of a pair the later edge has the larger limit for the step
    order = visible[np.argsort(roughness[visible], kind="stable")]
    outer, shapes, roughness = outer[order], shapes[order], roughness[order]
    read, read_shapes = (outer[:, ::-1], shapes[:, ::-1]) if backwards else (outer, shapes)
    # the mean difference of two lines is at least that of the means of their sections
    tree, means = KDTree(_sections(outer)), _sections(read)
    reach = SEAM_STEP * roughness + TOLERANCE
    counts = np.asarray(tree.query_ball_point(means, reach, p=1, return_length=True), np.int64)
    blocks = np.cumsum(counts * lines.shape[2]) // BLOCK_PX
    for rows in np.split(np.arange(len(order)), np.flatnonzero(np.diff(blocks)) + 1):
        near = tree.query_ball_point(means[rows], reach[rows], p=1)
        late = np.repeat(rows, counts[rows])
        early = np.fromiter(chain.from_iterable(near), np.intp, len(late))
        late, early = late[early < late], early[early < late]
        step = np.abs(read[late] - outer[early]).mean(axis=1)
        close = step <= SEAM_STEP * (roughness[late] + roughness[early]) / 2
        late, early = late[close], early[close]
        correlation = np.einsum("ij,ij->i", read_shapes[late], shapes[early])
        same = correlation >= SEAM_CORRELATION
        yield np.stack([order[early[same]], order[late[same]]]), correlation[same].astype(np.float64)


def _sections(lines: NDArray[np.float32]) -> NDArray[np.float64]:
    """Sums of up to SECTIONS sections of lines (n, L), divided by L: the mean over a line is the sum of its row."""
    length = lines.shape[1]
    sections = min(SECTIONS, length)
    starts = np.arange(sections) * length // sections
    return np.asarray(np.add.reduceat(lines, starts, axis=1, dtype=np.float64) / length)


def _sorted(pairs: Pairs) -> Pairs:
    """The pairs in order, each once."""
    return np.unique(pairs, axis=0)


def _normalised(lines: NDArray[np.float32]) -> NDArray[np.float32]:
    """Lines (n, L) corrected for uneven light and scaled to norm 1; all zero where a line has no contrast."""
    detail = lines - gaussian_filter1d(lines, SEAM_LIGHT_PX, axis=1)
    length = np.linalg.norm(detail, axis=1, keepdims=True)
    visible = length >= np.sqrt(lines.shape[1])  # a standard deviation of one gray level
    return np.asarray(np.where(visible, detail / np.maximum(length, 1), 0))
