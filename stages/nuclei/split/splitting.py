"""Division of images into train, val and test: groups stay whole, parts are alike, and the seed decides alone."""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from nuclei.base.errors import InputError
from nuclei.base.files import read_rows
from nuclei.images.records import PARTS, Record

TOTAL_WEIGHT = 20.0  # of the total number of images in a part, relative to that of each stratum
ABSENT = 1000.0  # cost of a part without a modality that has enough groups for every part
Counts = NDArray[np.float64]
Indices = NDArray[np.intp]


def split(
    records: Sequence[Record], groups: Sequence[int], *, val_fraction: float, test_fraction: float, seed: int
) -> dict[str, str]:
    """Divide images among the parts so that each has its fraction of all images, of each modality and of each size.

    Groups stay whole. From a random start, groups are moved and swapped as long as this lowers the sum of
    (images - wanted)^2 / wanted over parts and strata. Strata are modalities, and modalities with sizes to the nearest
    power of two of the area. Dividing by `wanted` gives rare modalities the weight of common ones; a modality with at
    least as many groups as there are parts comes into every part.

    Args:
        records: the images, in any order.
        groups: the group of each image; images of one group go to one part.
        val_fraction: fraction of the images for val; 0 together with the other makes every image train.
        test_fraction: fraction of the images for test.
        seed: seed of the random start, and of the choice between groups with the same numbers of images per stratum.

    Returns:
        The part of each id, sorted by id.

    Raises:
        InputError: a part would be empty.
    """
    if val_fraction == test_fraction == 0:
        return dict.fromkeys(sorted(record.id for record in records), "train")
    members = defaultdict(list)
    for record, group in sorted(zip(records, groups, strict=True), key=lambda pair: pair[0].id):
        members[group].append(record)
    units = sorted(members.values(), key=lambda unit: unit[0].id)
    kinds: dict[tuple[tuple[str, int], ...], list[list[Record]]] = defaultdict(list)
    for unit in units:
        kinds[_kind(unit)].append(unit)  # groups of one kind are interchangeable
    if len(units) < len(PARTS):
        got = f"{len(records)} images, which make {len(units)} groups"
        fix = "take more images, or raise split.duplicate_similarity if different images were grouped as duplicates"
        raise InputError("there are too few images for a split", got=got, expected="at least 3 groups", fix=fix)

    rng = np.random.default_rng(seed)
    fractions = np.array([1 - val_fraction - test_fraction, val_fraction, test_fraction])
    strata, weights, required = _strata(kinds, units)
    cost = _Cost(strata, weights, required, fractions)
    amounts = _search(_start(rng, [len(same) for same in kinds.values()], fractions), cost)

    parts: dict[str, str] = {}
    for same, amount in zip(kinds.values(), amounts, strict=True):
        destinations = np.repeat(PARTS, amount.astype(int))
        for unit, part in zip(same, rng.permutation(destinations), strict=True):
            parts |= {record.id: str(part) for record in unit}
    check_parts(parts)
    return dict(sorted(parts.items()))


def split_fold(
    records: Sequence[Record],
    groups: Sequence[int],
    *,
    fold: int,
    folds: int,
    val_fraction: float,
    seed: int,
    families: Sequence[str] | None = None,
) -> dict[str, str]:
    """Divide images for one fold of a cross-validation: over all folds, every image is a test image exactly once.

    Groups stay whole, and modalities and sizes are spread evenly over the folds (scikit-learn's StratifiedGroupKFold).
    The images of the fold are test; val is drawn from the others in the same way, train has the rest. With `families`,
    a family is test as a whole; val is drawn from the groups of the other families, so it resembles train, not test.

    Args:
        records, groups, seed: as for `split`; the same seed gives every fold of one cross-validation.
        fold: which one is test, 0 to folds - 1.
        folds: how many there are.
        val_fraction: of all images, about.
        families: the family of each image, the same for all images of a group; None: folds are made of groups.

    Returns:
        The part of each id, sorted by id.

    Raises:
        InputError: there are too few groups or families.
    """
    order = sorted(range(len(records)), key=lambda number: records[number].id)
    ids, strata = (np.array([of(records[number]) for number in order]) for of in (lambda r: r.id, _stratum))
    group = _numbered([groups[number] for number in order])
    if (several := len(np.unique(group))) < 2 * folds:
        got, expected = f"{len(ids)} images in {several} groups", f"at least {2 * folds} groups"
        raise InputError("too few images for so many folds", got=got, expected=expected, fix="lower split.folds")
    if families is None:
        rest, test = _folds(strata, group, folds, seed)[fold]
    else:
        _check_families(families, folds)
        modality = np.array([records[number].modality for number in order])
        rest, test = _folds(modality, _numbered([families[number] for number in order]), folds, seed)[fold]
        if len(np.unique(group[rest])) < 2:
            fix = "set split.by to group, or take more images"
            raise InputError("the other families are too few images to train and validate on", got="1 group", fix=fix)
    shares = max(2, round(len(rest) / (val_fraction * len(ids))))
    train, val = _folds(strata[rest], group[rest], min(shares, len(np.unique(group[rest]))), seed)[0]
    parts = {"train": ids[rest[train]], "val": ids[rest[val]], "test": ids[test]}
    found = {str(id): part for part, members in parts.items() for id in members}
    check_parts(found)
    return dict(sorted(found.items()))


