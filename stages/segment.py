"""Segment your own images with a trained model: label maps, overlays and a table of every nucleus.

    python stages/segment.py IMAGE... -o OUT

IMAGE is a PNG, TIFF, JPEG or BMP file, or a folder of them. OUT receives, for each image, NAME_labels.tif (0 =
background, 1..n the nuclei; it opens in Fiji, napari and QuPath), NAME_overlay.png, and two tables: nuclei.csv with the
position, shape and intensity of every nucleus, images.csv with the number and size of the nuclei of every image. OUT
may be the folder of the images. Results of earlier runs are replaced, unless they were changed since; a file that this
program did not write is never replaced without --force. An image that can not be read is reported at the end, after
the others are done. docs/segment.md describes it all.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from nuclei.base.errors import InputError, run
from nuclei.base.machine import keep_freed_memory
from nuclei.base.progress import track
from nuclei.pictures.overlays import overlay
from nuclei.segment.blocks import BLOCK_PX
from nuclei.segment.finding import Image, find_images, read_list
from nuclei.segment.marks import check_replaceable, write_marked_labels, write_marked_rgb
from nuclei.segment.measurements import Column, channels_of, measure, summarise
from nuclei.segment.opening import planes
from nuclei.segment.slides import is_large
from nuclei.segment.table import IMAGES, NUCLEI, can_be_kept, merging

if TYPE_CHECKING:
    from nuclei.network.segmenter import Segmenter

LARGE_PX = 64 * 10**6  # an image with more is segmented by blocks


def main() -> None:
    arguments = parse()
    out: Path = arguments.out
    given = [*arguments.image, *(read_list(arguments.list) if arguments.list else [])]
    found = find_images(given, out, recursive=arguments.recursive)
    check_out(out)
    if arguments.diameter is not None and not 1 <= arguments.diameter <= 1000:
        raise InputError("the diameter is wrong", got=arguments.diameter, expected="1 to 1000 pixels")
    if arguments.blocks is not None and arguments.blocks < 1:
        raise InputError("the side of the blocks is wrong", got=arguments.blocks, expected="at least 1 pixel")
    if not arguments.force:
        check_replaceable(path for image in found.images for path in image.results(out))
    nuclei_csv, images_csv = out / "nuclei.csv", out / "images.csv"
    keep_nuclei = can_be_kept(nuclei_csv, NUCLEI, force=arguments.force)
    keep_images = can_be_kept(images_csv, IMAGES, force=arguments.force)

    from nuclei.network.segmenter import Segmenter  # torch takes seconds to import: wrong paths are reported before
    from nuclei.segment.by_blocks import LABELS, segment_slide

    keep_freed_memory()
    segmenter = Segmenter.load(arguments.model, device=arguments.device)
    if arguments.diameter is not None and segmenter.settings.diameter_px is None:
        fix = "leave --diameter out, or train with train.diameter_px"
        raise InputError("this model takes every image as it is", file=arguments.model, got="a diameter", fix=fix)
    nuclei = 0
    warnings: list[str] = []
    failed: list[str] = []
    with (
        merging(nuclei_csv, NUCLEI, keep=keep_nuclei) as add_nuclei,
        merging(images_csv, IMAGES, keep=keep_images) as add_image,
    ):
        for image in track(found.images, what="segment", total=len(found.images)):
            try:
                if is_large(image.path, 0 if arguments.blocks else LARGE_PX):
                    add = partial(add_nuclei, image.name)
                    summary, doubts = segment_slide(
                        segmenter,
                        image.path,
                        out / f"{image.stem}{LABELS}",
                        add,
                        diameter_px=arguments.diameter,
                        block_px=arguments.blocks or BLOCK_PX,
                        force=arguments.force,
                    )
                    add_image(image.name, summary)
                    nuclei += int(summary["nuclei"][0])
                    warnings += [f"{image.name}: {text}" for text in doubts]
                    continue
                measured, summary, doubts = segment_file(segmenter, image, out, arguments.diameter)
            except InputError as error:
                failed.append(str(error))
                continue
            add_nuclei(image.name, measured)
            add_image(image.name, summary)
            nuclei += len(measured["label"])
            warnings += doubts
    done = len(found.images) - len(failed)
    print(f"{done} image{'' if done == 1 else 's'}, {nuclei} nuclei: {out}")
    for line in [*(f"warning: {text}" for text in warnings), *(f"not segmented: {note}" for note in found.notes)]:
        print(line)
    if failed:
        raise InputError("\n".join([f"{len(failed)} of {len(found.images)} images were not segmented", *failed]))


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", nargs="*", type=Path, help="image files, or folders of them")
    parser.add_argument("-o", "--out", type=Path, required=True, help="the folder to write to")
    parser.add_argument("-r", "--recursive", action="store_true", help="segment the images in subfolders too")
    parser.add_argument("--list", type=Path, metavar="FILE", help="a text file with a path in each line")
    parser.add_argument("--force", action="store_true", help="replace files that this program did not write")
    parser.add_argument("--model", type=Path, default=Path("data/model"), help="the folder of a trained model")
    parser.add_argument(
        "--diameter", type=float, metavar="PX", help="usual diameter of the nuclei in pixels (measured in each image)"
    )
    parser.add_argument(
        "--blocks",
        type=int,
        metavar="PX",
        help="segment by blocks of this side, whatever the size of a TIFF",
    )
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda", "mps"])
    arguments = parser.parse_args()
    if not arguments.image and not arguments.list:
        parser.error("give images, folders, or --list FILE")
    return arguments


def check_out(out: Path) -> None:
    """Raise InputError if a file is in the place of the folder."""
    for place in (out, *out.parents):
        if place.exists():
            if not place.is_dir():
                fix = "give a folder, or a name that is free, after -o"
                raise InputError("the results can not be written there", file=place, got="a file", fix=fix)
            return


def segment_file(
    segmenter: Segmenter, image: Image, out: Path, diameter_px: float | None
) -> tuple[dict[str, Column], dict[str, Column], list[str]]:
    """Write the label map and the overlay of an image; return the measurements of its nuclei, its own, and warnings.

    `diameter_px` is that of the nuclei; it is measured if None.
    """
    (plane,) = planes(image.path)
    scale = segmenter.scale(plane.rgb, diameter_px)
    labels = segmenter.label(segmenter.predict(plane.rgb, scale))
    label_path, overlay_path = image.results(out)
    write_marked_labels(label_path, labels)
    write_marked_rgb(overlay_path, overlay(plane.rgb, labels))
    values = channels_of(plane.stored)
    warnings = [f"{image.name}: {text}" for text in (*plane.notes, scale.warning) if text]
    return measure(labels, values), summarise(labels, values.shape[2], scale.zoom), warnings


if __name__ == "__main__":
    run(main)
