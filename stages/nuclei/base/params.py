"""The parameters: the only reader of params.yaml, and the type and range of every value."""

from __future__ import annotations

import difflib
import json
import math
import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, PlainValidator, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer, ComposerError
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.nodes import Node

from nuclei.base.errors import InputError

FILE = "params.yaml"
MOST_PROBLEMS = 20  # that one error names
RENAMED = {
    "train.instances": "train.instance_target",
    "train.search_seed": "train.search_saddle_ratio",
    "train.augment.scale": "train.augment.zoom",
}
CONFIG = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


def _multiple_of_32(value: int) -> int:
    if value % 32:
        raise ValueError("should be a multiple of 32, the network's coarsest step")
    return value


def _each_once(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(values)) < len(values):
        raise ValueError("should name each part once")
    return values


def _number_or_auto(value: object) -> int | Literal["auto"]:
    if value == "auto":
        return "auto"
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise ValueError("should be auto or a whole number greater than or equal to 1")


def _channel(value: object) -> int | str | None:
    if value is None or (isinstance(value, str) and value) or (type(value) is int and value >= 1):
        return value
    raise ValueError("should be null, a name, or a whole number greater than or equal to 1")


Count = Annotated[int, Field(ge=1)]
Channel = Annotated[int | str | None, PlainValidator(_channel)]  # a union would report each kind
Devices = Annotated[int | Literal["auto"], PlainValidator(_number_or_auto)]  # a union would report each kind
Probability = Annotated[float, Field(ge=0, le=1)]
Percentile = Annotated[float, Field(ge=0, le=100)]
Positive = Annotated[float, Field(gt=0)]
Diameter = Annotated[float, Field(ge=5, le=200)]
NotNegative = Annotated[float, Field(ge=0)]
Side = Annotated[int, Field(ge=32), AfterValidator(_multiple_of_32)]
InvertLight = Literal[False, True, "auto"]
Parts = Annotated[tuple[Literal["val", "test"], ...], Field(min_length=1), AfterValidator(_each_once)]
Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed"]
Thresholds = Annotated[tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(min_length=1)]


@dataclass(frozen=True, config=CONFIG)
class Fetch:
    sample_images: Annotated[int, Field(ge=12, le=10_000)]
    sample_unlabelled: Annotated[int, Field(ge=0, le=10_000)]
    timeout_s: Positive
    retries: Annotated[int, Field(ge=0)]


@dataclass(frozen=True, config=CONFIG)
class Prepare:
    channel: Channel
    max_image_px: Count
    max_archive_bytes: Count
    binary_masks: Literal["error", "components", "instances"]


@dataclass(frozen=True, config=CONFIG)
class Split:
    val_fraction: Annotated[float, Field(ge=0, lt=0.5)]
    test_fraction: Annotated[float, Field(ge=0, lt=0.5)]
    duplicate_similarity: Annotated[float, Field(gt=0, le=1)]
    list: str | None
    by: Literal["group", "family"]
    folds: Annotated[int, Field(ge=2, le=100)]
    fold: Annotated[int, Field(ge=0)] | None


@dataclass(frozen=True, config=CONFIG)
class Augment:
    zoom: Annotated[float, Field(ge=1, le=8)]
    rotate: Probability
    elastic: Probability
    colour: Probability
    gray: Probability
    invert: Probability
    shuffle: Probability
    blur: Probability
    noise: Probability
    light: Probability
    quality: Probability


@dataclass(frozen=True, config=CONFIG)
class Train:
    arch: str
    encoder_name: str
    encoder_weights: str | None
    start_from: str | None
    start_share: Annotated[float, Field(ge=0, lt=1)]
    instance_target: Literal["none", "border", "distance"]
    diameter_px: Diameter | None
    crop_px: Side
    crops_per_image: Count
    batch_size: Count
    keep_images_mb: Annotated[int, Field(ge=0)]
    size_exponent: NotNegative
    rare_exponent: NotNegative
    synthetic_fraction: Annotated[float, Field(ge=0, lt=1)]
    normalise_low: Percentile
    normalise_high: Percentile
    invert_light: InvertLight
    augment: Augment
    optimizer: Literal["adamw", "adam", "sgd"]
    learning_rate: Positive
    weight_decay: NotNegative
    schedule: Literal["cosine", "constant"]
    stop_epoch: Count | None
    keep_epoch: Literal["best", "last"]
    warmup_fraction: Annotated[float, Field(ge=0, lt=1)]
    ema_decay: Annotated[float, Field(ge=0, lt=1)]
    dice_weight: Probability
    boundary_weight: NotNegative
    instance_weight: NotNegative
    gradient_clip: Positive
    tile_px: Side
    tile_overlap_px: Annotated[int, Field(ge=0)]
    flips: bool
    min_score: Probability
    min_best_score: Probability
    search_foreground: Thresholds
    search_saddle_ratio: Thresholds
    search_min_area_px: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]
    device: Device
    devices: Devices
    nodes: Count
    precision: Precision


