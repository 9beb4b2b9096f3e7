"""The network: a segmentation_models_pytorch U-Net for the foreground, with a small second head for instances."""

from __future__ import annotations

import difflib
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from nuclei.base.errors import InputError
from nuclei.network.folding import folded
from nuclei.network.runtime import in_onnx_runtime

MEAN = (0.485, 0.456, 0.406)  # of ImageNet, in 0..1, with which published encoders were trained
STD = (0.229, 0.224, 0.225)
HEAD_CHANNELS = 32
TRAIN_AGAIN = "get the file again, or train again"


class NucleusNet(nn.Module):
    """A U-Net with one foreground channel, and a second head on the same decoder features that separates instances.

    `unet` is exactly what `smp.create_model(arch, encoder_name, in_channels=3, classes=1)` makes, so its weights
    load without this class.

    Example:
        >>> net = NucleusNet("Unet", "resnet34", map_channels=1)
        >>> foreground, maps = net(torch.zeros(2, 3, 64, 64))
        >>> foreground.shape, maps.shape
        (torch.Size([2, 1, 64, 64]), torch.Size([2, 1, 64, 64]))

    Args:
        arch: an architecture of segmentation_models_pytorch.
        encoder_name: one of its encoders.
        map_channels: channels of the second head; 0 for none.
        encoder_weights: None, `imagenet`, or the path of a `.pth` or `.safetensors` file of encoder weights.

    Raises:
        InputError: the architecture or encoder does not exist, or the encoder weights can not be loaded.
    """

    def __init__(
        self,
        arch: str,
        encoder_name: str,
        *,
        map_channels: int,
        encoder_weights: str | None = None,
    ) -> None:
        super().__init__()
        # each one or none, in lists, so that their weights are not this network's
        self.folded: list[NucleusNet] = []
        self.outside: list[Callable[[Tensor], Tensor]] = []
        unet: Any = _unet(arch, encoder_name, encoder_weights)
        self.unet = unet
        convolution, upsampling, _ = unet.segmentation_head
        self.instance_head: nn.Module | None = None
        if map_channels:
            self.instance_head = nn.Sequential(
                nn.Conv2d(convolution.in_channels, HEAD_CHANNELS, 3, padding=1),
                nn.BatchNorm2d(HEAD_CHANNELS),
                nn.ReLU(inplace=True),
                nn.Conv2d(HEAD_CHANNELS, map_channels, 1),
                upsampling,
            )

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor | None]:
        """Map normalised images to foreground logits and the second head's raw output.

        Args:
            image: (B, 3, H, W) float, normalised with MEAN and STD; H and W multiples of 32.

        Returns:
            (B, 1, H, W) logits, and (B, C, H, W) or None without a second head.
        """
        features = self.unet.decoder(self.unet.encoder(image))  # (B, 16, H, W) for a Unet
        foreground = self.unet.segmentation_head(features)
        return foreground, None if self.instance_head is None else self.instance_head(features)

    def predict(self, image: Tensor) -> Tensor:
        """Map normalised images (B, 3, H, W) to (B, 1 + C, H, W) float32: the sigmoid of both."""
        if self.outside:
            return self.outside[0](image)
        return (self.folded[0] if self.folded else self).maps(image)

    def maps(self, image: Tensor) -> Tensor:
        """What `predict` returns, computed by torch with the network as it is."""
        # in float32: just below 1 a bfloat16 moves in steps of 1/256
        return torch.cat([raw.float().sigmoid() for raw in self(image) if raw is not None], 1)

    def fold(self) -> None:
        """Predict with batch normalisation folded into the convolutions, until the weights change; see `folded`."""
        self._forget()
        self.folded = [folded(self, NucleusNet.maps)]

    def leave_torch(self) -> None:
        """Predict in ONNX Runtime, in float32 on a CPU, until the weights change; in torch where it can not."""
        found = in_onnx_runtime(self.folded[0] if self.folded else self, NucleusNet.maps)
        self.outside = [] if found is None else [found]

    def _forget(self) -> None:
        self.folded, self.outside = [], []

    def __getstate__(self) -> dict[str, Any]:
        """What a copy gets: all but what predicts in its place."""
        return self.__dict__ | {"folded": [], "outside": []}

    def train(self, mode: bool = True) -> NucleusNet:
        """As of any module. In training the weights change."""
        if mode:
            self._forget()
        return super().train(mode)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """As of any module."""
        self._forget()
        return super().load_state_dict(*args, **kwargs)


