"""The two scripts that bring data in, each run in a folder with a params.yaml of its own."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import shutil
import threading
import zipfile
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

import fetch
import source
from conftest import run_script
from nuclei.base.errors import InputError

ROOT = Path(__file__).parents[2]
FILES = {"a/images/a.png": b"A" * 1000, "a/masks/1.png": b"1" * 1000, "b/images/b.png": b"B" * 1000}
WRITTEN = ["encoder_weights.json", "raw", "source.json", "split_list.json", "start_from.json"]


def workspace(folder: Path, data: str, **fetch: object) -> Path:
    """A folder with the repository's params.yaml, but for `data` and the section fetch."""
    folder.mkdir(parents=True, exist_ok=True)
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["data"] = data
    params["fetch"] |= fetch
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    return folder


def execute(folder: Path, stage: str, status: int = 0) -> str:
    """Run one script in this process, check whether it fails, and return its error."""
    try:
        with contextlib.chdir(folder):
            {"source": source, "fetch": fetch}[stage].main()
    except InputError as error:
        assert status == 1, error
        return str(error)
    assert status == 0
    return ""


def fetched(folder: Path) -> dict[str, str]:
    """Run both scripts; return the SHA-256 of each archive, and check that nothing else was left."""
    execute(folder, "source")
    execute(folder, "fetch")
    assert sorted(path.name for path in (folder / "data").iterdir()) == WRITTEN
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (folder / "data/raw").iterdir()}


def untouched(folder: Path) -> bool:
    """Whether a failed fetch left no outputs, whole or in part."""
    return not [path for path in folder.glob("data/*raw*") if path.exists()]


def archive(path: Path, files: dict[str, bytes] = FILES) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as made:
        for name, content in files.items():
            made.writestr(zipfile.ZipInfo(name), content)  # with a fixed date
    return path


def images(folder: Path, files: dict[str, bytes] = FILES) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_an_archive_arrives_as_it_is_and_as_a_file_of_its_own(tmp_path: Path) -> None:
    original = archive(tmp_path / "mine.zip")
    folder = workspace(tmp_path / "run", "../mine.zip")
    assert fetched(folder) == {"stage1_train.zip": hashlib.sha256(original.read_bytes()).hexdigest()}
    arrived = folder / "data/raw/stage1_train.zip"
    assert not arrived.is_symlink()
    assert not arrived.samefile(original)


def test_a_folder_of_archives_gives_both(tmp_path: Path) -> None:
    archive(tmp_path / "mine/stage1_train.zip")
    archive(tmp_path / "mine/stage1_test.zip", {"c/images/c.png": b"c"})
    assert set(fetched(workspace(tmp_path / "run", "../mine"))) == {"stage1_train.zip", "stage1_test.zip"}


def test_a_folder_of_images_gives_the_same_bytes_in_two_clones_at_two_times(tmp_path: Path) -> None:
    for clone, time in (("one", 10**9), ("two/below", 2 * 10**9)):
        for path in images(tmp_path / clone / "mine").rglob("*.png"):
            os.utime(path, (time, time))
    first, second = (workspace(tmp_path / clone, "mine") for clone in ("one", "two/below"))
    assert fetched(first) == fetched(second)
    assert (first / "data/source.json").read_bytes() == (second / "data/source.json").read_bytes()
    with zipfile.ZipFile(first / "data/raw/stage1_train.zip") as packed:
        assert {name: packed.read(name) for name in packed.namelist()} == FILES


def test_kaggles_two_folders_become_two_archives(tmp_path: Path) -> None:
    images(tmp_path / "mine/stage1_train")
    images(tmp_path / "mine/stage1_test", {"c/images/c.png": b"c"})
    folder = workspace(tmp_path / "run", str(tmp_path / "mine"))
    assert set(fetched(folder)) == {"stage1_train.zip", "stage1_test.zip"}
    assert zipfile.ZipFile(folder / "data/raw/stage1_test.zip").namelist() == ["c/images/c.png"]


@pytest.mark.parametrize("packed", [True, False])
def test_changed_content_changes_the_fingerprint_and_unchanged_does_not(tmp_path: Path, packed: bool) -> None:
    make = archive if packed else images
    mine, folder = tmp_path / "mine", workspace(tmp_path / "run", "../mine")
    fingerprints = []
    for content in (b"A", b"A", b"other"):
        make(mine, {**FILES, "a/images/a.png": content})
        execute(folder, "source")
        fingerprints.append((folder / "data/source.json").read_text(encoding="utf-8"))
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


