"""Prediction with a trained model: from an image to a label map."""

from __future__ import annotations

import warnings
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass

from nuclei.base import files
from nuclei.base.errors import InputError
from nuclei.base.params import CONFIG, Diameter, InvertLight, Percentile, Precision, Probability, Side, checked
from nuclei.base.shipped import MODEL
from nuclei.images.io import read_rgb
from nuclei.network.components import renumber
from nuclei.network.confidence import Confidence, evidence
from nuclei.network.inference import TileGrid, predict_maps, predict_tile, tile_grid
from nuclei.network.labelling import Thresholds, label, landscape
from nuclei.network.model import NucleusNet, load_state, read_weights, save_tensors
from nuclei.network.normalisation import has_light_background, normalise_percentiles
from nuclei.network.sizing import (
    SAME_SCALE,
    Scale,
    diameter,
    fullest,
    is_worth_a_look,
    most_plausible,
    sureness,
    zoomed_image,
)
from nuclei.network.targets import TARGETS

WEIGHTS, HEAD_WEIGHTS, SETTINGS = "unet_final_model.pth", "instance_head.pth", "model.json"
FIX = "train one: dvc repro train"
ROUGH = Thresholds(foreground=0.5, saddle_ratio=0.7, min_area_px=10)  # of the first passes, which measure the diameter
LOOKS = (0.125, 0.25, 0.5, 1.0, 2.0)  # scales of the first passes
LOOK_PX = 384  # side of what a look sees at most, so that its cost does not grow with the image; see docs/speed.md
ENLARGED_LOOK_PX = 256  # the same of the enlarged look, in which a part of 128 px holds enough of these small nuclei
JUDGED_PX = 384  # side of what is segmented as it is and inverted, to tell which is right
SAME_PLACES = 0.25  # IoU of the foregrounds of an image and its inverse; see docs/training.md
DTYPES = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


@dataclass(frozen=True, config=CONFIG)
class Settings:
    """The contents of model.json, beside the weights: how to build the network, and how to predict with it."""

    arch: str
    encoder_name: str
    instance_target: str
    normalise_low: Percentile
    normalise_high: Percentile
    tile_px: Side
    tile_overlap_px: Annotated[int, Field(ge=0)]
    flips: bool
    foreground: Probability
    saddle_ratio: Probability
    min_area_px: Annotated[int, Field(ge=0)]
    precision: Precision = "auto"
    diameter_px: Diameter | None = None
    invert_light: InvertLight = False
    min_score: Probability = 0.0
    min_best_score: Probability = 0.0
    confidence: Confidence | None = None

    @property
    def thresholds(self) -> Thresholds:
        return Thresholds(self.foreground, self.saddle_ratio, self.min_area_px)


