"""The layouts of data sets: which file is an image, and which is its annotation.

Two layouts, with or without folders above them:

    Kaggle's                                   side by side, as StarDist, Cellpose and nnU-Net have it
    ID/images/ID.png                           images/NAME.png
    ID/masks/ANY.png    one nucleus each       masks/NAME.tif    one label map, or outlines: NAME.geojson

`FOLDERS` lists the names that folders may have. A label map may end in one of `MASK_ENDINGS`, and then it may also lie
beside its image, as files of outlines may. Without masks, images may lie anywhere.
"""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from nuclei.base.errors import InputError
from nuclei.base.formats import EXTENSIONS, OUTLINES, REVIEW
from nuclei.images.records import is_name

IMAGES, MASKS = "images", "masks"
FOLDERS = {  # name in lower case: what the folder holds
    **dict.fromkeys(("images", "image", "imgs", "img", "imagestr"), IMAGES),
    **dict.fromkeys(("masks", "mask", "labels", "label", "labelstr", "cp_masks"), MASKS),
    **dict.fromkeys(("gt", "groundtruth", "ground_truth", "annotations"), MASKS),
}
MASK_ENDINGS = ("_cp_masks", "_masks", "_mask", "_labels", "_label")  # a longer one before those that it ends in
IMAGE_ENDINGS = ("_img", "_image", "_0000")  # Cellpose's, and nnU-Net's for the first channel: absent from mask names
DRAWINGS = ("_cp_output", "_flows", "_outlines", "_overlay")  # endings of pictures of a result, no data
NOT_READ = (  # endings of images in other formats
    *(".czi", ".nd2", ".lif", ".lsm", ".oib", ".oif", ".vsi", ".ims", ".zvi", ".svs", ".ndpi", ".mrxs", ".scn", ".dv"),
    *(".jp2", ".j2k", ".gif", ".webp", ".heic", ".dcm", ".nii", ".mrc"),
)
ANNOTATIONS = {  # endings of annotation files that are not read, or not with this name: what to do about it
    ".geojson": "name it after its image, NAME.geojson beside NAME.png",
    ".json": "for COCO, pycocotools' annToMask makes a mask of each annotation",
    ".roi": "name it after its image, NAME.roi beside NAME.png",
    ".zip": "name a set of ROIs after its image, NAME_rois.zip beside NAME.png",
    ".npy": "in Cellpose, save the masks as PNG or TIFF (File > Save masks as PNG/tif)",
    ".xml": "export label maps from the program that wrote them",
    ".txt": "export label maps from the program that wrote them",
}
SHOWN = 3  # examples in a message


@dataclass(frozen=True)
class Sample:
    """One image of a data set with its annotation, which is in `masks`, `labels` or `outlines`, or absent.

    Attributes:
        id: the name of the image, valid as a file name on every system.
        image: path of the image in the archive.
        masks: paths of the masks of one nucleus each, sorted.
        labels: path of the label map of all nuclei.
        outlines: paths of files of outlines, each with all nuclei; there may be a label map or masks as well, because
            segment.py writes several files of the same nuclei.
    """

    id: str
    image: str
    masks: tuple[str, ...] = ()
    labels: str | None = None
    outlines: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        """The paths of all its files, the image first."""
        return (self.image, *self.masks, *([self.labels] if self.labels else []), *self.outlines)

    @property
    def annotated(self) -> bool:
        return len(self.files) > 1


def samples(files: Iterable[str], archive: Path) -> list[Sample]:
    """Group the files of a data set into samples, sorted by id; images without annotation are among them.

    The id is the name of the image, or in Kaggle's layout that of its folder. Where annotated images of several folders
    have one name, as `train/images/1.png` and `val/images/1.png`, the folders above come before it: `train_1`, `val_1`.

    Raises:
        InputError: there is no image, or one in a format that is not read; a mask belongs to no image; an image has two
            label maps; two images have the same id, or one that can not be a file name.
    """
    files = sorted(files)
    _check_formats(files, archive)
    bases = _bases(files)
    images: dict[str, list[str]] = defaultdict(list)  # by the folder of the sample or samples
    masks: dict[str, list[str]] = defaultdict(list)
    outlines: dict[tuple[str, str], list[str]] = defaultdict(list)  # by that folder and the name of the image
    for file in files:
        path = PurePosixPath(file)  # one at a time: a path takes more memory than all else that is kept of a file
        root, kind = _placed(path)
        if path.name.lower().endswith(OUTLINES):
            outlines[root, _without_ending(path.name)].append(file)
        elif path.suffix.lower() in EXTENSIONS and not _is_drawing(path, bases):
            (masks if kind == MASKS or _beside(path, bases) else images)[root].append(file)
    if not images:
        expected = "ID/images/ID.png and ID/masks/*.png, or images/NAME.png and masks/NAME.tif"
        raise InputError("an archive holds no images", file=archive, got=_some(files), expected=expected)
    found = {root: _grouped(root, members, masks.pop(root, []), archive) for root, members in images.items()}
    for root, strays in masks.items():
        raise _stray(strays[0], archive, root)
    found = {root: [_outlined(sample, root, outlines) for sample in members] for root, members in found.items()}
    _check_review(found, archive)
    return _with_ids(found, archive)


