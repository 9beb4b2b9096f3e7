"""Zip archives are read within bounds, and unsafe ones are refused."""

from __future__ import annotations

import io
import stat
import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from nuclei.base.errors import InputError
from nuclei.prepare.archives import Archive


def packed(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def opened(path: Path, *, max_bytes: int = 10**8, max_member_bytes: int = 10**7) -> Archive:
    return Archive(path, max_bytes=max_bytes, max_member_bytes=max_member_bytes)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_are_read_and_those_of_the_system_passed_over(tmp_path: Path, compression: int) -> None:
    hidden = ("__MACOSX/a/._b.png", "a/.DS_Store", ".git/x", "a/Thumbs.db", "empty/")
    members = {"a/b.png": b"1" * 5000, "a/c.png": b"", **dict.fromkeys(hidden, b"")}
    archive = opened(packed(tmp_path / "a.zip", members, compression))
    assert archive.files == ["a/b.png", "a/c.png"]
    assert archive.member("a/b.png").read() == b"1" * 5000
    assert archive.member("a/c.png").read() == b""
    assert str(archive.member("a/b.png")) == f"{tmp_path / 'a.zip'}: a/b.png"


def test_members_are_read_behind_what_lies_before_the_archive_and_without_sizes_in_their_headers(
    tmp_path: Path,
) -> None:
    members = {f"{number}.png": bytes([number]) * 300 * number for number in range(5)}
    stream = io.BytesIO()
    stream.seekable = lambda: False  # type: ignore[method-assign] # zipfile then writes the sizes behind each member
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as written:
        for name, data in members.items():
            with written.open(name, "w", force_zip64=True) as member:
                member.write(data)
    path = tmp_path / "a.zip"
    path.write_bytes(b"#!/bin/sh\nexec unzip\n" + stream.getvalue())
    archive = opened(path)
    assert {name: archive.member(name).read() for name in archive.files} == members


@pytest.mark.parametrize("name", ["/etc/passwd", "../up.png", "a/../../up.png", "a\\..\\up.png", "C:/up.png"])
def test_a_path_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="leads out of it") as caught:
        opened(packed(tmp_path / "a.zip", {name: b""}))
    assert str(caught.value.file).startswith(str(tmp_path / "a.zip"))


@pytest.mark.parametrize("length", [0, 1])
def test_a_file_without_a_name_is_refused(tmp_path: Path, length: int) -> None:
    data = bytearray(packed(tmp_path / "a.zip", {".Q": b"1"}).read_bytes())
    for at in (data.index(b"PK\x03\x04") + 26, data.index(b"PK\x01\x02") + 28):
        struct.pack_into("<HH", data, at, length, 2 - length)  # the rest of the name becomes an extra field
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(InputError, match="it has no name"):
        opened(tmp_path / "a.zip")


def test_links_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        link = zipfile.ZipInfo("a.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(InputError, match="it is a link"):
        opened(tmp_path / "a.zip")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_duplicate_names_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", b"1")
        archive.writestr("a.png", b"2")
    with pytest.raises(InputError, match="twice"):
        opened(tmp_path / "a.zip")


def test_encrypted_members_are_refused(tmp_path: Path) -> None:
    data = bytearray(packed(tmp_path / "a.zip", {"a.png": b"1"}).read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(InputError, match="encrypted"):
        opened(tmp_path / "a.zip")


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressions_that_unpack_without_bound_are_refused(tmp_path: Path, compression: int) -> None:
    with pytest.raises(InputError, match="not stored or deflated"):
        opened(packed(tmp_path / "a.zip", {"a.png": b"1"}, compression))


@pytest.mark.parametrize("content", [b"", b"PK", b"not a zip" * 99, b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_zip_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(InputError, match="not a zip archive"):
        opened(tmp_path / "a.zip")
    with pytest.raises(InputError, match="missing"):
        opened(tmp_path / "absent.zip")


def test_the_bounds_on_sizes_are_exact(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.zip", {"a.png": b"1" * 600, "b.png": b"2" * 400})
    opened(path, max_bytes=1000, max_member_bytes=600)
    with pytest.raises(InputError, match=r"archive is too large[\s\S]*1000 bytes[\s\S]*max_archive_bytes"):
        opened(path, max_bytes=999)
    with pytest.raises(InputError, match="holds 600 bytes"):
        opened(path, max_member_bytes=599)


def with_sizes(path: Path, packed_size: int | None, size: int) -> Path:
    """Make the directory of an archive of one member lie about its sizes."""
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02")
    if packed_size is not None:
        struct.pack_into("<I", data, entry + 20, packed_size)
    struct.pack_into("<I", data, entry + 24, size)
    path.write_bytes(data)
    return path


def test_a_bomb_whose_header_lies_is_stopped_after_what_the_header_says(tmp_path: Path) -> None:
    path = with_sizes(packed(tmp_path / "a.zip", {"a.png": bytes(50_000_000)}), None, 1000)
    member = opened(path).member("a.png")
    tracemalloc.start()
    with pytest.raises(InputError, match="damaged"):
        member.read()
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


def test_a_size_that_no_deflate_can_reach_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="claims that"):
        opened(with_sizes(packed(tmp_path / "a.zip", {"a.png": b"1"}), None, 5_000_000))


def test_a_member_shorter_than_its_header_says_is_damaged(tmp_path: Path) -> None:
    path = with_sizes(packed(tmp_path / "a.zip", {"a.png": b"1"}), None, 900)
    with pytest.raises(InputError, match=r"damaged[\s\S]*a\.zip: a\.png"):
        opened(path).member("a.png").read()
