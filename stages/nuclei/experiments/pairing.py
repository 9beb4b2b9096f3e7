"""The images that two revisions have in common, and the groups that they form.

A group is a field of view with its tiles and near-duplicates: its images are not independent, so a bootstrap resamples
groups and never images (see evaluate/bootstrap.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nuclei.evaluate import aggregate
from nuclei.evaluate.aggregate import Columns
from nuclei.experiments.revisions import Snapshot

BOTH, NEITHER = "both", "neither"


@dataclass(frozen=True)
class Pair:
    """One part of two revisions.

    Attributes:
        ids: of the images that both scored with the same annotation.
        before, after: their rows in base and in head, each column (images,).
        groups: (images,) the group of each, numbered from 0; None where neither table names groups.
        groups_of: whose groups these are: "base", "head", "both" or "neither".
        only_base, only_head: the number of images that only one of the two scored.
        changed: the number of images that both scored, but with different annotations.
    """

    ids: list[str]
    before: Columns
    after: Columns
    groups: NDArray[np.int64] | None
    groups_of: str
    only_base: int
    only_head: int
    changed: int

    @property
    def whole(self) -> bool:
        """Whether these are all images of both."""
        return not (self.only_base or self.only_head or self.changed)


def pair(part: str, base: Snapshot, head: Snapshot) -> Pair:
    """Match the images of one part by their ids; those whose annotation differs are counted and left out."""
    nothing: tuple[list[str], Columns] = ([], {name: np.empty(0) for name in aggregate.NUMBERS})
    (base_ids, base_columns), (head_ids, head_columns) = (
        snapshot.images.get(part, nothing) for snapshot in (base, head)
    )
    both, at_base, at_head = np.intersect1d(base_ids, head_ids, assume_unique=True, return_indices=True)
    same = np.ones(len(both), dtype=bool)
    for of_base, of_head in zip(_truth(base_columns), _truth(head_columns), strict=True):
        same &= of_base[at_base] == of_head[at_head]
    at_base, at_head = at_base[same], at_head[same]
    groups, groups_of = _groups(
        {"base": (base.groups.get(part), at_base), "head": (head.groups.get(part), at_head)},
    )
    return Pair(
        ids=[str(id) for id in both[same]],
        before=aggregate.chosen(base_columns, at_base),
        after=aggregate.chosen(head_columns, at_head),
        groups=groups,
        groups_of=groups_of,
        only_base=len(base_ids) - len(both),
        only_head=len(head_ids) - len(both),
        changed=int((~same).sum()),
    )


def numbered(groups: Sequence[str]) -> NDArray[np.int64]:
    """The groups as numbers from 0, (images,)."""
    return np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1].astype(np.int64)


def _truth(columns: Columns) -> list[NDArray[np.float64]]:
    """The columns that identify an image's annotation: its size, nuclei and foreground pixels (TP + FN)."""
    return [columns["height"], columns["width"], columns["nuclei"], columns["tp"] + columns["fn"]]


def _groups(
    named: dict[str, tuple[Sequence[str] | None, NDArray[np.intp]]],
) -> tuple[NDArray[np.int64] | None, str]:
    """The groups of the images in common; of two groupings that disagree the coarser, whose intervals are wider."""
    found = {
        name: numbered([groups[place] for place in places])
        for name, (groups, places) in named.items()
        if groups is not None
    }
    if not found:
        return None, NEITHER
    coarsest = min(found, key=lambda name: len(np.unique(found[name])))
    one, *others = found.values()
    return found[coarsest], BOTH if others and _same(one, *others) else coarsest


def _same(one: NDArray[np.int64], other: NDArray[np.int64]) -> bool:
    """Whether two groupings differ in the numbers of the groups alone."""
    pairs = len(np.unique(np.stack([one, other]), axis=1).T)
    return pairs == len(np.unique(one)) == len(np.unique(other))
