"""Whatever interrupts a stage leaves whole files and no process, and the next run ends with the same bytes."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from committed import run_here
from conftest import ROOT, write_params
from nuclei.base import files
from nuclei.fetch import packing, sample
from nuclei.images import io as images
from nuclei.train.checkpoint import Checkpoint

resource = pytest.importorskip("resource", reason="signals and limits of Unix")

# Runs a script, and kills it when it has finished so many files but the last, which it is about to rename.
AT_A_RENAME = """
import os, pathlib, runpy, signal, sys
script, moment, rename, done = sys.argv[1], int(sys.argv[2]), pathlib.Path.replace, 0
def replace(path, target):
    global done
    done += 1
    if done == moment:
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(path, target)
pathlib.Path.replace, sys.argv, sys.path[0] = replace, [script], str(pathlib.Path(script).parent)
runpy.run_path(script, run_name="__main__")
"""
# Runs a script with Ctrl-C at the moment when it imports a module.
AT_AN_IMPORT = """
import pathlib, runpy, signal, sys
script, module = sys.argv[1:]
class Finder:
    def find_spec(name, path=None, target=None):
        if name == module:
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Finder)
sys.argv, sys.path[0] = [script], str(pathlib.Path(script).parent)
runpy.run_path(script, run_name="__main__")
"""
# Prepares with two workers, and Ctrl-C to the whole group, as a terminal sends it, when three images are done.
WITH_WORKERS = """
import os, signal, sys
import prepare
from nuclei.base.errors import run
passed_on = prepare.track
def track(results, **meter):
    for number, done in enumerate(passed_on(results, **meter)):
        if number == 3:
            os.killpg(0, signal.SIGINT)
        yield done
prepare.track = track
if __name__ == "__main__":
    run(lambda: prepare.main(workers=2))
"""


def run(code: str, folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run code in `folder`, in a process group of its own, whose processes have to end with it."""
    script = folder / "interrupted.py"
    script.write_text(code)
    process = subprocess.Popen(
        [sys.executable, str(script), *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "stages")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    said, errors = process.communicate(timeout=300)  # until no process holds the pipes any more
    script.unlink()
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    return subprocess.CompletedProcess(process.args, process.returncode, said, errors)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below data and reports that stands under its own name, but the learning curves that grow."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for top in ("data", "reports")
        for path in (folder / top).rglob("*")
        if path.is_file() and not re.search(r"\.part|/live/", str(path))
    }


def half_written(folder: Path) -> list[Path]:
    return list(folder.rglob("*.part"))


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a data set of six images that is not prepared yet."""
    folder = tmp_path_factory.mktemp("packed")
    (folder / "data/raw").mkdir(parents=True)
    sample.write_sample(folder / "data/raw", images=6, unlabelled=1, seed=0)
    write_params(folder)
    return folder


@pytest.fixture
def unprepared(packed: Path, tmp_path: Path) -> Path:
    """A copy of `packed` that a test may change."""
    shutil.copytree(packed, tmp_path / "unprepared")
    return tmp_path / "unprepared"


@contextmanager
def small_disk(size: int) -> Iterator[None]:
    """No file can have more bytes, not even the one that pytest reports to."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    ("stage", "moments"),
    [
        ("prepare", (6, 15)),  # the third image, the whole folder of 6
        ("evaluate", (6, 12)),  # the third label map, a report
    ],
)
def test_a_stage_killed_at_any_moment_ends_with_the_same_bytes(
    stage: str, moments: tuple[int, ...], unprepared: Path, workspace: Path
) -> None:
    folder = unprepared if stage == "prepare" else workspace
    before = contents(folder)
    assert run_here(stage, folder).returncode == 0
    untouched = contents(folder)
    assert len(untouched) > len(before)
    for name in untouched.keys() - before.keys():
        (folder / name).unlink()
    shutil.rmtree(folder / ("data/prepared" if stage == "prepare" else "data/predictions"))
    for moment in moments:
        assert run(AT_A_RENAME, folder, ROOT / f"stages/{stage}.py", moment).returncode == -signal.SIGKILL
        left = contents(folder)
        assert left.items() <= untouched.items(), "a file is there and not whole"
    assert run_here(stage, folder).returncode == 0
    assert contents(folder) == untouched
    assert not half_written(folder)


