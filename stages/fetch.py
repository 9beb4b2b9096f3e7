"""Bring the data set into the pipeline, as one or two archives.

Reads:      data/source.json, and what `data` points to: nothing, the network, or the user's own files
Writes:     data/raw/stage1_train.zip and, where there are images without masks, data/raw/stage1_test.zip
Parameters: data, seed, fetch

Downloads from BBBC038 stay in data/.download until all are complete, so that the next run need not repeat them.
Those from Kaggle stay in kagglehub's cache.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nuclei.base.errors import InputError, run
from nuclei.base.files import read_json, remove, replacing
from nuclei.base.params import Params, load
from nuclei.fetch import packing, sources

SOURCE = Path("data/source.json")
RAW = Path("data/raw")
SCRATCH = Path("data/.download")
AGAIN = "run: dvc repro"


def main() -> None:
    params = load()
    source = read_json(SOURCE, fix=AGAIN)
    if not isinstance(source, dict) or source.get("kind") != sources.kind(params.data):
        raise InputError("it describes other data than params.yaml names", file=SOURCE, got=source, fix=AGAIN)
    fetch = {"sample": sample, "bbbc038": bbbc038, "kaggle": kaggle, "path": path}[source["kind"]]
    with replacing(RAW) as raw:
        raw.mkdir()
        fetch(raw, source, params)
    remove(SCRATCH)


def sample(raw: Path, source: dict[str, Any], params: Params) -> None:
    """Draw the built-in data set."""
    from nuclei.fetch.sample import write_sample

    settings = params.fetch
    write_sample(raw, images=settings.sample_images, unlabelled=settings.sample_unlabelled, seed=params.seed)


def bbbc038(raw: Path, source: dict[str, Any], params: Params) -> None:
    """Download the Broad Institute's public archives."""
    from nuclei.fetch.download import BY_HAND, download

    settings = params.fetch
    for wanted in source["archives"]:
        url, sha256 = wanted["url"], wanted["sha256"]
        archive = SCRATCH / Path(url).name
        download(url, archive, sha256=sha256, timeout_s=settings.timeout_s, retries=settings.retries)
        take(archive, raw / archive.name, origin=url, fix=f"run it again: it is downloaded anew; {BY_HAND}")


def kaggle(raw: Path, source: dict[str, Any], params: Params) -> None:
    """Download the competition's archives with the user's account."""
    from nuclei.fetch.competition import BBBC038, download_competition_file

    for name in (sources.TRAIN, sources.TEST):
        archive = download_competition_file(source["competition"], name)
        take(archive, raw / name, origin=archive, fix=f"run it again: it is downloaded anew; {BBBC038}")


def take(archive: Path, target: Path, *, origin: str | Path, fix: str) -> None:
    """Check a downloaded archive and copy it to `target`; remove a damaged one, which the next run would reuse."""
    try:
        packing.check_archive(archive, read=True, origin=origin, fix=fix)
    except InputError:
        remove(archive)
        raise
    packing.write_archive(archive, target)


def path(raw: Path, source: dict[str, Any], params: Params) -> None:
    """Copy the user's archives, or pack the user's folders."""
    parts = sources.parts(sources.locate(params.data, Path.cwd()))
    for part in parts.values():
        if part.is_file():
            packing.check_archive(part, fix="copy or make the archive again")
    written = {name: packing.write_archive(part, raw / name) for name, part in parts.items()}
    if {"kind": "path", **written} != source:
        raise InputError("the data changed while it was read", file=params.data, fix=AGAIN)


if __name__ == "__main__":
    run(main)
