"""The model card says what the run knows, and the same for two runs that are equal."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT
from made_up import SETTINGS, write
from nuclei.base import citation, files
from nuclei.base.errors import InputError
from nuclei.base.params import checked
from nuclei.experiments import repeats
from nuclei.export import card
from nuclei.network.segmenter import SETTINGS as SETTINGS_FILE
from nuclei.network.segmenter import Settings

WEIGHTS = b"the weights"
RECIPE = {"seed": 3, "epochs": 5, "train": {"crop_px": 96, "encoder_weights": None, "augment": {"blur": 0.1}}}
RUN = {
    "weights_sha256": hashlib.sha256(WEIGHTS).hexdigest(),
    "promise": "the same bits on this kind of processor with 2 threads, else nearly the same",
    "started": "2026-01-01T00:00:00Z",
    "platform": "Linux x86_64",
    "cpu": "A processor",
    "threads": 2,
    "device": "cpu",
    "precision": "32-true",
    "versions": {"torch": "2.15.0"},
}


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """What the stages up to evaluate leave: 5 training images, one of them tissue, and one image each to score."""
    looks = ["fluorescence"] * 3 + ["tissue"] + ["fluorescence"] * 3
    parts = ["train"] * 5 + ["val", "test"]
    shape = {"height": 64, "width": 64, "nuclei": 10, "foreground": 0.2}
    index = [{"id": f"i{n}", **shape, "modality": look, "source": "x"} for n, look in enumerate(looks)]
    split = [{"id": f"i{n}", "part": part, "group": n // 2} for n, part in enumerate(parts)]
    write(tmp_path / "data/prepared/index.csv", index)
    write(tmp_path / "data/split.csv", split)
    files.write_json(tmp_path / "data/source.json", {"kind": "sample"})
    files.write_json(tmp_path / "reports/metrics.json", {"test": dict.fromkeys(card.METRICS, 0.8123)})
    ci = {"low": 0.7, "high": 0.9, "images": 1, "groups": 1}
    files.write_json(tmp_path / "reports/metrics_ci.json", {"test": dict.fromkeys(card.METRICS, ci)})
    scores = {f"{name}{bound}": "" if bound else 0.5432 for name in card.METRICS for bound in ("", "_low", "_high")}
    stratum = {"part": "test", "grouping": "modality", "stratum": "fluorescence", "images": 1, "groups": 1}
    write(tmp_path / "reports/by_stratum.csv", [{**stratum, **scores}])
    write_machine(tmp_path)
    (tmp_path / "data/model").mkdir()
    (tmp_path / "data/model" / "unet_final_model.pth").write_bytes(WEIGHTS)
    return tmp_path


def write_machine(workspace: Path, **changes: Any) -> None:
    files.write_text(workspace / "reports/run.js", f"window.trainingRun = {json.dumps(RUN | changes, indent=2)};\n")


@pytest.fixture
def text(workspace: Path) -> Callable[[], str]:
    """Writes the card of the workspace's model and returns its text."""

    def written() -> str:
        model = workspace / "data/model"
        run = card.read_run(workspace, files.sha256(model / "unet_final_model.pth"), RECIPE)
        weights = model / "unet_final_model.pth"
        card.write(workspace / "MODEL.md", SETTINGS, citation.read(ROOT / "CITATION.cff"), run, [weights])
        return (workspace / "MODEL.md").read_text(encoding="utf-8")

    return written


def test_the_scores_stand_with_their_intervals_and_their_numbers_of_images_and_groups(text: Callable[[], str]) -> None:
    assert f"| test | all | 1 | 1 |{' 0.812 [0.700, 0.900] |' * 5}\n" in text()


def test_a_model_of_every_image_has_no_scores_and_not_those_of_an_earlier_one(
    workspace: Path, text: Callable[[], str]
) -> None:
    rows = files.read_rows(workspace / "data/split.csv", ["id"], "")
    files.write_rows(workspace / "data/split.csv", ["id", "part", "group"], [row | {"part": "train"} for row in rows])
    assert "Every image was a training image" in text()
    assert "0.812" not in text() and "| train | 7 |" in text()


def fold_rows(**changes: object) -> list[dict[str, object]]:
    head = {"images": 9, "groups": 3, "nuclei": 30, "value": 0.7512, "low": 0.7, "high": ""}
    families = [("family", repeats.MEAN), ("family", "64x64 tissue on pink")]
    strata = [("all", "all"), *families, ("size", "up to 9 px")]
    return [
        {"grouping": grouping, "stratum": stratum, **head, "metric": metric} | changes
        for grouping, stratum in strata
        for metric in ("accuracy", *card.METRICS)
    ]


def test_the_scores_of_folds_stand_beside_or_in_place_of_those_of_the_model(tmp_path: Path) -> None:
    write(tmp_path / "families.csv", fold_rows(high=0.8))
    folds = {"families.csv": card.read_folds(tmp_path / "families.csv")}
    card.write(tmp_path / "MODEL.md", SETTINGS, citation.read(ROOT / "CITATION.cff"), None, [], folds)
    text = (tmp_path / "MODEL.md").read_text(encoding="utf-8")
    assert "### Left out: families.csv\n" in text
    for stratum in ("all", "mean of the families", "family 64x64 tissue on pink"):
        assert f"| {stratum} | 9 | 3 |{' 0.751 [0.700, 0.800] |' * 5}\n" in text
    assert "up to 9 px" not in text