def ignored(files: Iterable[str], found: Iterable[Sample]) -> list[str]:
    """The files of a data set that are neither images nor annotations, such as tables and notes."""
    return sorted({*files}.difference(*(sample.files for sample in found)))


def check_annotated(found: Sequence[Sample], files: Iterable[str], archive: Path) -> None:
    """Raise InputError if an image has no annotation; the message says what is the likely reason."""
    bare = [sample.image for sample in found if not sample.annotated]
    if not bare:
        return
    fix = "give an image without nuclei one mask that is all zero; put images to be predicted in stage1_test.zip"
    others = [file for file in ignored(files, found) if PurePosixPath(file).suffix.lower() in ANNOTATIONS]
    if others and len(bare) == len(found):
        ways = sorted({ANNOTATIONS[PurePosixPath(file).suffix.lower()] for file in others})
        fix = f"{_some(others)} can not be taken as annotations: {'; '.join(ways)}"
    elif any(PurePosixPath(image).stem.endswith("_0001") for image in bare):
        fix = "NAME_0000, NAME_0001, ... are read as images, not as channels: save them as one file, or keep one"
    raise InputError(
        f"{len(bare)} of {len(found)} images have no masks",
        file=archive,
        got=_some(bare),
        expected="ID/masks/*.png for ID/images/ID.png, or masks/NAME.tif or .geojson for images/NAME.png",
        fix=fix,
    )


def _check_formats(files: Sequence[str], archive: Path) -> None:
    """Refuse images and masks in formats that are not read, except the originals of images that were exported."""
    others = [path for path in map(PurePosixPath, files) if path.suffix.lower() in NOT_READ]
    stems = {path.stem for path in others}
    read = {path.stem for path in map(PurePosixPath, files) if path.suffix.lower() in EXTENSIONS and path.stem in stems}
    missing = [str(path) for path in others if path.stem not in read or _placed(path)[1] == MASKS]
    missing += sorted({file.split(".zarr/")[0] + ".zarr" for file in files if ".zarr/" in file})
    if missing:
        fix = "export them as TIFF or PNG, for example with Fiji, or move them elsewhere"
        problem = f"{len(missing)} files are in a format that is not read"
        raise InputError(problem, file=archive, got=_some(missing), expected=", ".join(EXTENSIONS), fix=fix)


def _bases(files: Iterable[str]) -> set[str]:
    """The paths of images and masks without their extensions."""
    found = (PurePosixPath(file) for file in files)
    return {str(path.with_suffix("")) for path in found if path.suffix.lower() in EXTENSIONS}


def _placed(path: PurePosixPath) -> tuple[str, str]:
    """The folder of the sample that a file belongs to, and what the folder of the file holds.

    The innermost folder of images or masks is left out: `a/images/b/1.png` and `a/masks/b/1.png` lie in `a/b`.
    """
    folders = path.parts[:-1]
    for depth in reversed(range(len(folders))):
        if kind := FOLDERS.get(folders[depth].lower()):
            return str(PurePosixPath(*folders[:depth], *folders[depth + 1 :])), kind
    return str(path.parent), ""


def _beside(path: PurePosixPath, bases: set[str]) -> bool:
    """Whether a file is the label map of an image in the same folder."""
    names = [path.stem.removesuffix(ending) for ending in MASK_ENDINGS if path.stem.endswith(ending)]
    return any(str(path.with_name(name + ending)) in bases for name in names if name for ending in ("", *IMAGE_ENDINGS))


def _is_drawing(path: PurePosixPath, bases: set[str]) -> bool:
    names = [path.stem.removesuffix(ending) for ending in DRAWINGS if path.stem.endswith(ending)]
    return any(str(path.with_name(name)) in bases for name in names if name)


def _grouped(root: str, images: list[str], masks: list[str], archive: Path) -> list[Sample]:
    """The samples of one folder: one sample in Kaggle's layout, or all its images with their label maps."""
    stems = {PurePosixPath(image).stem for image in images}
    names = {stem.removesuffix(ending): stem for ending in IMAGE_ENDINGS for stem in sorted(stems)}
    names |= {stem: stem for stem in stems}
    maps = {mask: stem for mask in masks if (stem := _image_of(mask, names))}
    name = PurePosixPath(root).name
    plain = all(PurePosixPath(mask).stem == stem for mask, stem in maps.items())
    if len(images) == 1 and name and ((name in stems and plain) or (masks and not maps)):
        return [Sample(name, images[0], masks=tuple(masks))]
    labels: dict[str, str] = {}
    for mask in masks:
        if mask not in maps:
            raise _stray(mask, archive)
        if other := labels.get(maps[mask]):
            got = f"{other} and {mask}"
            raise InputError(f"an image has two label maps: {maps[mask]}", file=archive, got=got, expected="one")
        labels[maps[mask]] = mask
    return [Sample(stem, image, labels=labels.get(stem)) for image in images for stem in [PurePosixPath(image).stem]]


