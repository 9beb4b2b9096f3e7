"""Archives of images, which are untrusted: read within bounds, and grouped into samples by their layout.

Two layouts, with or without folders above them:

    Kaggle's                                   side by side, as users of StarDist and Cellpose have it
    ID/images/ID.png                           images/NAME.png
    ID/masks/ANY.png    one nucleus each       masks/NAME.tif or NAME_masks.tif    one label map

Label maps may also lie beside their images as NAME_masks.tif. Where no masks are, images may lie anywhere. The folders
may be capitalised, and `labels` is another name of `masks`.
"""

from __future__ import annotations

import os
import struct
import unicodedata
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from nuclei.base.errors import InputError
from nuclei.base.formats import EXTENSIONS
from nuclei.images.records import is_name

MAX_DEFLATE_RATIO = 1032  # deflate packs no better: who says so, lies
LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, and the lengths of the name and the extra field after it
ENCRYPTED, SYMLINK, FILE_TYPE = 0x1, 0o120000, 0o170000
IGNORED = ("thumbs.db", "desktop.ini")
# what zipfile, struct and zlib raise on damaged bytes, an impossible seek among it
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
FOLDERS = {"images": "images", "masks": "masks", "labels": "masks"}  # by their names in lower case: what they hold


@dataclass(frozen=True)
class Sample:
    """One image of an archive, and where its annotation is: in `masks`, or in `labels`, or nowhere.

    Attributes:
        id: its name, safe as a file name on every system.
        image: member that holds the image.
        masks: members that hold the mask of one nucleus each, sorted.
        labels: member that holds the label map of all nuclei.
    """

    id: str
    image: str
    masks: tuple[str, ...] = ()
    labels: str | None = None

    @property
    def annotated(self) -> bool:
        return bool(self.masks) or self.labels is not None


@dataclass(frozen=True)
class Member:
    """One file of an archive, which any process can read without the archive's index.

    Attributes:
        archive, name: where it is.
        offset: of its local header in the archive, in bytes.
        packed, size: its bytes in the archive, and unpacked, as the index says.
        checksum: CRC-32.
        deflated: or stored.
    """

    archive: Path
    name: str
    offset: int
    packed: int
    size: int
    checksum: int
    deflated: bool

    def __str__(self) -> str:
        """What errors call it."""
        return f"{self.archive}: {self.name}"

    def read(self) -> bytes:
        """Unpack it, never more of it than the archive says that it holds.

        Raises:
            InputError: it is damaged, or not as large as the archive says.
        """
        try:
            with self.archive.open("rb") as file:
                file.seek(self.offset)
                signature, name_bytes, extra_bytes = LOCAL_HEADER.unpack(file.read(LOCAL_HEADER.size))
                if signature != b"PK\3\4":
                    raise zipfile.BadZipFile("its header is not where the index says")
                file.seek(name_bytes + extra_bytes, os.SEEK_CUR)
                data = file.read(self.packed)
            if self.deflated:
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, self.size + 1)
            if len(data) != self.size or zlib.crc32(data) != self.checksum:
                raise zipfile.BadZipFile(f"its {self.size} bytes have another size or checksum")
        except PermissionError:
            raise
        except DAMAGED as error:
            raise InputError("a file in an archive is damaged", file=str(self), got=error) from None
        return data


