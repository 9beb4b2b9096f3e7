"""The comparison of two revisions in a small git repository."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from committed import IMAGES, SCORES, change_rows, git, report, run_here, trained
from nuclei.base import files
from nuclei.evaluate.aggregate import COLUMNS
from nuclei.experiments import comparison, revisions

SCRIPT = Path(__file__).resolve().parents[2] / "stages" / "compare.py"


def compare(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_here("compare", folder, *arguments)


def compared(folder: Path, base: str, head: str | None = None) -> dict[str, Any]:
    """What --json prints."""
    other = revisions.read_revision(head, folder) if head else revisions.read_working_tree(folder)
    found: dict[str, Any] = asdict(comparison.compare(revisions.read_revision(base, folder), other))
    return found


def lose_a_score(folder: Path, image: str) -> None:
    change_rows(folder, {image: dict.fromkeys(SCORES, "")})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The branch `main`, a commit that is better, one that is worse, and an experiment named warm-bear."""
    tmp_path = tmp_path_factory.mktemp("compare")
    git(tmp_path, "init", "-q", "-b", "main")
    states = {"main": {}, "better": {"better": 0.05, "epochs": 9}, "worse": {"better": -0.05}}
    for name, change in states.items():
        report(tmp_path, **change)
        git(tmp_path, "add", ".")
        git(tmp_path, "commit", "-q", "-m", name)
        git(tmp_path, "tag", f"the-{name}")
    git(tmp_path, "reset", "-q", "--hard", "the-main")
    baseline = git(tmp_path, "rev-parse", "the-main")
    git(tmp_path, "update-ref", f"refs/exps/{baseline[:2]}/{baseline[2:]}/warm-bear", "the-better")
    git(tmp_path, "update-ref", "refs/exps/exec/EXEC_HEAD", "the-worse")
    return tmp_path


@pytest.fixture
def repository(made: Path, tmp_path: Path) -> Path:
    """A copy of `made` that a test may change."""
    return shutil.copytree(made, tmp_path / "repository")


def verdicts(found: dict[str, Any]) -> dict[str, str]:
    (part,) = found["parts"]
    return {row["metric"]: row["verdict"] for row in part["metrics"]}


def test_what_changed_is_called_better_whichever_way_the_metric_goes(repository: Path) -> None:
    found = verdicts(compared(repository, "the-main", "the-better"))
    assert {found[name] for name in ("dice", "dice_pooled", "recall", "map", "map_pooled", "pq")} == {"better"}
    assert {found[name] for name in ("splits", "count_error")} == {"better"}
    assert found["merges"] == "no difference shown"
    assert found["auc"] == "no interval"
    back = verdicts(compared(repository, "the-better", "the-main"))
    assert {back[name] for name in ("dice", "map_pooled", "splits", "count_error")} == {"worse"}


def test_a_paired_difference_shows_what_separate_intervals_would_hide(repository: Path) -> None:
    report(repository, 0.004)
    (part,) = compared(repository, "the-main")["parts"]
    dice = next(row for row in part["metrics"] if row["metric"] == "dice")
    assert dice["verdict"] == "better"  # 0.004, where the images differ by 0.1 among themselves
    assert dice["low"] < dice["difference"] < dice["high"]
    assert dice["difference"] == pytest.approx(dice["head"] - dice["base"], abs=2e-6)
    assert dice["high"] - dice["low"] < 0.003


def test_the_working_tree_is_the_head_that_is_left_out(repository: Path) -> None:
    assert set(verdicts(compared(repository, "HEAD")).values()) == {
        "no difference shown",
        "no interval",
    }
    report(repository, 0.05)
    found = json.loads(compare(repository, "HEAD", "--json").stdout)
    assert verdicts(found)["dice"] == "better"
    assert found["head"] == "the working tree"


def test_experiments_are_found_by_name(repository: Path) -> None:
    by_name = compared(repository, "main", "warm-bear")
    by_tag = compared(repository, "main", "the-better")
    assert by_name["head"].startswith("warm-bear (")
    assert by_name["parts"] == by_tag["parts"]


def test_a_name_that_two_experiments_have_is_an_error(repository: Path) -> None:
    other = git(repository, "rev-parse", "the-worse")
    git(repository, "update-ref", f"refs/exps/{other[:2]}/{other[2:]}/warm-bear", "the-worse")
    found = compare(repository, "main", "warm-bear")
    assert found.returncode == 1
    assert "2 experiments have the name warm-bear" in found.stderr
    assert other[:9] in found.stderr


