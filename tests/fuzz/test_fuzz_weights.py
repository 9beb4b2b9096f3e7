"""Weights and settings of a model that were damaged, or made to run code, are loaded right or refused."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections import OrderedDict
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fuzzing import cases, damaged, judge, refused, taken
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save as as_safetensors
from torch import Tensor, nn

from made_up import SETTINGS
from nuclei.network.model import load_state, read_weights
from nuclei.network.segmenter import Segmenter, make_net, segment_cell_image
from nuclei.train.checkpoint import Checkpoint

SMALL = replace(SETTINGS, encoder_name="resnet18", tile_px=64, tile_overlap_px=8)
ODD = st.sampled_from(
    [None, True, "", "x", "1", -1, 0, 0.5, 31, 32, 100, 200, 1e308, 2**64, 10**400, float("nan"), float("inf"), [], {}]
)
KINDS = ("zip", "legacy", "safetensors")


def network(width: int = 3) -> nn.Sequential:
    """A network of a few weights that has every kind that the real one has."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.Conv2d(width, 1, 1))


STATE = {name: value.clone() for name, value in network().state_dict().items()}


def stored(state: Any, kind: str) -> bytes:
    if kind == "safetensors":
        return as_safetensors(state)
    file = io.BytesIO()
    torch.save(state, file, _use_new_zipfile_serialization=kind == "zip")
    return file.getvalue()


def load(folder: Path, content: bytes, kind: str) -> dict[str, Tensor]:
    """The weights of a network after it was given those of a file."""
    path = folder / ("weights.safetensors" if kind == "safetensors" else "weights.pth")
    path.write_bytes(content)
    net = network()
    for weight in net.parameters():
        nn.init.constant_(weight, 0.25)
    load_state(net, read_weights(path), path)
    return net.state_dict()


def usable(state: dict[str, Tensor]) -> None:
    assert all(value.isfinite().all() for value in state.values())


def same(state: dict[str, Tensor]) -> None:
    torch.testing.assert_close(dict(state), STATE, rtol=0, atol=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_whole_weights_of_any_precision_are_loaded(tmp_path: Path, kind: str, dtype: torch.dtype) -> None:
    state = {name: value.to(dtype) if value.is_floating_point() else value for name, value in STATE.items()}

    def right(found: dict[str, Tensor]) -> None:
        torch.testing.assert_close(dict(found), STATE, rtol=0.01, atol=0.01)

    taken("weights", lambda: load(tmp_path, stored(state, kind), kind), right)


@cases(150)
@given(data=st.data(), kind=st.sampled_from(KINDS))
def test_damaged_weights_are_refused_or_can_be_used(tmp_path: Path, data: st.DataObject, kind: str) -> None:
    content = data.draw(damaged(stored(STATE, kind)))
    # only torch's newer files have checksums
    judge("weights", lambda: load(tmp_path, content, kind), same if kind == "zip" else usable)


@cases(100)
@given(data=st.data())
def test_a_damaged_pickle_in_a_whole_file_is_refused_or_can_be_used(tmp_path: Path, data: st.DataObject) -> None:
    members = zipfile.ZipFile(io.BytesIO(stored(STATE, "zip")))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as changed:
        for name in members.namelist():
            body = members.read(name)
            changed.writestr(name, data.draw(damaged(body)) if name.endswith("data.pkl") else body)
    judge("weights", lambda: load(tmp_path, file.getvalue(), "zip"), usable)


@cases(60)
@given(data=st.data())
def test_a_safetensors_file_whose_header_lies_is_refused_or_can_be_used(tmp_path: Path, data: st.DataObject) -> None:
    content = stored(STATE, "safetensors")
    (length,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8 : 8 + length])
    name = data.draw(st.sampled_from(sorted(STATE)))
    field = data.draw(st.sampled_from(["shape", "data_offsets", "dtype"]))
    number = st.sampled_from([0, 1, 3, 2**31, 2**62, 2**64 - 1, -1]) | st.integers(0, 500)
    kinds = st.sampled_from(["F16", "I64", "BOOL", "F64", "F8_E4M3", "X"])
    header[name][field] = data.draw(kinds if field == "dtype" else st.lists(number, max_size=5))
    text = json.dumps(header).encode()
    length = data.draw(st.just(len(text)) | st.sampled_from([0, 1, 2**31, 2**63, 2**64 - 1]))
    changed = struct.pack("<Q", length) + text + content[8 + struct.unpack_from("<Q", content)[0] :]
    judge("weights", lambda: load(tmp_path, changed, "safetensors"), usable)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", [name for name, value in STATE.items() if value.is_floating_point()])
def test_a_weight_that_is_not_finite_is_refused(tmp_path: Path, kind: str, value: float, name: str) -> None:
    state = {**STATE, name: STATE[name].clone()}
    state[name].view(-1)[-1] = value
    refused("weights to be refused", lambda: load(tmp_path, stored(state, kind), kind))


@pytest.mark.parametrize("kind", ["zip", "legacy"])
@pytest.mark.parametrize(
    "state",
    [
        {**STATE, "0.weight": STATE["0.weight"].long()},
        {**STATE, "0.weight": STATE["0.weight"].to(torch.complex64)},
        {**STATE, "0.weight": STATE["0.weight"] > 0},
        {**STATE, "0.weight": STATE["0.weight"].to_sparse()},
        {**STATE, "0.weight": torch.empty((3, 3, 3, 3), device="meta")},
        {**STATE, "0.weight": torch.zeros(1).expand(10**9, 10**9)},
        {**STATE, 0: STATE["0.weight"]},
        {**STATE, ("a", "b"): STATE["0.weight"]},
        {**STATE, "more": STATE["0.weight"]},
        network(4).state_dict(),
        {name: value for name, value in STATE.items() if name != "1.running_var"},
        {"state_dict": STATE},
        list(STATE.values()),
        STATE["0.weight"],
        {},
        None,
        "weights",
    ],
    ids=range(17),
)
def test_weights_of_another_kind_or_network_are_refused(tmp_path: Path, kind: str, state: object) -> None:
    refused("weights to be refused", lambda: load(tmp_path, stored(state, kind), kind))


