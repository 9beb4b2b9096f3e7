"""The layouts of data sets: which file is an image, and which is its annotation.

Two layouts, with or without folders above them:

    Kaggle's                                   side by side, as StarDist and Cellpose have it
    ID/images/ID.png                           images/NAME.png
    ID/masks/ANY.png    one nucleus each       masks/NAME.tif or NAME_masks.tif    one label map

Label maps may also lie beside their images as NAME_masks.tif. Without masks, images may lie anywhere. Folder names may
be capitalised, and `labels` may stand for `masks`.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from nuclei.base.errors import InputError
from nuclei.base.formats import EXTENSIONS
from nuclei.images.records import is_name

FOLDERS = {"images": "images", "masks": "masks", "labels": "masks"}  # name in lower case: what the folder holds


@dataclass(frozen=True)
class Sample:
    """One image of a data set with its annotation, which is in `masks`, in `labels`, or absent.

    Attributes:
        id: the name of the image, valid as a file name on every system.
        image: path of the image in the archive.
        masks: paths of the masks of one nucleus each, sorted.
        labels: path of the label map of all nuclei.
    """

    id: str
    image: str
    masks: tuple[str, ...] = ()
    labels: str | None = None

    @property
    def annotated(self) -> bool:
        return bool(self.masks) or self.labels is not None


def samples(files: Iterable[str], archive: Path) -> list[Sample]:
    """Group the files of a data set into samples, sorted by id; images without annotation are among them.

    Files that are no images are ignored (tables, notes, bounding boxes under `labels`), except in `images` and `masks`.

    Raises:
        InputError: there is no image; a file in `images` or `masks` is no image; a mask belongs to no image; an image
            has two label maps; two images have the same id, or one that can not be a file name.
    """
    images: dict[str, list[str]] = defaultdict(list)  # by the folder that holds `images`, or else the image itself
    masks: dict[str, list[str]] = defaultdict(list)
    paths = {file: PurePosixPath(file) for file in sorted(files)}
    bases = {path.with_suffix("") for path in paths.values()}
    for file, path in paths.items():
        folder = path.parent.name.lower()
        kind = FOLDERS.get(folder, "")
        if path.suffix.lower() not in EXTENSIONS:
            if folder in ("images", "masks"):
                expected = ", ".join(EXTENSIONS)
                raise InputError(f"a file in {folder}/ is no image", file=f"{archive}: {file}", expected=expected)
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
    """The samples of one folder: one sample in Kaggle's layout, or all its images with their label maps."""
    stems = {PurePosixPath(image).stem for image in images}
    maps = [mask for mask in masks if _image_of(mask, stems)]
    name = PurePosixPath(root).name
    if len(images) == 1 and name and (name in stems or (masks and not maps)):
        return [Sample(name, images[0], masks=tuple(masks))]
    for mask in masks:
        if mask not in maps:
            raise _stray(mask, archive)
    labels: dict[str, str] = {}
    for mask in maps:
        stem = _image_of(mask, stems)
        if stem in labels:
            got = f"{labels[stem]} and {mask}"
            raise InputError(f"an image has two label maps: {stem}", file=archive, got=got, expected="one")
        labels[stem] = mask
    return [Sample(stem, image, labels=labels.get(stem)) for image in images for stem in [PurePosixPath(image).stem]]


def _image_of(mask: str, stems: set[str]) -> str:
    """The stem of the image whose label map this is, judging by its name; empty if there is none."""
    stem = PurePosixPath(mask).stem
    return next((name for name in (stem, stem.removesuffix("_masks")) if name in stems), "")


def _stray(mask: str, archive: Path) -> InputError:
    expected = "the name of an image, with or without _masks at its end"
    return InputError("a mask belongs to no image", file=f"{archive}: {mask}", expected=expected)


def _check_ids(samples: list[Sample], archive: Path) -> None:
    known: dict[str, Sample] = {}
    for sample in samples:
        id = sample.id
        if not is_name(id):
            fix = "give the image a shorter name of letters, digits, - and _"
            raise InputError("an image's name is not a valid file name everywhere", file=archive, got=repr(id), fix=fix)
        # some file systems ignore case, or normalise Unicode
        other = known.setdefault(unicodedata.normalize("NFC", id).casefold(), sample)
        if other is not sample:
            got = f"{other.image} and {sample.image}"
            raise InputError("two images have the same name", file=archive, got=got, fix="rename one of them")
