"""One file over HTTP: tried again when the connection breaks, and resumed where it broke."""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from nuclei.base.errors import InputError
from nuclei.base.files import write_json
from nuclei.base.progress import track_bytes

CHUNK_BYTES = 1 << 16
BUSY = (429, 500, 502, 503, 504)  # answers that a later try may better
BACKOFF_S = 0.5  # before the second try; doubled each time
LONGEST_WAIT_S = 60
BY_HAND = "or download the file by other means and give its path: data: <path>"


class _BrokenError(Exception):
    """The connection ended before the file did."""


def download(url: str, target: Path, *, timeout_s: float, retries: int) -> None:
    """Download `url` to `target`, going on where an earlier try, in this process or another, broke off.

    What has come lies in `<target>.part` until it is whole, with `<target>.part.json` naming the version that it
    is a part of (the server's ETag, else its Last-Modified). It is gone on with only where the server confirms
    that version (`Range` with `If-Range`, RFC 9110, 13.1.5), else begun again. A `target` that exists is whole.

    Args:
        timeout_s: of connecting and of each read, seconds.
        retries: how often a break, a refusal or a busy server is tried again, after growing pauses.

    Raises:
        InputError: no connection, an error status, a web page in place of the file, or one break too many. What
            has come so far stays for the next run.
    """
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    retry = Retry(
        total=retries,
        backoff_factor=BACKOFF_S,
        backoff_max=LONGEST_WAIT_S,
        retry_after_max=LONGEST_WAIT_S,
        status_forcelist=BUSY,
        raise_on_status=False,
    )
    with requests.Session() as session:
        session.mount("http://", HTTPAdapter(max_retries=retry))
        session.mount("https://", HTTPAdapter(max_retries=retry))
        for attempt in range(retries + 1):
            try:
                _receive(session, url, part, timeout_s)
                break
            except _BrokenError as error:
                if attempt == retries:
                    got = f"{error}, {retries + 1} times; {_size(part)} bytes have come"
                    fix = f"run it again: it goes on from there; {BY_HAND}"
                    raise InputError("a download keeps breaking off", file=url, got=got, fix=fix) from None
                print(f"{part.stem}: {error}; trying again", file=sys.stderr)
                time.sleep(min(BACKOFF_S * 2**attempt, LONGEST_WAIT_S))
    part.replace(target)
    _note(part).unlink(missing_ok=True)


def discard(target: Path) -> None:
    """Remove a download that turned out to be wrong, so that the next run begins it anew."""
    part = target.with_name(f"{target.name}.part")
    for path in (target, part, _note(part)):
        path.unlink(missing_ok=True)


def _receive(session: requests.Session, url: str, part: Path, timeout_s: float) -> None:
    """Make one request and append what it brings to `part`; return when the file is whole."""
    version = _version_of(part, url)
    done = _size(part) if version else 0
    headers = {"Accept-Encoding": "identity"}  # else lengths and ranges would count compressed bytes
    if version and done:
        headers |= {"Range": f"bytes={done}-", "If-Range": version}
    try:
        response = session.get(url, headers=headers, stream=True, timeout=timeout_s)
    except requests.RequestException as error:
        reason = getattr(error.args[0] if error.args else None, "reason", None) or error
        fix = f"check the network (and HTTPS_PROXY, if you are behind a proxy), then run it again; {BY_HAND}"
        raise InputError("a server can not be reached", file=url, got=reason, fix=fix) from None
    with response:
        if response.status_code == 416:  # nothing lies behind what has come
            if response.headers.get("Content-Range") == f"bytes */{done}" and _version(response) in (version, None):
                return  # it is whole: an earlier run was killed before it could rename it
            part.unlink(missing_ok=True)
            raise _BrokenError("what had come is of another version of the file")
        _check_answer(response, url)
        if response.status_code == 206 and not _continues(response, done, version):
            part.unlink(missing_ok=True)
            raise _BrokenError("the server sent another part than was asked for")
        if response.status_code != 206:
            done = 0
        length = response.headers.get("Content-Length", "")
        total = done + int(length) if length.isdecimal() else None
        with part.open("ab" if done else "wb") as file:
            if not done:  # only now that nothing of an earlier version is left
                write_json(_note(part), {"url": url, "version": _version(response)})
            try:
                for chunk in track_bytes(response.iter_content(CHUNK_BYTES), what=part.stem, total=total, done=done):
                    file.write(chunk)
            except requests.RequestException:
                raise _BrokenError(f"the connection broke after {file.tell()} of {total or '?'} bytes") from None
    if total is not None and _size(part) != total:
        raise _BrokenError(f"{_size(part)} of {total} bytes came")


def _check_answer(response: requests.Response, url: str) -> None:
    status = f"{response.status_code} {response.reason or ''}".strip()
    if response.status_code >= 400:
        later = response.status_code in BUSY
        problem = "a server is busy or out of order" if later else "a server does not have the file, or refuses it"
        fix = f"try again later; {BY_HAND}" if later else f"check the address in a browser; {BY_HAND}"
        raise InputError(problem, file=url, got=f"HTTP {status}", expected="200 OK", fix=fix)
    if response.headers.get("Content-Type", "").startswith("text/html"):
        fix = f"open the address in a browser (a network that wants a login answers like this); {BY_HAND}"
        raise InputError("a server sent a web page", file=url, got="text/html", expected="a zip archive", fix=fix)


def _continues(response: requests.Response, done: int, version: str | None) -> bool:
    """Whether a partial answer begins where `part` ends, and is of the same version."""
    begins = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    same = _version(response) in (version, None)  # a 206 may leave it out: If-Range has then settled it
    return begins is not None and int(begins[1]) == done and same


def _version(response: requests.Response) -> str | None:
    """What `If-Range` may carry: a strong ETag, else the date of the last change."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified")


def _version_of(part: Path, url: str) -> str | None:
    """The version that `part` is of, or None where it is not known: then it can not be gone on with."""
    try:
        note = json.loads(_note(part).read_text(encoding="utf-8"))
        return str(note["version"]) if note["url"] == url and note["version"] else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
