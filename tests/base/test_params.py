"""The parameters are checked together, before any work."""

from __future__ import annotations

import copy
import functools
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.utils.serialize import parse_yaml
from hypothesis import given
from hypothesis import strategies as st

from conftest import ROOT
from nuclei.base import params
from nuclei.base.errors import InputError

SHIPPED = yaml.safe_load((ROOT / "params.yaml").read_text())


def leaves(values: dict[str, Any], prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for name, value in values.items():
        found += leaves(value, (*prefix, name)) if isinstance(value, dict) else [(*prefix, name)]
    return found


LEAVES = leaves(SHIPPED)


def load_with(folder: Path, path: tuple[str, ...], value: object) -> params.Params:
    values = copy.deepcopy(SHIPPED)
    section = values
    for name in path[:-1]:
        section = section[name]
    section[path[-1]] = value
    file = folder / "params.yaml"
    file.write_text(yaml.safe_dump(values))
    return params.load(file)


def test_the_shipped_file_loads_with_the_values_it_shows() -> None:
    loaded = params.load(ROOT / "params.yaml")
    assert loaded.seed == SHIPPED["seed"]
    assert loaded.train.augment.zoom == SHIPPED["train"]["augment"]["zoom"]
    assert list(loaded.train.search_saddle_ratio) == SHIPPED["train"]["search_saddle_ratio"]


@pytest.mark.parametrize("path", LEAVES, ids=".".join)
def test_every_leaf_refuses_a_value_of_the_wrong_type_and_names_itself(path: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=".".join(path)):
        load_with(tmp_path, path, {"a": "mapping"})


@pytest.mark.parametrize("path", LEAVES, ids=".".join)
def test_every_number_refuses_nan_and_text(path: tuple[str, ...], tmp_path: Path) -> None:
    value = SHIPPED
    for name in path:
        value = value[name]
    if isinstance(value, int | float) and not isinstance(value, bool):
        for wrong in (float("nan"), "1.5", True, -1e9):
            with pytest.raises(InputError, match=".".join(path)):
                load_with(tmp_path, path, wrong)


@pytest.mark.parametrize("path", LEAVES, ids=".".join)
def test_a_missing_leaf_is_named(path: tuple[str, ...], tmp_path: Path) -> None:
    values = copy.deepcopy(SHIPPED)
    section = values
    for name in path[:-1]:
        section = section[name]
    del section[path[-1]]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(InputError, match=rf"{'.'.join(path)}: missing"):
        params.load(tmp_path / "params.yaml")


def refusal(folder: Path, values: dict[str, Any]) -> str:
    """What the error about these parameters says."""
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(InputError) as error:
        params.load(folder / "params.yaml")
    return str(error.value)


def test_all_problems_are_reported_together_with_the_nearest_name(tmp_path: Path) -> None:
    values = copy.deepcopy(SHIPPED)
    values["epcohs"] = 5
    values["train"]["learning_rate"] = "0.001"
    values["train"]["augment"]["blurr"] = 0.5
    message = refusal(tmp_path, values)
    assert "3 parameters are wrong" in message
    assert "epcohs: got an unknown name, did you mean epochs?" in message
    assert "did you mean train.augment.blur?" in message
    assert "train.learning_rate: got '0.001', it should be a valid number (it is text: write it without" in message


def test_a_model_to_start_from_leaves_no_place_for_encoder_weights(tmp_path: Path) -> None:
    values = copy.deepcopy(SHIPPED)
    values["train"] |= {"start_from": "models/nuclei", "encoder_weights": "imagenet"}
    assert "train.start_from: got a model beside train.encoder_weights" in refusal(tmp_path, values)


def test_a_share_of_the_first_weights_needs_a_model_to_start_from(tmp_path: Path) -> None:
    values = copy.deepcopy(SHIPPED)
    values["train"]["start_share"] = 0.5
    assert "train.start_share: got 0.5, and no train.start_from" in refusal(tmp_path, values)
    values["train"]["start_from"] = "models/nuclei"
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    assert params.load(tmp_path / "params.yaml").train.start_share == 0.5


def test_families_are_left_out_by_folds_alone(tmp_path: Path) -> None:
    values = copy.deepcopy(SHIPPED)
    values["split"] |= {"by": "family"}
    assert "split.by: got family, and no split.fold" in refusal(tmp_path, values)
    values["split"] |= {"fold": 0}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    assert params.load(tmp_path / "params.yaml").split.by == "family"


def test_a_fold_beside_a_list_of_parts_is_refused(tmp_path: Path) -> None:
    values = copy.deepcopy(SHIPPED)
    values["split"] |= {"fold": 0, "list": "parts.csv"}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(InputError, match=r"split.fold: got a fold and a split.list"):
        params.load(tmp_path / "params.yaml")


@pytest.mark.parametrize(("old", "new"), params.RENAMED.items())
def test_a_renamed_parameter_says_its_new_name(old: str, new: str, tmp_path: Path) -> None:
    values = copy.deepcopy(SHIPPED)
    *sections, name = old.split(".")
    section = functools.reduce(dict.__getitem__, sections, values)
    section[name] = section.pop(new.split(".")[-1])
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(InputError, match=rf"{old}: renamed, write {new}\n"):
        params.load(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (("train", "normalise_low"), 99.9, "train.normalise_low"),
        (("train", "tile_overlap_px"), 600, "train.tile_overlap_px"),
        (("train", "crop_px"), 100, "multiple of 32"),
        (("split", "fold"), 5, r"split.fold: got 5, it should be 0 to 4"),
        (("train", "stop_epoch"), 17, r"train.stop_epoch: got 17, it should be at most 16, which is epochs"),
        (("train", "devices"), 0, "train.devices: got 0, it should be auto or a whole number"),
        (("evaluate", "parts"), ["val", "val"], "name each part once"),
        (("evaluate", "parts"), [], "at least 1 item"),
        (("evaluate", "parts"), ["train"], "'val' or 'test'"),
    ],
)
def test_values_that_are_wrong_together_are_refused(
    path: tuple[str, ...], value: object, problem: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=problem):
        load_with(tmp_path, path, value)


