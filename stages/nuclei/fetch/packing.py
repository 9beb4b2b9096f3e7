"""A data set as one zip archive: fingerprinted, packed reproducibly, and checked for damage."""

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

NOT_DATA = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})  # written by desktops; hidden files are skipped too
FIRST_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip entry can have
CHUNK_BYTES = 1 << 20
DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError, RuntimeError, ValueError)


def fingerprint(source: Path) -> dict[str, object]:
    """Identify the content of `source`, an archive or a folder, independently of its path.

    Returns:
        `from`: "archive" or "folder"; `files`: the number of files of a folder; `sha256`: of the archive's bytes or,
        for a folder, of one line `<sha256 of the file>  <name>` per file, sorted by name (as `sha256sum` prints them).
    """
    if source.is_file():
        return {"from": "archive", "sha256": _transfer(source, None)}
    return _folder_fingerprint(source, lambda name, path: _transfer(path, None), "reading")


def write_archive(source: Path, archive: Path) -> dict[str, object]:
    """Write `source` to the new file `archive` and return the fingerprint of exactly what was written.

    An archive is copied, not linked: through a hard link, a later edit would change DVC's cache as well. The files of a
    folder are stored uncompressed under their relative names, sorted and with a fixed date and mode, so that equal
    content gives equal bytes on every machine.
    """
    if source.is_file():
        with archive.open("xb") as copy:
            return {"from": "archive", "sha256": _transfer(source, copy)}
    with zipfile.ZipFile(archive, "x", zipfile.ZIP_STORED) as packed:

        def store(name: str, path: Path) -> str:
            entry = zipfile.ZipInfo(name, FIRST_DATE)
            entry.create_system = 3  # Unix, on Windows too
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            entry.file_size = path.stat().st_size  # above 2 GiB zipfile needs it to choose ZIP64
            with packed.open(entry, "w") as stored:
                return _transfer(path, stored)

        return _folder_fingerprint(source, store, "packing")


def _folder_fingerprint(folder: Path, read: Callable[[str, Path], str], what: str) -> dict[str, object]:
    """Hash the files of a folder in the order of their names; `read` returns the hash of one file."""
    files = members(folder)
    total = hashlib.sha256()
    for name, path in track(files, what=what, total=len(files), unit="file"):
        total.update(f"{read(name, path)}  {name}\n".encode())
    return {"from": "folder", "files": len(files), "sha256": total.hexdigest()}


def _transfer(path: Path, target: IO[bytes] | None) -> str:
    """Return the SHA-256 of a file, and copy it to `target` if that is given."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            if target is not None:
                target.write(chunk)
    return digest.hexdigest()


def members(folder: Path) -> list[tuple[str, Path]]:
    """The files of a data set: pairs of the name relative to the folder, with "/" as separator, and the path.

    They are sorted by name. Hidden files and those that desktops write are skipped at every depth.

    Raises:
        InputError: there is no image; a link leads out of the folder, to a folder, or nowhere; there is something
            other than files, folders and links; a name is not UTF-8.
    """
    found = sorted(_walk(folder, "", folder.resolve()))
    if not any(path.suffix.lower() in EXTENSIONS for _, path in found):
        raise InputError(
            "a folder holds no images",
            file=folder,
            got=", ".join(name for name, _ in found[:10]) or "no files",
            expected=f"images ({', '.join(EXTENSIONS)}), at any depth",
            fix="give the folder that holds the images and masks; export other formats as TIFF or PNG",
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
                raise InputError("not a regular file", file=path, expected="files and folders", fix="move it elsewhere")
            elif not _is_text(entry.name):
                raise InputError(
                    "a file name is not UTF-8",
                    file=repr(str(path)),
                    fix="rename the file, or set PYTHONUTF8=1 where the locale is not UTF-8",
                )
            else:
                yield name, path


def _check_link(path: Path, root: Path) -> None:
    """Refuse links except to files of the same folder: a downloaded data set must not reach the user's other files."""
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):  # RuntimeError: a circle of links, before Python 3.13
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
    except UnicodeEncodeError:  # Python decodes the bytes of another encoding to lone surrogates
        return False


def check_archive(archive: Path, *, fix: str, origin: str | Path | None = None, read: bool = False) -> None:
    """Check that a file is a complete zip archive, and not one of further archives; with `read`, check every CRC.

    Raises:
        InputError: it is not; the message names `origin`, or else `archive`, and ends in `fix`.
    """
    origin = origin or archive
    try:
        with zipfile.ZipFile(archive) as opened:
            names = opened.namelist()
            damaged = opened.testzip() if read else None
    except DAMAGED as error:
        with archive.open("rb") as file:
            got = f"{archive.stat().st_size} bytes that begin with {file.read(16)!r} ({error})"
        raise InputError(
            "not a complete zip archive", file=origin, got=got, expected="a zip archive", fix=fix
        ) from None
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