def test_changed_parameters_are_listed_by_their_dotted_names(repository: Path) -> None:
    train = {"learning_rate": 0.01, "augment": {"blur": 0.2}, "new": [1, 2]}
    report(repository, train=train)
    changes = compared(repository, "the-better")["parameters"]
    assert changes == [
        {"parameter": "epochs", "base": "9", "head": "5"},
        {"parameter": "train.learning_rate", "base": "0.001", "head": "0.01"},
        {"parameter": "train.new", "base": None, "head": "[1, 2]"},
    ]


def test_the_images_that_lost_and_gained_most_are_listed_in_order(repository: Path) -> None:
    (part,) = compared(repository, "the-main", "the-better")["parts"]
    gained = [row["map_difference"] for row in part["gained"]]
    assert part["lost"] == []
    assert len(gained) == 10
    assert gained == sorted(gained, reverse=True)
    (back,) = compared(repository, "the-better", "the-main")["parts"]
    assert [row["id"] for row in back["lost"]] == [row["id"] for row in part["gained"]]


def test_other_images_are_told_and_only_common_ones_compared(repository: Path) -> None:
    report(repository, images=[*IMAGES[2:], "image88", "image89", "image90"])
    found = compare(repository, "HEAD")
    assert "NOT SCORED ON THE SAME IMAGES: 2 only in base, 3 only in head." in " ".join(found.stdout.split())
    (part,) = compared(repository, "HEAD")["parts"]
    assert (part["images"], part["only_base"], part["only_head"], part["changed"]) == (28, 2, 3, 0)
    auc = next(row for row in part["metrics"] if row["metric"] == "auc")
    assert (auc["difference"], auc["verdict"]) == (None, "not comparable")


def test_images_whose_truth_changed_are_not_compared(repository: Path) -> None:
    path = repository / "reports/per_image.csv"
    rows = files.read_rows(path, COLUMNS, fix="")
    rows[3]["fn"] = str(float(rows[3]["fn"]) + 1)
    files.write_rows(path, COLUMNS, rows)
    (part,) = compared(repository, "HEAD")["parts"]
    assert (part["images"], part["changed"]) == (29, 1)
    assert "1 with different annotations" in compare(repository, "HEAD").stdout


def test_no_image_in_common_leaves_nothing_to_compare(repository: Path) -> None:
    report(repository, images=["image50", "image51"])
    found = compare(repository, "HEAD")
    assert "Nothing can be compared." in found.stdout
    assert found.returncode == 0


def test_a_check_that_could_compare_nothing_fails(repository: Path) -> None:
    report(repository, images=["image50", "image51"])
    found = compare(repository, "HEAD", "--fail-on", "worse", "--metric", "dice")
    assert found.returncode == 1
    assert "error: nothing could be compared" in found.stderr
    assert "val: 0 images in common, 0 groups" in found.stderr


def test_one_image_in_common_has_no_interval(repository: Path) -> None:
    report(repository, 0.1, images=IMAGES[:1])
    assert set(verdicts(compared(repository, "HEAD")).values()) == {"no interval", "not comparable"}


def test_fail_on_worse_fails_only_then(repository: Path) -> None:
    check = ["--fail-on", "worse", "--metric", "dice", "--metric", "map"]
    assert compare(repository, "the-main", "the-better", *check).returncode == 0
    assert compare(repository, "the-main", "the-worse").returncode == 0
    found = compare(repository, "the-main", "the-worse", *check)
    assert (found.returncode, found.stderr) == (1, "worse: val.dice, val.map\n")
    assert "Difference is head minus base" in " ".join(found.stdout.split())


def test_fail_on_judges_the_named_metrics_alone(repository: Path) -> None:
    both = ["--fail-on", "worse", "--metric", "merges"]
    assert compare(repository, "the-main", "the-worse", *both).returncode == 0  # all others got worse
    found = compare(repository, "the-main", "the-worse", *both, "--metric", "splits")
    assert (found.returncode, found.stderr) == (1, "worse: val.splits\n")


@pytest.mark.parametrize(
    ("metric", "message"),
    [("spilts", r"no such metric.*got: +spilts\n.*perhaps splits"), ("auc", "has no verdict.*auc: no interval")],
)
def test_a_metric_that_can_not_be_judged_is_an_error(repository: Path, metric: str, message: str) -> None:
    found = compare(repository, "the-main", "the-better", "--fail-on", "worse", "--metric", metric)
    assert found.returncode == 1
    assert re.search(message, found.stderr, re.DOTALL)


