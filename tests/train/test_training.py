"""Training keeps the best epoch, resumes after kill -9 with the same bits, and stops at a loss that is not finite."""

from __future__ import annotations

import hashlib
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch

from clones import SMALLEST
from committed import run_here
from conftest import ROOT, run_script, write_params, write_prepared
from nuclei.base.errors import InputError
from nuclei.images.io import read_labels, read_rgb
from nuclei.images.records import Record, image_path, label_path, read_part
from nuclei.network.model import NucleusNet
from nuclei.network.segmenter import Segmenter, make_net
from nuclei.network.sizing import diameter
from nuclei.scores.metrics import pixel_counts
from nuclei.train import checkpoint, provenance
from nuclei.train.checkpoint import KEPT, Checkpoint, key
from nuclei.train.crops import Crops
from nuclei.train.losses import DiceBCELoss, instance_loss
from nuclei.train.processes import make_fabric
from nuclei.train.training import Training
from train import PREPARED, SPLIT, decides, first_settings, inputs

OUTPUTS = ("data/model/unet_final_model.pth", "data/model/instance_head.pth", "data/model/model.json")
TABLES = ("reports/history.csv", "reports/search.csv")
LEARNING: dict[str, object] = {"encoder_name": "resnet18", "learning_rate": 0.003, "crops_per_image": 30}


def digests(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (*OUTPUTS, *TABLES)}


def start(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(ROOT / "stages/train.py")]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_the_same_seed_gives_the_same_bits_and_another_does_not(workspace: Path) -> None:
    before = digests(workspace)
    assert run_here("train", workspace).returncode == 0
    assert digests(workspace) == before
    write_params(workspace, seed=1)
    assert run_here("train", workspace).returncode == 0
    assert digests(workspace)[OUTPUTS[0]] != before[OUTPUTS[0]]


def kill_after(folder: Path, checkpoints: int) -> None:
    """Start a training, and end it with kill -9 when it has written so many checkpoints."""

    def newest() -> int:
        return max((path.stat().st_mtime_ns for path in (folder / "data/.resume").glob("*/checkpoint.pt")), default=0)

    last, process = newest(), start(folder)
    while checkpoints:
        assert process.poll() is None, "the training ended before it could be killed: give it more epochs"
        if (now := newest()) != last:
            checkpoints, last = checkpoints - 1, now
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -signal.SIGKILL


def test_a_run_that_was_killed_and_resumed_ends_with_the_same_bits(workspace: Path) -> None:
    write_params(workspace, epochs=6)
    assert run_here("train", workspace).returncode == 0
    untouched = digests(workspace)
    for name in (*OUTPUTS, *TABLES):
        (workspace / name).unlink()
    kill_after(workspace, checkpoints=2)
    last = run_script("train", workspace)
    assert last.returncode == 0, last.stderr
    assert "resuming after epoch" in last.stdout
    assert digests(workspace) == untouched
    assert not list((workspace / "data/.resume").glob("*/*"))


@pytest.mark.parametrize("change", [{"seed": 1}, {"epochs": 3}, {"train": {"learning_rate": 0.0005}}], ids=str)
def test_a_changed_parameter_never_resumes_from_a_stale_checkpoint(change: dict[str, Any], tmp_path: Path) -> None:
    before, changed = write_params(tmp_path), write_params(tmp_path, **change)
    assert key(decides(before, 1), []) == key(decides(before, 1), [])
    assert key(decides(before, 1), []) != key(decides(changed, 1), [])
    assert key(decides(before, 1), []) != key(decides(before, 2), [])  # processes


def test_changed_encoder_weights_never_resume_from_a_stale_checkpoint(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace)
    weights = workspace / "weights.pth"
    keys = []
    for content in (b"A", b"A", b"B"):
        weights.write_bytes(content)
        keys.append(key("the same parameters", inputs([], [weights])))
    assert keys[0] == keys[1] != keys[2]


