"""Zip archives, which are untrusted: the index is checked before anything is read, and every read is bounded."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from nuclei.base.errors import InputError

MAX_DEFLATE_RATIO = 1032  # the best that deflate can do: https://zlib.net/zlib_tech.html
LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, and the lengths of the name and the extra field after it
ENCRYPTED, SYMLINK, FILE_TYPE = 0x1, 0o120000, 0o170000
IGNORED = ("thumbs.db", "desktop.ini")
# what zipfile, struct and zlib raise on damaged bytes; OSError and ValueError come from seeks to impossible offsets
DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)


@dataclass(frozen=True)
class Member:
    """One file of an archive; any process can read it without reading the archive's index again.

    Attributes:
        archive, name: path of the archive, and name of the file within it.
        offset: position of its local header in the archive, in bytes.
        packed, size: compressed and uncompressed size in bytes, according to the index.
        checksum: CRC-32 of the uncompressed bytes.
        deflated: True if it is deflated, False if it is stored.
    """

    archive: Path
    name: str
    offset: int
    packed: int
    size: int
    checksum: int
    deflated: bool

    def __str__(self) -> str:
        """The name that error messages use."""
        return f"{self.archive}: {self.name}"

    def read(self) -> bytes:
        """Return the uncompressed bytes; decompression stops at the size that the index gives.

        Raises:
            InputError: it is damaged, or its size or checksum differs from the index.
        """
        try:
            with self.archive.open("rb") as file:
                file.seek(self.offset)
                signature, name_bytes, extra_bytes = LOCAL_HEADER.unpack(file.read(LOCAL_HEADER.size))
                if signature != b"PK\3\4":
                    raise zipfile.BadZipFile("there is no header at the offset that the index gives")
                file.seek(name_bytes + extra_bytes, os.SEEK_CUR)
                data = file.read(self.packed)
            if self.deflated:
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, self.size + 1)
            if len(data) != self.size or zlib.crc32(data) != self.checksum:
                raise zipfile.BadZipFile(f"size or checksum differ from the index, which says {self.size} bytes")
        except PermissionError:
            raise
        except DAMAGED as error:
            raise InputError("a file in an archive is damaged", file=str(self), got=error) from None
        return data


class Archive:
    """The index of a zip file, checked before anything is read.

    Args:
        path: path of the file.
        max_bytes: largest uncompressed size of all members together.
        max_member_bytes: largest uncompressed size of one member.

    Raises:
        InputError: the file is absent or no zip file; a member has no name, an absolute path or one with "..", is a
            link, is encrypted, appears twice, or is compressed by another method than deflate; or a size in the index
            is impossible or above the bounds.
    """

    def __init__(self, path: Path, *, max_bytes: int, max_member_bytes: int) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                infos = archive.infolist()
        except FileNotFoundError:
            raise InputError("an archive is missing", file=path, fix="run `dvc repro`, which fetches it") from None
        except PermissionError:
            raise
        except DAMAGED as error:
            fix = "if it was downloaded, it may be incomplete: fetch it again"
            raise InputError("a file is not a zip archive", file=path, got=error, fix=fix) from None
        total = sum(info.file_size for info in infos)
        if total > max_bytes:
            fix = "raise prepare.max_archive_bytes if the data set is really that large"
            got, expected = f"{total} bytes, unpacked", f"at most {max_bytes}"
            raise InputError("an archive is too large", file=path, got=got, expected=expected, fix=fix)
        self._infos: dict[str, zipfile.ZipInfo] = {}
        for info in infos:
            problem = _problem(info, max_member_bytes)
            if info.filename in self._infos:
                problem = "it appears twice in the archive"
            if problem:
                raise InputError(f"an archive holds an unsafe file: {problem}", file=f"{path}: {info.filename}")
            self._infos[info.filename] = info

    @property
    def files(self) -> list[str]:
        """The names of the members that are files, sorted; hidden files and those of operating systems are left out."""
        return sorted(name for name, info in self._infos.items() if not info.is_dir() and not _hidden(name))

    def member(self, name: str) -> Member:
        """The member with this name, one of `files`."""
        info = self._infos[name]
        return Member(
            archive=self.path,
            name=name,
            offset=info.header_offset,
            packed=info.compress_size,
            size=info.file_size,
            checksum=info.CRC,
            deflated=info.compress_type == zipfile.ZIP_DEFLATED,
        )


def _problem(info: zipfile.ZipInfo, max_member_bytes: int) -> str | None:
    path = PurePosixPath(info.filename)
    if not path.parts and not info.filename.endswith("/"):
        return "it has no name"
    if path.is_absolute() or ".." in path.parts or "\\" in info.filename or info.filename[1:2] == ":":
        return "its path leads out of it"
    if info.external_attr >> 16 & FILE_TYPE == SYMLINK:
        return "it is a link"
    if info.flag_bits & ENCRYPTED:
        return "it is encrypted"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"it is packed by method {info.compress_type}, not stored or deflated"
    if info.file_size > max_member_bytes:
        return f"it holds {info.file_size} bytes, more than an image of prepare.max_image_px can"
    if info.file_size > MAX_DEFLATE_RATIO * max(info.compress_size, 1):
        return f"it claims that {info.compress_size} bytes hold {info.file_size}"
    return None


def _hidden(member: str) -> bool:
    parts = PurePosixPath(member).parts
    return any(part.startswith(".") or part == "__MACOSX" for part in parts) or parts[-1].lower() in IGNORED
