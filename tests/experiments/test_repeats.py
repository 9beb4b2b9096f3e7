"""Runs of one recipe as one result: mean and standard deviation over seeds, and the folds of a cross-validation."""

from __future__ import annotations

import dataclasses
import statistics
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from committed import IMAGES, change_rows, git, report, run_here
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
    _, rows = repeats.spread(runs)
    values = [run.metrics["val"]["dice"] for run in runs]
    found = row(rows, "all", "dice")
    assert [found[f"seed {seed}"] for seed in range(3)] == values
    assert found["mean"] == pytest.approx(statistics.mean(values), abs=1e-6)
    assert found["std"] == pytest.approx(statistics.stdev(values), abs=1e-6)
    assert row(rows, "all", "auc")["mean"] == pytest.approx(0.9 + 0.02 / 3, abs=1e-6)


def test_modalities_are_scored_by_their_own_images(repository: Path) -> None:
    runs = read(repository, "zero", "one")
    _, rows = repeats.spread(runs)
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
    with pytest.raises(InputError, match="differ in more than seed") as caught:
        repeats.spread(read(repository, "zero", "HEAD"))
    assert "epochs" in str(caught.value)
    with pytest.raises(InputError, match="two runs have the same seed"):
        repeats.spread(read(repository, "zero", "one", "zero"))
    with pytest.raises(InputError, match="nothing to join"):
        repeats.spread(read(repository, "zero"))
    report(repository, seed=9, images=["image01", "image02"])
    git(repository, "commit", "-q", "-a", "-m", "another split")
    with pytest.raises(InputError, match="scored on other images"):
        repeats.spread(read(repository, "zero", "HEAD"))


def test_the_script_writes_the_table(repository: Path) -> None:
    done = run_here("repeats", repository, "zero", "two", "-o", "spread.csv")
    assert "val all 30 images 15 groups dice " in " ".join(done.stdout.split())
    rows = files.read_rows(repository / "spread.csv", [*repeats.SEED_COLUMNS, "seed 0", "seed 2"], fix="")
    assert {of["modality"] for of in rows} == {"all", "fluorescence", "tissue"}


def test_the_interval_over_seeds_is_that_of_their_mean_over_groups(repository: Path) -> None:
    runs = read(repository, "zero", "one", "two")
    found = row(repeats.spread(runs)[1], "all", "dice")
    scores = np.mean([run.images["val"][1]["dice"] for run in runs], axis=0)
    groups = scores.reshape(15, 2).mean(axis=1)  # two images with consecutive numbers are one group
    half = stats.t.ppf(0.975, 14) * groups.std(ddof=1) / np.sqrt(15)
    assert (found["images"], found["groups"]) == (30, 15)
    assert found["high"] - found["low"] == pytest.approx(2 * half, rel=0.15)
    assert found["low"] < found["mean"] < found["high"]
    without = [dataclasses.replace(run, groups={}) for run in runs]
    with pytest.raises(InputError, match="does not name the groups"):
        repeats.spread(without)


def fold(run: Snapshot, number: int, images: slice) -> Snapshot:
    """One of three folds: its test images are some of those of the run, the next ones are val."""
    ids, columns = run.images["val"]
    every = {
        "test": images,
        "val": slice(images.stop % 30, images.stop % 30 + 6),
    }
    return dataclasses.replace(
        run,
        name=f"fold{number}",
        parameters={**run.parameters, "split.fold": str(number), "split.folds": "3"},
        images={part: (ids[of], {name: values[of] for name, values in columns.items()}) for part, of in every.items()},
        modalities={part: run.modalities["val"][of] for part, of in every.items()},
        families={part: run.families["val"][of] for part, of in every.items()},
        groups={part: run.groups["val"][of] for part, of in every.items()},
    )


@pytest.fixture
def folds(repository: Path) -> list[Snapshot]:
    (run,) = read(repository, "one")
    area = np.where(np.arange(30) % 2, 50.0, np.where(np.arange(30) % 4, 90.0, np.nan))
    ids, columns = run.images["val"]
    run = dataclasses.replace(run, images={"val": (ids, columns | {"median_area_px": area})})
    return [fold(run, number, slice(10 * number, 10 * number + 10)) for number in range(3)]


def stratum(rows: list[dict[str, object]], name: str, metric: str) -> dict[str, object]:
    (found,) = [of for of in rows if (of["stratum"], of["metric"]) == (name, metric)]
    return found


def test_folds_are_one_table_over_all_images(repository: Path, folds: list[Snapshot]) -> None:
    (run,) = read(repository, "one")
    columns, rows = repeats.join([folds[2], folds[0], folds[1]])  # in any order
    assert columns[-3:] == ["split.fold 2", "split.fold 0", "split.fold 1"]
    whole = stratum(rows, "all", "dice")
    assert (whole["images"], whole["groups"]) == (30, 15)
    assert whole["value"] == run.metrics["val"]["dice"]
    assert whole["split.fold 1"] == pytest.approx(run.images["val"][1]["dice"][10:20].mean(), abs=1e-6)
    alone = repeats.spread([run, dataclasses.replace(run, parameters={**run.parameters, "seed": "9"})])[1]
    for bound in ("low", "high"):  # the order of the groups decides which are drawn
        assert whole[bound] == pytest.approx(row(alone, "all", "dice")[bound], abs=0.004)