def _outlined(sample: Sample, root: str, outlines: dict[tuple[str, str], list[str]]) -> Sample:
    """The sample with those files of outlines in its folder that have the name of its image."""
    stem = PurePosixPath(sample.image).stem
    names = sorted({stem, *(stem.removesuffix(ending) for ending in IMAGE_ENDINGS)})
    return replace(sample, outlines=tuple(file for name in names for file in outlines.get((root, name), [])))


def _without_ending(name: str) -> str:
    return next(name[: -len(ending)] for ending in OUTLINES if name.lower().endswith(ending))


def _check_review(found: dict[str, list[Sample]], archive: Path) -> None:
    """Refuse images that lie in the folder of those to review and, with other nuclei, outside of it."""
    images = [sample.image for members in found.values() for sample in members]
    copies = {
        (*parts[:depth], *parts[depth + 1 :]): image
        for image in images
        if f"/{REVIEW}/" in f"/{image}"
        for parts in [_without_suffix(image)]
        for depth, folder in enumerate(parts[:-1])
        if folder == REVIEW
    }
    for image in images if copies else []:
        if copy := copies.get(_without_suffix(image)):
            raise InputError(
                f"an image is in the data set twice, in {REVIEW}/ and outside of it",
                file=archive,
                got=f"{image} and {copy}",
                fix=f"give the folder {REVIEW}/ as `data`, or move it to another place",
            )


def _without_suffix(image: str) -> tuple[str, ...]:
    return PurePosixPath(image).with_suffix("").parts


def _image_of(mask: str, names: dict[str, str]) -> str:
    """The stem of the image whose label map this is, judging by its name; empty if there is none."""
    stem = PurePosixPath(mask).stem
    candidates = [stem, *(stem.removesuffix(ending) for ending in MASK_ENDINGS if stem.endswith(ending))]
    return next((names[name] for name in candidates if name in names), "")


def _stray(mask: str, archive: Path, root: str = "") -> InputError:
    path = PurePosixPath(mask)
    inner = path.parent.name.lower() not in FOLDERS and _placed(path)[1] == MASKS
    fix = "rename it after its image, or move it elsewhere"
    if inner:
        fix = f"if the files in {path.parent}/ are the masks, move them up, into the folder of masks itself"
    elif root:
        fix = "put the images beside it, in a folder images/"
    expected = "the name of an image, which may be followed by " + ", ".join(MASK_ENDINGS)
    return InputError("a mask belongs to no image", file=f"{archive}: {mask}", expected=expected, fix=fix)


def _with_ids(found: dict[str, list[Sample]], archive: Path) -> list[Sample]:
    """All samples, sorted by id, with ids that are unique and valid file names."""
    every = [(root, sample) for root, members in found.items() for sample in members]
    counts = Counter(_folded(sample.id) for _, sample in every)
    repeated = [sample for _, sample in every if counts[_folded(sample.id)] > 1]
    if repeated and all(sample.annotated for sample in repeated):
        every = [(root, replace(sample, id=_long_id(PurePosixPath(root), sample.id))) for root, sample in every]
    known: dict[str, Sample] = {}
    for _, sample in every:
        if not is_name(sample.id):
            fix = "give the image a shorter name of letters, digits, - and _"
            problem = "an image's name is not a valid file name everywhere"
            raise InputError(problem, file=archive, got=repr(sample.id), fix=fix)
        other = known.setdefault(_folded(sample.id), sample)
        if other is not sample:
            got = f"{other.image} and {sample.image}"
            fix = "rename one of them"
            folders_of = sorted({str(PurePosixPath(each.image).parent) for each in (other, sample)})
            if len(folders_of) > 1 and not (sample.annotated and other.annotated):
                fix = f"are those in {folders_of[0]}/ or {folders_of[1]}/ masks? Name that folder masks/"
            raise InputError("two images have the same name", file=archive, got=got, fix=fix)
    return sorted(known.values(), key=lambda sample: sample.id)


def _long_id(root: PurePosixPath, id: str) -> str:
    """The id with the folders above it; in Kaggle's layout the last one has the id as its name."""
    return "_".join((*(root.parent if root.name == id else root).parts, id))


def _folded(id: str) -> str:
    """Equal for names that some file systems do not tell apart, because they ignore case or normalise Unicode."""
    return unicodedata.normalize("NFC", id).casefold()


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
