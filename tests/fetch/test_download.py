"""Downloads from a server on loopback that breaks off, is busy, or sends something else."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from nuclei.base.errors import InputError
from nuclei.fetch.download import download

CONTENT = bytes(range(256)) * 200
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Answers with each of `statuses`, then `content` cut off after each of `breaks` bytes, then all of `content`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.statuses, self.breaks, self.requests = CONTENT, list[int](), list[int](), 0
        self.answers = threading.Event()
        self.answers.set()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a client that has gone."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/a.zip"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        server.requests += 1
        server.answers.wait(5)
        if server.statuses:
            self.send_error(server.statuses.pop(0))
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(server.content)))
        self.end_headers()
        self.wfile.write(server.content[: server.breaks.pop(0)] if server.breaks else server.content)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)  # between two attempts
    with Server() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.answers.set()
        server.shutdown()


def fetch(
    server: Server, folder: Path, *, sha256: str | None = SHA256, retries: int = 0, timeout_s: float = 5
) -> list[bytes]:
    """Download into `folder` and return what lies there."""
    download(server.url, folder / "a.zip", sha256=sha256, timeout_s=timeout_s, retries=retries)
    return [path.read_bytes() for path in folder.iterdir()]


@pytest.mark.parametrize("sha256", [SHA256, None])
def test_a_complete_file_arrives_alone_and_is_not_downloaded_again(
    server: Server, tmp_path: Path, sha256: str | None, capfd: pytest.CaptureFixture[str]
) -> None:
    assert fetch(server, tmp_path / "new", sha256=sha256) == [CONTENT]
    assert fetch(server, tmp_path / "new", sha256=sha256) == [CONTENT]
    assert server.requests == 1
    assert capfd.readouterr() == ("", "")


def test_a_file_that_differs_from_a_known_hash_is_downloaded_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(CONTENT[:-1])
    assert fetch(server, tmp_path) == [CONTENT]


def test_broken_connections_and_busy_servers_are_tried_again(server: Server, tmp_path: Path) -> None:
    server.statuses, server.breaks = [503], [1000, 0]
    assert fetch(server, tmp_path, retries=3) == [CONTENT]
    assert server.requests == 4


@pytest.mark.parametrize("sha256", [SHA256, None])
def test_a_download_that_keeps_breaking_off_is_an_error_and_leaves_nothing(
    server: Server, tmp_path: Path, sha256: str | None
) -> None:
    server.breaks = [1000, 1000, 1000]
    with pytest.raises(InputError, match=r"a download failed(.|\n)*a\.zip(.|\n)*run it again"):
        fetch(server, tmp_path, sha256=sha256, retries=2)
    assert server.requests == 3
    assert not list(tmp_path.iterdir())


def test_an_error_status_is_an_error_that_names_it(server: Server, tmp_path: Path) -> None:
    server.statuses = [404]
    with pytest.raises(InputError, match=r"does not send the file(.|\n)*a\.zip(.|\n)*HTTP 404(.|\n)*data: <path>"):
        fetch(server, tmp_path)


def test_a_web_page_in_place_of_the_file_is_an_error_where_the_hash_is_known(server: Server, tmp_path: Path) -> None:
    server.content = b"<html>log in first</html>"
    with pytest.raises(InputError, match=r"another file than expected(.|\n)*login"):
        fetch(server, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_server_that_does_not_answer_in_time_is_an_error(server: Server, tmp_path: Path) -> None:
    server.answers.clear()
    with pytest.raises(InputError, match="a download failed"):
        fetch(server, tmp_path, timeout_s=0.1)


def test_no_server_is_an_error_that_says_how_to_do_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening, so nothing else can answer there
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/a.zip"
        with pytest.raises(InputError, match=r"a download failed(.|\n)*refused(.|\n)*data: <path>"):
            download(url, tmp_path / "a.zip", sha256=None, timeout_s=5, retries=0)
