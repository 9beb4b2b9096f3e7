"""Many experiments against one baseline."""

from __future__ import annotations

import dataclasses
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from committed import IMAGES, git, report, run_here, trained
from nuclei.base import files
from nuclei.base.errors import InputError
from nuclei.evaluate import aggregate
from nuclei.experiments import leaderboard
from nuclei.experiments.comparison import compare
from nuclei.experiments.noise import Noise
from nuclei.experiments.revisions import Snapshot, experiments_of, read_revision

EFFECTS = {"good": 0.05, "bad": -0.04, "same": 0.0}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The baseline `main`, and three DVC experiments that started from it."""
    folder = tmp_path_factory.mktemp("leaderboard")
    git(folder, "init", "-q", "-b", "main")
    for name, better in {"main": 0.0, **EFFECTS}.items():
        report(folder, better, epochs=5 + len(name))
        trained(folder, weights_sha256=name, seconds=100 * len(name), cpu="B" if name == "bad" else "A")
        git(folder, "add", ".")
        git(folder, "commit", "-q", "-m", name)
        commit = git(folder, "rev-parse", "HEAD")
        if name == "main":
            start = commit
        else:
            git(folder, "update-ref", f"refs/exps/{start[:2]}/{start[2:]}/{name}", commit)
            git(folder, "reset", "-q", "--hard", start)
    return folder


@pytest.fixture
def repository(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "repository")


def snapshots(folder: Path, *names: str) -> list[Snapshot]:
    return [read_revision(name, folder) for name in ("main", *names)]


def names(board: leaderboard.Leaderboard) -> list[str]:
    return [row["experiment"].split()[0] for row in board.rows]


def test_the_best_is_first_and_the_baseline_among_them(repository: Path) -> None:
    baseline, *others = snapshots(repository, *EFFECTS)
    board = leaderboard.rank(baseline, others, part="val", metric="map")
    assert names(board) == ["good", "main", "same", "bad"]
    assert [row["verdict"] for row in board.rows] == ["better", "baseline", "no difference shown", "worse"]
    assert [(row["images"], row["groups"]) for row in board.rows] == [(30, 15)] * 4
    lower = leaderboard.rank(baseline, others, part="val", metric="splits")
    assert names(lower) == names(board)
    assert [row["verdict"] for row in lower.rows] == [row["verdict"] for row in board.rows]


def test_the_differences_are_those_of_compare_and_their_intervals_are_wider(repository: Path) -> None:
    baseline, *others = snapshots(repository, *EFFECTS)
    board = leaderboard.rank(baseline, others, part="val", metric="map")
    for other in others:
        (row,) = [of for of in board.rows if of["experiment"] == other.name]
        (single,) = [of for of in compare(baseline, other).parts[0].metrics if of.metric == "map"]
        assert row["difference"] == pytest.approx(single.difference, abs=2e-6)
        assert row["low"] <= row["difference"] <= row["high"]
        if single.difference:
            assert row["high"] - row["low"] > single.high - single.low


def test_parameters_that_differ_and_seconds_of_training_are_columns(repository: Path) -> None:
    baseline, *others = snapshots(repository, *EFFECTS)
    board = leaderboard.rank(baseline, others, part="val", metric="map")
    assert board.parameters == ["epochs"]
    cells = {row["experiment"].split()[0]: row for row in board.rows}
    assert {name: row["epochs"] for name, row in cells.items()} == {"main": "9", "good": "9", "bad": "8", "same": "9"}
    assert (cells["good"]["seconds"], cells["bad"]["seconds"]) == (400, 300)
    assert (cells["bad"]["conditions"], cells["good"]["conditions"]) == ("processor B", "")
    resumed = dataclasses.replace(others[0], training={**others[0].training, "resumed": True})
    assert leaderboard.rank(baseline, [resumed], part="val", metric="map").rows[0]["seconds"] == ""


def differing_by_chance(baseline: Snapshot, rng: np.random.Generator) -> Snapshot:
    """An experiment that changed nothing: each group of images has another score by chance alone."""
    ids, columns = baseline.images["val"]
    moved = np.repeat(rng.normal(0, 0.05, len(ids) // 2), 2)
    columns = {**columns, "map": columns["map"] + moved.round(6)}
    metrics = aggregate.rounded(aggregate.metrics(columns))
    return dataclasses.replace(baseline, images={"val": (ids, columns)}, metrics={"val": metrics})


def test_thirty_experiments_that_change_nothing_show_no_difference_though_some_would_alone(repository: Path) -> None:
    (baseline,) = snapshots(repository)
    rng = np.random.default_rng(5)
    others = [differing_by_chance(baseline, rng) for _ in range(30)]
    board = leaderboard.rank(baseline, others, part="val", metric="map")
    assert {row["verdict"] for row in board.rows} == {"baseline", "no difference shown"}
    alone = [leaderboard.rank(baseline, [of], part="val", metric="map").rows for of in others]
    assert any(row["verdict"] in ("better", "worse") for rows in alone for row in rows)


def test_a_difference_within_the_noise_of_training_is_no_verdict(repository: Path) -> None:
    baseline, good = snapshots(repository, "good")
    baseline, good = (
        dataclasses.replace(of, parameters={**of.parameters, "data": '"sample"'}) for of in (baseline, good)
    )
    noise = Noise({("sample", "val", 30): {"map": 0.2}})
    board = leaderboard.rank(baseline, [good], part="val", metric="map", noise=noise)
    assert board.rows[0]["verdict"] == "within training noise"


def test_what_can_not_be_ranked_is_an_error(repository: Path) -> None:
    baseline, good = snapshots(repository, "good")
    with pytest.raises(InputError, match="there are no experiments"):
        leaderboard.rank(baseline, [], part="val", metric="map")
    with pytest.raises(InputError, match=r"(?s)no such metric.*perhaps map"):
        leaderboard.rank(baseline, [good], part="val", metric="mapp")
    undefined = dataclasses.replace(good, metrics={"val": {**good.metrics["val"], "aji": None}})
    with pytest.raises(InputError, match="has no aji on val"):
        leaderboard.rank(baseline, [undefined], part="val", metric="aji")
    with pytest.raises(InputError, match="not scored on the same test images"):
        leaderboard.rank(baseline, [good], part="test", metric="map")
    without = [dataclasses.replace(of, groups={}) for of in (baseline, good)]
    with pytest.raises(InputError, match="no groups are known"):
        leaderboard.rank(without[0], without[1:], part="val", metric="map")
    one = [dataclasses.replace(of, groups={"val": ["a"] * 30}) for of in (baseline, good)]
    with pytest.raises(InputError, match="no intervals to draw"):
        leaderboard.draw(leaderboard.rank(one[0], one[1:], part="val", metric="map"))


def test_without_names_the_experiments_of_the_baseline_are_ranked(repository: Path) -> None:
    assert experiments_of("main", repository) == ["bad", "good", "same"]
    done = run_here("leaderboard", repository, "-o", ".")
    assert done.returncode == 0, done.stderr
    assert "3 experiments against HEAD" in done.stdout
    assert "bad (" in done.stdout and "processor B" in done.stdout
    rows = files.read_rows(repository / "leaderboard.csv", leaderboard.COLUMNS, fix="")
    assert [row["experiment"].split()[0] for row in rows] == ["good", "HEAD", "same", "bad"]
    page = (repository / "leaderboard.html").read_text()
    HTMLParser().feed(page)
    assert page.count("data:image/png") == 2
    assert '<tr class="worse">' in page


def test_an_experiment_on_other_images_writes_nothing(repository: Path) -> None:
    report(repository, images=IMAGES[:20])
    git(repository, "commit", "-q", "-a", "-m", "fewer")
    failed = run_here("leaderboard", repository, "good", "-o", ".")
    assert failed.returncode == 1
    assert "not scored on the same val images" in failed.stderr
    assert not list(repository.glob("leaderboard*"))
