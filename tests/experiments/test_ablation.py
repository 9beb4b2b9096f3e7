"""The table and the drawing of an ablation."""

from __future__ import annotations

import dataclasses
import io
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from committed import git, report, run_here
from nuclei.base import files
from nuclei.base.errors import InputError
from nuclei.experiments import ablation
from nuclei.experiments.comparison import compare
from nuclei.experiments.revisions import Snapshot, read_revision
from nuclei.report.drawing import render

TRAIN = {"learning_rate": 0.001, "augment": {"blur": 0.2}, "instance_target": "distance", "edges": [1, 2]}


def commit(folder: Path, name: str, better: float = 0.0, **params: object) -> None:
    """Commit reports on top of the first commit, as DVC does with an experiment, under a tag."""
    if name != "start":
        git(folder, "checkout", "-q", "start")
    report(folder, better, **{"train": TRAIN, **params})
    git(folder, "add", ".")
    git(folder, "commit", "-q", "--allow-empty", "-m", name)
    git(folder, "tag", name)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q", "-b", "main")
    commit(tmp_path, "start")
    commit(tmp_path, "recipe", 0.05, epochs=9)
    commit(tmp_path, "no-blur", 0.02, epochs=9, train=TRAIN | {"augment": {"blur": 0}})
    commit(tmp_path, "border", 0.08, epochs=9, train=TRAIN | {"instance_target": "border", "edges": [3, 4]})
    return tmp_path


def read(folder: Path, *names: str) -> list[Snapshot]:
    return [read_revision(name, folder) for name in names]


def test_the_table_gives_each_change_its_effect_and_its_command(repository: Path) -> None:
    recipe, *others = read(repository, "recipe", "no-blur", "border")
    rows = ablation.tabulate(recipe, others, "val")
    assert [row["change"] for row in rows] == [
        "",
        "train.augment.blur=0",
        "train.instance_target=border train.edges=[3,4]",
    ]
    assert rows[0]["command"] == "dvc exp run -S epochs=9"
    assert shlex.split(rows[2]["command"])[3:] == [
        *("-S", "epochs=9", "-S", "train.instance_target=border", "-S", "train.edges=[3,4]")
    ]
    assert rows[0]["map_difference"] == ""
    for row, other in zip(rows[1:], others, strict=True):
        (part,) = compare(recipe, other).parts
        (found,) = [of for of in part.metrics if of.metric == "map"]
        assert (row["map"], row["map_difference"], row["map_low"]) == (found.head, found.difference, found.low)
        assert row["map"] == other.metrics["val"]["map"]
        assert (row["images"], row["groups"]) == (30, 15)


def test_the_drawing_has_a_line_for_each_experiment_and_a_text_with_the_same_numbers(repository: Path) -> None:
    recipe, *others = read(repository, "recipe", "no-blur", "border")
    picture = render(ablation.draw, ablation.tabulate(recipe, others, "val"), dpi=60)
    assert "with train.augment.blur=0; " in picture.alt
    assert picture.alt.index("train.augment.blur=0") < picture.alt.index(
        "train.instance_target=border"
    )  # the worse first
    fewer = render(ablation.draw, ablation.tabulate(recipe, others[:1], "val"), dpi=60)
    assert fewer.height_px < picture.height_px
    assert len(np.unique(np.asarray(Image.open(io.BytesIO(picture.png)).convert("L")))) > 10


def test_an_experiment_that_can_not_be_compared_with_the_recipe_is_an_error(repository: Path) -> None:
    commit(repository, "others", epochs=9)
    report(repository, images=["image01", "image02", "image03"], train=TRAIN)
    git(repository, "commit", "-q", "-a", "-m", "fewer images")
    recipe, same, fewer = read(repository, "recipe", "others", "HEAD")
    with pytest.raises(InputError, match="differs in no parameter"):
        ablation.tabulate(recipe, [same], "val")
    with pytest.raises(InputError, match="not scored on the same val images"):
        ablation.tabulate(recipe, [fewer], "val")
    with pytest.raises(InputError, match="has no scores of test"):
        ablation.tabulate(recipe, [same], "test")


def test_images_whose_groups_are_not_known_are_an_error(repository: Path) -> None:
    recipe, other = (dataclasses.replace(of, groups={}) for of in read(repository, "recipe", "no-blur"))
    with pytest.raises(InputError, match="no groups are known"):
        ablation.tabulate(recipe, [other], "val")


def test_a_part_of_one_group_has_no_interval_and_is_not_drawn(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "-b", "main")
    for name, epochs in (("recipe", 1), ("longer", 2)):
        report(tmp_path, images=["image00", "image01"], train=TRAIN, epochs=epochs)
        git(tmp_path, "add", ".")
        git(tmp_path, "commit", "-q", "-m", name)
        git(tmp_path, "tag", name)
    recipe, longer = read(tmp_path, "recipe", "longer")
    with pytest.raises(InputError, match="epochs=2 has no interval to draw"):
        ablation.draw(ablation.tabulate(recipe, [longer], "val"))


def test_an_experiment_is_read_though_the_parameters_of_its_parent_commit_are_broken(repository: Path) -> None:
    git(repository, "checkout", "-q", "recipe")
    (repository / "params.yaml").write_text("epochs: [")
    git(repository, "commit", "-q", "-a", "-m", "broken")
    report(repository, epochs=3, train=TRAIN)
    git(repository, "commit", "-q", "-a", "-m", "mended")
    assert read_revision("HEAD", repository).started is None


def test_the_script_writes_both_files_or_none(repository: Path) -> None:
    failed = run_here("ablation", repository, "recipe", "nothing-of-this-name", "-o", ".")
    assert failed.returncode == 1
    assert "there is no such revision" in failed.stderr
    assert not list(repository.glob("ablation*"))
    assert run_here("ablation", repository, "recipe", "no-blur", "-o", ".").returncode == 0
    assert len(files.read_rows(repository / "ablation.csv", ablation.COLUMNS, fix="")) == 2
    assert Image.open(repository / "ablation.png").format == "PNG"
