"""A data set as one zip archive: its fingerprint, the same bytes for the same content, and whether it is whole."""

from __future__ import annotations

import hashlib
import lzma
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from nuclei.base.errors import InputError
from nuclei.base.formats import EXTENSIONS
from nuclei.base.progress import track

NOT_DATA = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})  # what a desktop leaves behind, and hidden files
FIRST_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip entry can have
CHUNK_BYTES = 1 << 20
DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError, RuntimeError, ValueError)


def fingerprint(source: Path) -> dict[str, object]:
    """What decides the content of `source`, an archive or a folder, and nothing of where it lies.

    Returns:
        `from`: "archive" or "folder"; `files`: how many, of a folder; `sha256`: of the archive's bytes, or of
        the folder's lines `<sha256 of the file>  <name>`, sorted by name (the form that `sha256sum` prints).
    """
    if source.is_file():
        return {"from": "archive", "sha256": _transfer(source, None)}
    return _folder_fingerprint(source, lambda name, path: _transfer(path, None), "reading")


def write_archive(source: Path, archive: Path) -> dict[str, object]:
    """Write `source` to the new file `archive` and return the fingerprint of exactly what was written.

    An archive is copied as it is: a hard link would let a later edit of it reach into DVC's cache. A folder's
    files are stored uncompressed under their names within it, sorted and with a fixed date and mode, so that
    equal content gives equal bytes on every machine.
    """
    if source.is_file():
        with archive.open("xb") as copy:
            return {"from": "archive", "sha256": _transfer(source, copy)}
    with zipfile.ZipFile(archive, "x", zipfile.ZIP_STORED) as packed:

        def store(name: str, path: Path) -> str:
            entry = zipfile.ZipInfo(name, FIRST_DATE)
            entry.create_system = 3  # Unix, on Windows too
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            entry.file_size = path.stat().st_size  # lets zipfile choose the large form for files beyond 2 GiB
            with packed.open(entry, "w") as stored:
                return _transfer(path, stored)

        return _folder_fingerprint(source, store, "packing")


def _folder_fingerprint(folder: Path, read: Callable[[str, Path], str], what: str) -> dict[str, object]:
    """Hash the folder's files, each by `read`, in the order of their names."""
    files = members(folder)
    total = hashlib.sha256()
    for name, path in track(files, what=what, total=len(files), unit="file"):
        total.update(f"{read(name, path)}  {name}\n".encode())
    return {"from": "folder", "files": len(files), "sha256": total.hexdigest()}


def _transfer(path: Path, target: IO[bytes] | None) -> str:
    """Return the SHA-256 of a file, having written it to `target` if there is one."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            if target is not None:
                target.write(chunk)
    return digest.hexdigest()


def members(folder: Path) -> list[tuple[str, Path]]:
    """The files of a data set: (name within the folder with "/" between its parts, path), sorted by name.

    Hidden files and what desktops leave behind are passed over, at every depth.

    Raises:
        InputError: no file is an image; a link leads out of the folder, to a folder or nowhere; a file is no
            regular file; a name is not UTF-8.
    """
    found = sorted(_walk(folder, "", folder.resolve()))
    if not any(path.suffix.lower() in EXTENSIONS for _, path in found):
        raise InputError(
            "a folder holds no images",
            file=folder,
            got=", ".join(name for name, _ in found[:10]) or "no files",
            expected=f"images ({', '.join(EXTENSIONS)}), at any depth",
            fix="give the folder that holds the images and masks, or an archive of it",
        )
    return found


def _walk(folder: Path, prefix: str, root: Path) -> Iterator[tuple[str, Path]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name in NOT_DATA:
                continue
            path, name = folder / entry.name, prefix + entry.name
            if entry.is_symlink():
                _check_link(path, root)
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(path, f"{name}/", root)
            elif not entry.is_file():
                raise InputError("not a regular file", file=path, expected="files and folders", fix="remove it")
            elif not _is_text(entry.name):
                raise InputError(
                    "a file name is not UTF-8",
                    file=repr(str(path)),
                    fix="rename the file, or set PYTHONUTF8=1 where the locale is not UTF-8",
                )
            else:
                yield name, path


def _check_link(path: Path, root: Path) -> None:
    """Refuse all but a link to a file of the same data set: a folder of images may come from anywhere."""
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):  # RuntimeError: links in a circle, up to Python 3.12
        target = None
    if target is None or target.is_dir() or not target.is_relative_to(root):
        raise InputError(
            "a link leads out of the folder, to a folder, or nowhere",
            file=path,
            got=f"a link to {path.readlink()}",
            expected="files, and links to files of the same folder",
            fix="put what it points to in its place, or remove it",
        )


def _is_text(name: str) -> bool:
    try:
        return bool(name.encode("utf-8"))
    except UnicodeEncodeError:  # a name in another encoding reaches Python as lone surrogates
        return False


def check_archive(archive: Path, *, fix: str, origin: str | Path | None = None, read: bool = False) -> None:
    """Check that a file is a zip archive of images, not of further archives; with `read`, each entry's CRC too.

    Raises:
        InputError: it is not, or is not whole; the message names `origin`, or `archive`, and ends in `fix`.
    """
    origin = origin or archive
    try:
        with zipfile.ZipFile(archive) as opened:
            names = opened.namelist()
            damaged = opened.testzip() if read else None
    except DAMAGED as error:
        with archive.open("rb") as file:
            got = f"{archive.stat().st_size} bytes that begin with {file.read(16)!r} ({error})"
        raise InputError("not a whole zip archive", file=origin, got=got, expected="a zip archive", fix=fix) from None
    if damaged:
        raise InputError("an archive is damaged", file=origin, got=f"a wrong checksum of {damaged}", fix=fix)
    inner = [name for name in names if name.lower().endswith(".zip")]
    if inner and not any(PurePosixPath(name).suffix.lower() in EXTENSIONS for name in names):
        raise InputError(
            "an archive of archives",
            file=origin,
            got=", ".join(inner[:10]),
            expected="an archive of images",
            fix="unpack this one and give the folder that its archives then lie in",
        )