def test_a_check_names_what_it_judges(repository: Path) -> None:
    for arguments, message in (
        (["--metric", "dice"], "give --fail-on worse too"),
        (["--fail-on", "worse"], "--fail-on needs --metric"),
    ):
        found = compare(repository, "the-main", *arguments)
        assert found.returncode == 2
        assert message in found.stderr


@pytest.mark.parametrize("revision", ["nowhere", "--help-me", "", "EXEC_HEAD"])
def test_a_bad_revision_is_one_clear_error(repository: Path, revision: str) -> None:
    found = compare(repository, "--json", "--", revision)
    assert found.returncode == 1
    assert found.stdout == ""
    assert "error: there is no such revision" in found.stderr
    assert "Traceback" not in found.stderr


def test_a_shallow_clone_is_told_how_to_fetch_what_it_lacks(repository: Path) -> None:
    git(repository, "branch", "other", "the-worse")
    git(repository, "clone", "--quiet", "--depth=1", "--branch=other", repository.as_uri(), "shallow")
    shallow = repository / "shallow"
    missing = ("HEAD~1", "origin/main")
    for revision in missing:
        found = compare(shallow, revision)
        assert found.returncode == 1
        fix = re.search(r"this clone is shallow, fetch what it lacks: git (fetch .+)", found.stderr)
        assert fix
    git(shallow, *shlex.split(fix[1]))
    assert [compare(shallow, revision).returncode for revision in missing] == [0, 0]
    assert "shallow" not in compare(shallow, "nowhere").stderr


def test_a_revision_without_reports_is_an_error(repository: Path) -> None:
    git(repository, "rm", "-q", "--cached", "reports/per_image.csv")
    git(repository, "commit", "-q", "-m", "without")
    found = compare(repository, "HEAD", "the-main")
    assert found.returncode == 1
    assert "the revision HEAD has no reports/per_image.csv" in found.stderr


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("reports/metrics.json", "{", "the metrics can not be read"),
        ("reports/metrics.json", '{"val": {"dice": "good"}}', "the metrics can not be read"),
        ("reports/metrics.json", "[1]", "the metrics can not be read"),
        ("reports/per_image.csv", "id,part\n", "the per-image table lacks columns"),
        ("params.yaml", "a: [", "the parameters are not valid YAML"),
    ],
)
def test_a_damaged_report_is_one_clear_error(repository: Path, file: str, text: str, message: str) -> None:
    (repository / file).write_text(text)
    found = compare(repository, "HEAD")
    assert found.returncode == 1
    assert message in found.stderr
    assert f"{file} of the working tree" in found.stderr
    assert "Traceback" not in found.stderr


def test_a_missing_report_and_no_repository_are_errors(
    repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (repository / "reports/metrics.json").unlink()
    assert "a report is missing" in compare(repository, "HEAD").stderr
    assert "git can not read this folder" in compare(tmp_path_factory.mktemp("no repository"), "HEAD").stderr


def test_a_project_in_a_subfolder_of_its_repository_is_compared(tmp_path: Path) -> None:
    project = tmp_path / "with space"
    project.mkdir()
    git(tmp_path, "init", "-q")
    report(project)
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "one")
    assert compare(project, "HEAD").returncode == 0


def test_every_format_says_the_same(repository: Path) -> None:
    text, markdown, page = (
        compare(repository, "the-main", "the-better", *how).stdout for how in ([], ["--md"], ["--html"])
    )
    for output in (text, markdown, page):
        for said in ("dice_pooled", "splits (lower is better)", "no difference shown", "epochs", IMAGES[1]):
            assert said in output
    assert "| metric | images | groups | base | head | difference | 95 % interval | verdict |" in markdown
    assert page.startswith("<!doctype html>")
    assert '<tr class="better"><td>dice</td>' in page
    HTMLParser().feed(page)


def test_json_says_whether_the_images_are_the_same_and_what_got_worse(repository: Path) -> None:
    found = json.loads(compare(repository, "the-main", "the-worse", "--json").stdout)
    assert [part["same_images"] for part in found["parts"]] == [True]
    assert {"val.dice", "val.splits"} <= set(found["worse"])
    report(repository, 0.05, images=IMAGES[1:])
    found = json.loads(compare(repository, "the-main", "--json").stdout)
    assert ([part["same_images"] for part in found["parts"]], found["worse"]) == ([False], [])