class Segmenter:
    """A trained model with its settings, ready to segment images.

    Example:
        >>> segmenter = Segmenter.load("data/model")
        >>> segmenter.segment(rgb).shape     # rgb: (256, 320, 3) uint8
        (256, 320)
    """

    def __init__(self, net: NucleusNet, settings: Settings, *, device: str = "cpu") -> None:
        self.settings, self.device = settings, device
        self.dtype = DTYPES[pick_precision(settings.precision, device)]
        self.net = net.eval().to(device).to(memory_format=torch.channels_last)
        if isinstance(net, NucleusNet):  # not one that ONNX Runtime computes
            net.fold()

    @classmethod
    def load(cls, folder: str | Path = MODEL, *, device: str = "auto") -> Segmenter:
        """Read a model from a folder: the one that comes with the repository, or one that `train` wrote.

        On a CPU in float32 ONNX Runtime computes the network, in less time than torch and the same but for rounding.

        Raises:
            InputError: the folder holds no model, or its files contradict each other.
        """
        segmenter = cls(*read_model(Path(folder)), device=pick_device(device))
        if segmenter.device == "cpu" and segmenter.dtype == torch.float32:
            segmenter.net.leave_torch()
        return segmenter

    def save(self, folder: str | Path) -> None:
        """Write the model into an existing folder: the U-Net's plain state dict, the head's, and the settings."""
        folder = Path(folder)
        _save(self.net.unet, folder / WEIGHTS)
        if self.net.instance_head is not None:
            _save(self.net.instance_head, folder / HEAD_WEIGHTS)
        files.write_json(folder / SETTINGS, asdict(self.settings))

    def use(self, thresholds: Thresholds) -> None:
        """Replace the thresholds."""
        self.settings = replace(self.settings, **asdict(thresholds))

    def calibrate(self, confidence: Confidence | None) -> None:
        """Replace the regression that gives nuclei their scores."""
        self.settings = replace(self.settings, confidence=confidence)

    def maps(self, rgb: NDArray[np.uint8], diameter_px: float | None = None) -> NDArray[np.float32]:
        """Predict (1 + C, H, W) float32: the foreground's probability, then the second head's maps.

        Args:
            rgb: (H, W, 3) uint8.
            diameter_px: of its nuclei; if None, it is measured; see `scale`.
                Ignored by a model that was trained without `train.diameter_px`.
        """
        return self.predict(rgb, self.scale(rgb, diameter_px))

    def scale(self, rgb: NDArray[np.uint8], diameter_px: float | None = None) -> Scale:
        """How an (H, W, 3) uint8 image is rescaled for the network, with a warning where it can not be as in training.

        Where the diameter is not given, the network looks at copies of the image at the scales LOOKS, as far as
        `is_worth_a_look` says; `most_plausible` says which look tells how large the nuclei are. The first look is at
        the whole image; each further one is at LOOK_PX by LOOK_PX pixels at most, the enlarged one at ENLARGED_LOOK_PX,
        where the look before saw the most foreground.

        With `invert_light: auto`, a gray image with a light background is inverted where the model is then surer of the
        same nuclei. To tell, it is segmented both ways, in up to 2.5 times the time. A model that gives no scores
        inverts none.

        Args:
            diameter_px: as for `maps`.
        """
        settings = self.settings
        scale = self._scale(rgb, diameter_px)
        if settings.invert_light != "auto" or settings.confidence is None:
            return scale
        if not has_light_background(rgb, settings.normalise_low, settings.normalise_high):
            return scale
        of_inverse = self._scale(rgb, diameter_px, inverted=True)
        return of_inverse if self._is_surer_inverted(rgb, scale, of_inverse) else scale

    def _is_surer_inverted(self, rgb: NDArray[np.uint8], scale: Scale, of_inverse: Scale) -> bool:
        """Whether the inverse shows nuclei in the same places with a higher mean score, or shows the only ones.

        Of bright-field, where nuclei are dark in gray cells, the inverse shows whole cells, with scores that may be
        higher. Both are compared at JUDGED_PX by JUDGED_PX pixels at most, where there is the most foreground.
        """
        normalised = self._normalised(rgb)
        part, side = normalised, int(JUDGED_PX / max(scale.zoom, of_inverse.zoom))
        if max(part.shape) > side:
            part = fullest(part, self._look(part, LOOKS[0])[2][0], side)
        places, means = [], []
        for seen, pixels in ((scale, part), (of_inverse, 255 - part)):
            maps = seen.maps if part is normalised else None
            labels, scores = self.nuclei(self._predict(pixels, seen.zoom, flips=False) if maps is None else maps)
            places.append(labels > 0)
            means.append(0.0 if scores is None or not len(scores) else float(scores.mean()))
        common, both = (int(np.count_nonzero(of(*places))) for of in (np.logical_and, np.logical_or))
        return means[1] > means[0] and (common >= SAME_PLACES * both or not places[0].any())

    def _scale(self, rgb: NDArray[np.uint8], diameter_px: float | None, *, inverted: bool = False) -> Scale:
        """What `scale` returns for an image that the network sees as it is, or inverted."""
        target_px = self.settings.diameter_px
        if target_px is None or diameter_px is not None:
            return Scale(diameter_px, target_px, inverted=inverted)
        normalised = self._normalised(rgb, inverted)
        part, whole = normalised, None
        sure, found, maps = self._look(normalised, LOOKS[0])
        looks = [(LOOKS[0], sure, found)]
        for zoom in LOOKS[1:]:
            if is_worth_a_look(zoom, looks, target_px):
                part = fullest(part, maps[0], int((ENLARGED_LOOK_PX if zoom > 1 else LOOK_PX) / zoom))
                sure, found, maps = self._look(part, zoom)
                looks.append((zoom, sure, found))
                whole = maps if zoom == 1 and part is normalised else whole
        measured = most_plausible(looks, target_px)
        same = measured is None or 1 / SAME_SCALE < target_px / measured < SAME_SCALE
        return Scale(measured, target_px, whole if same and not self.settings.flips else None, inverted)

    def _look(self, normalised: NDArray[np.uint8], zoom: float) -> tuple[float, float | None, NDArray[np.float32]]:
        """How sure the network is of the nuclei of a rescaled copy, their diameter in the image, and the maps."""
        maps = self._predict(zoomed_image(normalised, zoom), 1.0, flips=False)
        labels = self.label(maps, ROUGH)
        heights = maps[0] if len(maps) == 1 else landscape(self.settings.instance_target, maps[0], maps[1:])
        found = diameter(labels)
        return sureness(labels, heights), None if found is None else found / zoom, maps

    def predict(self, rgb: NDArray[np.uint8], scale: Scale) -> NDArray[np.float32]:
        """What `maps` returns, of an image whose scale is known."""
        if scale.maps is not None:
            return scale.maps
        return self._predict(self._normalised(rgb, scale.inverted), scale.zoom, flips=self.settings.flips)

    def _normalised(self, rgb: NDArray[np.uint8], inverted: bool = False) -> NDArray[np.uint8]:
        settings = self.settings
        low, high = settings.normalise_low, settings.normalise_high
        return normalise_percentiles(rgb, low, high, invert_light=inverted or settings.invert_light is True)

    def _predict(self, normalised: NDArray[np.uint8], zoom: float, *, flips: bool) -> NDArray[np.float32]:
        return predict_maps(
            self.net,
            normalised,
            tile_px=self.settings.tile_px,
            overlap_px=self.settings.tile_overlap_px,
            flips=flips,
            zoom=zoom,
            precision=self.dtype,
        )

    def grid(self, height: int, width: int, scale: Scale) -> TileGrid:
        """The tiles in which an image of this size is predicted."""
        return tile_grid(height, width, self.settings.tile_px, self.settings.tile_overlap_px, scale.zoom)

    def predict_tile(self, rgb: NDArray[np.uint8], scale: Scale) -> NDArray[np.float32]:
        """Predict (1 + C, h, w), at the network's scale, for a tile (H, W, 3) of an image normalised as a whole."""
        return predict_tile(self.net, rgb, flips=self.settings.flips, zoom=scale.zoom, precision=self.dtype)

    def label(self, maps: NDArray[np.float32], thresholds: Thresholds | None = None) -> NDArray[Any]:
        """Turn what `maps` returned into an (H, W) label map, uint16, or uint32 for more than 65,535 nuclei."""
        instances = maps[1:] if len(maps) > 1 else None
        return label(self.settings.instance_target, maps[0], instances, thresholds or self.settings.thresholds)

    def scores(self, labels: NDArray[Any], maps: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """The probability of each nucleus to be a true one; None for a model that was not calibrated.

        Args:
            labels: (H, W), 0 = background, 1..n the nuclei, as `label` makes them.
            maps: from which they were made.

        Returns:
            (n,) float32 in [0, 1], by label. True means an IoU of at least 0.5 with an annotated nucleus.
        """
        if self.settings.confidence is None:
            return None
        return self.settings.confidence.scores(evidence(self.settings.instance_target, labels, maps))

    def nuclei(
        self, maps: NDArray[np.float32], min_score: float | None = None, min_best_score: float | None = None
    ) -> tuple[NDArray[Any], NDArray[np.float32] | None]:
        """The label map of `label` without nuclei of a low score, and the `scores` of the others.

        Args:
            maps: as `maps` returns them.
            min_score: nuclei with a lower score are dropped; that of the settings if None.
            min_best_score: all nuclei are dropped if none has this score, because then the image probably shows none;
                that of the settings if None.
        """
        labels = self.label(maps)
        scores = self.scores(labels, maps)
        if scores is None:
            return labels, None
        least = self.settings.min_score if min_score is None else min_score
        best = self.settings.min_best_score if min_best_score is None else min_best_score
        keep = (scores >= least) & (scores.max(initial=0) >= best)
        if keep.all():
            return labels, scores
        return renumber(labels, np.concatenate([[False], keep])), scores[keep]

    def segment(self, rgb: NDArray[np.uint8], diameter_px: float | None = None) -> NDArray[Any]:
        """Segment an (H, W, 3) uint8 image into (H, W) labels: 0 = background, 1..n the nuclei. See `maps`."""
        return self.nuclei(self.maps(rgb, diameter_px))[0]


def read_settings(folder: Path) -> Settings:
    """Read model.json from the folder of a model.

    Raises:
        InputError: the folder holds no model, or its settings contradict each other.
    """
    path = folder / SETTINGS
    if not path.exists():
        raise InputError("there is no trained model", file=folder, fix=FIX)
    settings = checked(Settings, files.read_json(path, FIX), path)
    if settings.instance_target != "none" and settings.instance_target not in TARGETS:
        raise InputError(
            "the model's second head is unknown", file=path, got=settings.instance_target, expected=list(TARGETS)
        )
    if settings.normalise_low >= settings.normalise_high or settings.tile_overlap_px * 2 > settings.tile_px:
        raise InputError(
            "the model's settings contradict each other",
            file=path,
            expected="normalise_low below normalise_high, and tile_overlap_px at most half of tile_px",
            fix=FIX,
        )
    return settings


def read_model(folder: Path) -> tuple[NucleusNet, Settings]:
    """Read a network with its weights, and its settings, from the folder of a model.

    Raises:
        InputError: the folder holds no model, or its files contradict each other.
    """
    settings = read_settings(folder)
    net = make_net(settings.arch, settings.encoder_name, settings.instance_target)
    load_state(net.unet, read_weights(folder / WEIGHTS), folder / WEIGHTS)
    if net.instance_head is not None:
        load_state(net.instance_head, read_weights(folder / HEAD_WEIGHTS), folder / HEAD_WEIGHTS)
    return net, settings


def make_net(arch: str, encoder_name: str, instance_target: str, encoder_weights: str | None = None) -> NucleusNet:
    """Make the network whose second head learns the target `instance_target`; see NucleusNet."""
    channels = 1 if instance_target in TARGETS else 0
    return NucleusNet(arch, encoder_name, map_channels=channels, encoder_weights=encoder_weights)


def segment_cell_image(
    image: NDArray[np.uint8] | str | Path, model: Segmenter | str | Path = MODEL, diameter_px: float | None = None
) -> NDArray[Any]:
    """Segment every nucleus of one image.

    Args:
        image: (H, W, 3) or (H, W) uint8, or the path of an image file.
        model: a loaded Segmenter (load it once for many images), or the folder of one; the repository's own by default.
        diameter_px: of the nuclei; measured if None. See `Segmenter.maps`.

    Returns:
        (H, W) uint16, or uint32 for more than 65,535 nuclei: 0 = background, 1..n the nuclei.

    Warns:
        UserWarning: the nuclei are too large or too small to be rescaled to the diameter of training.

    Raises:
        InputError: there is no model, or the image can not be read or has the wrong shape or type.
    """
    segmenter = model if isinstance(model, Segmenter) else Segmenter.load(model)
    if isinstance(image, str | Path):
        image = read_rgb(Path(image))
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=2)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise InputError(
            "the image has the wrong shape or type",
            got=f"{image.shape} {image.dtype}",
            expected="(H, W, 3) or (H, W) uint8",
            fix="give the path of the file instead: every format that prepare reads is converted",
        )
    scale = segmenter.scale(image, diameter_px)
    if scale.warning:
        warnings.warn(scale.warning, stacklevel=2)
    return segmenter.nuclei(segmenter.predict(image, scale))[0]


