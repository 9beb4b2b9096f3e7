"""Who is in train, val and test: by look and size in equal shares, near-duplicates together, or by a user's list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from nuclei.errors import InputError
from nuclei.records import PARTS, Record

THUMBNAIL_PX = 24
FLAT = 2.0  # gray levels: an image whose thumbnail deviates less has nothing to compare


def thumbnail(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Shrink an image to (THUMBNAIL_PX ** 2,) float32 of mean 0 and length 1; all 0 where it is flat.

    The product of two thumbnails is their Pearson correlation.
    """
    gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(gray, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    small -= small.mean()
    if small.std() < FLAT:
        return np.zeros_like(small)
    return small / np.linalg.norm(small)


def duplicate_groups(
    thumbnails: NDArray[np.float32], shapes: Sequence[tuple[int, int]], similarity: float
) -> NDArray[np.intp]:
    """Number the images so that near-duplicates share a number.

    Two images of one size are near-duplicates when their thumbnails correlate by at least `similarity`, and so is
    whatever a chain of such pairs joins.

    Args:
        thumbnails: (N, THUMBNAIL_PX ** 2), as `thumbnail` makes them.
        shapes: height and width of each.
        similarity: the least correlation, up to 1.

    Returns:
        (N,) group numbers from 0, in the order of each group's first image.
    """
    alike = thumbnails @ thumbnails.T >= similarity
    sizes = np.unique(np.asarray(shapes).reshape(-1, 2), axis=0, return_inverse=True)[1].ravel()
    pairs = np.nonzero(np.triu(alike & (sizes[:, None] == sizes), k=1))
    graph = coo_array((np.ones(len(pairs[0])), pairs), shape=alike.shape)
    return connected_components(graph, directed=False)[1]


def split(
    records: Sequence[Record], groups: NDArray[np.intp], fractions: Mapping[str, float], seed: int
) -> dict[str, str]:
    """Deal whole groups out so that each part has its fraction of every stratum: a modality, large or small images.

    The largest groups of a stratum go first, each to the part that lacks most of its share there; equal groups come
    in an order that the seed draws. A stratum too small for its fractions still gives each part one image, test
    before val, while more than two groups are there.

    Args:
        records: the images; their order does not matter.
        groups: the group of each, from `duplicate_groups`.
        fractions: of val and test; train has the rest.
        seed: of the order.

    Returns:
        The part of each id, in the order of the ids.

    Raises:
        InputError: a part would be empty.
    """
    members: dict[int, list[Record]] = {}
    for record, group in sorted(zip(records, groups.tolist(), strict=True), key=lambda pair: pair[0].id):
        members.setdefault(group, []).append(record)
    median = float(np.median([record.height * record.width for record in records])) if records else 0.0
    strata: dict[tuple[str, bool], list[list[Record]]] = {}
    for group_members in members.values():
        first = group_members[0]
        strata.setdefault((first.modality, first.height * first.width > median), []).append(group_members)
    shares = {"test": fractions["test"], "val": fractions["val"]}
    shares["train"] = 1 - sum(shares.values())
    random = np.random.default_rng(seed)
    parts: dict[str, str] = {}
    for _, stratum in sorted(strata.items()):
        images = sum(len(group) for group in stratum)
        lacking = {part: share * images for part, share in shares.items()}
        if len(stratum) > 2:
            lacking |= {part: max(lacking[part], 1.0) for part in ("test", "val")}
        order = [stratum[number] for number in random.permutation(len(stratum))]
        for group in sorted(order, key=len, reverse=True):
            room = {part: lacking[part] - len(group) for part in shares}
            # where it fits, the smallest part first, so that the rare looks reach val and test; else where it hurts least
            part = next((part for part in shares if room[part] > -0.5), max(room, key=lambda part: room[part]))
            lacking[part] -= len(group)
            parts |= {record.id: part for record in group}
    return _complete(dict(sorted(parts.items())), fix="give more images, or change split.val_fraction, test_fraction")


def listed(records: Iterable[Record], rows: Sequence[Mapping[str, str]], file: str) -> dict[str, str]:
    """Split as a user's list says, rows of `id` and `part`; every image stands in it exactly once.

    Raises:
        InputError: an id is unknown, missing or named twice, or a part is unknown or empty.
    """
    known = {record.id for record in records}
    counts = Counter(row["id"] for row in rows)
    problems = {
        "ids that the data set does not have": sorted(counts.keys() - known),
        "images of the data set without a part": sorted(known - counts.keys()),
        "ids named more than once": sorted(id for id, count in counts.items() if count > 1),
        f"parts other than {', '.join(PARTS)}": sorted({row["part"] for row in rows} - set(PARTS)),
    }
    wrong = [f"{len(found)} {what}: {', '.join(found[:3])}" for what, found in problems.items() if found]
    if wrong:
        raise InputError("the list of split.list does not fit the data", file=file, got="; ".join(wrong))
    parts = {row["id"]: row["part"] for row in rows}
    return _complete(dict(sorted(parts.items())), fix=f"name images for it in {file}")


def _complete(parts: dict[str, str], fix: str) -> dict[str, str]:
    empty = [part for part in PARTS if part not in parts.values()]
    if empty:
        raise InputError(f"the split leaves nothing for {' and '.join(empty)}", got=f"{len(parts)} images", fix=fix)
    return parts
