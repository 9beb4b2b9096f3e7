"""Shards of the images, each segmented by a job of its own, as in a Slurm array, and collected when all have ended.

A job notes its images in a part of the manifest, shards/003-of-050.sqlite in the folder of results, and at its end
writes a record, shards/003-of-050.json: the model, the options and the list of the images, and which of its own failed.
Collecting adds the parts to the manifest of the folder and removes them. The records stay, so that it may run again.

A shard takes every 50th image instead of a stretch of the list: neighbours in the list are often of one plate and one
size, and a stretch of large images would keep one job busy long after the others have ended.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nuclei.base.errors import InputError
from nuclei.base.files import read_json, remove, write_text
from nuclei.segment.batch import LargeOptions, Options
from nuclei.segment.finding import Image
from nuclei.segment.manifest import NAME, Manifest, opened

FOLDER = "shards"  # of the parts and records, in the folder of results
RECORD = re.compile(r"(\d+)-of-(\d+)\.json")
AGAIN = "run these shards again with the same images, model and options, then collect again"


@dataclass(frozen=True)
class Shard:
    """One of `count` shards of the images, `number` counted from 1."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def of(self, images: Sequence[Image]) -> list[Image]:
        """Its images: of the sorted list every `count`-th, from the `number`-th on."""
        return list(images[self.number - 1 :: self.count])

    def record(self, out: Path) -> Path:
        """The record in the folder of results `out`."""
        return out / FOLDER / f"{self.number:03}-of-{self.count:03}.json"


def shard_of(text: str) -> Shard:
    """The shard that a command line means by 3/50; raise ArgumentTypeError if it means none."""
    found = re.fullmatch(r"0*([1-9]\d*)/0*([1-9]\d*)", text, re.ASCII)
    if not found or int(found[1]) > int(found[2]):
        raise argparse.ArgumentTypeError("give the number of the shard and of all shards, 1/50 to 50/50")
    return Shard(int(found[1]), int(found[2]))


def common_of(images: Sequence[Image], model: str, options: Options, large: LargeOptions) -> dict[str, Any]:
    """What all shards of a run have in common.

    Args:
        images: all that were found, sorted.
        model: its hash.
        options: those that change the results.
        large: what the user chose for large images.
    """
    names = b"\0".join(os.fsencode(image.name) for image in images)
    common = {"images": [len(images), hashlib.sha256(names).hexdigest()], "model": model}
    return common | {"options": json.loads(json.dumps(asdict(options))), "blocks": asdict(large)}


def add_shard_options(parser: argparse._ActionsContainer) -> None:
    """Add the options to segment one shard, and to collect all of them."""
    parser.add_argument(
        "--shard", type=shard_of, metavar="3/50", help="segment every 50th image, from the third on: a job of an array"
    )
    parser.add_argument("--collect", action="store_true", help="segment nothing: write the tables of all shards")


@contextmanager
def opened_shard(shard: Shard, out: Path, images: Sequence[Image]) -> Iterator[Manifest]:
    """Open the part of the manifest of a shard, with what earlier runs into the folder have finished of its images.

    Raises:
        InputError: the shard is being segmented by another job, or the manifest of the folder is being written.
    """
    record = shard.record(out)
    with opened(out / FOLDER, record.with_suffix(".sqlite").name) as manifest:
        remove(record)
        if (out / NAME).exists() and next(manifest.images(), None) is None:
            manifest.take(out / NAME, [image.stem for image in images])
        yield manifest


def write_record(shard: Shard, out: Path, common: Mapping[str, Any], failed: Mapping[str, InputError]) -> None:
    """Note that a shard has come to its end.

    Args:
        shard: which.
        out: the folder of results.
        common: as `common_of` says.
        failed: why an image was not segmented, by its stem.
    """
    record = {**common, "failed": {stem: str(error) for stem, error in failed.items()}}
    write_text(shard.record(out), json.dumps(record, indent=2) + "\n")  # in ASCII: a name need not be UTF-8


def absorb(manifest: Manifest, out: Path) -> None:
    """Add the parts of interrupted runs to the manifest of the folder, and remove the folder of parts and records.

    Raises:
        InputError: another run is writing into one of them.
    """
    add_parts(manifest, out)
    remove(out / FOLDER)


def add_parts(manifest: Manifest, out: Path) -> None:
    """Add all parts to the manifest of the folder; each is removed when its rows are there.

    Raises:
        InputError: another run is writing into one of them.
    """
    for part in sorted((out / FOLDER).glob("*.sqlite")):
        manifest.take(part)
        remove(part)


def ended_shards(out: Path, common: Mapping[str, Any]) -> dict[Shard, dict[str, InputError]]:
    """The shards that have ended, each with why images were not segmented, by their stems.

    Args:
        out: the folder of results.
        common: what the shards must have in common, as `common_of` says.

    Raises:
        InputError: there are none, or they are of different runs or divisions.
    """
    folder, ended = out / FOLDER, {}
    for path in sorted(folder.glob("*.json")):
        if match := RECORD.fullmatch(path.name):
            record = read_json(path, AGAIN)
            for what, expected in common.items():
                if record.get(what) != expected:
                    problem = f"a shard was segmented with other {what} than those given now"
                    raise InputError(problem, file=path, got=record.get(what), expected=expected, fix=AGAIN)
            failed = {stem: InputError(said) for stem, said in record["failed"].items()}
            ended[Shard(int(match[1]), int(match[2]))] = failed
    counts = sorted({shard.count for shard in ended})
    if len(counts) != 1:
        got = " and ".join(f"shards of {count}" for count in counts) or "no shard that has ended"
        fix = "delete those that are not wanted" if counts else "segment the shards first: --shard 1/50 and so on"
        raise InputError("the shards can not be collected", file=folder, got=got, fix=fix)
    return ended


def collect(
    manifest: Manifest, out: Path, ended: Mapping[Shard, Mapping[str, InputError]], images: Sequence[Image]
) -> tuple[dict[str, InputError], list[Image]]:
    """Add what shards have segmented to the manifest of the folder.

    Args:
        manifest: of the folder.
        out: the folder of results.
        ended: as `ended_shards` returns them.
        images: of all shards.

    Returns:
        failed: why images were not segmented, by the stem of an image or the name of a shard that has not ended.
        done: the images that were segmented.

    Raises:
        InputError: one of the shards is still being segmented.
    """
    add_parts(manifest, out)
    count = next(iter(ended)).count
    failed: dict[str, InputError] = {}
    done: list[Image] = []
    for shard in (Shard(number, count) for number in range(1, count + 1)):
        if shard in ended:
            failed |= ended[shard]
            done += [image for image in shard.of(images) if image.stem not in ended[shard]]
        else:
            got = f"{len(shard.of(images))} images that are missing"
            failed[f"shard {shard}"] = InputError(f"shard {shard} has not ended", got=got, fix=AGAIN)
    return failed, done
