"""Files are whole or absent, and tables and JSON are read strictly."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from nuclei.base import files
from nuclei.base.errors import InputError


def test_the_target_is_replaced_only_if_the_block_succeeds(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("before")
    with pytest.raises(RuntimeError), files.replacing(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_replaces_a_folder_with_all_its_files(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old").touch()
    with files.replacing(target) as temporary:
        temporary.mkdir()
        (temporary / "new").touch()
    assert [path.name for path in target.iterdir()] == ["new"]


def test_a_folder_is_never_deleted_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(path: Path) -> None:
        assert path.name != "folder"
        raise KeyboardInterrupt  # in the middle of the deletion

    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/old").touch()
    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt), files.replacing(tmp_path / "folder") as temporary:
        temporary.mkdir()
        (temporary / "new").touch()
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["new"]
    with files.replacing(tmp_path / "folder") as temporary:
        temporary.mkdir()
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_what_a_killed_process_left_is_removed_first(tmp_path: Path) -> None:
    (tmp_path / ".folder.part").mkdir()
    (tmp_path / ".folder.part" / "stale").touch()
    with files.replacing(tmp_path / "folder") as temporary:
        temporary.mkdir()
    assert list((tmp_path / "folder").iterdir()) == []


def test_removing_a_link_leaves_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "kept").touch()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    files.remove(tmp_path / "link")
    assert (tmp_path / "real" / "kept").exists()


def test_nan_becomes_null_at_any_depth(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", {"a": float("nan"), "b": [{"c": float("nan")}, 1.5]})
    assert files.read_json(tmp_path / "a.json", "") == {"a": None, "b": [{"c": None}, 1.5]}


@pytest.mark.parametrize(
    ("text", "problem"),
    [(None, "missing"), ("{", "not valid JSON"), ("[" * 100_000, "not valid JSON")],
    ids=["missing", "cut off", "nested too deeply"],
)
def test_json_that_can_not_be_read_says_so(text: str | None, problem: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=problem):
        files.read_json(tmp_path / "a.json", "make it")


def test_rows_come_back_as_written(tmp_path: Path) -> None:
    rows = [{"id": 'ä, "b"', "n": "1"}, {"id": "", "n": "2"}]
    files.write_rows(tmp_path / "a.csv", ["id", "n"], rows)
    assert files.read_rows(tmp_path / "a.csv", ["id"], "") == rows


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"id\n1\n", "lacks columns"),
        (b"id,n,id\n1,2,3\n", "two columns of one name"),
        (b"id,n\n1\n", "line 2 has the wrong number"),
        (b"id,n\n1,2,3\n", "line 2 has the wrong number"),
        (b"\xff\xfe\x00", "can not be read"),
        (b"", "lacks columns"),
    ],
)
def test_an_invalid_table_says_what_is_wrong(text: bytes, problem: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(text)
    with pytest.raises(InputError, match=problem):
        files.read_rows(tmp_path / "a.csv", ["id", "n"], "make it")


def test_a_folder_in_the_place_of_a_file_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a table can not be read"):
        files.read_rows(tmp_path, ["id"], "make it")
    with pytest.raises(InputError, match="a file can not be read"):
        files.read_json(tmp_path, "make it")


def test_a_table_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("\ufeffid,n\n1,2\n".encode())
    assert files.read_rows(tmp_path / "a.csv", ["id"], "") == [{"id": "1", "n": "2"}]