class RunsCode:
    """Pickled, a call that leaves a trace."""

    def __init__(self, *call: object) -> None:
        self.call = call

    def __reduce__(self) -> tuple[object, ...]:
        return self.call[0], tuple(self.call[1:])


@pytest.mark.parametrize("where", ["value", "name", "alone", "state"])
@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle"])
def test_a_file_that_runs_code_is_refused_and_does_not_run_it(tmp_path: Path, kind: str, where: str) -> None:
    trace = tmp_path / "trace"
    code = RunsCode(Path.touch, trace)
    state: object = {"value": {**STATE, "x": code}, "name": {code: 1}, "alone": code, "state": OrderedDict(a=[code])}[
        where
    ]
    content = pickle.dumps(state) if kind == "pickle" else stored(state, kind)
    refused("weights that run code", lambda: load(tmp_path, content, kind))
    checkpoint = Checkpoint("key", tmp_path)
    checkpoint.folder.mkdir()
    checkpoint.path.write_bytes(content)
    taken("checkpoints", checkpoint.load, lambda found: found is None)
    assert not trace.exists()
    pickle.loads(pickle.dumps(code))
    assert trace.exists()  # it would have left one


@cases(60)
@given(data=st.data())
def test_a_damaged_checkpoint_is_passed_over_or_is_the_one_that_was_saved(tmp_path: Path, data: st.DataObject) -> None:
    state = {"net": STATE, "history": [{"epoch": 1, "val_dice_true_scale": 0.5}], "random": torch.get_rng_state()}
    checkpoint = Checkpoint("key", tmp_path)
    checkpoint.save(state)
    taken("checkpoints", checkpoint.load, lambda found: found is not None and found["history"] == state["history"])
    checkpoint.path.write_bytes(data.draw(damaged(checkpoint.path.read_bytes())))
    taken("checkpoints", checkpoint.load, lambda found: found is None or isinstance(found, dict))
    assert [path.name for path in checkpoint.folder.iterdir()] == ["checkpoint.pt"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small model that was never trained."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    Segmenter(make_net("Unet", "resnet18", "distance"), SMALL).save(folder)
    return folder


@pytest.fixture(scope="module")
def segmenter(model: Path) -> Segmenter:
    (model / "model.json").write_text(json.dumps(asdict(SMALL)))
    return Segmenter.load(model, device="cpu")


def labels_an_image(segmenter: Segmenter) -> None:
    image = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    assert segment_cell_image(image, segmenter).shape == (70, 90)


@cases(12)
@given(changes=st.dictionaries(st.sampled_from([*asdict(SMALL), "more"]), ODD, min_size=1, max_size=2))
def test_settings_with_odd_values_are_refused_or_can_be_used(model: Path, changes: dict[str, object]) -> None:
    (model / "model.json").write_text(json.dumps(asdict(SMALL) | changes))
    judge("models", lambda: Segmenter.load(model, device="cpu"), labels_an_image)


@cases(12)
@given(content=damaged(json.dumps(asdict(SMALL), indent=2).encode()))
def test_damaged_settings_are_refused_or_can_be_used(model: Path, content: bytes) -> None:
    (model / "model.json").write_bytes(content)
    judge("models", lambda: Segmenter.load(model, device="cpu"), labels_an_image)


@pytest.mark.parametrize(
    "changes",
    [{"tile_overlap_px": 33}, {"tile_overlap_px": 64}, {"tile_overlap_px": 100}, {"normalise_low": 99.9}],
)
def test_settings_that_contradict_each_other_are_refused(model: Path, changes: dict[str, object]) -> None:
    (model / "model.json").write_text(json.dumps(asdict(SMALL) | changes))
    refused("models", lambda: Segmenter.load(model, device="cpu"))


@cases(10)
@given(shape=st.sampled_from([(1, 1), (1, 97), (97, 1), (2, 31), (33, 65), (1, 999), (999, 1)]), gray=st.booleans())
def test_an_image_of_any_shape_is_labelled_at_its_own(segmenter: Segmenter, shape: tuple[int, int], gray: bool) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape if gray else (*shape, 3), dtype=np.uint8)
    taken("images to segment", lambda: segment_cell_image(image, segmenter), lambda found: found.shape == shape)


def test_an_image_14000_pixels_wide_is_labelled(segmenter: Segmenter) -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 14_000), dtype=np.uint8)
    taken("images to segment", lambda: segment_cell_image(image, segmenter), lambda found: found.shape == (1, 14_000))


@cases(10)
@given(shape=st.lists(st.integers(0, 5), max_size=4).map(tuple), dtype=st.sampled_from(["u1", "u2", "i1", "f4", "?"]))
def test_an_array_that_is_no_image_is_refused(segmenter: Segmenter, shape: tuple[int, ...], dtype: str) -> None:
    image = np.zeros(shape, dtype)
    right = len(shape) in (2, 3) and 0 not in shape and dtype == "u1" and (len(shape) == 2 or shape[2] == 3)
    if right:
        taken("images to segment", lambda: segment_cell_image(image, segmenter), lambda found: found.shape == shape[:2])
    else:
        refused("images to segment", lambda: segment_cell_image(image, segmenter))