def _check_families(families: Sequence[str], folds: int) -> None:
    """Raise InputError if there are fewer families than folds."""
    names = sorted(set(families))
    if len(names) == 1:
        fix = "set split.by to group"
        raise InputError("all images are one family: there is nothing to leave out", got=names[0], fix=fix)
    if len(names) < folds:
        got, expected = f"{len(names)} ({_some(names)})", f"at least {folds}, one for each of split.folds"
        raise InputError("too few families for so many folds", got=got, expected=expected, fix="lower split.folds")


def _numbered(names: Iterable[int] | Iterable[str]) -> Indices:
    """Numbers from 0 in the order in which the names first occur, so that folds do not depend on the names."""
    first: dict[int | str, int] = {}
    return np.array([first.setdefault(name, len(first)) for name in names])


def _folds(strata: NDArray[np.str_], groups: Indices, folds: int, seed: int) -> list[tuple[Indices, Indices]]:
    """The indices outside and inside each fold; groups are whole, and strata as even as groups allow."""
    if np.unique(strata, return_counts=True)[1].max() < folds:  # scikit-learn refuses strata that are all so small
        strata = np.full_like(strata, "")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a stratum may have fewer images than there are folds
        maker = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        return list(maker.split(strata, strata, groups))


def read_list(path: Path, ids: set[str]) -> dict[str, str]:
    """Read a user's own split: a CSV of id,part, with each image's id once.

    Raises:
        InputError: the file is absent; it lists unknown images, lacks some, or lists one twice; a part is none of
            `PARTS`, or has no image.
    """
    fix = f"write a CSV with the columns id and part ({', '.join(PARTS)}), or set split.list to null"
    rows = read_rows(path, ["id", "part"], fix=fix)
    counts = Counter(row["id"] for row in rows)
    wrong = {
        "unknown ids": sorted(set(counts) - ids),
        "missing ids": sorted(ids - set(counts)),
        "ids that appear twice": sorted(id for id, count in counts.items() if count > 1),
        "unknown parts": sorted({row["part"] for row in rows} - set(PARTS)),
    }
    found = [f"{len(names)} {what} ({_some(names)})" for what, names in wrong.items() if names]
    if found:
        raise InputError("the list of the split does not fit the images", file=path, got="; ".join(found), fix=fix)
    parts = {row["id"]: row["part"] for row in rows}
    check_parts(parts, path)
    return dict(sorted(parts.items()))


def check_parts(parts: Mapping[str, str], path: Path | None = None) -> None:
    """Raise InputError if a part has no image."""
    empty = sorted(set(PARTS) - set(parts.values()))
    if empty:
        sizes = Counter(parts.values())
        got = ", ".join(f"{part}: {sizes[part]}" for part in PARTS)
        fix = "take more images, or larger fractions in the section split of params.yaml"
        raise InputError(f"the split leaves {' and '.join(empty)} without images", file=path, got=got, fix=fix)


def check_nuclei(parts: Mapping[str, str], records: Iterable[Record], path: Path | None = None) -> None:
    """Raise InputError if a part has no nucleus, because nothing could be learnt, tuned or scored on it."""
    nuclei = Counter(dict.fromkeys([part for part in PARTS if part in parts.values()], 0))
    for record in records:
        nuclei[parts[record.id]] += record.nuclei
    without = [part for part, count in nuclei.items() if not count]
    if without:
        got = ", ".join(f"{part}: {count} nuclei" for part, count in nuclei.items())
        fix = "take more images that hold nuclei, or larger fractions in the section split of params.yaml"
        if path is not None:
            fix = "give each part of the list an image that holds nuclei"
        raise InputError(f"the split leaves {' and '.join(without)} without nuclei", file=path, got=got, fix=fix)