def test_changed_images_label_maps_or_split_never_resume_from_a_stale_checkpoint(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace)
    records = [record for part in ("train", "val") for record in read_part(PREPARED, SPLIT, part)]
    paths = inputs(records, [])
    assert len(paths) == len(set(paths)) == 1 + 2 * 8  # the split; the image and label map of 6 + 2
    before = key("the same parameters", paths)
    for path in (SPLIT, paths[1], paths[-1]):
        content = path.read_bytes()
        path.write_bytes(content + b"\n")
        assert key("the same parameters", paths) != before
        path.write_bytes(content)
    assert key("the same parameters", paths) == before


def test_changed_code_never_resumes_from_a_stale_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("nuclei/train/crops.py", "nuclei/scores/metrics.py", "train.py", "elsewhere/other.py")
    paths = [tmp_path / name for name in names]
    for path in paths:
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text("before")
    own, another_room, script, other = paths
    monkeypatch.setattr(checkpoint, "PACKAGE", tmp_path / "nuclei")
    for path in (own, another_room, other):
        monkeypatch.setitem(sys.modules, f"made up {path.stem}", SimpleNamespace(__file__=str(path)))
    monkeypatch.setattr(sys, "argv", [str(script)])
    keys = [checkpoint.key("the same parameters", [])]
    for path in paths:
        path.write_text("after")
        keys.append(checkpoint.key("the same parameters", []))
    assert len(set(keys[:4])) == 4
    assert keys[4] == keys[3]  # the code of others is pinned


def test_another_version_of_a_package_never_resumes_from_a_stale_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("albumentations", "numpy", "opencv-python-headless", "segmentation-models-pytorch", "timm", "torch")
    keys = [key("the same parameters", [])]
    for name in names:
        monkeypatch.setattr(checkpoint, "versions", lambda name=name: {**provenance.versions(), name: "0.0.1"})
        keys.append(key("the same parameters", []))
    assert len(set(keys)) == 1 + len(names)
    assert provenance.versions().keys() >= set(names)


def test_the_checkpoints_of_the_last_few_trainings_are_kept(tmp_path: Path) -> None:
    for number in range(2 * KEPT):
        kept = Checkpoint(f"key{number}", tmp_path)
        kept.start()
        kept.save({"epoch": number})
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"key{number}" for number in range(KEPT, 2 * KEPT)]
    Checkpoint(f"key{KEPT}", tmp_path).start()  # resumed: no longer the oldest
    Checkpoint("another", tmp_path).start()
    assert Checkpoint(f"key{KEPT}", tmp_path).load() == {"epoch": KEPT}
    assert not (tmp_path / f"key{KEPT + 1}").exists()


def test_encoder_weights_are_found_from_dvcs_temporary_workspace(trained: Path, tmp_path: Path) -> None:
    inner = tmp_path / ".dvc/tmp/exps/standalone/tmpx1"
    shutil.copytree(trained, inner)
    encoder = NucleusNet("Unet", SMALLEST, map_channels=0).unet.encoder
    torch.save(encoder.state_dict(), tmp_path / "mine.pth")
    write_params(inner, epochs=1, train={"encoder_weights": "mine.pth"})
    done = run_here("train", inner)
    assert done.returncode == 0, done.stderr


def training_of(folder: Path, **train: object) -> tuple[Training, list[Record]]:
    """A training of two epochs in this process, and its validation images."""
    folder.mkdir(exist_ok=True)
    parts = {"train": 4, "val": 2}
    records = write_prepared(folder, parts)
    settings = write_params(folder, train=train)
    fabric = make_fabric(settings.train)
    fabric.seed_everything(0, workers=False, verbose=False)
    net = make_net("Unet", settings.train.encoder_name, settings.train.instance_target)
    crops = Crops(records[: parts["train"]], folder / "data/prepared", settings.train, epochs=settings.epochs, seed=0)
    kept = Checkpoint("key", folder)
    return Training(net, crops, first_settings(settings), settings.train, fabric, kept), records[parts["train"] :]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_training_learns_to_find_discs_in_either_precision(precision: str, tmp_path: Path) -> None:
    training, validation = training_of(tmp_path, **LEARNING, precision=precision)
    training.fit(validation, log=lambda row: None)
    assert max(row["val_dice_true_scale"] for row in training.history) > 0.8  # calling every pixel a nucleus scores 0.2


def interrupt(row: dict[str, float]) -> None:
    raise KeyboardInterrupt