def test_training_on_every_image_needs_thresholds_and_no_other_split(tmp_path: Path) -> None:
    values = copy.deepcopy(SHIPPED)
    values["split"] |= {"val_fraction": 0, "test_fraction": 0, "fold": 1}
    values["train"]["search_min_area_px"] = [20]
    message = refusal(tmp_path, values)
    assert "3 parameters are wrong" in message
    assert "split.fold: got one" in message
    assert "train.search_foreground: got 6 candidates" in message
    assert "train.search_saddle_ratio: got 7 candidates" in message

    values["split"] |= {"fold": None, "test_fraction": 0.1}
    assert "got 0 and 0.1, either both are 0 or neither" in refusal(tmp_path, values)


def test_contradictions_are_reported_together_with_the_other_problems_and_each_value_once(tmp_path: Path) -> None:
    values = copy.deepcopy(SHIPPED)
    values["epcohs"] = 5
    values["train"] |= {"normalise_low": 99.9, "tile_overlap_px": -5, "tile_px": -32}
    values["split"] |= {"val_fraction": 0.45, "test_fraction": 0.45}
    message = refusal(tmp_path, values)
    assert "5 parameters are wrong" in message
    assert "epcohs: got an unknown name" in message
    assert "train.normalise_low: got 99.9, it should be less than train.normalise_high" in message
    assert "split.val_fraction + split.test_fraction: got 0.9" in message
    assert message.count("train.tile_overlap_px") == message.count("train.tile_px") == 1


@pytest.mark.parametrize(
    ("text", "meant"), [("010", 10), ("1e-3", 0.001), ("0o10", 8), ("1_000", 1000), ("on", "on"), ("1:30", "1:30")]
)
def test_a_value_is_read_as_dvc_reads_it(text: str, meant: object) -> None:
    value = f"train: {{learning_rate: {text}}}"
    assert params._read(value) == parse_yaml(value, "params.yaml") == {"train": {"learning_rate": meant}}


@pytest.mark.parametrize("text", ["", "- 1", "a: [", "\x00", "1"])
def test_a_file_that_is_not_a_mapping_is_one_clear_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(InputError, match="params"):
        params.load(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("seed: &a 1\nepochs: *a", "alias"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]", "alias"),
        ("seed: 1\nseed: 2", "found 'seed' twice"),
        ("train: {epochs: 1, epochs: 1}", "found 'epochs' twice"),
        ("<<: {seed: 1}\nepochs: 1\nepochs: 2", "merge"),
        ("2001-01-01: 1", "a name that is not text"),
        ("? [a]\n: 1", "a name that is not text"),
        ("seed: 0x" + "f" * 5000, "more than 64 bits"),
        ("train: {tile_px: 1024, tile_overlap_px: 1" + "0" * 400 + "}", "more than 64 bits"),
        ("seed: 2001-99-99", "month"),
        ("seed: !!timestamp x", "not valid YAML"),
        ("[" * 5000, "not valid YAML"),
    ],
)
def test_yaml_that_hides_a_mistake_or_never_ends_is_one_clear_error(text: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(InputError, match=rf"not valid YAML[\s\S]*{problem}|{problem}"):
        params.load(tmp_path / "params.yaml")


def test_of_very_many_problems_the_first_are_named_and_the_rest_counted(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"parameters are wrong(.|\n)*search_saddle_ratio.19(.|\n)*and 4981 more"):
        load_with(tmp_path, ("train", "search_saddle_ratio"), [2.0] * 5000)


def test_a_folder_in_its_place_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the parameters can not be read"):
        params.load(tmp_path)


def test_a_missing_file_says_where_to_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="repository's root"):
        params.load(tmp_path / "params.yaml")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(path=st.sampled_from(LEAVES), value=JSON)
def test_any_value_in_any_leaf_is_taken_or_refused_in_one_way(path: tuple[str, ...], value: object) -> None:
    values = json.loads(json.dumps(SHIPPED))
    section = values
    for name in path[:-1]:
        section = section[name]
    section[path[-1]] = value
    try:
        params.checked(params.Params, values, "params.yaml")
    except InputError as error:
        assert ".".join(path) in str(error)


@pytest.mark.parametrize("channel", [None, 1, "DAPI"])
def test_a_channel_is_a_number_a_name_or_absent(channel: int | str | None) -> None:
    section = {"channel": channel, "max_image_px": 1, "max_archive_bytes": 1, "binary_masks": "error"}
    assert params.checked(params.Prepare, section, "params.yaml").channel == channel


@pytest.mark.parametrize("channel", [0, -1, "", True, 1.5])
def test_anything_else_is_no_channel(channel: object) -> None:
    section = {"channel": channel, "max_image_px": 1, "max_archive_bytes": 1, "binary_masks": "error"}
    with pytest.raises(InputError, match=r"channel: got .*a name, or a whole number"):
        params.checked(params.Prepare, section, "params.yaml")