def divided(parts: Mapping[str, str], groups: Mapping[str, int]) -> list[int]:
    """The groups that are in more than one part, as a user's list may have them."""
    seen: dict[int, set[str]] = defaultdict(set)
    for id, group in groups.items():
        seen[group].add(parts[id])
    return sorted(group for group, found in seen.items() if len(found) > 1)


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _stratum(record: Record) -> str:
    return f"{record.modality}, 2^{round(np.log2(record.height * record.width))} px"


def _kind(unit: Sequence[Record]) -> tuple[tuple[str, int], ...]:
    """How many images of each stratum a group has."""
    return tuple(sorted(Counter(_stratum(record) for record in unit).items()))


def _strata(
    kinds: Mapping[tuple[tuple[str, int], ...], list[list[Record]]], units: list[list[Record]]
) -> tuple[Counts, Counts, NDArray[np.bool_]]:
    """The images per group of each kind, in total, by modality and by stratum: (kinds, strata).

    Also the weight of each column, and whether every part must have some of it.
    """
    modalities = sorted({record.modality for unit in units for record in unit})
    strata = sorted({name for kind in kinds for name, _ in kind})
    table = np.zeros((len(kinds), 1 + len(modalities) + len(strata)))
    for row, kind in enumerate(kinds):
        for name, count in kind:
            table[row, 0] += count
            table[row, 1 + modalities.index(name.split(",")[0])] += count
            table[row, 1 + len(modalities) + strata.index(name)] += count
    weights = np.ones(table.shape[1])
    weights[0] = TOTAL_WEIGHT
    having = np.array([len(same) for same in kinds.values()]) @ (table > 0)  # groups with images of each stratum
    required = (having >= len(PARTS)) & (np.arange(table.shape[1]) <= len(modalities))
    return table, weights, required


def _start(rng: Generator, sizes: list[int], fractions: Counts) -> NDArray[np.int64]:
    """A random number of groups of each kind for each part, in about the wanted fractions: (kinds, parts)."""
    return np.array([rng.multinomial(size, fractions) for size in sizes])


class _Cost:
    """The distance of a division from the wanted one; takes numbers of images, (..., parts, strata)."""

    def __init__(self, table: Counts, weights: Counts, required: NDArray[np.bool_], fractions: Counts) -> None:
        self.table, self.weights, self.required, self.fractions = table, weights, required, fractions

    def __call__(self, counts: Counts) -> Counts:
        wanted = self.fractions[:, None] * counts.sum(axis=-2, keepdims=True)
        missed = (self.weights * (counts - wanted) ** 2 / wanted).sum(axis=(-1, -2))
        absent = ((counts < 0.5) & self.required).sum(axis=(-1, -2))
        return np.asarray(missed + ABSENT * absent)


def _search(amounts: NDArray[np.int64], cost: _Cost) -> NDArray[np.int64]:
    """Move one group or swap two, whichever lowers the cost most, until nothing lowers it."""
    amounts = amounts.copy()
    ways = [(a, b) for a in range(len(PARTS)) for b in range(len(PARTS)) if a != b]
    # the last row is an empty group: a swap with it is a move
    table = np.vstack([cost.table, np.zeros(cost.table.shape[1])])
    while True:
        counts = amounts.T @ cost.table  # (parts, strata)
        best, change = cost(counts) - 1e-9, None
        for source, target in ways:
            givers = np.flatnonzero(amounts[:, source])
            takers = np.append(np.flatnonzero(amounts[:, target]), len(table) - 1)
            for giver in givers:
                moved = table[giver] - table[takers]  # (takers, strata)
                tried = np.repeat(counts[None], len(takers), axis=0)
                tried[:, source] -= moved
                tried[:, target] += moved
                costs = cost(tried)
                choice = int(costs.argmin())
                if costs[choice] < best:
                    best, change = costs[choice], (source, target, giver, takers[choice])
        if change is None:
            return amounts
        source, target, giver, taker = change
        amounts[giver, source] -= 1
        amounts[giver, target] += 1
        if taker < len(amounts):
            amounts[taker, target] -= 1
            amounts[taker, source] += 1
