"""Kaggle's client, in its place one that does what the real one does when something is missing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests

from nuclei.base.errors import InputError
from nuclei.fetch.competition import download_competition_file

SECRET = "X-Goog-Signature=0123"


def client(
    monkeypatch: pytest.MonkeyPatch,
    deliver: Callable[[Path, str], object] = lambda folder, name: None,
    authenticate: Callable[[], object] = lambda: None,
) -> None:
    """Put a module `kaggle` in place whose download calls `deliver`."""

    def competition_download_file(competition: str, name: str, *, path: str, quiet: bool) -> None:
        print(SECRET)
        deliver(Path(path), name)

    api = SimpleNamespace(authenticate=authenticate, competition_download_file=competition_download_file)
    monkeypatch.setitem(sys.modules, "kaggle", SimpleNamespace(api=api))


def refused(status: int) -> Callable[[Path, str], object]:
    def deliver(folder: Path, name: str) -> None:
        response = requests.Response()
        response.status_code = status
        raise requests.HTTPError(f"{status} for url: https://storage?{SECRET}", response=response)

    return deliver


def download(folder: Path) -> Path:
    return download_competition_file("data-science-bowl-2018", "stage1_train.zip", folder)


def test_the_file_that_the_client_wrote_is_returned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    client(monkeypatch, lambda folder, name: (folder / name).write_bytes(b"zip"))
    assert download(tmp_path / "new").read_bytes() == b"zip"
    assert capsys.readouterr() == ("", "")


def test_no_credentials_are_an_error_that_says_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def authenticate() -> None:
        sys.exit(1)

    client(monkeypatch, authenticate=authenticate)
    with pytest.raises(InputError, match=r"credentials(.|\n)*kaggle auth login(.|\n)*settings/api(.|\n)*bbbc038"):
        download(tmp_path)


@pytest.mark.parametrize(("status", "fix"), [(401, "kaggle auth login"), (403, "accept.*rules"), (404, "look at")])
def test_a_refusal_is_an_error_that_quotes_no_signed_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, fix: str
) -> None:
    client(monkeypatch, refused(status))
    with pytest.raises(InputError, match=rf"HTTP {status}(.|\n)*{fix}") as caught:
        download(tmp_path)
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__  # a traceback would quote it


@pytest.mark.parametrize("error", [requests.ConnectionError(SECRET), ValueError(SECRET)])
def test_a_lost_connection_is_an_error_that_quotes_no_signed_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def deliver(folder: Path, name: str) -> None:
        raise error

    client(monkeypatch, deliver)
    with pytest.raises(InputError, match=r"could not be reached(.|\n)*run it again") as caught:
        download(tmp_path)
    assert SECRET not in str(caught.value)


def test_another_file_than_the_one_asked_for_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client(monkeypatch, lambda folder, name: (folder / "bundle.zip").write_bytes(b"zip"))
    with pytest.raises(InputError, match=r"sent no stage1_train\.zip(.|\n)*bundle\.zip"):
        download(tmp_path)
