"""Train the network, tune its thresholds on the validation images, and write a model that predicts as it was tuned.

Reads:      data/prepared, the train and val rows of data/split.csv, and the file of encoder_weights where one is named
Writes:     data/model (unet_final_model.pth: the U-Net's plain state dict; instance_head.pth; model.json),
            reports/history.csv, search.csv, live (the learning curves while they grow), run.js (see provenance.py)
Parameters: seed, epochs, train
"""

from __future__ import annotations

import logging
from dataclasses import asdict
from io import BytesIO
from pathlib import Path

from nuclei.base.errors import (
    InputError,
    run,
)  # first, because the imports below take seconds: it handles Ctrl-C from here on

# isort: split
import numpy as np
import torch
from dvclive import Live
from lightning_fabric import Fabric
from numpy.typing import NDArray

from nuclei.base import files, userfiles
from nuclei.base.machine import keep_freed_memory
from nuclei.base.params import Params, load
from nuclei.base.progress import track
from nuclei.images.io import read_rgb
from nuclei.images.records import Record, image_path, label_path, read_part
from nuclei.network.segmenter import WEIGHTS, Segmenter, Settings, make_net, pick_device, pick_precision
from nuclei.train import checkpoint, provenance, search
from nuclei.train.crops import Crops
from nuclei.train.training import HISTORY_COLUMNS, Row, Training

PREPARED, SPLIT, MODEL = Path("data/prepared"), Path("data/split.csv"), Path("data/model")
HISTORY, SEARCH, LIVE, RUN = (Path("reports") / name for name in ("history.csv", "search.csv", "live", "run.js"))


def main() -> None:
    params, started = load(), provenance.start()
    keep_freed_memory()
    training_images, validation_images = (read_part(PREPARED, SPLIT, part) for part in ("train", "val"))
    fabric = make_fabric(params)
    fabric.seed_everything(params.seed, workers=False, verbose=False)
    torch.use_deterministic_algorithms(True, warn_only=fabric.device.type != "cpu")

    train = params.train
    weights = userfiles.encoder_weights(train.encoder_weights, Path.cwd())
    net = make_net(
        train.arch, train.encoder_name, train.instance_target, str(weights) if weights else train.encoder_weights
    )
    crops = Crops(training_images, PREPARED, train, epochs=params.epochs, seed=params.seed)
    kept = checkpoint.Checkpoint(
        checkpoint.key(decides(params), inputs([*training_images, *validation_images], weights))
    )
    kept.start()
    resumed = kept.path.exists()
    training = Training(net, crops, first_settings(params), train, fabric, kept)
    with Live(str(LIVE), save_dvc_exp=False, dvcyaml=None, report=None) as live:
        segmenter = training.fit(validation_images, log=lambda row: log(live, row))

    rows = tune(segmenter, validation_images, params, scratch=kept.folder / "search")
    with files.replacing(MODEL) as folder:
        folder.mkdir()
        segmenter.save(folder)
    files.write_rows(SEARCH, search.COLUMNS, rows)
    files.write_rows(HISTORY, HISTORY_COLUMNS, training.history)
    precision = pick_precision(train.precision, fabric.device.type)
    provenance.write(RUN, started, HISTORY, MODEL / WEIGHTS, device=fabric.device, precision=precision, resumed=resumed)
    kept.remove()


def make_fabric(params: Params) -> Fabric:
    device = pick_device(params.train.device)
    precision = pick_precision(params.train.precision, device)
    if precision == "16-mixed" and device == "cpu":  # Fabric would train in bfloat16 instead
        fix = "set train.precision to bf16-mixed, 32-true or auto"
        raise InputError("16-mixed trains on a GPU only", got="a CPU", fix=fix)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # run.js records what it would log
    return Fabric(accelerator=device, devices=1, precision=precision)  # type: ignore[arg-type]


def decides(params: Params) -> object:
    return [params.seed, params.epochs, asdict(params.train)]


def inputs(records: list[Record], weights: Path | None) -> list[Path]:
    images = [path(PREPARED, record.id) for record in records for path in (image_path, label_path)]
    return [SPLIT, *images, *([weights] if weights else [])]


def first_settings(params: Params) -> Settings:
    """The settings for prediction until the search has tuned the thresholds."""
    train = params.train
    return Settings(
        arch=train.arch,
        encoder_name=train.encoder_name,
        instance_target=train.instance_target,
        normalise_low=train.normalise_low,
        normalise_high=train.normalise_high,
        tile_px=train.tile_px,
        tile_overlap_px=train.tile_overlap_px,
        flips=train.flips,
        diameter_px=train.diameter_px,
        foreground=0.5,
        saddle_ratio=0.5,
        min_area_px=0,
        precision=train.precision,
    )


def log(live: Live, row: Row) -> None:
    live.step = int(row["epoch"])
    for name in HISTORY_COLUMNS[1:]:
        live.log_metric(name, row[name])
    live.make_summary()


def tune(segmenter: Segmenter, records: list[Record], params: Params, scratch: Path) -> list[Row]:
    """Set the thresholds that score best on predictions stored in `scratch`; return the scores of all candidates."""
    scratch.mkdir(exist_ok=True)
    images: list[tuple[Path, Path]] = []
    for record in track(records, what="predictions for the search", total=len(records)):
        stored = scratch / f"{len(images)}.npy"
        store(stored, segmenter.maps(read_rgb(image_path(PREPARED, record.id))).astype(np.float16))
        images.append((stored, label_path(PREPARED, record.id)))
    rows = search.search(images, params.train.instance_target, search.grid(params.train))
    segmenter.use(search.best(rows))
    return rows


def store(path: Path, maps: NDArray[np.float16]) -> None:
    """Write an array through memory: written straight into a file, np.save hides why the disk refused it."""
    data = BytesIO()
    np.save(data, maps)
    with files.replacing(path) as temporary:
        temporary.write_bytes(data.getbuffer())


if __name__ == "__main__":
    run(main)
