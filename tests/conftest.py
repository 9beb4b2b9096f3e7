"""What several tests share: a small prepared data set, and a workspace in which scripts run."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import fuzzing
import numpy as np
import pytest
import yaml
from hypothesis import settings

from clones import SMALLEST
from committed import run_here
from nuclei.base import files, params
from nuclei.images.io import write_labels, write_rgb
from nuclei.images.records import COLUMNS, Record, image_path, label_path

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell runs in the background ignores it
settings.register_profile("any machine", deadline=None)  # no test depends on a time
settings.register_profile("long", deadline=None, max_examples=1000)  # of tests/fuzz, by hand
settings.load_profile("any machine")  # pytest loads what --hypothesis-profile names later
ROOT = Path(__file__).resolve().parent.parent
LONGEST = ("test_pipeline", "test_interruption", "test_environment", "test_processes", "test_training")
SMALL_TRAINING = {
    "encoder_name": SMALLEST,
    "crop_px": 32,
    "batch_size": 4,
    "device": "cpu",
    "precision": "32-true",  # alike on every machine
    "search_foreground": [0.4, 0.5],
    "search_saddle_ratio": [0.5],
    "search_min_area_px": [0, 5],
}


def draw_discs(seed: int, height: int, width: int, count: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Draw bright discs on dark noise: (H, W, 3) uint8 and (H, W) uint16."""
    random = np.random.default_rng(seed)
    rows, cols = np.indices((height, width))
    labels = np.zeros((height, width), np.uint16)
    for number in range(1, count + 1):
        row, col, radius = random.uniform(0, height), random.uniform(0, width), random.uniform(4, 7)
        labels[((rows - row) ** 2 + (cols - col) ** 2 < radius**2) & (labels == 0)] = number
    _, dense = np.unique(labels, return_inverse=True)
    labels = dense.reshape(labels.shape).astype(np.uint16)
    gray = np.where(labels > 0, 170, 30) + random.normal(0, 8, labels.shape)
    return np.repeat(gray.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2), labels


def write_prepared(folder: Path, parts: dict[str, int]) -> list[Record]:
    """Write data/prepared and data/split.csv below `folder`: so many images of discs in each part."""
    prepared = folder / "data/prepared"
    (prepared / "images").mkdir(parents=True)
    (prepared / "labels").mkdir()
    records, split = [], []
    for number, part in enumerate(part for part, count in parts.items() for _ in range(count)):
        rgb, labels = draw_discs(number, 64 + 8 * (number % 2), 64)
        record = Record(
            id=f"image{number:02}",
            height=labels.shape[0],
            width=labels.shape[1],
            nuclei=int(labels.max()),
            foreground=round(float((labels > 0).mean()), 6),
            modality="fluorescence",
            source="drawn",
        )
        write_rgb(image_path(prepared, record.id), rgb)
        write_labels(label_path(prepared, record.id), labels)
        records.append(record)
        split.append({"id": record.id, "part": part, "group": number, "family": "discs"})
    files.write_rows(prepared / "index.csv", COLUMNS, [dataclasses.asdict(record) for record in records])
    files.write_rows(folder / "data/split.csv", ["id", "part", "group", "family"], split)
    return records


def write_params(folder: Path, **changes: Any) -> params.Params:
    """Write params.yaml into `folder` with some values changed; a dict changes a section."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    values["epochs"] = 2
    values["train"].update(SMALL_TRAINING)
    for name, change in changes.items():
        if isinstance(change, dict):
            values[name].update(change)
        else:
            values[name] = change
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    return params.load(folder / "params.yaml")


def run_script(script: str, folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run stages/<script>.py in `folder` in a process of its own and return what it said.

    Its imports take seconds: `committed.run_here` does without, where nothing but the script is tested.
    """
    return subprocess.run(
        [sys.executable, str(ROOT / "stages" / f"{script}.py"), *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that no worker of `make test` waits for one of them at the end."""
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many cases of bad input there were, by kind and outcome."""
    if fuzzing.OUTCOMES:
        terminalreporter.section("bad input")
        for line in fuzzing.counts():
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The path of the real stage1_train.zip, which NUCLEI_DATA names."""
    named = os.environ.get("NUCLEI_DATA")
    if not named:
        pytest.skip("set NUCLEI_DATA to the path of the real stage1_train.zip to run this")
    if not Path(named).is_file():
        pytest.fail(f"NUCLEI_DATA names no file: {named}")
    return Path(named)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which stages/train.py has run on small images of discs."""
    folder = tmp_path_factory.mktemp("trained")
    write_prepared(folder, {"train": 6, "val": 2, "test": 2})
    write_params(folder)
    done = run_here("train", folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up run after `plot` and `page`; a test that changes it works on a copy."""
    import made_up

    folder = made_up.finished_run(tmp_path_factory.mktemp("report"), images=24, side_px=64)
    for script in ("plot", "page"):
        done = run_here(script, folder)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def workspace(trained: Path, tmp_path: Path) -> Path:
    """A copy of `trained` that a test may change."""
    shutil.copytree(trained, tmp_path / "work")
    return tmp_path / "work"
