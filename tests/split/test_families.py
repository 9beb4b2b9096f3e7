"""A family has one size, modality and background; folds of families leave each out as a whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from committed import run_here
from conftest import write_params
from nuclei.base import files
from nuclei.base.errors import InputError
from nuclei.images.io import write_rgb
from nuclei.images.records import COLUMNS, Record, image_path, read_families, read_groups, read_split
from nuclei.split.families import families, look
from nuclei.split.splitting import divided, split_fold


def flat(*colour: int) -> np.ndarray:
    return np.full((8, 8, 3), colour, np.uint8)


def record(modality: str, number: int = 0, height: int = 64, width: int = 96) -> Record:
    return Record(f"i{number:02}", height, width, 1, 0.1, modality, "drawn")


@pytest.mark.parametrize(
    ("modality", "colour", "name"),
    [
        ("fluorescence", (6, 6, 6), "64x96 fluorescence on black"),
        ("fluorescence", (9, 9, 9), "64x96 fluorescence on gray"),
        ("tissue", (210, 205, 215), "64x96 tissue on white"),
        ("tissue", (170, 150, 205), "64x96 tissue on purple"),
        ("tissue", (215, 120, 170), "64x96 tissue on pink"),
        ("brightfield", (228, 228, 228), "64x96 brightfield"),
    ],
)
def test_the_background_of_a_modality_makes_the_family(modality: str, colour: tuple[int, int, int], name: str) -> None:
    assert families([record(modality)], [0], [look(flat(*colour))]) == [name]


def test_the_background_is_measured_beside_bright_nuclei() -> None:
    rgb = flat(10, 10, 10)
    rgb[2:] = 200
    assert look(rgb).black_level == 10


def test_a_group_is_of_one_family_even_where_its_images_differ() -> None:
    found = [record("fluorescence", n, height) for n, height in enumerate((64, 64, 32, 64))]
    looks = [look(flat(level, level, level)) for level in (3, 12, 3, 12)]
    assert families(found, [5, 5, 5, 6], looks) == ["64x96 fluorescence on black"] * 3 + ["64x96 fluorescence on gray"]


@settings(max_examples=15)
@given(members=st.lists(st.integers(0, 11), min_size=24, max_size=40), folds=st.integers(2, 3))
def test_over_the_folds_every_family_is_test_once_and_whole(members: list[int], folds: int) -> None:
    # groups 0 to 11 and twelve more of one image each; the families are groups of one remainder
    groups = [*members, *range(12, 24)]
    of = [str(group % 4) for group in groups]
    found = [record(("tissue", "fluorescence")[group % 2], number) for number, group in enumerate(groups)]
    family = dict(zip((each.id for each in found), of, strict=True))
    tested = []
    for fold in range(folds):
        parts = split_fold(found, groups, fold=fold, folds=folds, val_fraction=0.1, seed=0, families=of)
        left_out = {family[id] for id, part in parts.items() if part == "test"}
        assert all((family[id] in left_out) == (part == "test") for id, part in parts.items())
        assert divided(parts, dict(zip(family, groups, strict=True))) == []
        assert set(parts.values()) == {"train", "val", "test"}
        tested += sorted(left_out)
    assert sorted(tested) == sorted(set(of))


def test_each_fold_leaves_out_a_family_of_each_modality_that_has_enough() -> None:
    sizes = {"fluorescence a": 40, "fluorescence b": 36, "tissue a": 12, "tissue b": 8, "brightfield": 4}
    of = [name for name, count in sizes.items() for _ in range(count)]
    found = [record(name.split()[0], number) for number, name in enumerate(of)]
    for fold in range(2):
        parts = split_fold(found, range(100), fold=fold, folds=2, val_fraction=0.1, seed=0, families=of)
        modalities = {each.modality for each in found if parts[each.id] == "test"}
        assert modalities >= {"fluorescence", "tissue"}


def test_families_that_can_not_be_left_out_are_refused() -> None:
    found = [record("tissue", number) for number in range(8)]

    def refused(names: list[str], message: str, *, folds: int = 2, fold: int = 0) -> None:
        with pytest.raises(InputError, match=message):
            split_fold(found, range(8), fold=fold, folds=folds, val_fraction=0.1, seed=0, families=names)

    refused(["64x96 tissue"] * 8, r"one family: there is nothing to leave out(.|\n)*64x96 tissue(.|\n)*split.by")
    refused(["a"] * 4 + ["b"] * 4, r"too few families(.|\n)*2 \(a, b\)(.|\n)*at least 3", folds=3)
    refused(["a"] * 7 + ["b"], r"too few images to train and validate on(.|\n)*1 group", fold=1)


def test_images_that_all_differ_in_modality_and_size_are_divided_into_folds() -> None:
    found = [record("tissue", number, 2 ** (number + 3), 2 ** (number + 3)) for number in range(10)]
    parts = split_fold(found, range(10), fold=1, folds=5, val_fraction=0.1, seed=0)
    assert sorted(parts.values()).count("test") == 2


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """A workspace with eight dark and four gray fields of noise, each a group of its own."""
    rng, rows = np.random.default_rng(0), []
    for number in range(12):
        gray = rng.integers(0, 100, (16, 16, 1)) + (30 if number % 3 == 0 else 0)
        each = replace(record("fluorescence", number), height=16, width=16)
        write_rgb(image_path(tmp_path / "data/prepared", each.id), np.repeat(gray, 3, axis=2).astype(np.uint8))
        rows.append({name: getattr(each, name) for name in COLUMNS})
    files.write_rows(tmp_path / "data/prepared/index.csv", COLUMNS, rows)
    return tmp_path


def test_the_stage_leaves_out_families_and_says_which(prepared: Path) -> None:
    write_params(prepared, split={"by": "family", "folds": 2, "fold": 0})
    done = run_here("split", prepared)
    assert done.returncode == 0, done.stderr
    path = prepared / "data/split.csv"
    parts, names = read_split(path), read_families(path)
    gray = {f"i{number:02}" for number in range(0, 12, 3)}
    assert {id for id, name in names.items() if name == "16x16 fluorescence on gray"} == gray
    test = {id for id, part in parts.items() if part == "test"}
    assert test in (gray, set(parts) - gray)
    assert len(set(read_groups(path).values())) == 12
    for name, images in (("black", 8), ("gray", 4)):
        part = "test " if (test == gray) == (name == "gray") else "train"
        assert f"  {part} 16x16 fluorescence on {name}: {images} images in {images} groups\n" in done.stdout + "\n"


def test_a_split_without_families_is_to_be_made_again(tmp_path: Path) -> None:
    files.write_rows(tmp_path / "split.csv", ["id", "family"], [{"id": "a", "family": ""}])
    with pytest.raises(InputError, match=r"no family(.|\n)*dvc repro"):
        read_families(tmp_path / "split.csv")
