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
from collections.abc import Iterator
from pathlib import Path

from nuclei.base.errors import InputError, run
from nuclei.base.machine import keep_freed_memory
from nuclei.base.progress import track
from nuclei.base.shipped import MODEL
from nuclei.segment.batch import Batch, Options, results
from nuclei.segment.cluster import Model, add_worker_options, connected, segment_on
from nuclei.segment.each import Outcome, segment_each
from nuclei.segment.finding import Found, Image, check_out, find_images, read_list
from nuclei.segment.manifest import check_unchanged, hash_of, opened
from nuclei.segment.marks import check_replaceable
from nuclei.segment.opening import add_reading_options, reading_of
from nuclei.segment.page import PAGE, write_page
from nuclei.segment.report import report
from nuclei.segment.rois import ROIS
from nuclei.segment.shards import (
    absorb,
    add_shard_options,
    collect,
    common_of,
    ended_shards,
    opened_shard,
    write_record,
)
from nuclei.segment.table import IMAGES, NUCLEI, PARQUET, add_table_option, check_table, write_tables


def main() -> None:
    arguments = parse()
    out: Path = arguments.out
    given = [*arguments.image, *(read_list(arguments.list) if arguments.list else [])]
    found = find_images(given, out, recursive=arguments.recursive)
    check_out(out)
    check_table(arguments.table)
    if arguments.diameter is not None and not 1 <= arguments.diameter <= 1000:
        raise InputError("the diameter is wrong", got=arguments.diameter, expected="1 to 1000 pixels")
    if arguments.blocks is not None and arguments.blocks < 1:
        raise InputError("the side of the blocks is wrong", got=arguments.blocks, expected="at least 1 pixel")
    everything, shard = found.images, arguments.shard
    if shard:
        found = Found(shard.of(everything), found.notes)
    if not arguments.force:
        if not arguments.collect:
            check_replaceable(path for image in found.images for path in results(image, out, arguments.rois))
        check_unchanged([out / name for name in (NUCLEI, PARQUET, IMAGES, PAGE)], out)

    from nuclei.export import engine  # torch takes seconds to import: wrong paths are reported before
    from nuclei.network.segmenter import model_files

    keep_freed_memory()
    segmenter = engine.open_model(arguments.model, arguments.device)
    if arguments.diameter is not None and segmenter.settings.diameter_px is None:
        fix = "leave --diameter out, or train with train.diameter_px"
        raise InputError("this model takes every image as it is", file=arguments.model, got="a diameter", fix=fix)
    options = Options(arguments.diameter, reading_of(arguments), tuple(arguments.rois))
    files = tuple(model_files(arguments.model))
    model = Model(engine.open_model, arguments.model, files, arguments.device, hash_of(*files))
    common = common_of(everything, model.sha256, options, arguments.blocks)
    ended = ended_shards(out, common) if arguments.collect else {}
    done: list[Image] = []
    failed: dict[str, InputError] = {}  # by the stem of the image
    with connected(arguments) as cluster, opened_shard(shard, out, found.images) if shard else opened(out) as manifest:
        batch = Batch(segmenter, model.sha256, out, manifest, options, force=arguments.force)
        outcomes: Iterator[Outcome] = iter(())
        if arguments.collect:
            failed, done = collect(manifest, out, ended, everything)
        else:
            if not shard:
                absorb(manifest, out)
            if cluster:
                outcomes = segment_on(cluster, model, batch, found.images, arguments.blocks)
            else:
                outcomes = segment_each(batch, found.images, arguments.blocks)
        try:
            for image, error in track(outcomes, what="segment", total=len(found.images)):
                if error:
                    failed[image.stem] = error
                else:
                    done.append(image)
        finally:  # after Ctrl-C too
            if not shard:
                write_tables(manifest, out, arguments.table)
                write_page(manifest, out, failed, str(arguments.model), options)
        if shard:
            write_record(shard, out, common, failed)
        report(manifest, found, done, failed, f"{out}, with the model {arguments.model}")


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
    parser.add_argument(
        "--diameter", type=float, metavar="PX", help="usual diameter of the nuclei in pixels (measured in each image)"
    )
    add_reading_options(parser)
    rois = "also write the outlines of the nuclei, for ImageJ and Fiji (NAME_rois.zip) or for QuPath (NAME.geojson)"
    parser.add_argument("--rois", action="append", default=[], choices=[*ROIS], help=rois)
    parser.add_argument(
        "--blocks",
        type=int,
        metavar="PX",
        help="segment by blocks of this side, whatever the size of a TIFF",
    )
    add_table_option(parser)
    many = parser.add_argument_group("many images").add_mutually_exclusive_group()
    add_shard_options(many)
    add_worker_options(many)
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda", "mps"])
    arguments = parser.parse_args()
    if not arguments.image and not arguments.list:
        parser.error("give images, folders, or --list FILE")
    return arguments


if __name__ == "__main__":
    run(main)