def test_a_network_that_draws_random_numbers_resumes_with_the_same_bits(tmp_path: Path) -> None:
    drawing: dict[str, object] = {"encoder_name": "efficientnet-b0", "crops_per_image": 1}  # it has stochastic depth
    found = []
    for name in ("untouched", "interrupted"):
        if name == "interrupted":
            training, validation = training_of(tmp_path / name, **drawing)
            with pytest.raises(KeyboardInterrupt):
                training.fit(validation, log=interrupt)
            shutil.rmtree(tmp_path / name / "data")
        training, validation = training_of(tmp_path / name, **drawing)
        training.fit(validation, log=lambda row: None)
        found.append(training.net.state_dict())  # of the last epoch, which need not be the best
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())


def test_crops_that_batch_normalisation_can_not_train_on_are_an_error_that_names_the_parameters(tmp_path: Path) -> None:
    training, validation = training_of(tmp_path, encoder_name=SMALLEST, crop_px=32, batch_size=1)
    with pytest.raises(InputError, match=r"1 crop of 32 px(.|\n)*train.batch_size \(1\) or train.crop_px \(32\)"):
        training.fit(validation, log=lambda row: None)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="16-mixed trains on a GPU only")
def test_training_learns_to_find_discs_in_16_mixed(tmp_path: Path) -> None:
    training, validation = training_of(tmp_path, **LEARNING, precision="16-mixed", device="cuda")
    training.fit(validation, log=lambda row: None)
    assert max(row["val_dice_true_scale"] for row in training.history) > 0.8


def test_16_mixed_on_a_cpu_is_refused_instead_of_training_in_another_precision(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"16-mixed trains on a GPU only(.|\n)*bf16-mixed"):
        make_fabric(write_params(tmp_path, train={"precision": "16-mixed"}).train)


def test_without_validation_images_the_last_epoch_is_kept(tmp_path: Path) -> None:
    training, _ = training_of(tmp_path, encoder_name=SMALLEST, crops_per_image=1)
    kept = training.fit([], log=lambda row: None).net.state_dict()
    last = training.average.module.state_dict()
    assert training.average.n_averaged == 2 * training.steps_per_epoch
    assert all(torch.equal(kept[name], value) for name, value in last.items())
    assert [set(row) & {"train_loss", "val_loss"} for row in training.history] == [{"train_loss"}] * 2


def test_a_training_that_is_stopped_after_an_epoch_is_the_beginning_of_the_whole_one(tmp_path: Path) -> None:
    small: dict[str, object] = {"encoder_name": SMALLEST, "crops_per_image": 1}
    whole, _ = training_of(tmp_path / "whole", **small)
    after: list[dict[str, torch.Tensor]] = []
    keep = lambda row: after.append({name: w.clone() for name, w in whole.average.module.state_dict().items()})  # noqa: E731
    whole.fit([], log=keep)
    stopped, _ = training_of(tmp_path / "stopped", **small, stop_epoch=1)
    kept = stopped.fit([], log=lambda row: None).net.state_dict()
    assert stopped.history == [whole.history[0] | {"kept": 1}] and whole.history[0]["kept"] == 0
    assert all(torch.equal(kept[name], value) for name, value in after[0].items())
    assert not all(torch.equal(kept[name], value) for name, value in after[1].items())


