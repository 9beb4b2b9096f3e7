"""The folder of images to review: the least certain ones with their results, in a layout that `prepare` reads.

Each image is written as the network saw it, one plane in 8-bit RGB, as a PNG. Any program opens that, whatever the
microscope wrote, and `prepare` reads the same pixels from it, without an option for channels or slices.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
from collections.abc import Sequence
from pathlib import Path

from nuclei.base.files import remove, replacing
from nuclei.base.formats import OUTLINES, REVIEW
from nuclei.segment.batch import Options, named
from nuclei.segment.finding import LABELS, Image
from nuclei.segment.manifest import Manifest
from nuclei.segment.marks import is_ours, write_marked_rgb
from nuclei.segment.opening import planes
from nuclei.segment.rois import ROIS


def add_review_option(parser: argparse.ArgumentParser) -> None:
    """Add --review, a number of images of at least 1."""
    text = f"copy the N least certain images with their results to OUT/{REVIEW}, to be corrected and trained on"
    parser.add_argument("--review", type=_count, metavar="N", help=text)


def write_review(manifest: Manifest, images: Sequence[Image], out: Path, count: int, options: Options) -> str:
    """Write the least certain images of a run and their results into the folder `REVIEW` of `out`.

    Images there of which a file was changed by hand stay as they are. Images that were segmented by blocks are left
    out, because they are too large to correct and to train on as a whole.

    Args:
        manifest: of `out`.
        images: those that were segmented in this run.
        out: the folder of results.
        count: of images; each plane of a file counts as one.
        options: of this run.

    Returns:
        A line for the user that says what was done.

    Raises:
        InputError: an image can not be read again.
    """
    files = {image.stem: image for image in images}
    known = ((stem, files[file]) for stem, file in manifest.by_certainty() if file in files)
    listed = ((stem, image) for stem, image in known if (out / f"{stem}{LABELS}").exists())
    written, kept = 0, 0
    for stem, image in itertools.islice(listed, count):
        there = {ending: out / REVIEW / f"{stem}{ending}" for ending in (".png", LABELS, *OUTLINES)}
        if any(path.exists() and not is_ours(path) for path in there.values()):
            kept += 1
            continue
        plane = next(plane for plane in planes(image.path, options.reading) if named(image, plane.suffix).stem == stem)
        write_marked_rgb(there[".png"], plane.rgb)
        results = (LABELS, *(ROIS[kind] for kind in options.rois))
        for ending in results:
            with replacing(there[ending]) as temporary:
                shutil.copyfile(out / f"{stem}{ending}", temporary)
        for ending in {*OUTLINES}.difference(results):
            remove(there[ending])  # of an earlier run, with other nuclei
        written += 1
    corrected = f", {kept} kept as they were, because they were corrected" if kept else ""
    return f"to review: {written} image{'' if written == 1 else 's'} in {out / REVIEW}{corrected}"


def _count(text: str) -> int:
    if text.isdecimal() and int(text):
        return int(text)
    raise argparse.ArgumentTypeError("give a number of images, at least 1")