def test_content_that_changed_after_it_was_described_is_an_error(tmp_path: Path) -> None:
    folder = workspace(tmp_path / "run", "../mine")
    images(tmp_path / "mine")
    execute(folder, "source")
    images(tmp_path / "mine", {"a/images/a.png": b"other"})
    assert "changed while it was read" in execute(folder, "fetch", status=1)
    assert untouched(folder)


def test_a_failed_fetch_leaves_what_was_there(tmp_path: Path) -> None:
    folder = workspace(tmp_path / "run", "../mine.zip")
    archive(tmp_path / "mine.zip")
    before = fetched(folder)
    (tmp_path / "mine.zip").unlink()
    assert "neither a keyword nor a path" in execute(folder, "fetch", status=1)
    assert {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (folder / "data/raw").iterdir()
    } == before


def test_a_description_of_other_data_is_an_error(tmp_path: Path) -> None:
    folder = workspace(tmp_path / "run", "sample")
    execute(folder, "source")
    workspace(folder, "bbbc038")
    assert "describes other data" in execute(folder, "fetch", status=1)


def test_without_a_description_fetch_says_what_to_run(tmp_path: Path) -> None:
    assert "dvc repro" in execute(workspace(tmp_path, "sample"), "fetch", status=1)


def test_a_truncated_archive_is_an_error_before_anything_is_written(tmp_path: Path) -> None:
    mine = archive(tmp_path / "mine.zip")
    mine.write_bytes(mine.read_bytes()[:-40])
    folder = workspace(tmp_path / "run", "../mine.zip")
    assert "not a zip archive, or an incomplete one" in execute(folder, "source", status=1)
    assert not (folder / "data/source.json").exists()


def test_the_pipelines_own_output_is_refused_before_dvc_deletes_it(tmp_path: Path) -> None:
    archive(tmp_path / "data/raw/stage1_train.zip")
    assert "the pipeline itself writes" in execute(workspace(tmp_path, "data/raw"), "source", status=1)


FILES_OF_PARAMETERS = [("split", "list", "split_list"), ("train", "encoder_weights", "encoder_weights")]


def naming(folder: Path, section: str, name: str, value: str | None) -> Path:
    """A workspace of the sample in which another parameter has this value."""
    workspace(folder, "sample")
    params = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
    params[section][name] = value
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    return folder


@pytest.mark.parametrize(("section", "name", "file"), FILES_OF_PARAMETERS)
def test_a_named_files_content_is_recorded_and_none_is_null(tmp_path: Path, section: str, name: str, file: str) -> None:
    recorded = []
    for value, content in ((None, b""), ("mine", b"A"), ("mine", b"A"), ("mine", b"B")):
        (tmp_path / "mine").write_bytes(content)
        execute(naming(tmp_path, section, name, value), "source")
        recorded.append(json.loads((tmp_path / f"data/{file}.json").read_text(encoding="utf-8")))
    assert recorded[0] is None
    assert recorded[1] == recorded[2] == {"sha256": hashlib.sha256(b"A").hexdigest()} != recorded[3]


def test_the_content_of_a_model_to_start_from_is_recorded_but_not_its_card(tmp_path: Path) -> None:
    recorded = []
    (tmp_path / "mine").mkdir()
    for name in ("model.json", "MODEL.md", "unet_final_model.pth"):
        (tmp_path / "mine" / name).write_bytes(name.encode())
        execute(naming(tmp_path, "train", "start_from", "mine"), "source")
        recorded.append(json.loads((tmp_path / "data/start_from.json").read_text(encoding="utf-8")))
    assert recorded[0] == recorded[1] == {"model.json": {"sha256": hashlib.sha256(b"model.json").hexdigest()}}
    assert recorded[2].keys() == {"model.json", "unet_final_model.pth"}


def test_a_folder_without_a_model_to_start_from_is_an_error_before_any_work(tmp_path: Path) -> None:
    said = [execute(naming(tmp_path, "train", "start_from", "mine"), "source", status=1)]
    (tmp_path / "mine").mkdir()
    said.append(execute(naming(tmp_path, "train", "start_from", "mine"), "source", status=1))
    said.append(execute(naming(tmp_path, "train", "start_from", "params.yaml"), "source", status=1))
    for text, got in zip(said, ("nothing there", "no model.json in it", "a file"), strict=True):
        assert "`train.start_from` names no model" in text and got in text
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(("section", "name", "file"), FILES_OF_PARAMETERS)
def test_a_named_file_that_is_not_there_is_an_error_before_any_work(
    tmp_path: Path, section: str, name: str, file: str
) -> None:
    said = execute(naming(tmp_path, section, name, "nowhere/mine"), "source", status=1)
    assert f"`{section}.{name}` names no file" in said
    assert not (tmp_path / "data").exists()


