"""Segment your own images: label maps, overlays and a table of every nucleus. No training is needed.

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
from pathlib import Path

from nuclei.base.errors import InputError, run
from nuclei.base.machine import keep_freed_memory
from nuclei.base.progress import track
from nuclei.base.shipped import MODEL
from nuclei.base.userfiles import model_files
from nuclei.segment.batch import Batch, Options, results
from nuclei.segment.finding import Found, find_images, read_list
from nuclei.segment.manifest import Manifest, check_unchanged, hash_of, opened
from nuclei.segment.marks import check_replaceable
from nuclei.segment.multiscale import LABELS
from nuclei.segment.opening import add_reading_options, reading_of
from nuclei.segment.page import PAGE, write_page
from nuclei.segment.review import add_review_option, write_review
from nuclei.segment.rois import ROIS
from nuclei.segment.size import parse_diameter, parse_score
from nuclei.segment.slides import is_large
from nuclei.segment.table import IMAGES, NUCLEI, write_tables

SMALLEST_BLOCK_PX = 256


def main() -> None:
    arguments = parse()
    out: Path = arguments.out
    given = [*arguments.image, *(read_list(arguments.list) if arguments.list else [])]
    found = find_images(given, out, recursive=arguments.recursive)
    check_out(out)
    if arguments.blocks is not None and arguments.blocks < SMALLEST_BLOCK_PX:
        expected = f"at least {SMALLEST_BLOCK_PX} pixels"
        raise InputError("the side of the blocks is wrong", got=arguments.blocks, expected=expected)
    if not arguments.force:
        small = (image for image in found.images if not is_large(image.path, arguments.blocks))
        check_replaceable(path for image in small for path in results(image, out, arguments.rois))
        check_unchanged([out / NUCLEI, out / IMAGES, out / PAGE], out)

    from nuclei.export import engine  # torch takes seconds to import: wrong paths are reported before
    from nuclei.segment.large import LargeOptions
    from nuclei.segment.pipelined import segment_pipelined

    keep_freed_memory()
    segmenter = engine.open_model(arguments.model, arguments.device)
    if arguments.diameter is not None and segmenter.settings.diameter_px is None:
        fix = "leave --diameter out, or train with train.diameter_px"
        raise InputError("this model takes every image as it is", file=arguments.model, got="a diameter", fix=fix)
    if arguments.min_score and segmenter.settings.confidence is None:
        fix = "leave --min-score out, or train again: training calibrates the scores"
        raise InputError("this model gives nuclei no score", file=arguments.model, got="a least score", fix=fix)
    options = Options(arguments.diameter, reading_of(arguments), tuple(arguments.rois), arguments.min_score)
    failed: dict[str, InputError] = {}  # by the stem of the image
    with opened(out) as manifest:
        model = hash_of(*model_files(arguments.model))
        batch = Batch(segmenter, model, out, manifest, options, force=arguments.force)
        try:
            large = LargeOptions(arguments.blocks, arguments.large_labels)
            outcomes = segment_pipelined(batch, found.images, large)
            for image, error in track(outcomes, what="segment", total=len(found.images)):
                if error:
                    failed[image.stem] = error
        finally:  # after Ctrl-C too
            write_tables(manifest, out)
            write_page(manifest, out, failed, str(arguments.model), options)
        if arguments.review:
            done = [image for image in found.images if image.stem not in failed]
            print(write_review(manifest, done, out, arguments.review, options))
        report(manifest, found, failed, f"{out}, with the model {arguments.model}")


def report(manifest: Manifest, found: Found, failed: dict[str, InputError], where: str) -> None:
    """Say what was done and what was not; raise InputError if an image was not segmented."""
    nuclei, warnings = 0, []
    done = [image for image in found.images if image.stem not in failed]
    for image in done:
        for segmented in manifest.images(image.stem):
            nuclei += int(segmented.summary["nuclei"] or 0)
            warnings += [f"warning: {segmented.name}: {note}" for note in segmented.notes]
    print(f"{len(done)} image{'' if len(done) == 1 else 's'}, {nuclei} nuclei: {where}")
    for line in [*warnings, *(f"not segmented: {note}" for note in found.notes)]:
        print(line)
    if failed:
        problem = f"{len(failed)} of {len(found.images)} images were not segmented"
        raise InputError("\n".join([problem, *map(str, failed.values())]))


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", nargs="*", type=Path, help="image files, or folders of them")
    parser.add_argument("-o", "--out", type=Path, required=True, help="the folder to write to")
    parser.add_argument("-r", "--recursive", action="store_true", help="segment the images in subfolders too")
    parser.add_argument("--list", type=Path, metavar="FILE", help="a text file with a path in each line")
    parser.add_argument("--force", action="store_true", help="replace files that this program did not write")
    model = "the folder of a trained model, such as data/model, or an exported model.onnx (models/nuclei)"
    parser.add_argument("--model", type=Path, default=MODEL, help=model)
    diameter = "usual diameter of the nuclei, in pixels, or in µm as 12um (measured in each image)"
    parser.add_argument("--diameter", type=parse_diameter, metavar="PX|UM", help=diameter)
    score = "drop nuclei that are less likely to be true than this, 0 to 1 (0)"
    parser.add_argument("--min-score", type=parse_score, default=0.0, metavar="P", help=score)
    add_reading_options(parser)
    rois = "also write the outlines of the nuclei, for ImageJ and Fiji (NAME_rois.zip) or for QuPath (NAME.geojson)"
    parser.add_argument("--rois", action="append", default=[], choices=[*ROIS], help=rois)
    add_review_option(parser)
    blocks = "segment by blocks of this side, whatever the size of a TIFF (2048, above 64 megapixels)"
    parser.add_argument("--blocks", type=int, metavar="PX", help=blocks)
    labels = "the format of the label map of an image that is segmented by blocks (ome-zarr)"
    parser.add_argument("--large-labels", choices=[*LABELS], default="ome-zarr", help=labels)
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


if __name__ == "__main__":
    run(main)
