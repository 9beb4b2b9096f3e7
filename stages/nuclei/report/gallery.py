"""The gallery: the worst, median and best images and one of each modality, each with its errors."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nuclei.base.errors import InputError
from nuclei.images.io import read_labels, read_rgb
from nuclei.images.records import REMAKE, image_path, label_path
from nuclei.pictures import montages, overlays
from nuclei.pictures.verdicts import Verdicts, errors_layer, verdicts
from nuclei.report.tables import Table

SIDE_PX, SHEET_SIDE_PX = 512, 320  # longer side of an image on the page, and in a sheet of several
SCORES = ("dice", "iou", "map", "ap50", "pq")
Load = Callable[[str], tuple[overlays.Rgb, overlays.Labels, overlays.Labels]]


@dataclass(frozen=True)
class Panel:
    """One of the four panels of a case: a transparent PNG to lay over the image, and its alternative text."""

    title: str
    alt: str
    layer: bytes


@dataclass(frozen=True)
class Case:
    """One image: its row of per_image.csv, its PNG, its displayed size in pixels, and its panels."""

    row: dict[str, Any]
    image: bytes
    height_px: int
    width_px: int
    panels: list[Panel]

    @property
    def id(self) -> str:
        return str(self.row["id"])


def choose(per_image: Table, count: int) -> tuple[str, dict[str, list[str]]]:
    """Choose the images to show from test, or from val if no test image has a score; ranked by mAP, then by id.

    Args:
        per_image: rows of per_image.csv; images whose mAP is undefined are not shown.
        count: how many images to show of the worst, the median and the best; no image is in two of the three.

    Returns:
        The part, and the ids under "worst", "median", "best" and "modalities". The last has the median image of each
        modality, chosen where possible from those not shown yet.
    """
    scored = per_image[per_image["map"].notna()]
    part = "test" if (scored["part"] == "test").any() else "val"
    ranked = scored[scored["part"] == part].sort_values(["map", "id"])
    ids = ranked["id"].tolist()
    worst = ids[:count]
    best = ids[max(len(worst), len(ids) - count) :][::-1]
    between = ids[len(worst) : len(ids) - len(best)]
    start = max(0, (len(between) - count) // 2)
    chosen = {"worst": worst, "median": between[start : start + count], "best": best}
    shown = {id for several in chosen.values() for id in several}
    modalities = []
    for _, rows in ranked.groupby("modality"):
        fresh = [id for id in rows["id"] if id not in shown] or rows["id"].tolist()
        modalities.append(fresh[len(fresh) // 2])
    return part, {**chosen, "modalities": modalities}


def reader(prepared: Path, predictions: Path) -> Load:
    """Make a function that reads an image, its true label map and its predicted one, by id.

    Args:
        prepared: a folder like `data/prepared`, of images and true label maps.
        predictions: a folder like `data/predictions`, of predicted label maps.

    Raises:
        InputError: raised by that function: a file is absent or damaged, or the two label maps differ in size.
    """

    def load(id: str) -> tuple[overlays.Rgb, overlays.Labels, overlays.Labels]:
        rgb, truth = read_rgb(image_path(prepared, id)), read_labels(label_path(prepared, id))
        predicted = read_labels(label_path(predictions, id))
        if predicted.shape != truth.shape:
            raise InputError(
                "a prediction differs in size from its image",
                file=label_path(predictions, id),
                got="{} x {}".format(*predicted.shape),
                expected="{} x {}".format(*truth.shape),
                fix=REMAKE,
            )
        return rgb, truth, predicted

    return load


def cases(per_image: Table, ids: list[str], load: Load) -> list[Case]:
    """Draw the panels of each image; `load` returns its RGB image, its true and its predicted label map."""
    rows = {row["id"]: row for row in per_image.to_dict("records")}
    return [_case(rows[id], *load(id)) for id in ids]


def sheet(ids: list[str], per_image: Table, load: Load) -> overlays.Rgb:
    """One montage of several images with the contours of ground truth and prediction, captioned with their scores."""
    rows = {row["id"]: row for row in per_image.to_dict("records")}
    pictures, captions = [], []
    for id in ids:
        rgb, truth, predicted = load(id)
        rgb, (truth, predicted) = montages.fitted(rgb, [truth, predicted], SHEET_SIDE_PX)
        pictures.append(overlays.truth_vs_prediction(rgb, truth, predicted))
        captions.append(f"{id}\nDice {rows[id]['dice']:.3f}, mAP {rows[id]['map']:.3f}")
    return montages.montage(pictures, columns=3, captions=captions)


def _case(row: dict[str, Any], rgb: overlays.Rgb, truth: overlays.Labels, predicted: overlays.Labels) -> Case:
    bright = overlays.is_bright(rgb)
    shown = overlays.visible(rgb)
    scaled, (true_map, predicted_map) = montages.fitted(shown, [truth, predicted], SIDE_PX)
    name = f"{row['modality']} image {row['id']}"
    judged = verdicts(truth, predicted)
    panels = [
        Panel("image", f"The {name}.", _png(np.zeros((*true_map.shape, 4), np.uint8))),
        Panel("ground truth", f"The {row['nuclei']:.0f} true nuclei of {name}.",
              _png(overlays.instances_layer(true_map, bright=bright))),
        Panel("prediction", f"The {row['nuclei_predicted']:.0f} predicted nuclei of {name}.",
              _png(overlays.instances_layer(predicted_map, bright=bright))),
        Panel("errors", f"Errors in {name}: {_tally(*judged)}.",
              _png(errors_layer(true_map, predicted_map, *judged))),
    ]  # fmt: skip
    # a small image is stored at its own size and scaled up by the browser
    image = shown if max(shown.shape[:2]) < SIDE_PX else scaled
    return Case(row, _png(image), scaled.shape[0], scaled.shape[1], panels)


def _tally(of_truth: Verdicts, of_predicted: Verdicts) -> str:
    """The number of nuclei with each verdict, as text."""
    true, guessed = Counter(of_truth.values()), Counter(of_predicted.values())
    return (
        f"of the true nuclei {true['true positive']} found, {true['false negative']} missed, {true['split']} split, "
        f"{true['merged']} merged with others; {guessed['false positive']} predicted where none is"
    )


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG, in gray if all channels are equal and with a palette if transparent, which takes a third of the space."""
    image = Image.fromarray(pixels)
    if pixels.shape[2] == 3 and (pixels == pixels[..., :1]).all():
        image = image.convert("L")
    elif pixels.shape[2] == 4:
        image = image.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
