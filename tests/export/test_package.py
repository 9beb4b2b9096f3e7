"""bioimageio.core accepts the package, and runs both kinds of weights in it to the project's own result."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import ROOT, draw_discs
from made_up import SETTINGS
from nuclei.base import citation
from nuclei.base.errors import InputError
from nuclei.network.segmenter import Segmenter, make_net

core = pytest.importorskip("bioimageio.core", reason="pip install -r requirements-export.txt")

from nuclei.export import package  # noqa: E402
from nuclei.export.card import Run  # noqa: E402

SMALL = "timm-mobilenetv3_small_minimal_100"  # bioimageio.core reads the weights many times
CITED = citation.read(ROOT / "CITATION.cff")


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package of a model with random weights that finds something: half of the pixels are above its threshold."""
    torch.manual_seed(0)
    settings = replace(SETTINGS, encoder_name=SMALL, precision="32-true", diameter_px=25.0)
    segmenter = Segmenter(make_net("Unet", SMALL, "distance"), settings)
    rgb, labels = draw_discs(0, 192, 160)
    middle = round(float(np.median(segmenter.maps(rgb)[0])), 3)
    segmenter.settings = replace(settings, foreground=middle, min_area_px=4)
    segmenter.segment = lambda _: labels  # whose diameter scales the example: what this network finds has any size
    path = tmp_path_factory.mktemp("package") / "nuclei.bioimageio.zip"
    run = Run(recipe={}, data="drawn discs (CC0 1.0)", synthetic=True, parts=[], scores=[], machine=None)
    package.write(segmenter, rgb, "# A card\n", CITED, run, path)
    return path


def test_the_package_passes_the_test_of_bioimageio_core_with_both_kinds_of_weights(packed: Path) -> None:
    summary = core.test_model(packed)
    assert summary.status == "passed", summary.format()


def test_the_package_says_what_it_is_of_and_which_diameter_it_expects(packed: Path) -> None:
    model = core.load_model_description(packed)
    assert (model.version.root, model.license) == (CITED.version, CITED.licence)
    assert "nuclei measure 25 px in diameter" in model.description
    assert model.training_data.description == "Drawn discs (CC0 1.0)"
    with zipfile.ZipFile(packed) as file:
        assert "## Validation" in file.read("README.md").decode()
        sources = file.read("network.py") + file.read("watershed.py")
    assert b"from nuclei" not in sources


def test_a_model_without_a_second_head_is_refused(tmp_path: Path) -> None:
    segmenter = Segmenter(make_net("Unet", SMALL, "none"), replace(SETTINGS, instance_target="none"))
    with pytest.raises(InputError, match="without a second head"):
        package.write(segmenter, np.zeros((32, 32, 3), np.uint8), "", CITED, None, tmp_path / "x.zip")


def test_an_example_without_nuclei_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    settings = replace(SETTINGS, encoder_name=SMALL, foreground=1.0, precision="32-true")
    segmenter = Segmenter(make_net("Unet", SMALL, "distance"), settings)
    with pytest.raises(InputError, match="finds nothing in the example"):
        package.write(segmenter, np.zeros((32, 32, 3), np.uint8), "", CITED, None, tmp_path / "x.zip")
    assert not list(tmp_path.iterdir())