@dataclass(frozen=True, config=CONFIG)
class Evaluate:
    parts: Parts
    device: Device
    bootstrap_resamples: Annotated[int, Field(ge=100)]


@dataclass(frozen=True, config=CONFIG)
class Plot:
    gallery_images: Count
    dpi: Annotated[int, Field(ge=50, le=600)]


@dataclass(frozen=True, config=CONFIG)
class Predict:
    device: Device


@dataclass(frozen=True, config=CONFIG)
class Params:
    """All of params.yaml: three values at the top, then a section for each stage."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    epochs: Count
    data: Annotated[str, Field(min_length=1)]
    fetch: Fetch
    prepare: Prepare
    split: Split
    train: Train
    evaluate: Evaluate
    plot: Plot
    predict: Predict


Section = TypeVar("Section")


class _Composer(Composer):
    """YAML without aliases, of which a few lines can hold more values than any memory."""

    def return_alias(self, a: Node) -> Node:
        raise ComposerError(None, None, "found an alias: write the value itself", a.start_mark)


class _Constructor(SafeConstructor):
    """YAML without merge keys, which hide names that occur twice, and with text for names and 64 bits for integers."""

    def flatten_mapping(self, node: Node) -> None:
        """Leave a merge key (`<<`) where it is, so that it is refused: it has no value of its own."""

    def check_mapping_key(self, node: Node, key_node: Node, mapping: Any, key: object, value: object) -> bool:
        if not isinstance(key, str):
            raise ConstructorError(None, None, "found a name that is not text", key_node.start_mark)
        if key in mapping:
            raise ConstructorError(None, None, f"found {reprlib.repr(key)} twice", key_node.start_mark)
        return True

    def construct_yaml_int(self, node: Node) -> int:
        value = int(super().construct_yaml_int(node))
        if abs(value) >= 2**64:
            raise ConstructorError(None, None, "found an integer of more than 64 bits", node.start_mark)
        return value


_Constructor.add_constructor("tag:yaml.org,2002:int", _Constructor.construct_yaml_int)


def load(path: str | Path = FILE) -> Params:
    """Read and check params.yaml.

    Raises:
        InputError: the file is absent or not YAML, or any value is unknown, missing, of the wrong type or
            out of range; all such values are named together, each with what was got and what is expected.
    """
    try:
        values = _read(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("the parameters are missing", file=path, fix="run from the repository's root") from None
    except OSError as error:
        raise InputError("the parameters can not be read", file=path, got=error) from None
    except Exception as error:  # besides its own errors, the parser lets through those of int, float and datetime
        raise InputError("the parameters are not valid YAML", file=path, got=error) from None
    params, problems = _validated(Params, values)
    wrong = {problem.split(":")[0] for problem in problems}
    problems += [said for names, said in _contradictions(values) if not names & wrong]
    if params is None or problems:
        raise _report(problems, path)
    return params


def _read(text: str) -> object:
    """Parse YAML 1.2, with the parser that DVC uses: `010` is ten, `1e-3` a number and `on` a word to both."""
    parser = YAML(typ="safe", pure=True)
    parser.Composer, parser.Constructor = _Composer, _Constructor
    return parser.load(text)


def checked(section: type[Section], values: object, path: str | Path) -> Section:
    """Make a `section` from plain values of YAML or JSON; raise InputError that names everything that is wrong."""
    made, problems = _validated(section, values)
    if made is None:
        raise _report(problems, path)
    return made


def _validated(section: type[Section], values: object) -> tuple[Section | None, list[str]]:
    """The section, or None and a list of problems, each of which begins with the name of its parameter."""
    try:
        # through JSON, in which strict validation accepts a mapping for a section and a list for a tuple
        return TypeAdapter(section).validate_json(json.dumps(values, default=str)), []
    except ValidationError as error:
        return None, [_describe(problem, section) for problem in error.errors()]


def _report(problems: list[str], path: str | Path) -> InputError:
    count = "a parameter is" if len(problems) == 1 else f"{len(problems)} parameters are"
    lines = [f"  - {problem}" for problem in problems[:MOST_PROBLEMS]]
    more = [f"  and {len(problems) - MOST_PROBLEMS} more"] if len(problems) > MOST_PROBLEMS else []
    return InputError("\n".join([f"{count} wrong:", *lines, *more]), file=path)


def _describe(problem: Mapping[str, Any], section: type) -> str:
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "unexpected_keyword_argument":
        if where in RENAMED:
            return f"{where}: renamed, write {RENAMED[where]}"
        close = difflib.get_close_matches(where, _names(section), n=1, cutoff=0.5)
        return f"{where}: got an unknown name" + (f", did you mean {close[0]}?" if close else "")
    if problem["type"].startswith("missing"):
        return f"{where}: missing"
    said = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    hint = ""
    if isinstance(problem["input"], str) and _is_number(problem["input"]):
        hint = " (it is text: write it without quotes)"
    return f"{where or 'the whole file'}: got {reprlib.repr(problem['input'])}, it {said}{hint}"


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _names(section: type, prefix: str = "") -> list[str]:
    """The dotted names of every leaf and section."""
    names = []
    for name, field in section.__pydantic_fields__.items():  # type: ignore[attr-defined]
        names.append(prefix + name)
        if hasattr(field.annotation, "__pydantic_fields__"):
            names += _names(field.annotation, f"{prefix}{name}.")
    return names


def _contradictions(values: object) -> list[tuple[set[str], str]]:
    """Parameters that are valid alone but not together: their names, and what is wrong.

    This reads the plain values, so that contradictions are reported together with other problems; a value that is
    absent or not a number contradicts nothing.
    """
    low, high = _number(values, "train.normalise_low"), _number(values, "train.normalise_high")
    tile, overlap = _number(values, "train.tile_px"), _number(values, "train.tile_overlap_px")
    val, test = _number(values, "split.val_fraction"), _number(values, "split.test_fraction")
    folds, fold = _number(values, "split.folds"), _number(values, "split.fold")
    epochs, stop = _number(values, "epochs"), _number(values, "train.stop_epoch")
    found = []
    if stop > epochs:
        names = {"epochs", "train.stop_epoch"}
        found.append((names, f"train.stop_epoch: got {stop:g}, it should be at most {epochs:g}, which is epochs"))
    if fold >= folds:
        names = {"split.folds", "split.fold"}
        found.append((names, f"split.fold: got {fold:g}, it should be 0 to {folds - 1:g}, one less than split.folds"))
    if fold >= 0 and _value(values, "split.list") is not None:
        names = {"split.list", "split.fold"}
        found.append(
            (names, "split.fold: got a fold and a split.list, each of which decides the split: set one to null")
        )
    if _value(values, "split.by") == "family" and _value(values, "split.fold") is None:
        text = (
            "split.by: got family, and no split.fold: give the fold whose families are left out, 0 to split.folds - 1"
        )
        found.append(({"split.by", "split.fold"}, text))
    if None not in (_value(values, "train.start_from"), _value(values, "train.encoder_weights")):
        text = "train.start_from: got a model beside train.encoder_weights, which it would replace: set one to null"
        found.append(({"train.start_from", "train.encoder_weights"}, text))
    if (share := _number(values, "train.start_share")) > 0 and _value(values, "train.start_from") is None:
        text = (
            f"train.start_share: got {share:g}, and no train.start_from, whose weights it is the share of: set it to 0"
        )
        found.append(({"train.start_share", "train.start_from"}, text))
    if low >= high:
        names = {"train.normalise_low", "train.normalise_high"}
        found.append((names, f"train.normalise_low: got {low:g}, it should be less than train.normalise_high"))
    if overlap * 2 > tile:
        names = {"train.tile_px", "train.tile_overlap_px"}
        found.append((names, f"train.tile_overlap_px: got {overlap:g}, it should be at most half of train.tile_px"))
    if val + test > 0.8:
        names = {"split.val_fraction", "split.test_fraction"}
        found.append((names, f"split.val_fraction + split.test_fraction: got {val + test:g}, it should be at most 0.8"))
    if (val == 0) != (test == 0):
        names = {"split.val_fraction", "split.test_fraction"}
        text = f"split.val_fraction, split.test_fraction: got {val:g} and {test:g}, either both are 0 or neither is"
        found.append((names, text))
    if val == test == 0:
        found += _without_val(values)
    return found


def _without_val(values: object) -> list[tuple[set[str], str]]:
    """What no val images can decide, where every image is a training image, as in `_contradictions`."""
    found = []
    for name in ("split.fold", "split.list"):
        if _value(values, name) is not None:
            names = {"split.val_fraction", "split.test_fraction", name}
            found.append((names, f"{name}: got one, and a split.val_fraction of 0, which makes every image train"))
    for name in ("train.search_foreground", "train.search_saddle_ratio", "train.search_min_area_px"):
        candidates = _value(values, name)
        if isinstance(candidates, Sequence) and len(candidates) > 1:
            text = f"{name}: got {len(candidates)} candidates, it should be one where split.val_fraction is 0"
            found.append(({"split.val_fraction", name}, text))
    return found


def _number(values: object, name: str) -> float:
    """The number under a dotted name, NaN if there is none."""
    value = _value(values, name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def _value(values: object, name: str) -> object:
    """The value under a dotted name, None if there is none."""
    for part in name.split("."):
        values = values.get(part) if isinstance(values, Mapping) else None
    return values
