"""The competition's archives from Kaggle, with the user's own account."""

from __future__ import annotations

from pathlib import Path

import kagglehub
import requests
from kagglehub.exceptions import DataCorruptionError, UnauthenticatedError

from nuclei.base.errors import InputError

BBBC038 = "or take the same images without an account: data: bbbc038"
CREDENTIALS = (
    "make a token at https://www.kaggle.com/settings/api and put it into ~/.kaggle/access_token or the variable "
    f"KAGGLE_API_TOKEN; {BBBC038}"
)


def download_competition_file(competition: str, name: str) -> Path:
    """Download one file of a competition into kagglehub's cache, unless it is there, and return its path.

    kagglehub resumes what an earlier attempt left and checks the MD5 sum that Kaggle announces. Its error messages
    are not repeated, because they may quote signed addresses, which are credentials.

    Raises:
        InputError: no credentials or wrong ones, the rules not accepted, a damaged download, or no connection.
    """
    page = f"https://www.kaggle.com/competitions/{competition}"
    try:
        return Path(kagglehub.competition_download(competition, path=name))
    except UnauthenticatedError:
        raise InputError("`data: kaggle` needs your Kaggle credentials", got="none", fix=CREDENTIALS) from None
    except requests.HTTPError as error:
        status = error.response.status_code
        fixes = {401: CREDENTIALS, 403: f"accept the competition's rules, once, at {page}/rules; {BBBC038}"}
        fix = fixes.get(status, f"look at {page}, or try again later; {BBBC038}")
        raise InputError(f"Kaggle refuses {name}", file=page, got=f"HTTP {status}", fix=fix) from None
    except (requests.RequestException, DataCorruptionError) as error:
        fix = f"check the network, then run it again: it resumes there; {BBBC038}"
        raise InputError(f"downloading {name} failed", file=page, got=type(error).__name__, fix=fix) from None
    except ValueError:  # of a ~/.kaggle/kaggle.json that is not what Kaggle writes
        raise InputError("your Kaggle credentials can not be read", got="no valid JSON", fix=CREDENTIALS) from None