def _unet(arch: str, encoder_name: str, encoder_weights: str | None) -> nn.Module:
    from_hub = encoder_weights if encoder_weights == "imagenet" else None
    try:
        unet = smp.create_model(arch, encoder_name, encoder_weights=from_hub, in_channels=3, classes=1)
    except OSError as error:  # what the hub's client and requests raise are kinds of it
        raise InputError(
            "the ImageNet weights can not be downloaded",
            got=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
            fix="connect once, or set train.encoder_weights to null or to a file, such as torchvision's "
            "resnet34-b627a593.pth",
        ) from None
    except (KeyError, RuntimeError, ValueError) as error:
        raise InputError(
            "the network can not be made",
            got=f"train.arch {arch}, train.encoder_name {encoder_name}: {_first_line(error)}",
            expected="an architecture and an encoder that segmentation_models_pytorch has together",
            fix=_nearest(arch, encoder_name) or "its documentation lists them",
        ) from None
    if encoder_weights not in (None, "imagenet"):
        load_state(unet.encoder, read_weights(Path(encoder_weights)), Path(encoder_weights))
    return unet


def _nearest(arch: str, encoder_name: str) -> str:
    """A question that names the known names closest to unknown ones; empty if none is close."""
    archs = {model.__name__.lower(): model.__name__ for model in smp.MODEL_ARCHITECTURES_MAPPING.values()}
    encoders = {name.lower(): name for name in smp.encoders.get_encoder_names()}
    meant = []
    for parameter, given, known in (("train.arch", arch, archs), ("train.encoder_name", encoder_name, encoders)):
        close = difflib.get_close_matches(given.lower(), known, n=1, cutoff=0.6)
        if close and known[close[0]].lower() != given.lower():
            meant.append(f"{parameter}: {known[close[0]]}")
    return f"did you mean {', '.join(meant)}?" if meant else ""


def read_weights(path: Path) -> Mapping[str, Tensor]:
    """Read a state dict without executing code that the file may contain.

    Raises:
        InputError: the file is absent, damaged, or holds more than tensors.
    """
    fix = "give a state dict: what torch.save(model.state_dict(), path) or safetensors wrote"
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            check_sums(path)
            state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError("the weights are missing", file=path, fix="check the path, or run: dvc repro") from None
    except Exception as error:  # on damaged bytes torch raises nearly anything
        raise InputError("the weights can not be read", file=path, got=_first_line(error), fix=fix) from None
    if not isinstance(state, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise InputError("the weights are not a state dict", file=path, got=type(state).__name__, fix=fix)
    return state


def save_tensors(state: Mapping[str, Any], path: Path) -> None:
    """Write tensors and plain values; raise OSError if the disk is full, where torch may raise RuntimeError."""
    try:
        with path.open("wb") as file:
            torch.save(state, file)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def check_sums(path: Path) -> None:
    """Verify the checksums of a file that torch.save wrote, which torch.load does not, and that it is not compressed.

    Raises:
        BadZipFile: a byte has changed, or the file could unpack to more than its own size.
    """
    if not zipfile.is_zipfile(path):
        return  # the format before torch 1.6, which has no checksums
    with zipfile.ZipFile(path) as file:
        if any(info.compress_type != zipfile.ZIP_STORED for info in file.infolist()):
            raise zipfile.BadZipFile("it is compressed")
        if damaged := file.testzip():
            raise zipfile.BadZipFile(f"the checksum of {damaged} is wrong")


def load_state(module: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Load a state dict into `module`; raise InputError if the two differ or a value can not be a weight."""
    own = module.state_dict()
    for name, value in state.items():
        if name in own and own[name].is_floating_point() and not value.is_floating_point():
            got = f"{name} of {value.dtype}"
            raise InputError("weights are not floating-point numbers", file=path, got=got, fix=TRAIN_AGAIN)
    try:
        module.load_state_dict(dict(state))
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:3]]
        raise InputError(
            "the weights are of another network",
            file=path,
            got=" ".join(lines)[:300],
            expected=f"the weights of {type(module).__name__}",
            fix="use the arch and encoder_name that the weights were trained with",
        ) from None
    broken = [name for name, value in module.state_dict().items() if not value.isfinite().all()]
    if broken:
        got = f"{len(broken)} tensors with NaN or infinity, {broken[0]} the first"
        raise InputError("weights are not finite", file=path, got=got, fix=TRAIN_AGAIN)


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0][:200]}" if text else type(error).__name__