class Archive:
    """The index of a zip file, checked before anything is read.

    Args:
        path: of the file.
        max_bytes: of all members together, unpacked.
        max_member_bytes: of each.

    Raises:
        InputError: it is absent or not a zip file; a member has no name, an absolute or upward path, is a link,
            encrypted, twice there, or packed otherwise than stored or deflated; or what the archive says of its size is
            impossible or above the bounds.
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
                problem = "it stands twice in the archive"
            if problem:
                raise InputError(f"an archive holds an unsafe file: {problem}", file=f"{path}: {info.filename}")
            self._infos[info.filename] = info

    @property
    def files(self) -> list[str]:
        """The members that are files, sorted; not those that systems hide there."""
        return sorted(name for name, info in self._infos.items() if not info.is_dir() and not _hidden(name))

    def member(self, name: str) -> Member:
        """The member of that name, one of `files`."""
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


# --- layouts ----------------------------------------------------------------------------------------------------------


def samples(files: Iterable[str], archive: Path) -> list[Sample]:
    """Group the files of an archive into samples, sorted by id; those without annotation are among them.

    Files that are neither images nor in a folder `images` or `masks` (tables, notes, boxes under `labels`) are no part
    of the data.

    Raises:
        InputError: there is no image; a file in `images` or `masks` is none; one belongs to no image; an image has
            two label maps; two images have one id, or one that can not be a file name.
    """
    images: dict[str, list[str]] = defaultdict(list)  # by the folder above `images`, or the image's own
    masks: dict[str, list[str]] = defaultdict(list)
    paths = {file: PurePosixPath(file) for file in sorted(files)}
    bases = {path.with_suffix("") for path in paths.values()}
    for file, path in paths.items():
        folder = path.parent.name.lower()
        kind = FOLDERS.get(folder, "")
        if path.suffix.lower() not in EXTENSIONS:
            if folder in ("images", "masks"):
                expected = ", ".join(EXTENSIONS)
                raise InputError(f"a file among the {kind} is none", file=f"{archive}: {file}", expected=expected)
            continue
        beside = path.stem.endswith("_masks") and path.with_name(path.stem.removesuffix("_masks")) in bases
        is_mask = kind == "masks" or beside
        (masks if is_mask else images)[str(path.parent.parent if kind else path.parent)].append(file)
    if not images:
        raise InputError(
            "an archive holds no images",
            file=archive,
            expected="ID/images/ID.png and ID/masks/*.png, or images/NAME.png and masks/NAME.png",
        )
    found = [
        sample for root, members in images.items() for sample in _grouped(root, members, masks.pop(root, []), archive)
    ]
    for strays in masks.values():
        raise _stray(strays[0], archive)
    _check_ids(found, archive)
    return sorted(found, key=lambda sample: sample.id)


def _grouped(root: str, images: list[str], masks: list[str], archive: Path) -> list[Sample]:
    """The samples under one folder: one in Kaggle's layout, or all that lie side by side."""
    stems = {PurePosixPath(image).stem for image in images}
    maps = [mask for mask in masks if _described(mask, stems)]
    name = PurePosixPath(root).name
    if len(images) == 1 and name and (name in stems or (masks and not maps)):
        return [Sample(name, images[0], masks=tuple(masks))]
    for mask in masks:
        if mask not in maps:
            raise _stray(mask, archive)
    labels: dict[str, str] = {}
    for mask in maps:
        stem = _described(mask, stems)
        if stem in labels:
            got = f"{labels[stem]} and {mask}"
            raise InputError(f"an image has two label maps: {stem}", file=archive, got=got, expected="one")
        labels[stem] = mask
    return [Sample(stem, image, labels=labels.get(stem)) for image in images for stem in [PurePosixPath(image).stem]]


def _described(mask: str, stems: set[str]) -> str:
    """The stem of the image that a label map belongs to by its name, or nothing."""
    stem = PurePosixPath(mask).stem
    return next((name for name in (stem, stem.removesuffix("_masks")) if name in stems), "")


def _stray(mask: str, archive: Path) -> InputError:
    expected = "a name like an image's, or that with _masks at its end"
    return InputError("a mask belongs to no image", file=f"{archive}: {mask}", expected=expected)


def _check_ids(samples: list[Sample], archive: Path) -> None:
    known: dict[str, Sample] = {}
    for sample in samples:
        id = sample.id
        if not is_name(id):
            fix = "give the image a shorter name of letters, digits, - and _"
            raise InputError("an image's name can not be a file name everywhere", file=archive, got=repr(id), fix=fix)
        # some file systems take upper and lower case, and accents written in two ways, for the same
        other = known.setdefault(unicodedata.normalize("NFC", id).casefold(), sample)
        if other is not sample:
            got = f"{other.image} and {sample.image}"
            raise InputError("two images have the same name", file=archive, got=got, fix="rename one of them")