def test_the_card_of_the_shipped_model_is_the_one_that_an_export_writes(tmp_path: Path) -> None:
    model, table = ROOT / "models/nuclei", ROOT / "reports/bbbc038/families.csv"
    settings = checked(Settings, files.read_json(model / SETTINGS_FILE, ""), model)
    described = [*sorted(model.glob("*.pth")), model / SETTINGS_FILE]
    folds, notes = {table.name: card.read_folds(table)}, (model / "NOTES.md").read_text(encoding="utf-8")
    card.write(tmp_path / "MODEL.md", settings, citation.read(ROOT / "CITATION.cff"), None, described, folds, notes)
    assert (model / "MODEL.md").read_text(encoding="utf-8") == (tmp_path / "MODEL.md").read_text(encoding="utf-8")


def test_a_table_that_is_none_of_folds_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "folds.csv", fold_rows(images="many"))
    with pytest.raises(InputError, match=r"table of folds can not be read(.|\n)*folds.csv(.|\n)*stages/repeats.py"):
        card.read_folds(tmp_path / "folds.csv")
    write(tmp_path / "folds.csv", [{"id": 1}])
    with pytest.raises(InputError, match="lacks columns"):
        card.read_folds(tmp_path / "folds.csv")


def test_the_licence_of_the_weights_that_training_began_with_is_recalled(workspace: Path) -> None:
    for name, said in (("encoder_weights", "began with published weights"), ("start_from", "began with another model")):
        recipe = RECIPE | {"train": {name: "a/path"}}
        run = card.read_run(workspace, "", recipe)
        card.write(workspace / "MODEL.md", SETTINGS, citation.read(ROOT / "CITATION.cff"), run, [])
        assert f"{said}, whose licence applies as well |" in (workspace / "MODEL.md").read_text(encoding="utf-8")


def test_a_score_without_an_interval_stands_alone(text: Callable[[], str]) -> None:
    assert f"| test | fluorescence | 1 | 1 |{' 0.543 |' * 5}\n" in text()


def test_the_split_is_counted_in_images_groups_nuclei_and_modalities(text: Callable[[], str]) -> None:
    assert "| train | 5 | 3 | 50 | 4 | 1 | 0 |\n| val | 1 | 1 | 10 | 1 | 0 | 0 |" in text()


def test_every_parameter_of_the_recipe_stands_under_its_dotted_name(text: Callable[[], str]) -> None:
    lines = [
        "| seed | 3 |",
        "| train.crop_px | 96 |",
        "| train.encoder_weights | null |",
        "| train.augment.blur | 0.1 |",
    ]
    assert all(line in text() for line in lines)


def test_a_model_of_drawn_images_is_not_for_real_ones(workspace: Path, text: Callable[[], str]) -> None:
    assert "- Real images: it was trained on drawn ones alone" in text()
    files.write_json(workspace / "data/source.json", {"kind": "bbbc038", "urls": []})
    assert "Real images" not in text()
    assert "trained on data in the public domain (CC0 1.0)" in text()


def test_modalities_that_it_has_hardly_seen_are_named(text: Callable[[], str]) -> None:
    assert "- Tissue images: it was trained on 1 alone." in text()
    assert "- Brightfield images: it was trained on none." in text()


def test_the_corrected_archive_is_known_by_its_hash(workspace: Path, text: Callable[[], str]) -> None:
    (hash,) = card.CORRECTED
    files.write_json(workspace / "data/source.json", {"kind": "path", "stage1_train.zip": {"sha256": hash}})
    assert f"corrections of the annotations (`kaggle-dsbowl-2018-dataset-fixes`, CC0 1.0), SHA-256 `{hash}`" in text()


def test_runs_that_differ_in_when_they_ran_have_the_same_card(workspace: Path, text: Callable[[], str]) -> None:
    first = text()
    write_machine(workspace, started="2027-02-02T00:00:00Z")
    assert text() == first
    assert "On A processor (Linux x86_64, 2 threads), device cpu, precision 32-true." in first


def test_the_machine_of_another_training_is_not_taken_for_this_ones(workspace: Path, text: Callable[[], str]) -> None:
    write_machine(workspace, weights_sha256="another")
    assert "A processor" not in text()
    assert "The machine was not recorded" in text()


def test_the_diameters_that_are_rescaled_are_named(workspace: Path, text: Callable[[], str]) -> None:
    assert "takes every image at the scale that it has" in text()
    settings = replace(SETTINGS, diameter_px=25.0)
    card.write(workspace / "MODEL.md", settings, citation.read(ROOT / "CITATION.cff"), None, [])
    assert re.search(r"nuclei of 6 to 250 px reach", (workspace / "MODEL.md").read_text())


def test_of_a_model_outside_its_workspace_the_card_says_that_nothing_is_known(tmp_path: Path) -> None:
    weights = tmp_path / "unet_final_model.pth"
    weights.write_bytes(WEIGHTS)
    card.write(tmp_path / "MODEL.md", SETTINGS, citation.read(ROOT / "CITATION.cff"), None, [weights])
    said = (tmp_path / "MODEL.md").read_text()
    assert "is not known: the model lies outside the workspace that trained it" in said
    assert f"| unet_final_model.pth | `{RUN['weights_sha256']}` |" in said


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("data/source.json", '{"kind": "elsewhere"}', "the data source is unknown"),
        ("reports/metrics.json", '{"test": {}}', "the metrics can not be read"),
        ("reports/run.js", "nothing", "the facts of the training can not be read"),
    ],
)
def test_a_file_that_the_pipeline_did_not_write_is_an_error(
    workspace: Path, text: Callable[[], str], file: str, content: str, said: str
) -> None:
    (workspace / file).write_text(content)
    with pytest.raises(InputError, match=said):
        text()
