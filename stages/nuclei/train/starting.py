"""The network with its first weights: random ones, those of a published encoder, or all those of a trained model."""

from __future__ import annotations

from pathlib import Path

from nuclei.base.errors import InputError
from nuclei.base.params import Train
from nuclei.network.confidence import Confidence
from nuclei.network.model import NucleusNet
from nuclei.network.segmenter import SETTINGS, make_net, read_model, read_settings

DECIDE = ("arch", "encoder_name", "instance_target")  # which weights a network has


def first_net(train: Train, encoder_weights: Path | None, model: Path | None) -> NucleusNet:
    """Make the network that `train` describes.

    Args:
        train: the parameters.
        encoder_weights: the file that train.encoder_weights names, None where it names none.
        model: the folder that train.start_from names: its U-Net and second head are loaded. None: start afresh.

    Raises:
        InputError: the weights can not be loaded, or the model is of another network.
    """
    if model is None:
        weights = str(encoder_weights) if encoder_weights else train.encoder_weights
        return make_net(train.arch, train.encoder_name, train.instance_target, weights)
    net, settings = read_model(model)
    pairs = [(name, getattr(settings, name), getattr(train, name)) for name in DECIDE]
    other = [pair for pair in pairs if pair[1] != pair[2]]
    if other:
        raise InputError(
            "the model to start from is of another network than the parameters",
            file=model / SETTINGS,
            got=", ".join(f"{name} {there}" for name, there, _ in other),
            expected=", ".join(f"{name} {wanted}" for name, _, wanted in other),
            fix=" ".join(f"-S train.{name}={there}" for name, there, _ in other),
        )
    return net


def first_confidence(model: Path | None) -> Confidence | None:
    """The regression that gives nuclei their scores in the model that train.start_from names; None without either."""
    return None if model is None else read_settings(model).confidence
