"""The split keeps groups whole, fractions exact and parts alike, and follows from the seed alone."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import split as stage
from committed import run_here
from conftest import write_params
from nuclei.base import files
from nuclei.base.errors import InputError
from nuclei.images.io import write_rgb
from nuclei.images.records import COLUMNS, PARTS, Record, image_path, read_split
from nuclei.simulate.images import draw
from nuclei.split.splitting import check_nuclei, divided, read_list, split, split_fold


def records(**counts: int) -> list[Record]:
    return [
        Record(f"{modality}_{number:03d}", 256, 256, 1, 0.1, modality, "drawn")
        for modality, count in counts.items()
        for number in range(count)
    ]


def divide(
    found: list[Record], groups: list[int] | None = None, *, seed: int = 0, fraction: float = 0.1
) -> dict[str, str]:
    groups = list(range(len(found))) if groups is None else groups
    return split(found, groups, val_fraction=fraction, test_fraction=fraction, seed=seed)


def test_the_fractions_are_exact_where_groups_allow() -> None:
    parts = divide(records(fluorescence=541, tissue=107, brightfield=16))
    counts = Counter(parts.values())
    assert counts["val"] in (66, 67) and counts["test"] in (66, 67)
    assert list(parts) == sorted(parts) and len(parts) == 664


def test_with_both_fractions_zero_every_image_trains() -> None:
    found = records(fluorescence=3, tissue=1)
    parts = divide(found, fraction=0)
    assert parts == {record.id: "train" for record in found}
    check_nuclei(parts, found)
    with pytest.raises(InputError, match="train without nuclei"):
        check_nuclei(parts, [replace(record, nuclei=0) for record in found])


def test_every_modality_has_its_share_of_every_part() -> None:
    parts = divide(records(fluorescence=541, tissue=107, brightfield=16))
    counts = Counter((id.split("_")[0], part) for id, part in parts.items())
    for part in ("val", "test"):
        assert 53 <= counts["fluorescence", part] <= 55
        assert 10 <= counts["tissue", part] <= 11
        assert 1 <= counts["brightfield", part] <= 2


def test_a_modality_of_three_images_is_in_every_part_for_every_seed() -> None:
    found = records(fluorescence=60, brightfield=3)
    for seed in range(10):
        parts = divide(found, seed=seed)
        assert {part for id, part in parts.items() if id.startswith("bright")} == set(PARTS)


def test_every_size_has_its_share_too() -> None:
    found = [Record(f"i{n:03d}", *((64, 64) if n % 4 else (512, 512)), 1, 0.1, "tissue", "x") for n in range(200)]
    parts = divide(found, fraction=0.2)
    large = Counter(parts[record.id] for record in found if record.height == 512)
    assert large == {"train": 30, "val": 10, "test": 10}


def test_groups_stay_whole() -> None:
    groups = [number // 4 for number in range(200)]
    found = records(fluorescence=160, tissue=40)
    parts = divide(found, groups)
    assert divided(parts, {record.id: group for record, group in zip(found, groups, strict=True)}) == []
    assert Counter(parts.values()) == {"train": 160, "val": 20, "test": 20}


def test_the_split_follows_from_the_seed_and_not_from_the_order_or_the_numbers_of_the_groups() -> None:
    found, groups = records(fluorescence=50, tissue=30), [number // 3 for number in range(80)]
    first = divide(found, groups, seed=1)
    order = np.random.default_rng(0).permutation(80)
    assert divide([found[i] for i in order], [1000 - groups[i] for i in order], seed=1) == first
    assert divide(found, groups, seed=2) != first


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 12), st.sampled_from(["tissue", "fluorescence", "brightfield"]), st.integers(4, 9)),
        min_size=3,
        max_size=40,
    ),
    st.integers(0, 99),
    st.floats(0.05, 0.4),
)
def test_any_division_is_complete_and_whole_or_refused(
    images: list[tuple[int, str, int]], seed: int, fraction: float
) -> None:
    found = [Record(f"i{n:02d}", 2**side, 2**side, 1, 0.1, look, "x") for n, (_, look, side) in enumerate(images)]
    groups = [group for group, _, _ in images]
    try:
        parts = divide(found, groups, seed=seed, fraction=fraction)
    except InputError as error:
        assert len(set(groups)) < 3 and "too few" in str(error)
        return
    assert set(parts) == {record.id for record in found} and set(parts.values()) == set(PARTS)
    places = defaultdict(set)
    for record, group in zip(found, groups, strict=True):
        places[group].add(parts[record.id])
    assert all(len(found_in) == 1 for found_in in places.values())


def test_too_few_groups_for_three_parts_are_an_error() -> None:
    with pytest.raises(InputError, match=r"too few images[\s\S]*6 images, which make 2 groups"):
        divide(records(tissue=6), [0, 0, 0, 1, 1, 1])


def test_three_images_fill_three_parts() -> None:
    assert sorted(divide(records(tissue=3)).values()) == ["test", "train", "val"]


def listed(folder: Path, text: str) -> Path:
    (folder / "list.csv").write_text(text)
    return folder / "list.csv"


def test_a_users_list_is_taken_as_it_is(tmp_path: Path) -> None:
    path = listed(tmp_path, "part,id,note\ntest,c,x\ntrain,a,\nval,b,\n")
    assert read_list(path, {"a", "b", "c"}) == {"a": "train", "b": "val", "c": "test"}


def test_all_that_is_wrong_with_a_list_is_said_at_once_with_counts_and_examples(tmp_path: Path) -> None:
    path = listed(tmp_path, "id,part\na,train\na,val\n" + "".join(f"u{n},test\n" for n in range(5)) + "b,validation\n")
    with pytest.raises(InputError) as caught:
        read_list(path, {"a", "b", "c", "d"})
    got = str(caught.value.got)
    assert "5 unknown ids (u0, u1, u2, ...)" in got
    assert "2 missing ids (c, d)" in got
    assert "1 ids that appear twice (a)" in got
    assert "1 unknown parts (validation)" in got
    assert caught.value.file == path


def test_a_list_that_leaves_a_part_empty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="leaves test without images"):
        read_list(listed(tmp_path, "id,part\na,train\nb,val\n"), {"a", "b"})


def test_a_missing_list_says_what_it_should_hold(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="columns id and part"):
        read_list(tmp_path / "absent.csv", {"a"})


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """A workspace with twelve images of the sample, the last a darker copy of the first."""
    found = []
    for number in range(12):
        rgb, labels = draw(0, number % 11)
        id = f"image{number:02d}"
        write_rgb(image_path(tmp_path / "data/prepared", id), rgb if number < 11 else rgb // 2)
        size = {"height": rgb.shape[0], "width": rgb.shape[1], "nuclei": int(labels.max()), "foreground": 0.1}
        found.append({"id": id, **size, "modality": "fluorescence", "source": "drawn"})
    files.write_rows(tmp_path / "data/prepared/index.csv", COLUMNS, found)
    return tmp_path


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "data/split.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_stage_writes_the_split_with_its_groups_and_says_how_many(prepared: Path) -> None:
    write_params(prepared)
    done = run_here("split", prepared)
    assert done.returncode == 0, done.stderr
    rows = table(prepared)
    assert list(rows[0]) == ["id", "part", "group", "family"] and len(rows) == 12
    assert rows[0]["group"] == rows[11]["group"] and rows[0]["part"] == rows[11]["part"]
    assert set(read_split(prepared / "data/split.csv").values()) == set(PARTS)
    assert "12 images in 11 groups" in done.stdout


def test_the_summary_names_the_seams_that_were_not_trusted() -> None:
    parts, group = dict(zip("abcdefgh", ["train"] * 6 + ["val", "test"], strict=True)), dict.fromkeys("abcdefgh", 1)
    pairs = [f"{first} and {first.upper()}" for first in "abcdef"]
    said = stage.summary([], parts, group, pairs)
    assert "6 pairs may be tiles of one field" in said
    assert "a and A; b and B; c and C; d and D; e and E; ..." in said and "f and F" not in said
    assert "tiles of one field, but" not in stage.summary([], parts, group, [])


def test_the_stage_takes_a_list_and_says_which_groups_it_divides(prepared: Path) -> None:
    parts = ["train"] * 9 + ["val", "val", "test"]
    listed(prepared, "id,part\n" + "".join(f"image{n:02d},{part}\n" for n, part in enumerate(parts)))
    write_params(prepared, split={"list": "list.csv"})
    done = run_here("split", prepared)
    assert done.returncode == 0, done.stderr
    assert [row["part"] for row in table(prepared)] == parts
    assert "divides 1 groups" in done.stdout


def test_a_list_is_found_from_dvcs_temporary_workspace(prepared: Path) -> None:
    inner = prepared / ".dvc/tmp/exps/standalone/tmpx1"
    inner.mkdir(parents=True)
    (prepared / "data").rename(inner / "data")
    parts = ["train"] * 9 + ["val", "val", "test"]
    listed(prepared, "id,part\n" + "".join(f"image{n:02d},{part}\n" for n, part in enumerate(parts)))
    write_params(inner, split={"list": "list.csv"})
    done = run_here("split", inner)
    assert done.returncode == 0, done.stderr
    assert [row["part"] for row in table(inner)] == parts


def test_a_wrong_list_ends_the_stage_with_one_error_and_no_split(prepared: Path) -> None:
    listed(prepared, "id,part\nimage00,train\n")
    write_params(prepared, split={"list": "list.csv"})
    done = run_here("split", prepared)
    assert done.returncode == 1 and done.stderr.startswith("error: the list of the split does not fit")
    assert "Traceback" not in done.stderr and not (prepared / "data/split.csv").exists()


@pytest.mark.parametrize("empty", PARTS)
def test_a_part_without_a_nucleus_ends_the_stage_with_one_error_and_no_split(prepared: Path, empty: str) -> None:
    parts = dict(zip((f"image{n:02d}" for n in range(12)), ["train"] * 9 + ["val", "val", "test"], strict=True))
    listed(prepared, "id,part\n" + "".join(f"{id},{part}\n" for id, part in parts.items()))
    index = prepared / "data/prepared/index.csv"
    rows = files.read_rows(index, COLUMNS, "")
    files.write_rows(index, COLUMNS, [row | ({"nuclei": 0} if parts[row["id"]] == empty else {}) for row in rows])
    write_params(prepared, split={"list": "list.csv"})
    done = run_here("split", prepared)
    assert done.returncode == 1
    assert f"the split leaves {empty} without nuclei" in done.stderr
    assert f"{empty}: 0 nuclei" in done.stderr
    assert not (prepared / "data/split.csv").exists()


def test_a_data_set_without_nuclei_leaves_none_to_any_part() -> None:
    found = [replace(record, nuclei=0) for record in records(tissue=6)]
    with pytest.raises(InputError, match=r"train and val and test without nuclei(.|\n)*images that hold nuclei"):
        check_nuclei(divide(found), found)


def fold_parts(found: list[Record], groups: list[int], folds: int, **changes: int) -> list[dict[str, str]]:
    """The parts of every fold of one cross-validation."""
    return [
        split_fold(found, groups, fold=fold, folds=folds, val_fraction=0.1, **{"seed": 0} | changes)
        for fold in range(folds)
    ]


@settings(max_examples=10)
@given(data=st.data(), folds=st.integers(2, 4))
def test_over_the_folds_every_image_is_a_test_image_once_and_groups_stay_whole(data: st.DataObject, folds: int) -> None:
    groups = data.draw(st.lists(st.integers(0, 20), min_size=30, max_size=60))
    names = data.draw(st.lists(st.sampled_from(["fluorescence", "tissue"]), min_size=len(groups), max_size=len(groups)))
    found = [Record(f"i{n:03}", 64, 64, 1, 0.1, name, "x") for n, name in enumerate(names)]
    assume(len(set(groups)) >= 2 * folds)
    parts = fold_parts(found, groups, folds)
    tested = Counter(id for fold in parts for id, part in fold.items() if part == "test")
    assert tested == Counter(record.id for record in found)
    of = {record.id: group for record, group in zip(found, groups, strict=True)}
    assert all(divided(fold, of) == [] and set(fold.values()) == set(PARTS) for fold in parts)


def test_every_fold_has_its_share_of_each_modality_and_val_its_fraction() -> None:
    found = records(fluorescence=300, tissue=100, brightfield=20)
    groups = [number // 2 for number in range(len(found))]
    for parts in fold_parts(found, groups, 5):
        counts = Counter((id.split("_")[0], part) for id, part in parts.items())
        assert 56 <= counts["fluorescence", "test"] <= 64
        assert 16 <= counts["tissue", "test"] <= 24
        assert 2 <= counts["brightfield", "test"] <= 6
        assert 36 <= sum(counts[name, "val"] for name in ("fluorescence", "tissue", "brightfield")) <= 48


def test_folds_follow_from_the_seed_alone_and_not_from_the_order_of_the_images() -> None:
    found, groups = records(fluorescence=40, tissue=20), [number // 2 for number in range(60)]
    order = np.random.default_rng(0).permutation(60)
    shuffled = fold_parts([found[i] for i in order], [1000 - groups[i] for i in order], 5)
    assert shuffled == fold_parts(found, groups, 5)
    assert shuffled != fold_parts(found, groups, 5, seed=1)


def test_more_folds_than_groups_are_refused() -> None:
    with pytest.raises(InputError, match=r"8 images in 4 groups(.|\n)*at least 10 groups(.|\n)*split.folds"):
        split_fold(records(tissue=8), [0, 0, 1, 1, 2, 2, 3, 3], fold=0, folds=5, val_fraction=0.1, seed=0)
