"""The command line of segment.py."""

from __future__ import annotations

import argparse
from pathlib import Path

from nuclei.base.errors import InputError
from nuclei.base.shipped import MODEL
from nuclei.segment.cluster import add_worker_options
from nuclei.segment.multiscale import LABELS
from nuclei.segment.opening import add_reading_options
from nuclei.segment.review import add_review_option
from nuclei.segment.rois import ROIS
from nuclei.segment.shards import add_shard_options
from nuclei.segment.size import parse_diameter, parse_score
from nuclei.segment.table import add_table_option

SMALLEST_BLOCK_PX = 256


def parse(description: str | None) -> argparse.Namespace:
    """Read the command line.

    Raises:
        InputError: the side of the blocks is too small.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", nargs="*", type=Path, help="image files, or folders of them")
    parser.add_argument("-o", "--out", type=Path, required=True, help="the folder to write to")
    parser.add_argument("-r", "--recursive", action="store_true", help="segment the images in subfolders too")
    parser.add_argument("--list", type=Path, metavar="FILE", help="a text file with a path in each line")
    parser.add_argument("--force", action="store_true", help="replace files that this program did not write")
    model = "the folder of a trained model, such as data/model, or an exported model.onnx (models/nuclei)"
    parser.add_argument("--model", type=Path, default=MODEL, help=model)
    diameter = "usual diameter of the nuclei, in pixels, or in µm as 12um (measured in each image)"
    parser.add_argument("--diameter", type=parse_diameter, metavar="PX|UM", help=diameter)
    score = "drop nuclei less likely to be true than this, 0 to 1 (as the model says); 0 keeps all, in any image"
    parser.add_argument("--min-score", type=parse_score, metavar="P", help=score)
    add_reading_options(parser)
    rois = "also write the outlines of the nuclei, for ImageJ and Fiji (NAME_rois.zip) or for QuPath (NAME.geojson)"
    parser.add_argument("--rois", action="append", default=[], choices=[*ROIS], help=rois)
    add_table_option(parser)
    add_review_option(parser)
    blocks = "segment by blocks of this side, whatever the size of a TIFF (2048, above 64 megapixels)"
    parser.add_argument("--blocks", type=int, metavar="PX", help=blocks)
    labels = "the format of the label map of an image that is segmented by blocks (ome-zarr)"
    parser.add_argument("--large-labels", choices=[*LABELS], default="ome-zarr", help=labels)
    many = parser.add_argument_group("many images").add_mutually_exclusive_group()
    add_shard_options(many)
    add_worker_options(many)
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda", "mps"])
    arguments = parser.parse_args()
    if not arguments.image and not arguments.list:
        parser.error("give images, folders, or --list FILE")
    if arguments.blocks is not None and arguments.blocks < SMALLEST_BLOCK_PX:
        expected = f"at least {SMALLEST_BLOCK_PX} pixels"
        raise InputError("the side of the blocks is wrong", got=arguments.blocks, expected=expected)
    return arguments
