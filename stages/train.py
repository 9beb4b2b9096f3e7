"""Train the network, tune its thresholds on the validation images, and write a model that predicts as it was tuned.

Reads:      data/prepared, the train and val rows of data/split.csv, and the files that encoder_weights
            and start_from name
Writes:     data/model (unet_final_model.pth: the U-Net's plain state dict; instance_head.pth; model.json),
            reports/history.csv, search.csv, live (the learning curves while they grow), run.js (see provenance.py)
Parameters: seed, epochs, train
"""

from __future__ import annotations

from dataclasses import asdict
from io import BytesIO
from pathlib import Path

from nuclei.base.errors import run  # first, because the imports below take seconds: it handles Ctrl-C from here on

# isort: split
import numpy as np
import torch
from dvclive import Live
from numpy.typing import NDArray

from nuclei.base import files, userfiles
from nuclei.base.machine import keep_freed_memory
from nuclei.base.params import Params, load
from nuclei.base.progress import track
from nuclei.images.io import read_rgb
from nuclei.images.records import Record, image_path, label_path, read_part
from nuclei.network.confidence import Confidence
from nuclei.network.segmenter import WEIGHTS, Segmenter, Settings, pick_precision
from nuclei.train import calibration, checkpoint, provenance, search
from nuclei.train.crops import Crops
from nuclei.train.processes import make_fabric, together
from nuclei.train.starting import first_confidence, first_net
from nuclei.train.training import HISTORY_COLUMNS, Row, Training

PREPARED, SPLIT, MODEL = Path("data/prepared"), Path("data/split.csv"), Path("data/model")
HISTORY, SEARCH, LIVE, RUN = (Path("reports") / name for name in ("history.csv", "search.csv", "live", "run.js"))


def main() -> None:
    params, started = load(), provenance.start()
    keep_freed_memory()
    training_images, validation_images = (read_part(PREPARED, SPLIT, part) for part in ("train", "val"))
    train = params.train
    weights = userfiles.encoder_weights(train.encoder_weights, Path.cwd())
    model = userfiles.start_model(train.start_from, Path.cwd())
    fabric = make_fabric(train)
    named = [*([weights] if weights else []), *(userfiles.model_files(model) if model else [])]
    read = inputs([*training_images, *validation_images], named)
    kept = checkpoint.Checkpoint(checkpoint.key(decides(params, fabric.world_size), read))
    with together(fabric):
        fabric.seed_everything(params.seed, workers=False, verbose=False)
        torch.use_deterministic_algorithms(True, warn_only=fabric.device.type != "cpu")
        net = first_net(train, weights, model)
        crops = Crops(training_images, PREPARED, train, epochs=params.epochs, seed=params.seed)
        training = Training(net, crops, first_settings(params), train, fabric, kept)
        resumed = kept.path.exists()
        segmenter = fit(training, validation_images)
    if not fabric.is_global_zero:
        return

    rows = tune(segmenter, validation_images, params, scratch=kept.folder / "search", known=first_confidence(model))
    with files.replacing(MODEL) as folder:
        folder.mkdir()
        segmenter.save(folder)
    files.write_rows(SEARCH, search.COLUMNS, rows)
    files.write_rows(HISTORY, HISTORY_COLUMNS, training.history)
    precision = pick_precision(train.precision, fabric.device.type)
    provenance.write(
        RUN,
        started,
        HISTORY,
        MODEL / WEIGHTS,
        device=fabric.device,
        processes=fabric.world_size,
        precision=precision,
        resumed=resumed,
    )
    kept.remove()


def fit(training: Training, validation_images: list[Record]) -> Segmenter:
    """Train; the first process writes the learning curves while they grow."""
    if not training.fabric.is_global_zero:
        return training.fit(validation_images, log=lambda row: None)
    with Live(str(LIVE), save_dvc_exp=False, dvcyaml=None, report=None) as live:
        return training.fit(validation_images, log=lambda row: log(live, row))


def decides(params: Params, processes: int) -> object:
    return [params.seed, params.epochs, asdict(params.train), processes]


def inputs(records: list[Record], named: list[Path]) -> list[Path]:
    """The files that decide the result: the split, the images, and those that parameters name."""
    images = [path(PREPARED, record.id) for record in records for path in (image_path, label_path)]
    return [SPLIT, *images, *named]


def first_settings(params: Params) -> Settings:
    """The settings for prediction until the search has tuned the thresholds."""
    train = params.train
    return Settings(
        arch=train.arch,
        encoder_name=train.encoder_name,
        instance_target=train.instance_target,
        normalise_low=train.normalise_low,
        normalise_high=train.normalise_high,
        invert_light=train.invert_light,
        tile_px=train.tile_px,
        tile_overlap_px=train.tile_overlap_px,
        flips=train.flips,
        min_score=train.min_score,
        min_best_score=train.min_best_score,
        diameter_px=train.diameter_px,
        foreground=0.5,
        saddle_ratio=0.5,
        min_area_px=0,
        precision=train.precision,
    )


def log(live: Live, row: Row) -> None:
    live.step = int(row["epoch"])
    for name in HISTORY_COLUMNS[1:]:
        if name in row:
            live.log_metric(name, row[name])
    live.make_summary()


def tune(
    segmenter: Segmenter, records: list[Record], params: Params, scratch: Path, known: Confidence | None
) -> list[Row]:
    """Set the thresholds that score best on predictions stored in `scratch`; return the scores of all candidates.

    Then calibrate the scores of nuclei on the same predictions. Without images there is one candidate. With too few
    nuclei to calibrate on, `known`, the regression of the model that the training started from, gives the scores.
    """
    if not records:
        segmenter.use(*search.grid(params.train))
        segmenter.calibrate(known)
        return []
    scratch.mkdir(exist_ok=True)
    images: list[tuple[Path, Path]] = []
    for record in track(records, what="predictions for the search", total=len(records)):
        stored = scratch / f"{len(images)}.npy"
        store(stored, segmenter.maps(read_rgb(image_path(PREPARED, record.id))).astype(np.float16))
        images.append((stored, label_path(PREPARED, record.id)))
    rows = search.search(images, params.train.instance_target, search.grid(params.train))
    segmenter.use(search.best(rows))
    segmenter.calibrate(calibration.fitted(images, segmenter) or known)
    return rows


def store(path: Path, maps: NDArray[np.float16]) -> None:
    """Write an array through memory: written straight into a file, np.save hides why the disk refused it."""
    data = BytesIO()
    np.save(data, maps)
    with files.replacing(path) as temporary:
        temporary.write_bytes(data.getbuffer())


if __name__ == "__main__":
    run(main)
