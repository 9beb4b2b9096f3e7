"""What `data:` may be, and the errors of what it may not."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from nuclei.base.errors import InputError
from nuclei.fetch.sources import COMPETITION, KEYWORDS, TEST, TRAIN, describe, kind, locate, parts

OUTPUTS = ("data/raw", "reports")


def archive(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("a/images/a.png", path.name)
    return path


def image(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("keyword", KEYWORDS)
def test_a_keyword_is_a_keyword_even_where_a_folder_bears_its_name(tmp_path: Path, keyword: str) -> None:
    image(tmp_path / keyword / "a.png")
    assert kind(keyword) == describe(keyword, tmp_path)["kind"] == keyword
    assert kind(f"./{keyword}") == describe(f"./{keyword}", tmp_path)["kind"] == "path"


def test_a_download_is_described_by_where_it_comes_from(tmp_path: Path) -> None:
    archives = describe("bbbc038", tmp_path)["archives"]
    assert [Path(archive["url"]).name for archive in archives] == [TRAIN, TEST]
    assert describe("kaggle", tmp_path)["competition"] == COMPETITION


@pytest.mark.parametrize(
    ("value", "meant"), [("bbbc38", "bbbc038"), ("Sample", "sample"), ("kagle", "kaggle"), ("BBBC038", "bbbc038")]
)
def test_a_mistyped_keyword_is_an_error_that_names_the_nearest(tmp_path: Path, value: str, meant: str) -> None:
    with pytest.raises(InputError, match=rf"got: +{value}(.|\n)*sample(.|\n)*kaggle(.|\n)*did you mean {meant}\?"):
        describe(value, tmp_path)


@pytest.mark.parametrize("value", ["../nowhere/train.zip", "no\0such", "x" * 5000, "~nobody-of-that-name/x", " "])
def test_a_path_that_does_not_exist_is_an_error_that_says_what_may_stand_there(tmp_path: Path, value: str) -> None:
    with pytest.raises(InputError, match=r"neither a keyword nor a path(.|\n)*a folder of images(.|\n)*params.yaml"):
        describe(value, tmp_path)


def test_the_home_folder_may_be_written_as_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    archive(tmp_path / "mine.zip")
    assert locate("~/mine.zip", Path("/")) == tmp_path / "mine.zip"


def test_an_archive_is_the_training_archive_whatever_its_name(tmp_path: Path) -> None:
    assert parts(archive(tmp_path / "mine.zip")) == {TRAIN: tmp_path / "mine.zip"}


def test_a_folder_of_archives_gives_both_and_leaves_the_rest(tmp_path: Path) -> None:
    for name in ("stage1_train_fixed.zip", "stage1_test.zip", "stage1_train_labels.csv.zip", "stage2_test_final.zip"):
        archive(tmp_path / name)
    assert parts(tmp_path) == {TRAIN: tmp_path / "stage1_train_fixed.zip", TEST: tmp_path / "stage1_test.zip"}


def test_an_archive_goes_before_the_folder_that_was_unpacked_of_it(tmp_path: Path) -> None:
    archive(tmp_path / "stage1_train.zip")
    image(tmp_path / "stage1_train" / "a" / "images" / "a.png")
    image(tmp_path / "stage1_test" / "b" / "images" / "b.png")
    assert parts(tmp_path) == {TRAIN: tmp_path / "stage1_train.zip", TEST: tmp_path / "stage1_test"}


def test_a_folder_of_images_is_itself_the_training_folder(tmp_path: Path) -> None:
    image(tmp_path / "images" / "a.png")
    assert parts(tmp_path) == {TRAIN: tmp_path}


def test_sets_of_rois_beside_their_images_are_no_archives_of_images(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    archive(tmp_path / "a_rois.zip")
    assert parts(tmp_path) == {TRAIN: tmp_path}
    archive(tmp_path / "others.zip")
    with pytest.raises(InputError, match=r"not clear which archive(.|\n)*got: +others\.zip\n"):
        parts(tmp_path)


@pytest.mark.parametrize("names", [["mine.zip"], ["stage1_train.zip", "stage1_train (1).zip"], ["stage1_test.zip"]])
def test_archives_that_leave_a_choice_are_an_error_that_lists_them(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        archive(tmp_path / name)
    with pytest.raises(InputError, match="not clear which archive") as caught:
        parts(tmp_path)
    assert caught.value.got == ", ".join(sorted(names))
    assert TRAIN in str(caught.value.expected)


@pytest.mark.parametrize("name", ["a.png", "train.tar.gz", "stage1_train.zip"])
def test_a_file_that_is_no_zip_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"not a zip archive(.|\n)*give the folder"):
        parts(image(tmp_path / name))


@pytest.mark.parametrize("value", ["data/raw", "data/raw/stage1_train.zip", "data", ".", "..", "link", "/"])
def test_what_the_pipeline_writes_is_refused_as_its_input(tmp_path: Path, value: str) -> None:
    repository = tmp_path / "repository"
    archive(repository / "data/raw/stage1_train.zip")
    (repository / "link").symlink_to("data/raw")
    with pytest.raises(InputError, match="the pipeline itself writes"):
        describe(value, repository, OUTPUTS)


def test_a_folder_beside_the_outputs_is_not_refused(tmp_path: Path) -> None:
    image(tmp_path / "data" / "raw_images" / "a.png")
    assert describe("data/raw_images", tmp_path, OUTPUTS)["kind"] == "path"


def test_two_clones_in_two_folders_describe_the_same_data_alike(tmp_path: Path) -> None:
    descriptions = []
    for clone in ("one", "two/below"):
        image(tmp_path / clone / "mine" / "images" / "a.png")
        descriptions.append(describe("mine", tmp_path / clone))
    assert descriptions[0] == descriptions[1] == describe(str(tmp_path / "one" / "mine"), tmp_path)


@pytest.mark.parametrize("change", ["content", "name", "added", "removed"])
def test_any_change_of_a_folder_changes_its_description(tmp_path: Path, change: str) -> None:
    first, second = image(tmp_path / "mine/images/a.png"), image(tmp_path / "mine/images/b.png", b"y")
    before = describe("mine", tmp_path)
    match change:
        case "content":
            first.write_bytes(b"z")
        case "name":
            first.rename(first.with_name("c.png"))
        case "added":
            image(tmp_path / "mine/masks/a.png")
        case "removed":
            second.unlink()
    assert describe("mine", tmp_path) != before


def test_swapping_two_contents_changes_the_description(tmp_path: Path) -> None:
    descriptions = []
    for first, second in ((b"1", b"2"), (b"2", b"1")):
        image(tmp_path / "mine/a.png", first)
        image(tmp_path / "mine/b.png", second)
        descriptions.append(describe("mine", tmp_path))
    assert descriptions[0] != descriptions[1]
