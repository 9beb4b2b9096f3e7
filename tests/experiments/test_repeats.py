"""Mean and standard deviation over runs that differ in their seed."""

from __future__ import annotations

import statistics
from pathlib import Path

import numpy as np
import pytest

from committed import change_rows, git, report, run_here
from nuclei.base import files
from nuclei.base.errors import InputError
from nuclei.evaluate import aggregate
from nuclei.experiments import repeats
from nuclei.experiments.revisions import Snapshot, read_revision


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Tags zero, one and two: runs of three seeds, whose first ten images are of another modality."""
    git(tmp_path, "init", "-q", "-b", "main")
    for seed, (name, better) in enumerate({"zero": 0.0, "one": 0.03, "two": -0.01}.items()):
        report(tmp_path, better, seed=seed)
        change_rows(tmp_path, {f"image{number:02}": {"modality": "fluorescence"} for number in range(10)})
        git(tmp_path, "add", ".")
        git(tmp_path, "commit", "-q", "-m", name)
        git(tmp_path, "tag", name)
    return tmp_path


def read(folder: Path, *names: str) -> list[Snapshot]:
    return [read_revision(name, folder) for name in names]


def row(rows: list[dict[str, object]], modality: str, metric: str) -> dict[str, object]:
    (found,) = [of for of in rows if (of["modality"], of["metric"]) == (modality, metric)]
    return found


def test_mean_and_deviation_are_those_of_the_runs(repository: Path) -> None:
    runs = read(repository, "zero", "one", "two")
    rows = repeats.spread(runs)
    values = [run.metrics["val"]["dice"] for run in runs]
    found = row(rows, "all", "dice")
    assert [found[f"seed {seed}"] for seed in range(3)] == values
    assert found["mean"] == pytest.approx(statistics.mean(values), abs=1e-6)
    assert found["std"] == pytest.approx(statistics.stdev(values), abs=1e-6)
    assert row(rows, "all", "auc")["mean"] == pytest.approx(0.9 + 0.02 / 3, abs=1e-6)


def test_modalities_are_scored_by_their_own_images(repository: Path) -> None:
    runs = read(repository, "zero", "one")
    rows = repeats.spread(runs)
    fluorescence, tissue = row(rows, "fluorescence", "map"), row(rows, "tissue", "map")
    assert (fluorescence["images"], tissue["images"]) == (10, 20)
    both = (10 * fluorescence["seed 1"] + 20 * tissue["seed 1"]) / 30
    assert both == pytest.approx(runs[1].metrics["val"]["map"], abs=1e-6)
    where = np.arange(30) < 10
    alone = aggregate.metrics(aggregate.chosen(runs[1].images["val"][1], where))
    assert row(rows, "fluorescence", "dice_pooled")["seed 1"] == pytest.approx(alone["dice_pooled"], abs=1e-6)
    assert not [of for of in rows if of["modality"] == "tissue" and of["metric"] in ("auc", "images", "nuclei")]


def test_runs_that_differ_in_more_than_the_seed_are_refused(repository: Path) -> None:
    report(repository, seed=9, epochs=7)
    git(repository, "commit", "-q", "-a", "-m", "longer")
    with pytest.raises(InputError, match="differ in more than the seed") as caught:
        repeats.spread(read(repository, "zero", "HEAD"))
    assert "epochs" in str(caught.value)
    with pytest.raises(InputError, match="two runs have the same seed"):
        repeats.spread(read(repository, "zero", "one", "zero"))
    with pytest.raises(InputError, match="needs two runs"):
        repeats.spread(read(repository, "zero"))
    report(repository, seed=9, images=["image01", "image02"])
    git(repository, "commit", "-q", "-a", "-m", "another split")
    with pytest.raises(InputError, match="scored on other images"):
        repeats.spread(read(repository, "zero", "HEAD"))


def test_the_script_writes_the_table(repository: Path) -> None:
    done = run_here("repeats", repository, "zero", "two", "-o", "spread.csv")
    assert "val   all             30 images  dice " in done.stdout
    rows = files.read_rows(repository / "spread.csv", [*repeats.COLUMNS, "seed 0", "seed 2"], fix="")
    assert {of["modality"] for of in rows} == {"all", "fluorescence", "tissue"}