@pytest.mark.parametrize(("dices", "best"), [((0.9, 0.2), 0), ((0.2, 0.9), 1), ((0.5, 0.5), 1), ((0.0, 0.0), 1)])
def test_the_weights_of_the_best_epoch_are_kept_and_of_equals_the_last(
    dices: tuple[float, ...], best: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training, validation = training_of(tmp_path, encoder_name=SMALLEST, crops_per_image=1)
    scores, weights = iter(dices), []

    def scored(segmenter: Segmenter, records: list[Record], _: Training) -> list[tuple[float, float, float]]:
        weights.append({name: value.clone() for name, value in segmenter.net.state_dict().items()})
        return [(1.0, next(scores), 0.5)] * len(records)

    monkeypatch.setattr("nuclei.train.training.validate", scored)
    kept = training.fit(validation, log=lambda row: None).net.state_dict()
    assert [all(torch.equal(kept[name], value) for name, value in each.items()) for each in weights] == [
        epoch == best for epoch in range(len(dices))
    ]


def test_the_last_epoch_is_kept_on_request_and_the_history_says_which_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dices = iter((0.9, 0.2, 0.9, 0.2))
    monkeypatch.setattr(
        "nuclei.train.training.validate", lambda _, records, __: [(1.0, next(dices), 0.5)] * len(records)
    )
    kept = {}
    for which in ("best", "last"):
        small: dict[str, object] = {"encoder_name": SMALLEST, "crops_per_image": 1, "keep_epoch": which}
        training, validation = training_of(tmp_path / which, **small)
        kept[which] = training.fit(validation[:1], log=lambda row: None).net.state_dict()
        assert [row["kept"] for row in training.history] == ([1, 0] if which == "best" else [0, 1])
    last = training.average.module.state_dict()
    assert all(torch.equal(kept["last"][name], value) for name, value in last.items())
    assert not all(torch.equal(kept["best"][name], value) for name, value in last.items())


@pytest.mark.parametrize("target", ["distance", "none"])
def test_a_step_returns_the_loss_of_the_foreground_and_that_of_the_instance_target(target: str, tmp_path: Path) -> None:
    training, _ = training_of(tmp_path, encoder_name=SMALLEST, crops_per_image=1, instance_target=target)
    image, foreground, maps, weight = batch = next(training.batches(first=0))
    with torch.no_grad():
        logits, predicted = training.net(image)
        expected = float(DiceBCELoss(training.train.dice_weight)(logits, foreground))
        second = 0.0 if training.target is None else float(instance_loss(training.target, predicted, maps, weight))
    assert training.step(batch, 1) == pytest.approx((expected, training.train.instance_weight * second), rel=1e-4)
    assert (second > 0) == (target != "none")


def test_the_model_scores_on_val_what_the_history_says_of_its_epoch(trained: Path) -> None:
    history = pd.read_csv(trained / "reports/history.csv")
    segmenter = Segmenter.load(trained / "data/model", device="cpu")
    prepared = trained / "data/prepared"
    dices = [
        pixel_counts(
            (labels := read_labels(label_path(prepared, record.id))) > 0,
            segmenter.maps(read_rgb(image_path(prepared, record.id)), diameter(labels))[0] >= 0.5,
        ).dice
        for record in read_part(prepared, trained / "data/split.csv", "val")
    ]
    assert sum(dices) / len(dices) == pytest.approx(history["val_dice_true_scale"].max(), abs=1e-6)


def test_a_loss_that_is_not_finite_stops_training_with_advice_and_overwrites_nothing(workspace: Path) -> None:
    before = digests(workspace)
    write_params(
        workspace, train={"learning_rate": 1e18, "optimizer": "sgd", "gradient_clip": 1e30, "schedule": "constant"}
    )
    done = run_here("train", workspace)
    assert done.returncode == 1
    assert re.search("the (loss|gradient) is no longer finite: epoch", done.stderr)
    assert "lower train.learning_rate" in done.stderr
    assert digests(workspace) == before


def test_a_gradient_that_is_not_finite_stops_training(workspace: Path) -> None:
    before = digests(workspace)
    write_params(workspace, train={"instance_weight": 1.0e37})  # the loss is finite, the norm of its gradient is not
    done = run_here("train", workspace)
    assert done.returncode == 1
    assert done.stderr.startswith("error: the gradient is no longer finite: epoch 1, step ")
    assert digests(workspace) == before


def test_a_validation_loss_that_is_not_finite_stops_training(workspace: Path) -> None:
    before = digests(workspace)
    write_params(workspace, train={"learning_rate": 1000})  # the loss of each step is finite still
    done = run_here("train", workspace)
    assert done.returncode == 1
    assert done.stderr.startswith("error: the loss on the validation images is no longer finite: epoch 1\n")
    assert "lower train.learning_rate (1000.0)" in done.stderr
    assert digests(workspace) == before


def test_a_missing_data_set_is_an_error_with_a_fix(tmp_path: Path) -> None:
    write_params(tmp_path)
    done = run_here("train", tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: a table is missing")
    assert "dvc repro" in done.stderr
