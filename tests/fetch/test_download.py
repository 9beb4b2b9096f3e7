"""Downloads, from a real server on loopback that breaks off, changes its mind and lies."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nuclei.base.errors import InputError
from nuclei.fetch import download as module
from nuclei.fetch.download import discard, download

CONTENT = bytes(range(256)) * 2000  # 512,000 bytes: several chunks
CHANGED = CONTENT[::-1]


class Server(ThreadingHTTPServer):
    """Serves `content`; what goes wrong is set by the attributes, what was asked is in `ranges` and `conditions`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.headers: dict[str, str] = {"ETag": '"one"'}
        self.breaks: list[int] = []  # how many bytes to send before breaking off; one for each of the next requests
        self.statuses: list[int] = []  # to answer the next requests with
        self.supports_range = True
        self.obeys_if_range = True
        self.stalls = threading.Event()
        self.stalls.set()
        self.ranges: list[str | None] = []
        self.conditions: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/stage1_train.zip"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers["Range"]
        server.ranges.append(wanted)
        server.conditions.append(self.headers["If-Range"])
        server.stalls.wait(5)
        if server.statuses:
            self.send_error(server.statuses.pop(0))
            return
        version = server.headers.get("ETag", server.headers.get("Last-Modified"))
        changed = server.obeys_if_range and self.headers["If-Range"] not in (version, None)
        resumes = wanted is not None and server.supports_range and not changed
        start = int(str(wanted).removeprefix("bytes=").rstrip("-")) if resumes else 0
        size = len(server.content)
        if resumes and start >= size:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{size}")
            self.send_header("Content-Length", "0")
            for name, value in server.headers.items():
                self.send_header(name, value)
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.send_header("Content-Length", str(size - start))
        for name, value in server.headers.items():
            self.send_header(name, value)
        self.end_headers()
        body = server.content[start:]
        self.wfile.write(body[: server.breaks.pop(0)] if server.breaks else body)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(module, "BACKOFF_S", 0)
    with Server() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.stalls.set()
        server.shutdown()


def fetch(server: Server, target: Path, retries: int = 0, timeout_s: float = 5) -> bytes:
    download(server.url, target, timeout_s=timeout_s, retries=retries)
    return target.read_bytes()


def test_a_file_comes_whole_and_leaves_nothing_beside_it(server: Server, tmp_path: Path) -> None:
    assert fetch(server, tmp_path / "new" / "a.zip") == CONTENT
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.zip"]


def test_a_file_that_is_there_is_not_asked_for_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"mine")
    assert fetch(server, tmp_path / "a.zip") == b"mine"
    assert server.ranges == []


