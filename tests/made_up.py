"""A made-up run in the pipeline's own formats: all that `plot` reads, with images of discs and predictions that err."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tifffile

from nuclei.base import files
from nuclei.images.io import write_labels, write_rgb
from nuclei.images.records import image_path, label_path
from nuclei.network.segmenter import Settings
from nuclei.report.tables import METRICS, PARTS, STRATUM_SCORES
from nuclei.train.search import COLUMNS

SETTINGS = Settings(
    arch="Unet",
    encoder_name="resnet34",
    instance_target="distance",
    normalise_low=1.0,
    normalise_high=99.8,
    tile_px=256,
    tile_overlap_px=32,
    flips=False,
    foreground=0.5,
    saddle_ratio=0.5,
    min_area_px=10,
)

ROOT = Path(__file__).resolve().parents[1]
LOOKS = {  # (nucleus, background) in RGB
    "fluorescence": ((60, 60, 60), (6, 6, 6)),
    "tissue": ((110, 50, 140), (225, 210, 225)),
    "brightfield": ((90, 90, 90), (215, 215, 215)),
}
SIZES = ("up to 90 px", "91 to 200 px", "201 to 400 px", "over 400 px")
Row = dict[str, object]


def finished_run(folder: Path, *, images: int = 16, side_px: int = 96, kind: str = "sample", seed: int = 0) -> Path:
    """Fill `folder` with the data, reports, parameters and requirements of a run that never was; return it."""
    rng = np.random.default_rng(seed)
    for name in ("requirements.in", "requirements.txt", "CITATION.cff"):
        shutil.copy(ROOT / name, folder)
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    files.write_text(folder / "params.yaml", text.replace("dpi: 120", "dpi: 60"))  # half the time to draw
    files.write_json(folder / "data/source.json", {"kind": kind})
    prepared, predictions = folder / "data/prepared", folder / "data/predictions"
    index, split, scores = [], [], []
    for number in range(images):
        id, part = f"image{number:04d}", ("test", "val", "train", "test")[number % 4]
        look = list(LOOKS)[number % 3]
        rgb, truth, predicted = picture(rng, look, side_px)
        write_rgb(image_path(prepared, id), rgb)
        write_labels(label_path(prepared, id), truth)
        size: Row = {"height": side_px, "width": side_px, "nuclei": int(truth.max())}
        index.append({"id": id, **size, "foreground": 0.2, "modality": look, "source": f"{id}.png"})
        split.append({"id": id, "part": part, "group": number // 8 * 4 + number % 4})  # twos of one part
        if part != "train":
            write_labels(label_path(predictions, id), predicted)
            group = split[-1]["group"]
            scores.append(
                {
                    "id": id,
                    "part": part,
                    "group": group,
                    "family": f"{side_px} {look}",
                    "modality": look,
                    **size,
                    **_scores(rng, int(predicted.max())),
                }
            )
    defect = {
        "id": "image0000",
        "defect": "overlapping masks",
        "count": 2,
        "pixels": 9,
        "action": "pixels given to the smaller nucleus",
    }
    write(prepared / "index.csv", index)
    write(prepared / "annotations.csv", [defect])
    write(folder / "data/split.csv", split)
    write(folder / "reports/per_image.csv", sorted(scores, key=lambda row: (row["part"] == "test", row["id"])))
    reports(folder / "reports")
    return folder


def picture(rng: np.random.Generator, look: str, side_px: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An image of discs, its label map, and a prediction: one missed, one invented, one split, two merged."""
    row, col = np.indices((side_px, side_px))
    step = max(16, side_px // 6)
    truth, crowd = np.zeros((side_px, side_px), np.uint16), rng.uniform(0.3, 1)
    for r in range(step // 2, side_px, step):
        for c in range(step // 2, side_px, step):
            if truth.max() < 4 or rng.random() < crowd:
                truth[(row - r) ** 2 + (col - c) ** 2 <= (step * rng.uniform(0.3, 0.5)) ** 2] = truth.max() + 1
    predicted = np.roll(truth, 1, axis=0)
    missed, split, one, other = rng.choice(np.arange(1, truth.max() + 1), 4, replace=False)
    predicted[predicted == missed] = 0
    predicted[(predicted == split) & (row > row[predicted == split].mean())] = truth.max() + 1
    predicted[predicted == one] = other
    predicted[:4, :4] = truth.max() + 2
    nucleus, background = LOOKS[look]
    rgb = np.where((truth > 0)[..., None], nucleus, background) + rng.normal(0, 4, (side_px, side_px, 1))
    dense = np.unique(predicted, return_inverse=True)[1].reshape(predicted.shape)
    return np.clip(rgb, 0, 255).astype(np.uint8), truth, dense.astype(np.uint16)


def reports(folder: Path) -> None:
    """Write every report but per_image.csv; the curves follow simple formulas."""
    values = {name: round(0.93 - 0.011 * number, 4) for number, name in enumerate(METRICS)}
    values |= {"count_error": 2.5, "splits": 3.21, "merges": 4.9, "auc": 0.9931}
    bounds: dict[str, Row] = {
        name: {"low": value - 0.04, "high": value + 0.005, "images": 7, "groups": 5, "nuclei": 140, "undefined": 0}
        for name, value in values.items()
    }
    bounds["aji"] = {"low": None, "high": None, "images": 7, "groups": 5, "nuclei": 140, "undefined": 7}
    counts = {"images": 7, "groups": 5, "nuclei": 140}
    files.write_json(folder / "metrics.json", {part: {**values, **counts} for part in PARTS})
    files.write_json(folder / "metrics_ci.json", {part: bounds for part in PARTS})
    parts, x = list(enumerate(PARTS, start=1)), np.linspace(0, 1, 60)
    ious = np.arange(0.5, 0.96, 0.05)
    tables: dict[str, Iterable[Row]] = {
        "roc": ({"part": p, "threshold": 1 - v, "fpr": v, "tpr": v ** (0.02 * k)} for k, p in parts for v in x),
        "precision_recall": (
            {"part": p, "threshold": 1 - v, "recall": v, "precision": 1 - 0.1 * k * v**8} for k, p in parts for v in x
        ),
        "confusion": (
            {"part": p, "actual": a, "predicted": b, "pixels": 1_234_567 if a == b else 40_000 * k}
            for k, p in parts
            for a in ("background", "nucleus")
            for b in ("background", "nucleus")
        ),
        "classification_report": (
            {"part": p, "class": c, "precision": 0.93, "recall": 0.91, "f1": 0.92, "support": 1_274_567}
            for _, p in parts
            for c in ("background", "nucleus", "macro avg", "weighted avg")
        ),
        "ap": (
            {
                "part": p,
                "iou": f"{v:.2f}",
                "ap": 0.9 - 0.1 * k - 1.6 * (v - 0.5) ** 2,
                "ap_pooled": 0.85 - 0.1 * k - 1.6 * (v - 0.5) ** 2,
                "precision": 0.9,
                "recall": 0.8,
                "f1": 0.85,
            }
            for k, p in parts
            for v in ious
        ),
        "calibration": (
            {
                "part": p,
                "low": v / 20,
                "high": (v + 1) / 20,
                "mean_score": "" if v == 10 else (v + 0.5) / 20,
                "fraction_positive": "" if v == 10 else ((v + 0.5) / 20) ** (1 + 0.2 * k),
                "pixels": 0 if v == 10 else 1000 + 900 * (v - 10) ** 4,
            }
            for k, p in parts
            for v in range(20)
        ),
        "by_stratum": (
            {
                "part": p, "grouping": g, "stratum": n, "images": 4, "groups": 3, "nuclei": 120,
                "map_undefined": {"modality": 1, "size": 0}.get(g, ""),
                **{
                    f"{name}{bound}": "" if g == "nucleus size" and "recall" not in name else value + 0.02 * step
                    for name in STRATUM_SCORES
                    for value in (2.5 if name in ("splits", "merges") else 0.81,)
                    for step, bound in ((0, ""), (-1, "_low"), (1, "_high"))
                },
            }
            for _, p in parts
            for g, names in (("modality", LOOKS), ("size", SIZES), ("nucleus size", SIZES))
            for n in names
        ),
        "history": (
            {
                "epoch": e, "seconds": 9.5, "learning_rate": 0.001 * np.sin(np.pi * e / 25),
                "train_loss": 1.2 / e**0.5, "train_instance_loss": 0.4 / e**0.5, "val_loss": 1.3 / e**0.4,
                "val_dice_true_scale": 0.93 - 0.5 / e, "val_iou_true_scale": 0.87 - 0.6 / e, "kept": int(e == 24),
            }
            for e in range(1, 25)
        ),
        "search": (
            dict(zip(COLUMNS, (f, r, a, 0.65 - (f - 0.5) ** 2 - (r - 0.6) ** 2 - a / 1e4, 0.01), strict=True))
            for f in (0.3, 0.4, 0.5, 0.6, 0.7)
            for r in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
            for a in (10, 20, 40)
        ),
    }  # fmt: skip
    for name, rows in tables.items():
        write(folder / f"{name}.csv", list(rows))


def write(path: Path, rows: list[Row]) -> None:
    files.write_rows(path, list(rows[0]), rows)


def _scores(rng: np.random.Generator, predicted: int) -> Row:
    """Scores of one image, the later ones of the order below lower; one in ten images has an undefined Dice."""
    names = ("dice", "iou", "precision", "recall", "map", "ap50", "ap75", "sq", "rq", "pq", "aji")
    level = rng.beta(9, 1.5)
    scores: Row = {name: round(level * 0.97**number, 4) for number, name in enumerate(names)}
    if rng.random() < 0.1:
        scores["dice"] = ""
    pixels: Row = {"median_area_px": int(rng.lognormal(5, 0.7)), "tp": 900, "fp": 90, "fn": 80, "tn": 8000}
    counts: Row = {"nuclei_predicted": predicted, "count_error": 1, "splits": 1, "merges": 1}
    return {**pixels, **scores, **counts}


def with_tags(data: bytes, **values: int) -> bytes:
    """A little-endian TIFF whose tags of these names say something else."""
    changed = bytearray(data)
    (start,) = struct.unpack_from("<I", changed, 4)
    for entry in range(start + 2, start + 2 + 12 * struct.unpack_from("<H", changed, start)[0], 12):
        name = tifffile.TIFF.TAGS.get(struct.unpack_from("<H", changed, entry)[0])
        if name in values:
            struct.pack_into("<HII", changed, entry + 2, 4, 1, values[name])
    return bytes(changed)