def pick_device(device: str) -> str:
    """Resolve `auto` to the best available device; raise InputError for a device that is not available."""
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if there[name])
    if not there[device]:
        raise InputError(
            "the device is not there", got=device, expected=[name for name in there if there[name]], fix="device: auto"
        )
    return device


def pick_precision(precision: str, device: str) -> str:
    """Resolve `auto` to bf16-mixed where the device multiplies in bfloat16 natively, and to 32-true elsewhere.

    GPUs do, and CPUs with AVX-512 BF16 or AMX; on others, and where torch is told to do without AVX-512
    (ATEN_CPU_CAPABILITY), bfloat16 is slower than float32.
    """
    if precision != "auto":
        return precision
    used = device == "cpu" and torch.backends.cpu.get_cpu_capability() == "AVX512"
    can = torch.cpu.get_capabilities() if used else {}
    native = device == "cuda" or can.get("avx512_bf16", False) or can.get("amx_bf16", False)
    return "bf16-mixed" if native else "32-true"


def _save(module: torch.nn.Module, path: Path) -> None:
    """Write a state dict whose bytes depend on its values alone.

    Given a path instead of an open file, torch would write the file's name into it.
    """
    save_tensors(_plain(module), path)


def _plain(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The state dict on the CPU in the default memory format, so that its bytes depend on its values alone."""
    return {name: value.detach().cpu().contiguous().clone() for name, value in module.state_dict().items()}