def test_a_named_file_is_found_from_dvcs_temporary_workspace(tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"A")
    inner = naming(tmp_path / ".dvc/tmp/exps/standalone/tmpx1", "train", "encoder_weights", "mine")
    execute(inner, "source")
    assert json.loads((inner / "data/encoder_weights.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("place", ["standalone/tmpx1", "tmpx1"])
def test_in_dvcs_temporary_workspace_a_relative_path_starts_from_the_repository(tmp_path: Path, place: str) -> None:
    repository = tmp_path / "repository"
    archive(repository / "mine.zip")
    temporary = workspace(repository / ".dvc/tmp/exps" / place, "mine.zip")
    assert fetched(temporary) == fetched(workspace(repository, "mine.zip"))


def test_kaggle_without_credentials_ends_the_script_with_an_error_that_says_how_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("KAGGLE")]:
        monkeypatch.delenv(name)
    folder, home = workspace(tmp_path / "run", "kaggle"), str(tmp_path / "home")
    execute(folder, "source")
    done = run_script("fetch", folder, HOME=home, USERPROFILE=home)
    assert done.returncode == 1
    assert done.stderr.startswith("error: `data: kaggle` needs your Kaggle credentials")
    assert "https://www.kaggle.com/settings/api" in done.stderr
    assert untouched(folder)


def test_the_sample_is_drawn_the_same_twice(tmp_path: Path) -> None:
    runs = [fetched(workspace(tmp_path / name, "sample", sample_images=12, sample_unlabelled=1)) for name in "ab"]
    assert runs[0] == runs[1]
    assert set(runs[0]) == {"stage1_train.zip", "stage1_test.zip"}


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, list[str]]]:
    """A folder that is served on loopback, and the addresses of the two archives there."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    site = tmp_path / "site"
    site.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site)) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield site, [f"http://127.0.0.1:{server.server_port}/stage1_{part}.zip" for part in ("train", "test")]
        server.shutdown()


def downloading(folder: Path, urls: list[str]) -> Path:
    """A workspace whose description of bbbc038 leads to the server on loopback."""
    workspace(folder, "bbbc038", retries=0)
    execute(folder, "source")
    path = folder / "data/source.json"
    described = json.loads(path.read_text(encoding="utf-8"))
    address = "https://data.broadinstitute.org/bbbc/BBBC038/"
    assert all(each["url"].startswith(address) for each in described["archives"])
    archives = [{"url": url, "sha256": None} for url in urls]
    path.write_text(json.dumps({**described, "archives": archives}), encoding="utf-8")
    return folder


def test_a_download_brings_both_archives_and_clears_up(tmp_path: Path, server: tuple[Path, list[str]]) -> None:
    site, urls = server
    archive(site / "stage1_train.zip")
    archive(site / "stage1_test.zip", {"c/images/c.png": b"c"})
    folder = downloading(tmp_path / "run", urls)
    execute(folder, "fetch")
    assert sorted(path.name for path in (folder / "data").iterdir()) == WRITTEN
    for path in site.iterdir():
        assert (folder / "data/raw" / path.name).read_bytes() == path.read_bytes()


def test_what_has_been_downloaded_is_not_downloaded_again(tmp_path: Path, server: tuple[Path, list[str]]) -> None:
    site, urls = server
    archive(site / "stage1_train.zip")
    folder = downloading(tmp_path / "run", urls)
    assert "HTTP 404" in execute(folder, "fetch", status=1)
    assert untouched(folder)
    shutil.move(site / "stage1_train.zip", site / "stage1_test.zip")
    execute(folder, "fetch")
    assert len(list((folder / "data/raw").iterdir())) == 2


@pytest.mark.parametrize(
    ("wrong", "said"), [("truncated", "not a complete zip archive"), ("damaged", "a wrong checksum of a/images/a.png")]
)
def test_a_wrong_archive_is_an_error_and_is_not_kept(
    tmp_path: Path, server: tuple[Path, list[str]], wrong: str, said: str
) -> None:
    site, urls = server
    path = archive(site / "stage1_train.zip")
    whole = path.read_bytes()
    path.write_bytes(whole[:-40] if wrong == "truncated" else whole.replace(b"A" * 500, b"A" * 499 + b"B", 1))
    folder = downloading(tmp_path / "run", urls)
    message = execute(folder, "fetch", status=1)
    assert said in message
    assert urls[0] in message
    assert untouched(folder)
    assert not list((folder / "data/.download").iterdir())


def test_the_real_archive_arrives_whole(tmp_path: Path, real_data: Path) -> None:
    folder = workspace(tmp_path, str(real_data))
    assert fetched(folder) == {"stage1_train.zip": hashlib.sha256(real_data.read_bytes()).hexdigest()}