def test_folds_are_scored_by_modality_and_by_size(folds: list[Snapshot]) -> None:
    _, rows = repeats.join(folds)
    scores = np.concatenate([run.images["test"][1]["dice"] for run in folds])
    assert stratum(rows, "fluorescence", "dice")["value"] == pytest.approx(scores[:10].mean(), abs=1e-6)
    assert stratum(rows, "fluorescence", "dice")["split.fold 1"] == ""  # none of its images is there
    small, large = (stratum(rows, name, "dice") for name in ("up to 50 px", "51 to 90 px"))
    assert (small["images"], large["images"]) == (15, 7)  # eight images have no nuclei
    assert small["value"] == pytest.approx(scores[1::2].mean(), abs=1e-6)


def test_every_family_counts_alike_in_their_mean(folds: list[Snapshot]) -> None:
    names = ["a"] * 10 + ["b"] * 10 + ["c"] * 4 + ["d"] * 6
    for number, run in enumerate(folds):
        folds[number] = dataclasses.replace(run, families={"test": names[10 * number :][:10]})
    _, rows = repeats.join(folds)
    scores = np.concatenate([run.images["test"][1]["dice"] for run in folds])
    each = [scores[np.array(names) == name].mean() for name in "abcd"]
    mean = stratum(rows, repeats.MEAN, "dice")
    assert [stratum(rows, name, "dice")["value"] for name in "abcd"] == pytest.approx(each, abs=1e-6)
    assert mean["value"] == pytest.approx(np.mean(each), abs=1e-6)
    assert mean["split.fold 2"] == pytest.approx(np.mean(each[2:]), abs=1e-6)
    assert (mean["images"], mean["groups"]) == (30, 15)
    # by the variance of each family's mean over its groups of two images, for small families rough
    groups = scores.reshape(15, 2).mean(axis=1)
    of = [groups[:5], groups[5:10], groups[10:12], groups[12:]]
    deviation = np.sqrt(sum(part.var(ddof=1) / len(part) for part in of)) / 4
    assert 2 < (mean["high"] - mean["low"]) / deviation < 8
    assert mean["low"] < mean["value"] < mean["high"]


def test_runs_without_families_have_no_mean_of_them(folds: list[Snapshot]) -> None:
    none = [dataclasses.replace(run, families={"test": [""] * 10}) for run in folds]
    assert {row["grouping"] for row in repeats.join(none)[1]} == {"all", "modality", "size"}


def test_folds_that_do_not_make_one_test_set_are_refused(folds: list[Snapshot]) -> None:
    def refused(runs: list[Snapshot], message: str) -> None:
        with pytest.raises(InputError, match=message):
            repeats.join(runs)

    refused(folds[:2], r"(?s)not every fold is there once.*split.fold 2")
    refused([*folds, folds[0]], "two runs have the same split.fold")
    refused([*folds[:2], fold(folds[0], 2, slice(0, 10))], "test in two folds")
    longer = dataclasses.replace(folds[2], parameters={**folds[2].parameters, "epochs": "9"})
    refused([*folds[:2], longer], "differ in more than split.fold")
    divided = dataclasses.replace(folds[2], groups={"test": ["0"] * 10})
    refused([*folds[:2], divided], "a group is divided between folds")
    never = dataclasses.replace(folds[0], images={**folds[0].images, "val": (["elsewhere"], {})})
    refused([never, *folds[1:]], r"(?s)val in one fold and test in none.*elsewhere")
    unscored = dataclasses.replace(folds[0], images={"val": folds[0].images["val"]})
    refused([unscored, *folds[1:]], "has no scores of test")
    refused([dataclasses.replace(folds[0], groups={}), *folds[1:]], "does not name the groups")


def test_the_script_joins_folds_that_lie_in_folders(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    for number in range(2):
        report(tmp_path / f"runs/{number}", images=IMAGES[15 * number :][:15], split={"folds": 2, "fold": number})
        change_rows(tmp_path / f"runs/{number}", {name: {"part": "test", "group": name} for name in IMAGES})
        path = tmp_path / f"runs/{number}/reports/metrics.json"
        files.write_json(path, {"test": files.read_json(path, "")["val"]})
    done = run_here("repeats", tmp_path, "runs/0", "runs/1", "-o", "folds.csv")
    assert done.returncode == 0, done.stderr
    assert "all 30 images 30 groups map " in " ".join(done.stdout.split())
    rows = files.read_rows(tmp_path / "folds.csv", [*repeats.FOLD_COLUMNS, "split.fold 0", "split.fold 1"], fix="")
    assert {of["grouping"] for of in rows} == {"all", "modality", "family", "size"}
