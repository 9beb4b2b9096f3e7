"""Which files of the user's are images to segment, what their results are called, and what else lies beside them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from nuclei.base.errors import InputError
from nuclei.base.formats import EXTENSIONS as IMAGES
from nuclei.base.formats import MICROSCOPES, REVIEW
from nuclei.images.records import MAX_NAME_BYTES
from nuclei.segment import multiscale
from nuclei.segment.slides import is_zarr
from nuclei.segment.table import stem_of

LABELS, OVERLAY = "_labels.tif", "_overlay.png"
# How the names of label maps, masks and pictures of an image end: ours, and those of Cellpose and other programs.
ANNOTATIONS = ("_labels", "_label", "_masks", "_mask", "_overlay", "_seg", "_flows", "_cp_masks", "_cp_output")
ANNOTATION_FOLDERS = ("masks", "labels")
# The kinds of folders that are not searched, and what to do about each.
ANNOTATED, REVIEWED, ZARRS, LINKS, SUBFOLDERS = (
    "folders of annotations", "the folder of images to review", "OME-Zarr", "links to folders", "subfolders",
)  # fmt: skip
HINTS = {
    ANNOTATED: "",
    REVIEWED: "",
    ZARRS: "; give the folder itself to segment it",
    LINKS: "; they are not followed, give them by name to segment their images too",
    SUBFOLDERS: "; add --recursive to segment their images too",
}
UNREAD = (
    ".lsm", ".oib", ".oif", ".vsi", ".ims", ".zvi", ".svs", ".ndpi", ".mrxs", ".scn", ".dv",
    ".jp2", ".webp", ".gif", ".heic", ".dcm",
)  # fmt: skip
EXTENSIONS = (*IMAGES, *MICROSCOPES)
CONVERT = "convert them to TIFF, in Fiji with File > Import > Bio-Formats and File > Save As > Tiff"
SHOWN = 5  # names that a message lists


@dataclass(frozen=True)
class Image:
    """An image file to segment.

    Attributes:
        path: where it lies.
        name: what it is called in the table, relative to the folder that was given, with `/` between folders.
    """

    path: Path
    name: str

    @property
    def stem(self) -> str:
        """The name without its extension, to which `LABELS` and `OVERLAY` are added."""
        return stem_of(self.name)

    def results(self, out: Path) -> list[Path]:
        """The label map and the overlay of the image in the folder `out`."""
        return [out / f"{self.stem}{ending}" for ending in (LABELS, OVERLAY)]


@dataclass(frozen=True)
class Found:
    """The images to segment, sorted by name, and a line on each kind of file or folder that was left out."""

    images: list[Image]
    notes: list[str]


def find_images(given: Iterable[Path], out: Path, *, recursive: bool = False) -> Found:
    """Find the images among files and folders.

    Hidden files and folders, `Thumbs.db` and `__MACOSX` are ignored. Label maps, masks and overlays of an image beside
    them are left out with a note, as are image formats that are not read, folders of annotations, OME-Zarr and links to
    folders that were not given themselves, and, unless `recursive`, other subfolders. A file that was given itself is
    left out only if it is such a label map or mask.

    Args:
        given: files and folders.
        out: the folder for the results, which is not searched where it is a subfolder of a given one, and neither is
            the folder of images to review in it.
        recursive: also search the subfolders.

    Raises:
        InputError: a path does not exist, there is no image, two images would have the same results, or a name is too
            long.
    """
    given = list(given)
    files: dict[Image, None] = {}  # an ordered set
    skipped: dict[str, list[str]] = {kind: [] for kind in HINTS}  # the names of folders
    for path in given:
        if path.is_dir() and not is_zarr(path):
            for folder, names, without in _walk(path, out, recursive):
                files.update(
                    (Image(folder / name, (folder / name).relative_to(path).as_posix()), None) for name in names
                )
                for subfolder in without:
                    if subfolder not in given:
                        skipped[_kind(subfolder, out)].append(subfolder.relative_to(path).as_posix())
        elif path.exists():
            files[Image(path, path.name)] = None
        else:
            raise InputError("there is no such image", file=path)

    images, annotations, unread = [], [], []
    stems = {(file.path.parent, file.path.stem) for file in files if file.path.suffix.lower() in EXTENSIONS}
    for file in sorted(files, key=lambda file: file.name):
        if _is_annotation(file.path, stems):
            annotations.append(file.name)
        elif file.path.suffix.lower() in EXTENSIONS or file.path in given:
            images.append(file)
        elif file.path.suffix.lower() in UNREAD:
            unread.append(file.name)
    notes = [
        f"{what}: {_listed(names)}{hint}"
        for what, names, hint in (
            ("label maps, masks and overlays of images beside them", annotations, ""),
            ("formats that are not read", unread, f"; {CONVERT}"),
            *((kind, skipped[kind], hint) for kind, hint in HINTS.items()),
        )
        if names
    ]
    if not images:
        expected = f"files ending in {', '.join(EXTENSIONS)}"
        got = "; ".join(notes) or "no such files"
        raise InputError("there are no images to segment", file=_listed(map(str, given)), got=got, expected=expected)
    _check_names(images)
    return Found(images, notes)


def read_list(path: Path) -> list[Path]:
    """Read the paths of a text file, one a line, relative to the working directory; raise InputError if it can not."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("the list of images can not be read", file=path, got=error) from None
    return [Path(line.strip()) for line in lines if line.strip()]


