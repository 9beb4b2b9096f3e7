"""stages/export.py, in this process: the stage's folders, any other model, and what it refuses."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import export
from made_up import SETTINGS
from nuclei.base.errors import InputError
from nuclei.export import graph
from nuclei.network.segmenter import Segmenter, make_net


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model with random weights."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("saved")
    settings = replace(SETTINGS, encoder_name="resnet18", precision="32-true")
    Segmenter(make_net("Unet", "resnet18", "distance"), settings).save(folder)
    return folder


@pytest.fixture
def arguments(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command line, whose graph is written without torch's exporter: test_graph.py tests that one."""

    def write(segmenter: Segmenter, path: Path) -> float:
        path.write_bytes(b"a graph")
        return 1e-6

    monkeypatch.setattr(graph, "write", write)
    monkeypatch.chdir(tmp_path)
    given = ["export.py", str(saved), "-o", "out"]
    monkeypatch.setattr(sys, "argv", given)
    return given


def test_any_model_is_exported_with_a_card(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    export.main()
    assert {path.name for path in Path("out").iterdir()} == {"model.onnx", "MODEL.md"}
    assert "lies outside the workspace that trained it" in Path("out/MODEL.md").read_text()
    assert "differs from torch by at most 1e-06" in capsys.readouterr().out


def test_an_earlier_export_is_replaced(arguments: list[str]) -> None:
    Path("out").mkdir()
    Path("out/model.onnx").write_bytes(b"an older graph")
    export.main()
    assert Path("out/model.onnx").read_bytes() == b"a graph"


def test_a_folder_that_holds_something_else_is_left_alone(arguments: list[str]) -> None:
    Path("out").mkdir()
    Path("out/notes.txt").write_text("mine")
    with pytest.raises(InputError, match="the folder to write holds something else"):
        export.main()
    assert Path("out/notes.txt").read_text() == "mine"


def test_without_a_model_nothing_is_written(arguments: list[str], tmp_path: Path) -> None:
    arguments[1] = str(tmp_path / "nothing")
    with pytest.raises(InputError, match="there is no trained model"):
        export.main()
    assert not Path("out").exists()


def test_a_package_without_its_packages_says_how_to_install_them(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bioimageio.spec", None)
    monkeypatch.delitem(sys.modules, "nuclei.export.package", raising=False)
    monkeypatch.delattr("nuclei.export.package", raising=False)  # as another test may have imported it
    arguments += ["--bioimageio", "image.png"]
    with pytest.raises(InputError, match=r"requirements-export\.txt"):
        export.main()
    assert not Path("out").exists()


def test_the_model_of_a_workspace_is_known_by_its_place(tmp_path: Path) -> None:
    (tmp_path / "data/model").mkdir(parents=True)
    assert export.workspace_of(tmp_path / "data/model") is None
    (tmp_path / "params.yaml").touch()
    assert export.workspace_of(tmp_path / "data/model") == tmp_path
    assert export.workspace_of(tmp_path) is None
