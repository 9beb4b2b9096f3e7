"""The two scripts plot and page: from reports to figures and a page, the same bytes every time."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import conftest
import made_up
import page
import plot
from committed import run_here
from nuclei.base.errors import InputError
from nuclei.images.io import write_labels


@pytest.fixture
def run(run_folder: Path, tmp_path: Path) -> Path:
    """A copy without what the scripts wrote, that a test may break."""
    shutil.copytree(run_folder, tmp_path / "run")
    shutil.rmtree(tmp_path / "run/reports/figures")
    (tmp_path / "run/reports/index.html").unlink()
    return tmp_path / "run"


def hashes(folder: Path) -> dict[str, str]:
    written = [folder / "reports/index.html", *sorted((folder / "reports/figures").iterdir())]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in written}


@pytest.fixture
def refused(run: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """Run both scripts in this process; return what both say when they refuse, having written nothing."""

    def message() -> str:
        monkeypatch.chdir(run)
        said = set()
        for script in (plot, page):
            with pytest.raises(InputError) as error:
                script.main()
            said.add(str(error.value))
        assert not (run / "reports/index.html").exists()
        assert not (run / "reports/figures").exists()
        assert not list((run / "reports").glob(".*.part"))
        assert len(said) == 1
        return said.pop()

    return message


def test_the_scripts_write_the_page_and_every_figure(run_folder):
    names = set(hashes(run_folder))
    assert {"index.html", "roc.png", "confusion.png", "worst.png", "median.png", "best.png", "modalities.png"} <= names


def test_the_same_reports_give_the_same_files_in_another_folder_language_and_hour(run_folder, run):
    (run / "reports/figures").mkdir()
    (run / "reports/figures/old.png").write_bytes(b"of a figure that is no longer drawn")
    for script in ("plot", "page"):
        done = conftest.run_script(
            script, run, PYTHONHASHSEED="7", TZ="Asia/Tokyo", LC_ALL="de_DE.UTF-8", MPLBACKEND="svg"
        )
        assert done.returncode == 0, done.stderr
    assert hashes(run) == hashes(run_folder)


def test_a_missing_report_ends_the_script_with_one_error(run):
    (run / "reports/roc.csv").unlink()
    done = run_here("plot", run)
    assert done.returncode == 1
    assert not (run / "reports/figures").exists()
    assert re.fullmatch(r"error: a table is missing\n  file: +reports/roc\.csv\n  fix: .*\n", done.stderr)


def test_a_damaged_report_is_an_error(run, refused):
    path = run / "reports/per_image.csv"
    path.write_text(path.read_text().replace("0.", "O.", 1))
    assert "not a number" in refused()


def test_a_missing_prediction_is_an_error(run, refused):
    shutil.rmtree(run / "data/predictions/labels")
    assert "missing" in refused()


def test_a_prediction_of_another_size_is_an_error(run, refused):
    for path in (run / "data/predictions/labels").iterdir():
        write_labels(path, np.zeros((8, 8), np.uint16))
    message = refused()
    assert "differs in size" in message
    assert "8 x 8" in message


def test_an_unknown_source_is_an_error(run, monkeypatch):
    (run / "data/source.json").write_text('{"kind": "elsewhere"}')
    monkeypatch.chdir(run)
    with pytest.raises(InputError, match="the data source is unknown"):
        page.main()
    assert not (run / "reports/index.html").exists()


def test_the_page_holds_the_very_figures_that_plot_wrote(run_folder):
    html = (run_folder / "reports/index.html").read_text(encoding="utf-8")
    light = re.findall(r'<picture>.*?<img src="data:image/png;base64,([^"]+)"', html)
    files = {base64.b64encode(path.read_bytes()).decode() for path in (run_folder / "reports/figures").iterdir()}
    assert len(light) > 10
    assert set(light) < files


def test_the_page_without_the_figures_is_an_error(run, monkeypatch):
    monkeypatch.chdir(run)
    with pytest.raises(InputError, match=r"(?s)a figure is missing.*reports/figures.*dvc repro"):
        page.main()
    assert not (run / "reports/index.html").exists()


@pytest.mark.parametrize("script", ["plot", "page"])
def test_the_scripts_import_no_torch(script):
    code = f"import sys; sys.argv = ['{script}']; import {script}; assert 'torch' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=made_up.ROOT / "stages", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
