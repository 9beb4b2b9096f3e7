"""The manifest of a folder of results: what it remembers, and what it refuses."""

from __future__ import annotations

import dataclasses
import sqlite3
from pathlib import Path

import pytest
from test_table import segmented

from nuclei.base.errors import InputError
from nuclei.segment.manifest import NAME, Segmented, check_unchanged, hash_of, key_of, opened


def test_an_image_comes_back_as_it_was_added_after_the_folder_was_closed(tmp_path: Path) -> None:
    image = segmented("caf\udce9 b.tif", 2, ("DAPI", "GFP"), um=0.3)
    with opened(tmp_path) as manifest:
        manifest.add(image)
        assert not manifest.is_finished(image.file, "key")
        manifest.finish(image.file, "key")
    with opened(tmp_path) as manifest:
        assert list(manifest.images()) == list(manifest.images(image.file)) == [image]
        assert manifest.is_finished(image.file, "key") and manifest.is_done(image.stem, "key")
        assert not manifest.is_finished(image.file, "other") and not manifest.is_done(image.stem, "other")


def test_when_a_file_is_finished_with_a_new_key_its_planes_of_the_old_one_are_dropped(tmp_path: Path) -> None:
    def plane(stem: str, key: str) -> Segmented:
        return dataclasses.replace(segmented(f"{stem}.tif", 1), file="a", key=key)

    with opened(tmp_path) as manifest:
        for stem in ("a_t1", "a_t2"):
            manifest.add(plane(stem, "old"))
        manifest.finish("a", "old")
        manifest.add(plane("a_t1", "new"))
        assert [image.key for image in manifest.images("a")] == ["new", "old"]
        manifest.finish("a", "new")
        assert [image.stem for image in manifest.images()] == ["a_t1"]


def test_a_second_run_into_the_folder_is_refused_while_the_first_one_writes(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(InputError, match="another run is writing"), opened(tmp_path):
        pass


def test_the_key_changes_with_the_image_the_model_and_the_options_alone(tmp_path: Path) -> None:
    for name, content in (("a.tif", b"1"), ("b.tif", b"1"), ("c.tif", b"2")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (key_of(tmp_path / f"{name}.tif", "model", {"diameter": None}) for name in "abc")
    assert a == b != c
    assert a != key_of(tmp_path / "a.tif", "other", {"diameter": None})
    assert a != key_of(tmp_path / "a.tif", "model", {"diameter": 12.0})
    with pytest.raises(InputError, match="can not be read"):
        key_of(tmp_path, "model", {})


def test_the_hash_of_a_model_is_that_of_the_files_that_exist(tmp_path: Path) -> None:
    files = [tmp_path / "net.pth", tmp_path / "model.json"]
    files[0].write_text("1")
    alone = hash_of(*files)
    files[1].write_text("1")
    assert hash_of(*files) not in (alone, hash_of(files[1]))


def write(out: Path, text: str) -> None:
    with opened(out) as manifest, manifest.replacing(out / "nuclei.csv") as temporary:
        temporary.write_text(text)


def test_a_table_is_known_until_it_is_changed(tmp_path: Path) -> None:
    path = tmp_path / "nuclei.csv"
    write(tmp_path, "first")
    write(tmp_path, "second")
    check_unchanged([path, tmp_path / "absent.csv"], tmp_path)
    for text in ("first", "mine"):
        path.write_text(text)
        with pytest.raises(InputError, match=r"changed since(.|\n)*nuclei.csv(.|\n)*--force"):
            check_unchanged([path], tmp_path)


def test_a_table_is_known_whether_a_run_was_killed_before_or_after_its_renaming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "nuclei.csv"
    write(tmp_path, "first")

    def killed(*_: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(Path, "replace", killed)
        write(tmp_path, "second")
    assert path.read_text() == "first"
    for text in ("first", "second"):
        path.write_text(text)
        check_unchanged([path], tmp_path)


@pytest.mark.parametrize("content", [b"mine", b"SQLite format 3\0" + bytes(84)], ids=["text", "a damaged database"])
def test_a_file_that_is_no_manifest_is_refused_and_left(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(InputError, match="manifest"), opened(tmp_path):
        pass
    assert (tmp_path / NAME).read_bytes() == content


def test_a_database_of_another_program_or_version_is_refused_and_left(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / NAME)
    database.execute("CREATE TABLE mine (a)")
    database.close()
    with pytest.raises(InputError, match="not one of this version"), opened(tmp_path):
        pass
    with sqlite3.connect(tmp_path / NAME) as database:
        assert database.execute("SELECT name FROM sqlite_master").fetchall() == [("mine",)]
