"""The competition's archives through Kaggle's own client, with the user's own account."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import requests

from nuclei.base.errors import InputError

BBBC038 = "or take the same images without an account: data: bbbc038"
CREDENTIALS = (
    "run `kaggle auth login`; or make a token at https://www.kaggle.com/settings/api and put it into "
    f"~/.kaggle/access_token or the variable KAGGLE_API_TOKEN; {BBBC038}"
)


def download_competition_file(competition: str, name: str, folder: Path) -> Path:
    """Download one file of a competition into `folder`, resumed where it broke off, and return its path.

    Nothing of what the client says is passed on: its errors quote signed addresses, which are credentials.

    Raises:
        InputError: no credentials, the wrong ones, the rules not accepted, or no connection.
    """
    folder.mkdir(parents=True, exist_ok=True)
    page = f"https://www.kaggle.com/competitions/{competition}"
    try:
        with redirect_stdout(io.StringIO()):
            client = _client()
            client.competition_download_file(competition, name, path=str(folder), quiet=not sys.stderr.isatty())
    except requests.HTTPError as error:
        status = getattr(error.response, "status_code", None)
        fix = f"look at {page}, or try again later; {BBBC038}"
        if status == 401:
            fix = CREDENTIALS
        elif status == 403:
            fix = f"accept the competition's rules, once, at {page}/rules, and run it again; {BBBC038}"
        raise InputError(f"Kaggle refuses {name}", file=page, got=f"HTTP {status}", fix=fix) from None
    except (requests.RequestException, ValueError) as error:  # ValueError: the size is not the announced one
        fix = f"check the network, then run it again: it goes on from there; {BBBC038}"
        got = type(error).__name__
        raise InputError(f"Kaggle could not be reached for {name}", file=page, got=got, fix=fix) from None
    path = folder / name
    if not path.is_file():
        found = sorted(file.name for file in folder.iterdir())
        raise InputError(f"Kaggle sent no {name}", file=page, got=found, fix=f"look at {page}/data; {BBBC038}")
    return path


def _client() -> Any:
    """Kaggle's client, signed in. It ends the process where it finds no credentials: that becomes an error."""
    try:
        import kaggle  # signs in as it is imported, and swallows what goes wrong there

        kaggle.api.authenticate()
    except SystemExit:
        raise InputError("`data: kaggle` needs your Kaggle credentials", got="none", fix=CREDENTIALS) from None
    return kaggle.api
