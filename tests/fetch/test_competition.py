"""Kaggle's errors become readable ones that quote no signed address."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests
from kagglehub.exceptions import DataCorruptionError, KaggleApiHTTPError, UnauthenticatedError

from nuclei.base.errors import InputError
from nuclei.fetch.competition import download_competition_file

SECRET = "X-Goog-Signature=0123"


def answering(monkeypatch: pytest.MonkeyPatch, answer: str | Exception) -> None:
    """Replace the download of kagglehub by one that returns or raises `answer`."""

    def competition_download(handle: str, path: str) -> str:
        assert (handle, path) == ("data-science-bowl-2018", "stage1_train.zip")
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr("kagglehub.competition_download", competition_download)


def refusal(status: int) -> KaggleApiHTTPError:
    response = requests.Response()
    response.status_code = status
    return KaggleApiHTTPError(f"{status} for url: https://storage?{SECRET}", response=response)


def download() -> Path:
    return download_competition_file("data-science-bowl-2018", "stage1_train.zip")


def test_the_path_of_the_downloaded_file_is_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, "cache/stage1_train.zip")
    assert download() == Path("cache/stage1_train.zip")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (UnauthenticatedError(), r"needs your Kaggle credentials(.|\n)*settings/api(.|\n)*bbbc038"),
        (ValueError(SECRET), r"credentials can not be read(.|\n)*settings/api"),
        (refusal(401), r"refuses stage1_train\.zip(.|\n)*HTTP 401(.|\n)*settings/api"),
        (refusal(403), r"HTTP 403(.|\n)*accept the competition's rules"),
        (refusal(404), r"HTTP 404(.|\n)*look at https://www.kaggle.com/competitions/data-science-bowl-2018"),
        (requests.ConnectionError(SECRET), r"failed(.|\n)*run it again"),
        (DataCorruptionError(SECRET), r"failed(.|\n)*run it again"),
    ],
)
def test_what_goes_wrong_is_an_error_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    answering(monkeypatch, error)
    with pytest.raises(InputError, match=said) as caught:
        download()
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__  # a traceback would quote it
