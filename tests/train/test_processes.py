"""A training in several processes sees the crops of one, ends as a whole, and resumes with the same bits."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from lightning_fabric import Fabric

from clones import SMALLEST
from conftest import ROOT, write_params, write_prepared
from nuclei.base.errors import InputError
from nuclei.network.segmenter import make_net
from nuclei.train.checkpoint import Checkpoint
from nuclei.train.crops import Crops
from nuclei.train.processes import make_fabric
from nuclei.train.training import Training
from train import first_settings

SMALL = {"encoder_name": SMALLEST, "crops_per_image": 6, "batch_size": 8}
IMAGES = {"train": 4, "val": 3}
# Trains; with FAIL the second process does so in its third batch of the second epoch.
TRAINING = f"""
import os, signal, sys
sys.path.insert(0, {str(ROOT / "stages")!r})
import train
from nuclei.base.errors import run
from nuclei.train.crops import Crops
made = Crops.__getitem__
def fail(crops, index):
    if os.environ["FAIL"] and os.environ.get("LOCAL_RANK") == "1" and index >= crops.per_epoch + 16:
        os.kill(os.getpid(), signal.SIGKILL)
    return made(crops, index)
Crops.__getitem__ = fail
train.tune = lambda *_, **__: []  # the search for thresholds takes time and is tested elsewhere
run(train.main)
"""
# Only starts two processes: the second fails while the first waits for it.
FAILING = f"""
import sys
sys.path.insert(0, {str(ROOT / "stages")!r})
import torch
from nuclei.base.errors import InputError, run
from nuclei.base.params import load
from nuclei.train.processes import make_fabric, together
def main():
    fabric = make_fabric(load().train)
    with together(fabric):
        if fabric.global_rank == 1:
            raise InputError("an image of the second process is wrong")
        fabric.all_reduce(torch.ones(1))
run(main)
"""


def run(folder: Path, code: str = TRAINING, fail: str = "") -> subprocess.CompletedProcess[str]:
    """Run code that starts two processes, and return what they said when the last of them has ended."""
    script = folder / "training.py"
    script.write_text(code)
    environment = {**os.environ, "FAIL": fail, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, str(script)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )  # it waits until no process holds the pipes any more


def digests(folder: Path) -> dict[str, str]:
    names = ("data/model/unet_final_model.pth", "data/model/instance_head.pth", "reports/history.csv")
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


@pytest.fixture(scope="module")
def trained_by_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which two processes have trained."""
    folder = tmp_path_factory.mktemp("two")
    write_prepared(folder, IMAGES)
    write_params(folder, train={**SMALL, "devices": 2})
    done = run(folder)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2  # each epoch is told once
    return folder


def one_process(folder: Path, **train: object) -> Training:
    records = write_prepared(folder, IMAGES)[: IMAGES["train"]]
    settings = write_params(folder, train={**SMALL, **train})
    fabric = make_fabric(settings.train)
    fabric.seed_everything(settings.seed, workers=False, verbose=False)
    net = make_net("Unet", settings.train.encoder_name, settings.train.instance_target)
    crops = Crops(records, folder / "data/prepared", settings.train, epochs=settings.epochs, seed=settings.seed)
    return Training(net, crops, first_settings(settings), settings.train, fabric, Checkpoint("key", folder))


@pytest.mark.parametrize("processes", [2, 4])
def test_the_batches_of_all_processes_together_are_those_of_one_in_order(
    processes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = one_process(tmp_path)
    whole = list(training.batches(first=1))
    monkeypatch.setattr(Fabric, "world_size", processes)
    shares = []
    for rank in range(processes):
        monkeypatch.setattr(Fabric, "global_rank", rank)
        shares.append(list(training.batches(first=1)))
    assert len(whole) == len(shares[0]) == 3
    for batch, *parts in zip(whole, *shares, strict=True):
        for together, separate in zip(batch, zip(*parts, strict=True), strict=True):
            assert torch.equal(together, torch.cat(separate))


def test_two_processes_learn_nearly_what_one_learns(trained_by_two: Path, tmp_path: Path) -> None:
    training = one_process(tmp_path)
    losses = []
    for epoch in range(2):
        batches = training.batches(first=epoch)
        losses.append(sum(training.step(next(batches), epoch)[0] for _ in range(3)) / 3)
    history = pd.read_csv(trained_by_two / "reports/history.csv")
    assert history["train_loss"].tolist() == pytest.approx(losses, rel=0.1)


def test_a_process_that_fails_ends_all_with_its_error_only(tmp_path: Path) -> None:
    write_params(tmp_path, train={"devices": 2})
    failed = run(tmp_path, FAILING)
    assert failed.returncode == 1
    assert failed.stderr.endswith("error: an image of the second process is wrong\n")
    assert failed.stderr.count("error: ") == 1
    assert "Traceback" not in failed.stderr


def test_a_process_that_is_killed_ends_all_and_the_next_run_resumes_with_the_same_bits(
    trained_by_two: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "again"
    shutil.copytree(trained_by_two, folder)
    for name in digests(folder):
        (folder / name).unlink()
    killed = run(folder, fail="killed")
    assert killed.returncode in (1, -signal.SIGKILL)  # -9: Fabric noticed it first
    assert "another process of this training was killed" in killed.stderr or "terminated with code" in killed.stderr
    assert killed.stderr.count("error: ") <= 1
    assert "Traceback" not in killed.stderr
    resumed = run(folder)
    assert resumed.returncode == 0, resumed.stderr
    assert "resuming after epoch 1" in resumed.stdout
    assert digests(folder) == digests(trained_by_two)


def test_a_batch_that_can_not_be_divided_among_the_processes_is_refused(tmp_path: Path) -> None:
    train = write_params(tmp_path, train={"devices": 3, "nodes": 2, "batch_size": 16}).train
    with pytest.raises(InputError, match=r"train.batch_size 16(.|\n)*a multiple of 6, the number of processes"):
        make_fabric(train)


def test_another_number_of_processes_than_the_parameters_say_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = write_params(tmp_path).train
    for name, value in {"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "4", "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=r"got: +4(.|\n)*train.devices \(1\) x train.nodes \(1\) = 1"):
        make_fabric(train)


def test_more_gpus_than_there_are_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    train = dataclasses.replace(write_params(tmp_path).train, device="cuda", devices=4)
    with pytest.raises(InputError, match=r"train.devices 4(.|\n)*at most 2"):
        make_fabric(train)
