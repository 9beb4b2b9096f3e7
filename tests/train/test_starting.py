"""A training that starts from a model starts with all of its weights, and only with those of the same network."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from committed import run_here
from conftest import draw_discs, write_params, write_prepared
from nuclei.base import files
from nuclei.base.errors import InputError
from nuclei.base.params import Params
from nuclei.network.confidence import Confidence
from nuclei.network.segmenter import SETTINGS, Segmenter, make_net
from nuclei.train.starting import first_net
from train import first_settings


@pytest.fixture(scope="module")
def params(tmp_path_factory: pytest.TempPathFactory) -> Params:
    return write_params(tmp_path_factory.mktemp("params"))


@pytest.fixture(scope="module")
def model(params: Params, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with random weights, and batch statistics that are not those of a new network."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(5)
    net = make_net("Unet", params.train.encoder_name, params.train.instance_target)
    net(torch.randn(4, 3, 32, 32))
    Segmenter(net, first_settings(params)).save(folder)
    return folder


def test_a_start_from_a_model_predicts_at_once_what_that_model_predicts(params: Params, model: Path) -> None:
    torch.manual_seed(6)
    rgb = draw_discs(0, 64, 64)[0]
    started = Segmenter(first_net(params.train, None, model), first_settings(params))
    loaded = Segmenter.load(model, device="cpu")
    expected = Segmenter(loaded.net, loaded.settings).maps(rgb, 12.0)  # in torch, not in ONNX Runtime
    assert len(expected) == 2  # foreground, and the second head
    np.testing.assert_array_equal(started.maps(rgb, 12.0), expected)
    afresh = Segmenter(first_net(params.train, None, None), first_settings(params))
    assert np.abs(afresh.maps(rgb, 12.0) - expected).max() > 0.01


@pytest.mark.parametrize(("name", "value"), [("arch", "Linknet"), ("instance_target", "border")])
def test_a_model_of_another_network_is_refused(name: str, value: str, model: Path, tmp_path: Path) -> None:
    train = write_params(tmp_path, train={name: value}).train
    there = {"arch": "Unet", "instance_target": "distance"}[name]
    with pytest.raises(InputError, match=rf"another network(.|\n)*{name} {there}(.|\n)*-S train.{name}={there}"):
        first_net(train, None, model)


def test_the_stage_trains_on_from_a_model(model: Path, tmp_path: Path) -> None:
    write_prepared(tmp_path, {"train": 4, "val": 1})
    rate = 1e-9  # nothing is learnt
    write_params(tmp_path, epochs=1, train={"start_from": str(model), "learning_rate": rate, "ema_decay": 0})
    done = run_here("train", tmp_path)
    assert done.returncode == 0, done.stderr
    before, after = (torch.load(folder / "unet_final_model.pth") for folder in (model, tmp_path / "data/model"))
    kernels = [name for name, value in before.items() if value.ndim == 4]
    assert all(torch.allclose(before[name], after[name], atol=1e-5) for name in kernels)


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_share_of_the_first_weights_is_in_those_of_the_model(share: float, model: Path, tmp_path: Path) -> None:
    states = {}
    for part in (0.0, share):
        folder = tmp_path / str(part)
        folder.mkdir()
        write_prepared(folder, {"train": 4, "val": 1})
        write_params(folder, epochs=2, train={"start_from": str(model), "start_share": part, "keep_epoch": "last"})
        done = run_here("train", folder)
        assert done.returncode == 0, done.stderr
        states[part] = torch.load(folder / "data/model/unet_final_model.pth")
    first, trained = torch.load(model / "unet_final_model.pth"), states[0.0]
    moved = False
    for name, value in states[share].items():
        if not value.is_floating_point():
            continue
        torch.testing.assert_close(value, (1 - share) * trained[name] + share * first[name])
        moved |= not torch.allclose(trained[name], first[name], rtol=1e-3)
    assert moved


@pytest.mark.parametrize("val", [0, 1])
def test_with_too_few_nuclei_in_val_the_scores_of_the_first_model_are_kept(
    val: int, model: Path, tmp_path: Path
) -> None:
    write_prepared(tmp_path, {"train": 4, "val": val})
    known = Confidence(intercept=-1.5, foreground=2.0, depth=0.5)
    segmenter = Segmenter.load(model, device="cpu")
    segmenter.calibrate(known)
    (tmp_path / "first").mkdir()
    segmenter.save(tmp_path / "first")
    one = {
        f"search_{name}": [value] for name, value in (("foreground", 0.6), ("saddle_ratio", 0.8), ("min_area_px", 20))
    }
    write_params(tmp_path, epochs=1, train={"start_from": str(tmp_path / "first"), "crops_per_image": 1, **one})
    done = run_here("train", tmp_path)
    assert done.returncode == 0, done.stderr
    assert files.read_json(tmp_path / "data/model" / SETTINGS, "")["confidence"] == asdict(known)
