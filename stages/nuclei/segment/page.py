"""The page of a batch, index.html: its images with the least certain first, counts and sizes, and what failed.

One HTML file that needs no other, from the template beside this file. It is written image by image from the manifest,
so that memory does not grow with the images.
"""

from __future__ import annotations

import base64
import itertools
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from nuclei.base import citation
from nuclei.base.errors import InputError
from nuclei.segment.batch import Options
from nuclei.segment.finding import OVERLAY
from nuclei.segment.manifest import Manifest

CITATION = Path(__file__).parents[3] / citation.FILE  # the working directory may be another
PAGE, TEMPLATE = "index.html", "page.html.j2"
SHOWN = 2000  # images: with a thumbnail of 6 kB each, the page has about 17 MB
BARS, X_LABELS, Y_LABELS = 30, 8, 4  # of a histogram, at most
LEFT, RIGHT, TOP, BOTTOM = 88, 470, 10, 180  # of the plot, in units of the drawing of 480 by 230


@dataclass
class Totals:
    """What the page says of all images together.

    Attributes:
        seconds: the sum of what each image took.
        per_image: how many images have so many nuclei.
        diameters: how many nuclei have a diameter of so many whole pixels, rounded down.
        by_blocks: how many images were segmented by blocks; the manifest does not hold their nuclei.
        scored: whether any image has a certainty.
        sized: whether the pixel size of any image is known.
    """

    images: int = 0
    nuclei: int = 0
    seconds: float = 0.0
    per_image: Counter[int] = field(default_factory=Counter)
    diameters: Counter[int] = field(default_factory=Counter)
    by_blocks: int = 0
    scored: bool = False
    sized: bool = False


@dataclass(frozen=True)
class Bar:
    """A bar of a histogram: the values from `low` to below `high`, and its rectangle in units of the drawing."""

    low: int
    high: int
    count: int
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Histogram:
    """A histogram, and the places and labels of its ticks."""

    bars: list[Bar]
    x_ticks: list[tuple[float, int]]
    y_ticks: list[tuple[float, int]]


def write_page(manifest: Manifest, out: Path, failed: Mapping[str, InputError], model: str, options: Options) -> None:
    """Write index.html into the folder of results.

    Args:
        manifest: of that folder.
        out: the folder.
        failed: why an image was not segmented, by its name without extension.
        model: the model of this run, as the user named it.
        options: of this run.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,  # names come from the user: text, never markup
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number, "given": _given, "jpeg": _jpeg, "overlay": _overlay}
    totals = totals_of(manifest)
    stream = environment.get_template(TEMPLATE).stream(
        version=citation.read(CITATION).version,
        model=model,
        options=described(options),
        totals=totals,
        limit=SHOWN,
        images=lambda: manifest.least_certain(SHOWN),
        per_image=histogram(totals.per_image, whole=True),
        diameters=histogram(totals.diameters),
        plot={"left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM},
        failed=sorted(failed.items()),
    )
    with (
        manifest.replacing(out / PAGE) as temporary,
        # bytes of a name that are not UTF-8 become visible escapes
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file,
    ):
        file.writelines(stream)


def totals_of(manifest: Manifest) -> Totals:
    """Add up all images of a manifest."""
    totals = Totals()
    for image in manifest.images():
        nuclei = int(image.summary["nuclei"] or 0)
        areas_px = image.nuclei.get("area_px", [])
        totals.images += 1
        totals.nuclei += nuclei
        totals.seconds += image.seconds
        totals.per_image[nuclei] += 1
        totals.diameters.update(math.floor(2 * math.sqrt(float(area) / math.pi)) for area in areas_px if area)
        totals.by_blocks += not image.nuclei
        totals.scored |= image.certainty is not None
        totals.sized |= image.summary["pixel_size_um"] is not None
    return totals


def described(options: Options) -> dict[str, str]:
    """The options that were given, in words, by what they decide."""
    reading, diameter = options.reading, options.diameter
    chosen = {
        "diameter of the nuclei": "measured in each image" if diameter is None else str(diameter),
        "channel": reading.channel,
        "slices": reading.z,
        "pixel size": None if reading.pixel_size_um is None else f"{reading.pixel_size_um:g} µm",
        "minimum score": f"{options.min_score:g}" if options.min_score else None,
        "minimum score of the best nucleus": f"{options.min_best_score:g}" if options.min_best_score else None,
        "outlines": ", ".join(options.rois) or None,
    }
    return {name: str(value) for name, value in chosen.items() if value is not None}


def histogram(counts: Mapping[int, int], *, whole: bool = False) -> Histogram:
    """Draw how often whole numbers occur, in at most `BARS` bars whose width is 1, 2 or 5 times a power of ten.

    Args:
        counts: by number, at least 0.
        whole: the numbers are counts, not lengths rounded down: bars of width 1 are labelled in their middle.
    """
    if not counts:
        return Histogram([], [], [])
    width = next(width for width in _steps() if max(counts) // width - min(counts) // width < BARS)
    bins = Counter[int]()
    for value, count in counts.items():
        bins[value // width] += count
    first, last, most = min(bins), max(bins), max(bins.values())
    each, unit = (RIGHT - LEFT) / (last + 1 - first), (BOTTOM - TOP) / most
    bars = [
        Bar(number * width, (number + 1) * width, bins[number],
            LEFT + (number - first) * each, BOTTOM - bins[number] * unit, each, bins[number] * unit)
        for number in range(first, last + 1)
    ]  # fmt: skip
    middle = each / 2 if whole and width == 1 else 0
    every = math.ceil(len(bars) / X_LABELS)
    step = next(step for step in _steps() if most // step <= Y_LABELS)
    return Histogram(
        bars,
        [(bar.x + middle, bar.low) for bar in bars[::every]],
        [(BOTTOM - value * unit, value) for value in range(0, most + 1, step)],
    )


def _steps() -> Iterator[int]:
    """1, 2, 5, 10, 20, 50, ..."""
    return (digit * 10**power for power in itertools.count() for digit in (1, 2, 5))


def _number(value: float | None, decimals: int = 0) -> str:
    return "\N{EN DASH}" if value is None else f"{value:,.{decimals}f}"


def _given(value: float | None) -> float | str:
    """A number in full, by which a column is sorted; empty if there is none."""
    return "" if value is None else value


def _jpeg(data: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"


def _overlay(stem: str) -> str:
    """The address of the overlay, relative to the page."""
    return quote(os.fsencode(f"{stem}{OVERLAY}"))
