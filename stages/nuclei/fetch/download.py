"""One file over HTTP: tried again where that fails, and checked against its hash where that is known."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pooch
import requests

from nuclei.base.errors import InputError

CHUNK_BYTES = 1 << 20
BY_HAND = "or download the file by other means and give its path: data: <path>"


def download(url: str, target: Path, *, sha256: str | None, timeout_s: float, retries: int) -> None:
    """Download `url` to `target`, which appears only when it is complete.

    A `target` that exists is not downloaded again, unless its hash is known and differs.

    Args:
        sha256: of the file, in hexadecimal digits; None where it is not known.
        timeout_s: for connecting and for each read, in seconds.
        retries: further attempts after a failed one.

    Raises:
        InputError: no connection, an error status, or another file than the one expected.
    """
    logging.getLogger("pooch").setLevel(logging.WARNING)
    files = pooch.create(
        target.parent,
        base_url="",
        registry={target.name: sha256},
        urls={target.name: url},
        retry_if_failed=retries,
    )
    downloader = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), chunk_size=CHUNK_BYTES, timeout=timeout_s)
    try:
        files.fetch(target.name, downloader=downloader)
    except requests.HTTPError as error:
        got = f"HTTP {error.response.status_code} {error.response.reason or ''}".strip()
        fix = f"try again later, or check the address in a browser; {BY_HAND}"
        raise InputError("a server does not send the file", file=url, got=got, expected="200 OK", fix=fix) from None
    except requests.RequestException as error:
        reason = getattr(error.args[0] if error.args else None, "reason", error)  # without urllib3's account of retries
        fix = f"check the network (and HTTPS_PROXY, if you are behind a proxy), then run it again; {BY_HAND}"
        raise InputError("a download failed", file=url, got=reason, fix=fix) from None
    except ValueError as error:  # pooch's, of a hash that differs
        fix = f"open the address in a browser (a network that wants a login sends its own page instead); {BY_HAND}"
        raise InputError("a server sent another file than expected", file=url, got=error, fix=fix) from None