@pytest.mark.parametrize(("stage", "moment"), [("prepare", 5), ("train", 1), ("evaluate", 3)])
def test_ctrl_c_ends_a_stage_without_a_traceback_and_leaves_what_was_there(
    stage: str, moment: int, unprepared: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = unprepared if stage == "prepare" else workspace
    before, rename, moments = contents(folder), Path.replace, itertools.count(1)

    def replace(path: Path, target: Path) -> Path:
        if next(moments) == moment:
            signal.raise_signal(signal.SIGINT)
        return rename(path, target)

    monkeypatch.setattr(Path, "replace", replace)
    done = run_here(stage, folder)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")
    assert contents(folder) == before
    assert not half_written(folder)


def test_ctrl_c_ends_the_workers_too(unprepared: Path) -> None:
    before = contents(unprepared)
    done = run(WITH_WORKERS, unprepared)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")
    assert contents(unprepared) == before
    assert not half_written(unprepared)


@pytest.mark.parametrize(
    ("stage", "module"), [("source", "nuclei.base.params"), ("plot", "matplotlib"), ("train", "torch")]
)
def test_ctrl_c_during_an_import_prints_one_word_and_no_traceback(stage: str, module: str, tmp_path: Path) -> None:
    done = run(AT_AN_IMPORT, tmp_path, ROOT / f"stages/{stage}.py", module)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "interrupted\n")  # which a shell calls 130


def store_maps(path: Path) -> None:
    import train

    train.store(path, np.zeros((2, 300, 300), np.float16))


NOISE = np.random.default_rng(0).integers(0, 255, (300, 300, 3), np.uint8)
WRITERS: dict[str, Callable[[Path], Any]] = {
    "a large checkpoint": lambda path: Checkpoint("key", path).save({"weights": torch.zeros(100_000)}),
    "a checkpoint of small parts": lambda path: Checkpoint("key", path).save(
        {str(n): torch.zeros(100) for n in range(300)}
    ),
    "a table": lambda path: files.write_rows(path, ["a"], ({"a": number} for number in range(50_000))),
    "an image": lambda path: images.write_rgb(path, NOISE),
    "a label map": lambda path: images.write_labels(path, NOISE[..., 0]),
    "an archive": lambda path: packing.write_archive(ROOT / "reports/figures", path),
    "a drawn data set": lambda path: sample.write_sample(path, images=1, unlabelled=0, seed=0),
    "maps for the search": store_maps,
}


@pytest.mark.parametrize("what", WRITERS)
def test_a_full_disk_is_reported_as_such_whatever_is_written(what: str, tmp_path: Path) -> None:
    write = WRITERS[what]
    too_large = pytest.raises(OSError, match="File too large")
    with small_disk(20_000), too_large, files.replacing(tmp_path / "target") as temporary:
        write(temporary)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("stage", "size"), [("prepare", 5_000), ("train", 100_000), ("evaluate", 1_000)])
def test_a_full_disk_ends_a_stage_with_one_error_and_what_to_do(
    stage: str, size: int, unprepared: Path, workspace: Path
) -> None:
    folder = unprepared if stage == "prepare" else workspace
    before = contents(folder)
    with small_disk(size):
        done = run_here(stage, folder)
    assert done.returncode == 1
    assert done.stderr.startswith("error: File too large\n  file:     data/")
    assert "  fix:      free some space" in done.stderr
    assert len(done.stderr.splitlines()) == 3
    assert contents(folder) == before
    assert not half_written(folder)
