"""The index and the split are read strictly: every invalid value is an error that names it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from nuclei.base import files
from nuclei.base.errors import InputError
from nuclei.images.records import (
    COLUMNS,
    UNLABELLED_COLUMNS,
    Record,
    Unlabelled,
    image_path,
    label_path,
    read_ids,
    read_index,
    read_part,
    read_split,
    read_unlabelled,
    score_path,
)

A = Record("a", 10, 20, 3, 0.25, "tissue", "a/images/a.png")
B = Record("b", 30, 40, 0, 0.0, "fluorescence", "b/images/b.png")


def write_index(folder: Path, *records: Record, **changes: object) -> None:
    rows = [asdict(record) | changes for record in records]
    files.write_rows(folder / "index.csv", COLUMNS, rows)


def write_split(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_the_index_comes_back_sorted_by_id(tmp_path: Path) -> None:
    write_index(tmp_path, B, A)
    assert read_index(tmp_path) == [A, B]


@pytest.mark.parametrize(
    ("column", "value"),
    [("height", 0), ("width", "ten"), ("nuclei", -1), ("foreground", 1.5), ("modality", "x-ray"), ("id", "")],
)
def test_a_wrong_value_is_named_with_its_column(tmp_path: Path, column: str, value: object) -> None:
    write_index(tmp_path, A, **{column: value})
    with pytest.raises(InputError, match=f"wrong {column}") as caught:
        read_index(tmp_path)
    assert repr(str(value)) in str(caught.value)


@pytest.mark.parametrize("id", ["../../up", "/etc/passwd", "a\\b", "..", "a\0b", "a" * 201])
def test_an_id_that_is_no_file_name_or_leaves_the_folder_is_refused(tmp_path: Path, id: str) -> None:
    write_index(tmp_path, A, id=id)
    for read in (read_index, read_unlabelled, read_ids):
        with pytest.raises(InputError, match="wrong id"):
            read(tmp_path)


def test_a_repeated_id_is_an_error(tmp_path: Path) -> None:
    write_index(tmp_path, A, B, A)
    with pytest.raises(InputError, match=r"twice in a table[\s\S]*got: +a"):
        read_index(tmp_path)
    with pytest.raises(InputError, match="twice in a table"):
        read_split(write_split(tmp_path / "split.csv", "id,part\na,train\na,val\n"))


def test_a_missing_index_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="dvc repro"):
        read_index(tmp_path)


def test_the_unlabelled_index_may_be_empty(tmp_path: Path) -> None:
    files.write_rows(tmp_path / "index.csv", UNLABELLED_COLUMNS, [])
    assert read_unlabelled(tmp_path) == []
    row = {"id": "u", "height": 5, "width": 6, "modality": "tissue", "source": "u.png"}
    files.write_rows(tmp_path / "index.csv", UNLABELLED_COLUMNS, [row])
    assert read_unlabelled(tmp_path) == [Unlabelled("u", 5, 6, "tissue", "u.png")]


def test_a_part_is_read_with_its_records(tmp_path: Path) -> None:
    write_index(tmp_path, A, B)
    split = write_split(tmp_path / "split.csv", "id,part,group\nb,val,2\na,train,1\n")
    assert read_split(split) == {"b": "val", "a": "train"}
    assert read_part(tmp_path, split, "val") == [B]
    assert read_part(tmp_path, split, "test") == []


def test_unknown_parts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown parts[\s\S]*got: +validation"):
        read_split(write_split(tmp_path / "split.csv", "id,part\na,validation\n"))


def test_a_split_of_other_images_is_refused(tmp_path: Path) -> None:
    write_index(tmp_path, A, B)
    for text in ("id,part\na,train\n", "id,part\na,train\nb,val\nc,test\n"):
        with pytest.raises(InputError, match="same images"):
            read_part(tmp_path, write_split(tmp_path / "split.csv", text), "train")


def test_paths_follow_the_layout() -> None:
    assert image_path("data/prepared", "a") == Path("data/prepared/images/a.png")
    assert label_path(Path("data/predictions"), "a") == Path("data/predictions/labels/a.tif")
    assert score_path("data/predictions", "a.b") == Path("data/predictions/scores/a.b.png")