def test_a_broken_connection_is_resumed_where_it_broke(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.breaks = [300_000]
    assert fetch(server, tmp_path / "a.zip", retries=1) == CONTENT
    assert server.ranges[0] is None
    begin = int(str(server.ranges[1]).removeprefix("bytes=").rstrip("-"))
    assert 300_000 - module.CHUNK_BYTES <= begin <= 300_000
    assert server.conditions == [None, '"one"']
    assert "trying again" in capsys.readouterr().err


def test_the_next_run_resumes_what_an_interrupted_one_left(server: Server, tmp_path: Path) -> None:
    server.breaks = [300_000]
    with pytest.raises(InputError, match=r"keeps breaking off(.|\n)*bytes have come(.|\n)*run it again"):
        fetch(server, tmp_path / "a.zip")
    assert not (tmp_path / "a.zip").exists()
    assert fetch(server, tmp_path / "a.zip") == CONTENT
    assert str(server.ranges[1]).startswith("bytes=")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(breaks=st.lists(st.integers(0, len(CONTENT) - 1), max_size=4), ranges=st.booleans(), tagged=st.booleans())
def test_wherever_the_connection_breaks_the_bytes_are_the_files(
    server: Server, tmp_path: Path, breaks: list[int], ranges: bool, tagged: bool
) -> None:
    server.breaks, server.supports_range = list(breaks), ranges
    server.headers = {"ETag": '"one"'} if tagged else {}
    discard(tmp_path / "a.zip")
    assert fetch(server, tmp_path / "a.zip", retries=len(breaks)) == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_a_server_without_ranges_sends_the_file_again(server: Server, tmp_path: Path) -> None:
    server.breaks, server.supports_range = [300_000], False
    assert fetch(server, tmp_path / "a.zip", retries=1) == CONTENT


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"weak"'}])
def test_a_file_without_a_version_is_begun_again_rather_than_guessed(
    server: Server, tmp_path: Path, headers: dict[str, str]
) -> None:
    server.breaks, server.headers = [300_000], headers
    assert fetch(server, tmp_path / "a.zip", retries=1) == CONTENT
    assert server.ranges == [None, None]


def test_the_date_of_the_last_change_serves_where_there_is_no_etag(server: Server, tmp_path: Path) -> None:
    server.breaks, server.headers = [300_000], {"Last-Modified": "Tue, 16 Jan 2018 00:00:00 GMT"}
    assert fetch(server, tmp_path / "a.zip", retries=1) == CONTENT
    assert str(server.ranges[1]).startswith("bytes=")


@pytest.mark.parametrize("obeys", [True, False])
def test_a_file_that_changed_between_tries_is_never_mixed(server: Server, tmp_path: Path, obeys: bool) -> None:
    server.breaks = [300_000]
    with pytest.raises(InputError):
        fetch(server, tmp_path / "a.zip")
    server.content, server.headers, server.obeys_if_range = CHANGED, {"ETag": '"two"'}, obeys
    assert fetch(server, tmp_path / "a.zip", retries=1) == CHANGED


def test_a_file_that_became_shorter_is_begun_again(server: Server, tmp_path: Path) -> None:
    server.breaks = [300_000]
    with pytest.raises(InputError):
        fetch(server, tmp_path / "a.zip")
    server.content, server.obeys_if_range = CONTENT[:1000], False
    assert fetch(server, tmp_path / "a.zip", retries=1) == CONTENT[:1000]


def test_a_run_that_was_killed_before_the_rename_has_nothing_left_to_download(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.zip.part").write_bytes(CONTENT)
    note = {"url": server.url, "version": '"one"'}
    (tmp_path / "a.zip.part.json").write_text(json.dumps(note), encoding="utf-8")
    assert fetch(server, tmp_path / "a.zip") == CONTENT
    assert server.ranges == [f"bytes={len(CONTENT)}-"]


@pytest.mark.parametrize("obeys", [True, False])
def test_a_whole_part_of_another_version_of_the_same_length_is_not_taken(
    server: Server, tmp_path: Path, obeys: bool
) -> None:
    (tmp_path / "a.zip.part").write_bytes(CHANGED)
    note = {"url": server.url, "version": '"zero"'}
    (tmp_path / "a.zip.part.json").write_text(json.dumps(note), encoding="utf-8")
    server.obeys_if_range = obeys
    assert fetch(server, tmp_path / "a.zip", retries=1) == CONTENT


def test_another_address_does_not_go_on_with_this_ones_part(server: Server, tmp_path: Path) -> None:
    server.breaks = [300_000]
    with pytest.raises(InputError):
        fetch(server, tmp_path / "a.zip")
    download(f"{server.url}?other", tmp_path / "a.zip", timeout_s=5, retries=0)
    assert server.ranges == [None, None]


def test_a_file_that_is_always_cut_short_is_an_error(server: Server, tmp_path: Path) -> None:
    server.breaks = [1000, 0, 0]
    with pytest.raises(InputError, match=r"keeps breaking off(.|\n)*3 times"):
        fetch(server, tmp_path / "a.zip", retries=2)
    assert not (tmp_path / "a.zip").exists()


def test_an_absent_file_is_an_error_at_once(server: Server, tmp_path: Path) -> None:
    server.statuses = [404]
    with pytest.raises(InputError, match=r"does not have the file(.|\n)*stage1_train.zip(.|\n)*HTTP 404"):
        fetch(server, tmp_path / "a.zip", retries=5)
    assert len(server.ranges) == 1
    assert not list(tmp_path.iterdir())


def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.statuses = [503, 429]
    assert fetch(server, tmp_path / "a.zip", retries=2) == CONTENT


def test_a_server_that_stays_busy_is_an_error(server: Server, tmp_path: Path) -> None:
    server.statuses = [503, 503]
    with pytest.raises(InputError, match=r"busy(.|\n)*HTTP 503(.|\n)*try again later"):
        fetch(server, tmp_path / "a.zip", retries=1)


def test_a_web_page_is_an_error_and_spares_what_has_come(server: Server, tmp_path: Path) -> None:
    server.breaks = [300_000]
    with pytest.raises(InputError):
        fetch(server, tmp_path / "a.zip")
    come = (tmp_path / "a.zip.part").read_bytes()
    server.content, server.headers = b"<html>log in first</html>", {"ETag": '"x"', "Content-Type": "text/html"}
    with pytest.raises(InputError, match=r"a web page(.|\n)*expected: +a zip archive"):
        fetch(server, tmp_path / "a.zip", retries=5)
    assert (tmp_path / "a.zip.part").read_bytes() == come


def test_a_server_that_falls_silent_is_an_error(server: Server, tmp_path: Path) -> None:
    server.stalls.clear()
    with pytest.raises(InputError, match="can not be reached"):
        fetch(server, tmp_path / "a.zip", timeout_s=0.1)


def test_no_server_is_an_error_that_says_how_to_do_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else answers there
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/a.zip"
        with pytest.raises(InputError, match=r"can not be reached(.|\n)*refused(.|\n)*give its path"):
            download(url, tmp_path / "a.zip", timeout_s=5, retries=0)


def test_a_discarded_download_begins_anew(server: Server, tmp_path: Path) -> None:
    server.breaks = [300_000]
    with pytest.raises(InputError):
        fetch(server, tmp_path / "a.zip")
    discard(tmp_path / "a.zip")
    assert not list(tmp_path.iterdir())