def test_base_head_and_difference_are_of_the_same_images(repository: Path) -> None:
    lose_a_score(repository, "image00")
    git(repository, "commit", "-qam", "one undefined")
    change_rows(repository, {"image00": dict.fromkeys(SCORES, 0)})  # an invented nucleus where there was none
    (part,) = compared(repository, "HEAD")["parts"]
    rows = {row["metric"]: row for row in part["metrics"]}
    for row in rows.values():
        assert row["difference"] == pytest.approx(row["head"] - row["base"], abs=1e-9)
    assert (rows["dice"]["difference"], rows["dice"]["images"], rows["dice"]["only_one"]) == (0, 29, 1)
    assert (rows["recall"]["images"], rows["recall"]["only_one"]) == (30, 0)


def test_an_image_with_a_score_in_one_alone_is_told(repository: Path) -> None:
    lose_a_score(repository, "image00")
    found = compare(repository, "HEAD")
    assert "left out of both means: dice 1, iou 1, map 1," in " ".join(found.stdout.split())
    assert "whose mAP is undefined in one of the two (1):" in found.stdout
    (image,) = compared(repository, "HEAD")["parts"][0]["one_sided"]
    assert (image["id"], image["map_head"], image["map_difference"]) == ("image00", None, None)
    assert image["map_base"] > 0


def test_a_metric_that_an_older_revision_lacks_is_not_comparable_and_all_others_are(repository: Path) -> None:
    path = repository / "reports/per_image.csv"
    rows = files.read_rows(path, COLUMNS, fix="")
    older = [name for name in COLUMNS if name not in ("aji", "splits")]
    files.write_rows(path, older, [{name: row[name] for name in older} for row in rows])
    metrics = json.loads((repository / "reports/metrics.json").read_text())
    del metrics["val"]["aji"]
    files.write_json(repository / "reports/metrics.json", metrics)
    git(repository, "commit", "-qam", "older")
    (part,) = compared(repository, "HEAD", "the-better")["parts"]
    found = {row["metric"]: row for row in part["metrics"]}
    for name in ("aji", "splits"):
        assert [found[name][key] for key in ("base", "difference", "images")] == [None, None, 0]
        assert found[name]["verdict"] == "not comparable"
        assert found[name]["head"] > 0
    assert {found[name]["verdict"] for name in ("dice", "map", "pq", "count_error")} == {"better"}


def test_a_second_run_in_another_process_gives_the_same_numbers(repository: Path) -> None:
    command = [sys.executable, str(SCRIPT), "the-main", "the-better", "--json"]
    printed = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True).stdout
    assert json.loads(printed) == compared(repository, "the-main", "the-better")


def test_more_images_of_the_same_groups_make_no_interval_narrower(repository: Path) -> None:
    (part,) = compared(repository, "the-main", "the-better")["parts"]
    assert (part["images"], part["groups"]) == (30, 15)
    path = repository / "reports/per_image.csv"
    for name in ("the-main", "the-better"):
        git(repository, "checkout", "-q", name)
        rows = files.read_rows(path, COLUMNS, fix="")
        files.write_rows(path, COLUMNS, [*rows, *(row | {"id": f"copy of {row['id']}"} for row in rows)])
        git(repository, "commit", "-q", "-a", "-m", "each image twice")
        git(repository, "tag", "-f", name)
    (doubled,) = compared(repository, "the-main", "the-better")["parts"]
    assert (doubled["images"], doubled["groups"]) == (60, 15)
    for one, other in zip(part["metrics"], doubled["metrics"], strict=True):
        if one["low"] is not None and one["metric"] not in ("count_error", "splits", "merges"):
            assert (other["low"], other["high"]) == pytest.approx((one["low"], one["high"]), abs=2e-6)


def without_groups(folder: Path) -> None:
    path = folder / "reports/per_image.csv"
    older = [name for name in COLUMNS if name != "group"]
    files.write_rows(path, older, [{name: row[name] for name in older} for row in files.read_rows(path, COLUMNS, "")])


