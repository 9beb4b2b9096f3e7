"""Segment your own images with a trained model: label maps, overlays and a table of every nucleus.

    python stages/segment.py IMAGE... -o OUT

IMAGE is a PNG, TIFF, JPEG or BMP file, or a folder of them. OUT receives, for each image, NAME_labels.tif (0 =
background, 1..n the nuclei; it opens in Fiji, napari and QuPath), NAME_overlay.png, and one nuclei.csv with the
position, area and brightness of every nucleus. An image that can not be read is reported at the end, after the rest.
OUT may be the folder of the images: what an earlier run wrote there beside NAME is replaced, never segmented.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from nuclei.base.errors import InputError, run
from nuclei.base.formats import EXTENSIONS
from nuclei.images.records import MAX_NAME_BYTES

if TYPE_CHECKING:
    from nuclei.network.segmenter import Segmenter

RESULTS = ("_labels.tif", "_overlay.png")  # what the names of an image's label map and overlay end in
TABLE = {
    "label": "label",
    "centroid-0": "row",
    "centroid-1": "col",
    "area": "area_px",
    "eccentricity": "eccentricity",
    "solidity": "solidity",
    "mean_intensity": "mean_gray",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", nargs="+", type=Path, help="image files, or folders of them")
    parser.add_argument("-o", "--out", type=Path, required=True, help="the folder to write to")
    parser.add_argument("--model", type=Path, default=Path("data/model"), help="the folder of a trained model")
    parser.add_argument(
        "--diameter", type=float, metavar="PX", help="usual diameter of the nuclei in pixels (measured in each image)"
    )
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda", "mps"])
    arguments = parser.parse_args()
    images = find_images(arguments.image)
    check_out(arguments.out)
    if arguments.diameter is not None and not 1 <= arguments.diameter <= 1000:
        raise InputError("the diameter is wrong", got=arguments.diameter, expected="1 to 1000 pixels")

    # torch takes seconds to import: a wrong path is reported before
    from nuclei.base import files
    from nuclei.base.machine import keep_freed_memory
    from nuclei.base.progress import track
    from nuclei.network.segmenter import Segmenter

    keep_freed_memory()
    segmenter = Segmenter.load(arguments.model, device=arguments.device)
    if arguments.diameter is not None and segmenter.settings.diameter_px is None:
        fix = "leave --diameter out, or train with train.diameter_px"
        raise InputError("this model takes every image as it is", file=arguments.model, got="a diameter", fix=fix)
    rows: list[dict[str, object]] = []
    failed: list[str] = []
    for image in track(images, what="segment", total=len(images)):
        try:
            rows += segment_file(segmenter, image, arguments.out, arguments.diameter)
        except InputError as error:
            failed.append(str(error))
    files.write_rows(arguments.out / "nuclei.csv", ["image", *TABLE.values()], rows)
    print(f"{len(images) - len(failed)} images, {len(rows)} nuclei: {arguments.out}")
    if failed:
        raise InputError("\n".join([f"{len(failed)} of {len(images)} images were not segmented", *failed]))


def find_images(given: list[Path]) -> list[Path]:
    """The image files that were named, those of folders by name; raise InputError where that is none or unclear."""
    images: list[Path] = []
    for path in given:
        if not path.exists():
            raise InputError("there is no such image", file=path)
        inside = (
            sorted(file for file in path.iterdir() if file.suffix.lower() in EXTENSIONS) if path.is_dir() else [path]
        )
        if not inside:
            raise InputError("the folder has no images", file=path, expected=f"files ending in {', '.join(EXTENSIONS)}")
        images += inside
    places = {(image.parent, image.stem) for image in images}
    images = [image for image in images if not is_result(image, places)]
    stems: dict[str, Path] = {}
    for image in images:
        if len(os.fsencode(image.stem)) > MAX_NAME_BYTES:
            expected = f"at most {MAX_NAME_BYTES} bytes before its ending"
            raise InputError("the name is too long for those of the results", file=image, expected=expected)
        if stems.setdefault(image.stem, image) != image:
            raise InputError(
                "two images would get the same name",
                got=f"{stems[image.stem]}, {image}",
                fix="segment them into two folders",
            )
    return list(stems.values())


def is_result(path: Path, places: set[tuple[Path, str]]) -> bool:
    """Whether a file is named like the label map or the overlay of another one beside it, one of `places`."""
    return any(
        path.name.endswith(ending) and (path.parent, path.name.removesuffix(ending)) in places for ending in RESULTS
    )


def check_out(out: Path) -> None:
    """Raise InputError where a file stands in the way of the folder."""
    for place in (out, *out.parents):
        if place.exists():
            if not place.is_dir():
                fix = "give a folder, or a name that is free, after -o"
                raise InputError("the results can not be written there", file=place, got="a file", fix=fix)
            return


def segment_file(segmenter: Segmenter, path: Path, out: Path, diameter_px: float | None) -> list[dict[str, object]]:
    """Write the label map and the overlay of one image; return a row for each of its nuclei.

    `diameter_px`: of these, None to have it measured.
    """
    import cv2
    from skimage.measure import regionprops_table

    from nuclei.images.io import read_rgb, write_labels, write_rgb
    from nuclei.pictures.overlays import overlay

    rgb = read_rgb(path, name=str(path))
    labels = segmenter.segment(rgb, diameter_px)
    write_labels(out / f"{path.stem}{RESULTS[0]}", labels)
    write_rgb(out / f"{path.stem}{RESULTS[1]}", overlay(rgb, labels))
    properties = [name.removesuffix("-0") for name in TABLE if not name.endswith("-1")]
    columns = regionprops_table(labels, cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), properties=properties)
    values = zip(*(columns[name].round(4).tolist() for name in TABLE), strict=True)
    return [{"image": path.name, **dict(zip(TABLE.values(), row, strict=True))} for row in values]


if __name__ == "__main__":
    run(main)
