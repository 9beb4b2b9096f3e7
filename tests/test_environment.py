"""Where and how the stages run does not change what they write, nor stops them."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from committed import run_here
from conftest import ROOT, draw_discs, run_script, write_params

DATA_STAGES = ("source", "fetch", "prepare", "split")
# Runs scripts one after the other, each as if it had been called
ONE_BY_ONE = """
import pathlib, runpy, sys
for script in sys.argv[1:]:
    sys.argv, sys.path[0] = [script], str(pathlib.Path(script).parent)
    runpy.run_path(script, run_name="__main__")
"""
IMAGES = 12
# root, who may write everywhere, obeys the permissions without these two rights
RIGHTS = "-dac_override,-dac_read_search"
OBEYING = ("setpriv", f"--bounding-set={RIGHTS}", f"--inh-caps={RIGHTS}") if shutil.which("setpriv") else ()


def write_data(folder: Path) -> None:
    """Write images in Kaggle's layout, one mask a nucleus, under names that are not ASCII."""
    for number in range(IMAGES):
        rgb, labels = draw_discs(number, 48, 40 + number, 4)
        name = f"Präparat {number:02}"
        for kind in ("images", "masks"):
            (folder / "stage1_train" / name / kind).mkdir(parents=True)
        Image.fromarray(rgb).save(folder / "stage1_train" / name / "images" / f"{name}.png")
        for nucleus in range(1, labels.max() + 1):
            mask = Image.fromarray((labels == nucleus).astype(np.uint8) * 255)
            mask.save(folder / "stage1_train" / name / "masks" / f"細胞{nucleus}.png")


def hashes(folder: Path) -> dict[str, str]:
    """The hash of every file under `folder`, by its path."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def run_stages(
    folder: Path,
    *stages: str,
    environment: dict[str, str | None] | None = None,
    prefix: Sequence[str] = (),
    **process: Any,
) -> None:
    """Run stages in `folder`, in one process; a variable of the environment that is None is taken away."""
    changed = {**os.environ, **(environment or {})}
    done = subprocess.run(
        [*prefix, sys.executable, "-c", ONE_BY_ONE, *(str(ROOT / f"stages/{stage}.py") for stage in stages)],
        cwd=folder,
        env={name: value for name, value in changed.items() if value is not None},
        capture_output=True,
        timeout=300,
        check=False,
        **process,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with the user's own data in `Bïlder`, in which the data stages have run as usual."""
    folder = tmp_path_factory.mktemp("prepared")
    write_data(folder / "Bïlder")
    write_params(folder, data="Bïlder")
    for stage in DATA_STAGES:
        assert run_here(stage, folder).returncode == 0
    return folder


@pytest.fixture
def fresh(prepared: Path, tmp_path: Path) -> Path:
    """The same workspace, with nothing run yet."""
    shutil.copytree(prepared, tmp_path / "work", ignore=shutil.ignore_patterns("data"))
    return tmp_path / "work"


def expect_the_same(folder: Path, prepared: Path) -> None:
    expected = hashes(prepared / "data")
    assert any(path.startswith("prepared/labels/") for path in expected)
    assert hashes(folder / "data") == expected


@pytest.mark.skipif(not hasattr(os, "fork"), reason="it closes what only a Unix process inherits")
def test_a_bare_environment_a_closed_input_and_a_strict_umask_change_no_byte(fresh: Path, prepared: Path) -> None:
    bare: dict[str, str | None] = dict.fromkeys(("HOME", "TERM", "USER", "LOGNAME", "LANG"))
    bare |= {"PYTHONHASHSEED": "1", "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "TMPDIR": "/nonexistent/folder"}
    run_stages(fresh, *DATA_STAGES, environment=bare, umask=0o077, preexec_fn=lambda: os.close(0))
    expect_the_same(fresh, prepared)


def test_a_link_to_the_workspace_and_another_home_locale_and_time_zone_change_no_byte(
    fresh: Path, prepared: Path, tmp_path: Path
) -> None:
    installed = subprocess.run(["locale", "-a"], capture_output=True, text=True, check=False).stdout.lower()
    locale = "de_DE.UTF-8" if "de_de.utf8" in installed else "POSIX"  # writes 1,5 for 1.5
    link, temporary = tmp_path / "a link", tmp_path / "a temporary folder"
    link.symlink_to(fresh, target_is_directory=True)
    temporary.mkdir()
    elsewhere = {"PWD": str(link), "TMPDIR": str(temporary), "HOME": os.devnull, "LC_ALL": locale, "TZ": "XXX-14"}
    run_stages(link, *DATA_STAGES, environment={**elsewhere, "PYTHONHASHSEED": "4294967295", "OMP_NUM_THREADS": "3"})
    expect_the_same(fresh, prepared)
    assert not list(temporary.iterdir())


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system gives a process all cores")
def test_the_number_of_cores_changes_no_byte(tmp_path: Path) -> None:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        pytest.skip("there is only one core")
    for number in range(320):  # from about here on a second process is worth its start
        rgb, labels = draw_discs(number, 24, 24, 2)
        for kind, image in {"images": rgb, "masks": labels}.items():
            (tmp_path / "mine" / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(tmp_path / "mine" / kind / f"{number:03}.png")
    write_params(tmp_path, data="mine")
    for stage in ("source", "fetch"):
        assert run_here(stage, tmp_path).returncode == 0
    found = []
    for count in (1, 2):
        run_stages(tmp_path, "prepare", preexec_fn=partial(os.sched_setaffinity, 0, set(cores[:count])))
        found.append(hashes(tmp_path / "data/prepared"))
    assert found[0] == found[1]


def test_data_that_may_only_be_read_is_enough_and_stays_as_it_was(prepared: Path, fresh: Path) -> None:
    shutil.copytree(prepared / "data", fresh / "data")  # of an earlier run, which this one replaces
    data = [fresh / "Bïlder", *(fresh / "Bïlder").rglob("*")]
    before = hashes(fresh / "Bïlder")
    for path in data:
        path.chmod(0o555 if path.is_dir() else 0o444)
    probe = [*OBEYING, sys.executable, "-c", "open('Bïlder/written', 'w')"]
    if not subprocess.run(probe, cwd=fresh, capture_output=True, check=False).returncode:
        pytest.skip("permissions can not be taken away here")
    run_stages(fresh, *DATA_STAGES, prefix=OBEYING)
    expect_the_same(fresh, prepared)
    assert hashes(fresh / "Bïlder") == before
    for path in data:
        path.chmod(0o755)


def test_without_a_home_training_writes_the_same_model_and_what_follows_runs(trained: Path, workspace: Path) -> None:
    bare: dict[str, str | None] = {"HOME": os.devnull, "TERM": None, "LC_ALL": "POSIX", "TZ": "XXX-14"}
    run_stages(workspace, "train", "evaluate", "plot", environment={**bare, "PYTHONHASHSEED": "2"})
    assert hashes(workspace / "data/model") == hashes(trained / "data/model")
    assert list((workspace / "reports/figures").iterdir())


def test_a_name_that_the_locale_can_not_read_is_an_error_that_says_how_it_can(fresh: Path) -> None:
    write_params(fresh, data="plain")
    (fresh / "Bïlder").rename(fresh / "plain")
    ascii_only = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = run_script("source", fresh, **ascii_only)
    assert done.returncode == 1
    assert "a file name is not UTF-8" in done.stderr
    assert "set PYTHONUTF8=1" in done.stderr
    run_stages(fresh, "source", environment={**ascii_only, "PYTHONUTF8": "1"})