def test_a_table_without_groups_takes_those_of_the_other(repository: Path) -> None:
    without_groups(repository)
    git(repository, "commit", "-q", "-a", "-m", "older")
    (part,) = compared(repository, "HEAD", "the-better")["parts"]
    assert (part["groups"], part["groups_of"]) == (15, "head")
    assert part["metrics"] == compared(repository, "the-main", "the-better")["parts"][0]["metrics"]
    assert "The groups are those of head" in " ".join(compare(repository, "HEAD", "the-better").stdout.split())


def test_without_any_groups_there_is_no_interval_and_no_verdict(repository: Path) -> None:
    without_groups(repository)
    git(repository, "commit", "-q", "-a", "-m", "older")
    report(repository, 0.05)
    without_groups(repository)
    (part,) = compared(repository, "HEAD")["parts"]
    assert {row["verdict"] for row in part["metrics"]} == {"no interval"}
    assert part["metrics"][0]["difference"] > 0
    found = compare(repository, "HEAD", "--fail-on", "worse", "--metric", "dice")
    assert "Neither per-image table names groups" in " ".join(found.stdout.split())
    assert found.returncode == 1


def test_of_two_groupings_the_coarser_is_resampled(repository: Path) -> None:
    change_rows(repository, {f"image{number:02}": {"group": number // 10} for number in range(30)})
    for revisions_ in (("the-main", None), ("HEAD", "the-main")):
        if revisions_[0] == "HEAD":
            git(repository, "commit", "-q", "-a", "-m", "three groups")
        (part,) = compared(repository, *revisions_)["parts"]
        assert part["groups"] == 3


def test_an_image_without_a_group_is_an_error(repository: Path) -> None:
    change_rows(repository, {"image03": {"group": ""}})
    found = compare(repository, "HEAD")
    assert "an image has no group" in found.stderr
    assert "image03 in val" in found.stderr


def test_different_conditions_of_training_are_listed(repository: Path) -> None:
    trained(repository)
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "here")
    trained(repository, weights_sha256="bb", cpu="B", threads=1, versions={"torch": "2.1"})
    assert compared(repository, "HEAD")["training"] == [
        {"parameter": "processor", "base": "A", "head": "B"},
        {"parameter": "threads", "base": "2", "head": "1"},
        {"parameter": "torch", "base": "2.0", "head": "2.1"},
    ]
    assert "not trained under the same conditions" in compare(repository, "HEAD").stdout
    (repository / "reports/history.csv").write_text("epoch\n2\n")  # of another training than run.js
    assert compared(repository, "HEAD")["unrecorded"] == ["head"]
    assert "Where head was trained is not recorded" in compare(repository, "HEAD").stdout


NOISE = "data,part,images,metric,trainings,mean,std,largest\nsample,val,30,dice,6,0.6,0.02,0.06\n"


def test_a_difference_no_larger_than_that_of_two_trainings_is_within_noise(repository: Path) -> None:
    report(repository, data="sample")
    (repository / "reports/noise.csv").write_text(NOISE)
    trained(repository)
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "here")
    for better, expected in ((0.05, "within training noise"), (-0.05, "within training noise"), (0.09, "better")):
        report(repository, better, data="sample")
        trained(repository, weights_sha256="bb")
        found = compare(repository, "HEAD", "--json")
        assert verdicts(json.loads(found.stdout))["dice"] == expected
        assert verdicts(json.loads(found.stdout))["map"] != "within training noise"  # not measured
    report(repository, -0.05, data="sample")
    assert compare(repository, "HEAD", "--fail-on", "worse", "--metric", "dice").returncode == 0
    assert "one recipe moved by up to val dice 0.0600" in " ".join(compare(repository, "HEAD").stdout.split())
    trained(repository)  # the same weights: only prediction differs
    assert verdicts(json.loads(compare(repository, "HEAD", "--json").stdout))["dice"] == "worse"
    report(repository, -0.05, data="sample", images=IMAGES[:20])
    trained(repository, weights_sha256="bb")  # measured on other images
    assert verdicts(json.loads(compare(repository, "HEAD", "--json").stdout))["dice"] == "worse"
    (repository / "reports/noise.csv").write_text(NOISE.replace("0.06", "a lot"))
    assert "line 2: not a number" in compare(repository, "HEAD").stderr


def test_an_answer_does_not_wait_for_slow_imports() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(SCRIPT.parent)!r}); import compare; "
        "print(sorted({'torch', 'pandas', 'sklearn', 'cv2', 'pydantic', 'scipy.stats', 'dvc'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
