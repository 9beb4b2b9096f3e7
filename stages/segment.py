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
from typing import TYPE_CHECKING

from nuclei.base.errors import InputError, run
from nuclei.base.machine import keep_freed_memory
from nuclei.base.progress import track
from nuclei.base.userfiles import model_files
from nuclei.segment.arguments import parse
from nuclei.segment.batch import Batch, LargeOptions, Options, results
from nuclei.segment.cluster import connected, segment_on
from nuclei.segment.finding import Found, Image, check_out, find_images, read_list
from nuclei.segment.manifest import check_unchanged, files_of, hash_of, opened
from nuclei.segment.marks import check_replaceable
from nuclei.segment.naming import check_planes
from nuclei.segment.opening import reading_of
from nuclei.segment.page import PAGE, write_page
from nuclei.segment.report import report
from nuclei.segment.review import write_review
from nuclei.segment.shards import absorb, collect, common_of, ended_shards, opened_shard, write_record
from nuclei.segment.slides import is_large
from nuclei.segment.table import IMAGES, NUCLEI, PARQUET, check_table, write_tables
from nuclei.segment.tasks import Model

if TYPE_CHECKING:  # torch takes seconds to import
    from nuclei.network.segmenter import Segmenter
    from nuclei.segment.pipelined import Outcome


def main() -> None:
    arguments = parse(__doc__)
    out: Path = arguments.out
    given = [*arguments.image, *(read_list(arguments.list) if arguments.list else [])]
    found = find_images(given, out, recursive=arguments.recursive)
    check_out(out)
    check_table(arguments.table)
    everything, shard = found.images, arguments.shard
    if shard:
        found = Found(shard.of(everything), found.notes)
    if not arguments.collect:
        check_planes(everything, files_of(out), reading_of(arguments), arguments.blocks)
    if not arguments.force:
        if not arguments.collect:
            small = (image for image in found.images if not is_large(image.path, arguments.blocks))
            check_replaceable(path for image in small for path in results(image, out, arguments.rois))
        check_unchanged([out / name for name in (NUCLEI, PARQUET, IMAGES, PAGE)], out)

    from nuclei.export import engine  # torch takes seconds to import: wrong paths are reported before
    from nuclei.segment.pipelined import segment_pipelined

    keep_freed_memory()
    segmenter = engine.open_model(arguments.model, arguments.device)
    check_model(segmenter, arguments)
    settings = segmenter.settings
    min_score = settings.min_score if arguments.min_score is None else arguments.min_score
    min_best_score = 0.0 if min_score < settings.min_score else settings.min_best_score
    options = Options(arguments.diameter, reading_of(arguments), tuple(arguments.rois), min_score, min_best_score)
    large = LargeOptions(arguments.blocks, arguments.large_labels)
    files = tuple(model_files(arguments.model))
    model = Model(engine.open_model, arguments.model, files, arguments.device, hash_of(*files))
    common = common_of(everything, model.sha256, options, large)
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
                outcomes = segment_on(cluster, model, batch, found.images, large)
            else:
                outcomes = segment_pipelined(batch, found.images, large)
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
        elif arguments.review:
            print(write_review(manifest, done, out, arguments.review, options))
        report(manifest, found, done, failed, f"{out}, with the model {arguments.model}")


def check_model(segmenter: Segmenter, arguments: argparse.Namespace) -> None:
    """Raise InputError if the model can not do what the options ask for."""
    if arguments.diameter is not None and segmenter.settings.diameter_px is None:
        fix = "leave --diameter out, or train with train.diameter_px"
        raise InputError("this model takes every image as it is", file=arguments.model, got="a diameter", fix=fix)
    if arguments.min_score and segmenter.settings.confidence is None:
        fix = "leave --min-score out, or train again: training calibrates the scores"
        raise InputError("this model gives nuclei no score", file=arguments.model, got="a minimum score", fix=fix)


if __name__ == "__main__":
    run(main)
