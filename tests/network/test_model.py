"""The network, and that its weights load without this project."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
from safetensors.torch import save_file

from conftest import ROOT
from made_up import SETTINGS
from nuclei.base.errors import InputError
from nuclei.network.model import NucleusNet, load_state, read_weights
from nuclei.network.segmenter import Segmenter, make_net


def test_the_documented_snippet_loads_the_weights_word_for_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/model.md").read_text(encoding="utf-8"), re.DOTALL)
    snippet = next(block for block in blocks if "unet_final_model.pth" in block)
    assert snippet == (
        'loaded_model = smp.Unet(encoder_name="resnet34", encoder_weights=None, in_channels=3, classes=1).to(device)\n'
        'loaded_model.load_state_dict(torch.load("unet_final_model.pth"))\n'
    )
    segmenter = Segmenter(make_net("Unet", "resnet34", "distance"), SETTINGS)
    segmenter.save(tmp_path)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"smp": smp, "torch": torch, "device": "cpu"}
    exec(snippet, names)
    loaded = names["loaded_model"]
    torch.testing.assert_close(dict(loaded.state_dict()), dict(segmenter.net.unet.state_dict()), rtol=0, atol=0)
    loaded.eval().to(
        memory_format=torch.channels_last
    )  # as the Segmenter has it: another order of sums rounds otherwise
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(image), segmenter.net.unet(image))


@pytest.mark.parametrize("arch", ["Unet", "UnetPlusPlus", "FPN", "MAnet", "Linknet"])
def test_every_architecture_gives_both_heads_at_full_resolution(arch: str) -> None:
    net = NucleusNet(arch, "resnet18", map_channels=2).eval()
    with torch.inference_mode():
        foreground, maps = net(torch.zeros(1, 3, 64, 96))
        both = net.predict(torch.zeros(1, 3, 64, 96))
    assert foreground.shape == (1, 1, 64, 96)
    assert maps is not None
    assert maps.shape == (1, 2, 64, 96)
    torch.testing.assert_close(both, torch.cat([foreground.sigmoid(), maps.sigmoid()], 1))


def test_the_foreground_is_what_the_plain_network_says() -> None:
    net = NucleusNet("Unet", "resnet18", map_channels=1).eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(net(image)[0], net.unet(image))


@pytest.mark.parametrize(
    ("arch", "encoder", "meant"),
    [
        ("Unnet", "resnet34", "train.arch: Unet?"),
        ("Unet", "restnet34", "train.encoder_name: resnet34?"),
        ("unet++", "resnet 34", "train.arch: Unet, train.encoder_name: resnet34?"),
    ],
)
def test_an_unknown_network_is_named_with_the_nearest_known_one(arch: str, encoder: str, meant: str) -> None:
    said = f"train.arch {arch}, train.encoder_name {encoder}(.|\n)*did you mean {meant}"
    with pytest.raises(InputError, match=said.replace("+", r"\+").replace("?", r"\?")):
        NucleusNet(arch, encoder, map_channels=0)


def test_a_network_that_resembles_none_refers_to_the_documentation() -> None:
    with pytest.raises(InputError, match="documentation lists them"):
        NucleusNet("zzzzzz", "resnet34", map_channels=0)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_encoder_weights_come_from_a_file_with_or_without_a_classifier(suffix: str, tmp_path: Path) -> None:
    encoder = NucleusNet("Unet", "resnet18", map_channels=0).unet.encoder
    state = {name: value.clone() for name, value in encoder.state_dict().items()}
    state |= {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}  # as torchvision's files have it
    path = tmp_path / f"resnet18{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    loaded = NucleusNet("Unet", "resnet18", map_channels=0, encoder_weights=str(path)).unet.encoder
    torch.testing.assert_close(loaded.state_dict()["layer4.1.conv2.weight"], state["layer4.1.conv2.weight"])


def test_imagenet_weights_without_a_network_say_what_to_do_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr("nuclei.network.model.smp.create_model", unreachable)
    with pytest.raises(InputError, match=r"train.encoder_weights to null or to a file"):
        NucleusNet("Unet", "resnet18", map_channels=0, encoder_weights="imagenet")


class RunsCode:
    def __reduce__(self) -> tuple[object, ...]:
        return print, ("this must never be printed",)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_that_are_missing_or_damaged_are_one_clear_error(
    suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match="missing"):
        read_weights(tmp_path / f"none{suffix}")
    whole = tmp_path / f"whole{suffix}"
    state = {"weight": torch.zeros(100)}
    save_file(state, whole) if suffix == ".safetensors" else torch.save(state, whole)
    data = whole.read_bytes()
    path = tmp_path / f"damaged{suffix}"
    for damaged in (b"", b"\x80", data[: len(data) // 2], data[:20], b"<html>", bytes(1000)):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"can not be read|not a state dict"):
            read_weights(path)
    torch.save({"weight": RunsCode()}, path.with_suffix(".pth"))
    with pytest.raises(InputError, match="can not be read"):
        read_weights(path.with_suffix(".pth"))
    assert "never" not in capsys.readouterr().out


@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit_of_a_weight_is_found(bit: int, tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({"weight": torch.full((100,), 0.3)}, path)
    data = bytearray(path.read_bytes())
    data[data.index(torch.full((100,), 0.3).numpy().tobytes()) + 200] ^= 1 << bit
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"can not be read(.|\n)*checksum of .*data/0 is wrong"):
        read_weights(path)


def test_compressed_weights_which_could_unpack_to_any_size_are_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(100)}, tmp_path / "a.pth")
    with zipfile.ZipFile(tmp_path / "a.pth") as whole, zipfile.ZipFile(tmp_path / "b.pth", "w") as packed:
        for name in whole.namelist():
            packed.writestr(name, whole.read(name), zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match="it is compressed"):
        read_weights(tmp_path / "b.pth")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_or_not_floating_point_numbers_are_refused(value: float, tmp_path: Path) -> None:
    module = torch.nn.Linear(2, 1)
    with pytest.raises(InputError, match=r"not finite(.|\n)*1 tensors with NaN or infinity, bias the first"):
        load_state(module, {"weight": torch.zeros(1, 2), "bias": torch.tensor([value])}, tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"not floating-point numbers(.|\n)*weight of torch.int64"):
        load_state(module, {"weight": torch.zeros(1, 2).long(), "bias": torch.zeros(1)}, tmp_path / "a.pth")


def test_weights_of_another_network_say_how_they_differ(tmp_path: Path) -> None:
    other = NucleusNet("Unet", "resnet18", map_channels=0).unet.state_dict()
    net = NucleusNet("Unet", "resnet34", map_channels=0)
    with pytest.raises(InputError, match="another network"):
        load_state(net.unet, other, tmp_path / "other.pth")


def test_a_state_dict_must_hold_tensors_alone(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "a.pth")
    with pytest.raises(InputError, match="not a state dict"):
        read_weights(tmp_path / "a.pth")
