"""Folders and archives: what is packed, and what is refused."""

from __future__ import annotations

import io
import os
import random
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nuclei.base.errors import InputError
from nuclei.base.formats import EXTENSIONS
from nuclei.fetch.packing import check_archive, fingerprint, members, write_archive


def make(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def zipped(files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


FILES = {"b/images/b.png": b"b", "b/masks/1.png": b"1", "a/images/a.tif": b"a" * 3000, "notes.txt": b"n"}


def test_files_are_listed_by_name_with_slashes(tmp_path: Path) -> None:
    names = [name for name, _ in members(make(tmp_path, FILES))]
    assert names == ["a/images/a.tif", "b/images/b.png", "b/masks/1.png", "notes.txt"]


def test_hidden_files_and_what_desktops_leave_are_passed_over(tmp_path: Path) -> None:
    litter = ["__MACOSX/a.png", ".DS_Store", ".cache/a.png", "a/._a.png", "a/Thumbs.db", "a/desktop.ini"]
    make(tmp_path, {"a/a.png": b"a", **dict.fromkeys(litter, b"x")})
    assert [name for name, _ in members(tmp_path)] == ["a/a.png"]


def test_a_folder_within_a_hidden_one_is_not_hidden(tmp_path: Path) -> None:
    assert members(make(tmp_path / ".data" / "mine", {"a.png": b"a"}))


@pytest.mark.parametrize("end", [*EXTENSIONS, ".BMP"])
def test_a_folder_of_any_format_that_is_read_is_a_data_set(tmp_path: Path, end: str) -> None:
    assert [name for name, _ in members(make(tmp_path, {f"images/a{end}": b"a"}))] == [f"images/a{end}"]


def test_a_folder_without_images_is_an_error_that_says_what_is_there(tmp_path: Path) -> None:
    make(tmp_path, {"notes.txt": b"n"})
    with pytest.raises(InputError, match=r"no images(.|\n)*notes\.txt(.|\n)*\.png"):
        members(tmp_path)


@pytest.mark.parametrize("target", ["../outside.png", "absent.png", "loop.png", "images"])
def test_a_link_that_leads_out_of_the_folder_or_nowhere_is_an_error(tmp_path: Path, target: str) -> None:
    make(tmp_path, {"outside.png": b"secret"})
    folder = make(tmp_path / "data", {"images/a.png": b"a"})
    (folder / "loop.png").symlink_to(target)
    with pytest.raises(InputError, match=r"leads out of the folder(.|\n)*loop\.png"):
        members(folder)


def test_a_link_to_a_folder_elsewhere_is_an_error(tmp_path: Path) -> None:
    make(tmp_path / "outside", {"a.png": b"secret"})
    folder = make(tmp_path / "data", {"a.png": b"a"})
    (folder / "more").symlink_to(tmp_path / "outside", target_is_directory=True)
    with pytest.raises(InputError, match=r"leads out of the folder(.|\n)*more"):
        members(folder)


def test_a_link_to_a_file_within_counts_as_that_file(tmp_path: Path) -> None:
    linked, plain = make(tmp_path / "linked", {"a.png": b"a"}), make(tmp_path / "plain", {"a.png": b"a", "b.png": b"a"})
    (linked / "b.png").symlink_to("a.png")
    assert fingerprint(linked) == fingerprint(plain)


def test_the_folder_itself_may_be_reached_by_a_link(tmp_path: Path) -> None:
    real = make(tmp_path / "real", FILES)
    (tmp_path / "link").symlink_to(real)
    assert fingerprint(tmp_path / "link") == fingerprint(real)


def test_a_pipe_is_an_error_instead_of_a_wait_without_end(tmp_path: Path) -> None:
    os.mkfifo(make(tmp_path, {"a.png": b"a"}) / "pipe.png")
    with pytest.raises(InputError, match="not a regular file"):
        members(tmp_path)


def test_a_name_in_another_encoding_is_an_error(tmp_path: Path) -> None:
    make(tmp_path, {"a.png": b"a"})
    try:
        Path(os.fsdecode(bytes(tmp_path) + b"/\xe4.png")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    with pytest.raises(InputError, match="not UTF-8"):
        members(tmp_path)


def test_equal_content_gives_equal_bytes_wherever_and_whenever_it_was_made(tmp_path: Path) -> None:
    archives = []
    for place, seed in (("here", 1), ("there/below", 2)):
        files = list(FILES.items())
        random.Random(seed).shuffle(files)
        folder = make(tmp_path / place, dict(files))
        for path in folder.rglob("*.*"):
            os.utime(path, (seed * 10**9, seed * 10**9))
            path.chmod(0o600 if seed == 1 else 0o644)
        archives.append(tmp_path / f"{seed}.zip")
        assert write_archive(folder, archives[-1]) == fingerprint(folder)
    assert archives[0].read_bytes() == archives[1].read_bytes()


def test_a_packed_folder_holds_its_files_uncompressed_under_their_names(tmp_path: Path) -> None:
    write_archive(make(tmp_path / "data", FILES), tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert {entry.filename: archive.read(entry) for entry in archive.infolist()} == FILES
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        assert archive.testzip() is None


def test_an_archive_is_copied_byte_for_byte_and_shares_nothing_with_the_original(tmp_path: Path) -> None:
    original, copy = tmp_path / "a.zip", tmp_path / "b.zip"
    original.write_bytes(zipped(FILES))
    assert write_archive(original, copy) == fingerprint(original)
    assert copy.read_bytes() == original.read_bytes()
    assert copy.stat().st_ino != original.stat().st_ino


names = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0\\.", exclude_categories=["C"]), min_size=1, max_size=8
)
contents = st.dictionaries(names, st.binary(max_size=20), min_size=1, max_size=4)


@settings(max_examples=25, deadline=None)
@given(first=contents, second=contents)
def test_fingerprints_are_equal_exactly_when_names_and_contents_are(
    tmp_path_factory: pytest.TempPathFactory, first: dict[str, bytes], second: dict[str, bytes]
) -> None:
    prints = [
        fingerprint(make(tmp_path_factory.mktemp("f"), {f"{name}.png": content for name, content in files.items()}))
        for files in (first, second)
    ]
    assert (prints[0] == prints[1]) == (first == second)


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html>", b"PK\x03\x04" + bytes(100), zipped(FILES)[:-30]])
def test_what_is_not_a_whole_zip_is_an_error_that_shows_how_it_begins(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(InputError, match=r"not a complete zip archive(.|\n)*the-address(.|\n)*begin with(.|\n)*again"):
        check_archive(tmp_path / "a.zip", origin="the-address", fix="do it again", read=True)


def test_a_flipped_bit_in_an_entry_is_found_when_entries_are_read(tmp_path: Path) -> None:
    content = bytearray(zipped({"a.png": b"A" * 100}, zipfile.ZIP_STORED))
    content[content.index(b"A" * 100) + 50] ^= 1
    (tmp_path / "a.zip").write_bytes(content)
    check_archive(tmp_path / "a.zip", fix="again")
    with pytest.raises(InputError, match=r"damaged(.|\n)*checksum of a\.png"):
        check_archive(tmp_path / "a.zip", fix="again", read=True)


def test_an_archive_of_archives_is_an_error_that_says_to_unpack_it(tmp_path: Path) -> None:
    (tmp_path / "bundle.zip").write_bytes(zipped({"stage1_train.zip": zipped(FILES)}))
    with pytest.raises(InputError, match=r"archive of archives(.|\n)*stage1_train\.zip(.|\n)*unpack"):
        check_archive(tmp_path / "bundle.zip", fix="again")
