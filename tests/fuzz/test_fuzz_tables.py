"""Tables that were edited by hand, cut off, or made to lead out of their folder are read right or refused."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
from fuzzing import cases, damaged, judge, refused, taken
from hypothesis import given
from hypothesis import strategies as st

from nuclei.base import files
from nuclei.images import records
from nuclei.images.records import COLUMNS, MODALITIES, PARTS, Record
from nuclei.split import splitting

NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters='<>:"/\\|?*.'),
    min_size=1,
    max_size=8,
)
NAMES = NAMES.map(lambda name: f"n{name}")
RECORDS = st.lists(
    st.builds(
        Record,
        id=NAMES,
        height=st.integers(1, 3000),
        width=st.integers(1, 3000),
        nuclei=st.integers(0, 500),
        foreground=st.floats(0, 1),
        modality=st.sampled_from(MODALITIES),
        source=st.just('with, and "quotes".png'),
    ),
    min_size=3,
    max_size=6,
    unique_by=lambda record: record.id,
)
ESCAPING = (
    "../../up",
    "..",
    ".",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "C:up",
    "a\0b",
    "a\nb",
    "\x1b[31mred",
    "x" * 300,
    " a",
    "",
)
HUGE = ("9" * 400, "9" * 5000, "1e400", "-1", "nan", "inf", "x" * 200_000, "", "\0", "0x10", "1_000")
ENCODINGS = ("utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp037")


def write_index(folder: Path, found: list[Record]) -> bytes:
    files.write_rows(folder / "index.csv", COLUMNS, [asdict(record) for record in found])
    return (folder / "index.csv").read_bytes()


def rows_with(found: list[Record], column: str, value: str) -> list[dict[str, object]]:
    """The rows of the index, with one value of the last changed."""
    rows: list[dict[str, object]] = [asdict(record) for record in found]
    rows[-1][column] = value
    return rows


def stay_inside(folder: Path, ids: list[str]) -> None:
    """Every path that the pipeline makes of an id lies in the folder that it is meant for."""
    assert len(ids) == len(set(ids))
    for id in ids:
        for path in (records.image_path(folder, id), records.label_path(folder, id), records.score_path(folder, id)):
            assert path.resolve().parent == (folder / path.parent.name).resolve()


def divides(folder: Path, found: list[Record]) -> None:
    """What was read is safe, and the split can work with it."""
    stay_inside(folder, [record.id for record in found])
    judge(
        "splits of odd tables",
        lambda: splitting.split(found, range(len(found)), val_fraction=0.2, test_fraction=0.2, seed=0),
        lambda parts: set(parts) == {record.id for record in found},
    )


@cases(40)
@given(found=RECORDS)
def test_a_whole_index_comes_back_whatever_its_names(tmp_path: Path, found: list[Record]) -> None:
    write_index(tmp_path, found)
    expected = sorted(found, key=lambda record: record.id)
    taken("tables", lambda: records.read_index(tmp_path), lambda read: read == expected)


@cases(60)
@given(found=RECORDS, data=st.data())
def test_a_damaged_index_is_read_safely_or_refused(tmp_path: Path, found: list[Record], data: st.DataObject) -> None:
    changed = data.draw(damaged(write_index(tmp_path, found)))
    (tmp_path / "index.csv").write_bytes(changed)
    judge("tables", lambda: records.read_index(tmp_path), lambda read: divides(tmp_path, read))
    judge("tables", lambda: records.read_ids(tmp_path), lambda ids: stay_inside(tmp_path, ids))


@cases(60)
@given(found=RECORDS, column=st.sampled_from(COLUMNS), value=st.sampled_from(ESCAPING + HUGE) | st.text(max_size=9))
def test_an_index_with_an_odd_value_is_read_safely_or_refused(
    tmp_path: Path, found: list[Record], column: str, value: str
) -> None:
    files.write_rows(tmp_path / "index.csv", COLUMNS, rows_with(found, column, value.encode(errors="replace").decode()))
    judge("tables", lambda: records.read_index(tmp_path), lambda read: divides(tmp_path, read))
    judge("tables", lambda: records.read_unlabelled(tmp_path), lambda read: stay_inside(tmp_path, [r.id for r in read]))


@cases(20)
@given(found=RECORDS, id=st.sampled_from(ESCAPING))
def test_an_id_that_leads_elsewhere_is_refused_by_every_reader(tmp_path: Path, found: list[Record], id: str) -> None:
    files.write_rows(tmp_path / "index.csv", COLUMNS, rows_with(found, "id", id))
    refused("ids that lead elsewhere", lambda: records.read_index(tmp_path))
    refused("ids that lead elsewhere", lambda: records.read_unlabelled(tmp_path))
    refused("ids that lead elsewhere", lambda: records.read_ids(tmp_path))


@cases(30)
@given(found=RECORDS, data=st.data())
def test_columns_that_are_missing_doubled_or_too_many(tmp_path: Path, found: list[Record], data: st.DataObject) -> None:
    lines = [line.split(",") for line in write_index(tmp_path, [found[0]]).decode().replace('"', "").splitlines()]
    column = data.draw(st.integers(0, len(COLUMNS) - 2))  # the last holds a comma
    change = data.draw(st.sampled_from(["lose", "double", "add"]))
    for line in lines:
        if change == "lose":
            del line[column]
        elif change == "double":
            line.insert(column, line[column])
        else:
            line.insert(column, "more")
    text = "\n".join(",".join([*line[:7], *([" ".join(line[7:])] if line[7:] else [])]) for line in lines)
    (tmp_path / "index.csv").write_text(text + "\n", encoding="utf-8")
    if change == "add":
        judge("tables", lambda: records.read_index(tmp_path), lambda read: divides(tmp_path, read))
    else:
        refused("tables", lambda: records.read_index(tmp_path))


@cases(20)
@given(found=RECORDS, encoding=st.sampled_from(ENCODINGS), unclosed=st.booleans())
def test_another_encoding_or_an_unclosed_quote_is_refused_and_a_byte_order_mark_is_not(
    tmp_path: Path, found: list[Record], encoding: str, unclosed: bool
) -> None:
    text = write_index(tmp_path, [Record(f"n{i}", *list(asdict(r).values())[1:]) for i, r in enumerate(found)]).decode()
    (tmp_path / "index.csv").write_bytes((text + '"open' * unclosed).encode(encoding))
    if encoding == "utf-8-sig" and not unclosed:
        taken("tables", lambda: records.read_index(tmp_path), lambda read: divides(tmp_path, read))
    else:
        refused("tables", lambda: records.read_index(tmp_path))


@cases(60)
@given(found=RECORDS, data=st.data())
def test_a_damaged_split_or_list_names_the_images_of_the_index_or_is_refused(
    tmp_path: Path, found: list[Record], data: st.DataObject
) -> None:
    write_index(tmp_path, found)
    ids = [record.id for record in found]
    parts = dict(zip(ids, [*PARTS, "train", "val", "test"], strict=False))
    files.write_rows(tmp_path / "list.csv", ["id", "part"], [{"id": id, "part": part} for id, part in parts.items()])
    whole = (tmp_path / "list.csv").read_bytes()
    taken("tables", lambda: splitting.read_list(tmp_path / "list.csv", set(ids)), lambda read: read == parts)
    (tmp_path / "list.csv").write_bytes(
        data.draw(damaged(whole) | st.sampled_from([whole, whole * 2, whole[:-1], b""]))
    )

    def complete(read: dict[str, str]) -> None:
        assert set(read) == set(ids) and set(read.values()) == set(PARTS)

    judge("tables", lambda: splitting.read_list(tmp_path / "list.csv", set(ids)), complete)
    judge(
        "tables",
        lambda: [records.read_part(tmp_path, tmp_path / "list.csv", part) for part in PARTS],
        lambda read: sorted(record.id for part in read for record in part) == sorted(ids),
    )


@pytest.mark.parametrize("name", [".", "n" * 300, "a\0b", "index.csv/below"])
def test_a_table_where_no_file_can_be_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "index.csv").touch()
    refused("tables", lambda: files.read_rows(tmp_path / name, ["id"], "make it"))
    refused("tables", lambda: files.read_json(tmp_path / name, "make it"))