def check_out(out: Path) -> None:
    """Raise InputError if a file is in the place of the folder for the results."""
    for place in (out, *out.parents):
        if place.exists():
            if not place.is_dir():
                fix = "give a folder, or a name that is free, after -o"
                raise InputError("the results can not be written there", file=place, got="a file", fix=fix)
            return


def _walk(top: Path, out: Path, recursive: bool) -> Iterator[tuple[Path, list[str], list[Path]]]:
    """Yield each folder that is searched, the names of its files, and its subfolders that are not searched."""
    for place, subfolders, names in os.walk(top):
        folder = Path(place)
        inside = [folder / name for name in sorted(subfolders) if not _is_junk(name)]
        inside = [path for path in inside if path.resolve() != out.resolve()]
        skipped = [path for path in inside if not recursive or _kind(path, out) != SUBFOLDERS]
        subfolders[:] = [path.name for path in inside if path not in skipped]  # os.walk goes on into these
        yield folder, [name for name in names if not _is_junk(name)], skipped


def _kind(folder: Path, out: Path) -> str:
    """Which of the kinds of `HINTS` a folder in a folder is."""
    if folder.name.lower() in ANNOTATION_FOLDERS or folder.name.endswith(multiscale.LABELS["ome-zarr"]):
        return ANNOTATED
    if folder.resolve() == (out / REVIEW).resolve():  # its images are copies
        return REVIEWED
    if os.access(folder, os.X_OK) and is_zarr(folder):  # one that may not be entered is left to os.walk, which skips it
        return ZARRS
    return LINKS if folder.is_symlink() else SUBFOLDERS


def _is_junk(name: str) -> bool:
    return name.startswith(".") or name in ("__MACOSX", "Thumbs.db")


def _is_annotation(path: Path, stems: set[tuple[Path, str]]) -> bool:
    """Whether a file is named after an image beside it; `stems` has the folder and the stem of every image."""
    stem = path.stem.removesuffix(".ome")
    return any(stem.endswith(ending) and (path.parent, stem.removesuffix(ending)) in stems for ending in ANNOTATIONS)


def _check_names(images: list[Image]) -> None:
    of_stem: dict[str, Image] = {}
    for image in images:
        if len(os.fsencode(PurePath(image.stem).name)) > MAX_NAME_BYTES:
            expected = f"at most {MAX_NAME_BYTES} bytes before its extension"
            raise InputError("the name is too long for those of the results", file=image.path, expected=expected)
        other = of_stem.setdefault(image.stem, image)
        if other is not image:
            got, fix = f"{other.path}, {image.path}", "segment them into two folders"
            raise InputError("the results of two images would get the same name", got=got, fix=fix)


def _listed(names: Iterable[str]) -> str:
    """The names, the first few of many."""
    listed = [name if name.isprintable() else ascii(name) for name in names]
    more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return ", ".join(listed[:SHOWN]) + more
