"""Jobs of a queue that end before the run are submitted again, and a queue that takes none is an error."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
import threshold
from test_cluster import same_files
from test_shards import Run, images, run

from nuclei.export import engine
from nuclei.segment import jobs

__all__ = ["images", "run"]  # fixtures


def test_a_job_in_place_of_the_only_one_that_dies_leaves_the_bytes_of_one_process(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("-o", "whole")
    monkeypatch.setenv("PYTHONPATH", str(Path(threshold.__file__).parent))
    monkeypatch.setattr(engine, "open_model", threshold.open_last_of_job)
    monkeypatch.setattr(jobs, "CHECK_S", 0.1)
    monkeypatch.setattr(jobs, "LOST_S", 0.5)
    (tmp_path / "model").mkdir()
    (tmp_path / "local.yaml").write_text("cluster: local\njobs: 1\ncores: 1\nmemory: 2GB\n")
    run("-o", "out", "--cluster", "local.yaml", "--model", "model")
    assert (tmp_path / "model/died").exists()
    assert same_files(tmp_path / "out", tmp_path / "whole")


def test_a_queue_that_does_not_take_the_jobs_is_an_error_with_what_it_says(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/sbatch").write_text("#!/bin/sh\necho sbatch: invalid partition >&2\nexit 1\n")
    (tmp_path / "bin/sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    (tmp_path / "slurm.yaml").write_text("cluster: slurm\njobs: 2\ncores: 1\nmemory: 2GB\nqueue: nonesuch\n")
    run("-o", "out", "--cluster", "slurm.yaml", failed=r"queue does not take the jobs(.|\n)*invalid partition")
    assert not (tmp_path / "out").exists()


class Job:
    """In place of a job of dask-jobqueue."""

    def __init__(self, job_id: str | None, closed: list[str | None]) -> None:
        self.job_id, self.closed = job_id, closed

    async def close(self) -> None:
        self.closed.append(self.job_id)


class Queue:
    """In place of a cluster of dask-jobqueue, with two jobs of two workers each."""

    def __init__(self) -> None:
        self.closed: list[str | None] = []
        self.worker_spec = {name: {"group": ["-0", "-1"]} for name in ("a", "b")}
        self.workers = {name: Job(name, self.closed) for name in ("a", "b")}
        self.refuses = False
        self.present("a-0", "a-1")

    def present(self, *names: str) -> None:
        self.scheduler_info = {"workers": {f"tcp://{name}": {"name": name} for name in names}}

    def __await__(self) -> Generator[Any, Any, None]:
        for name in self.worker_spec.keys() - self.workers.keys():
            self.workers[name] = Job(None if self.refuses else "again", self.closed)
            if self.refuses:
                raise RuntimeError("no more jobs")
        yield from ()

    def sync(self, function: Callable[[], Any]) -> None:
        asyncio.run(function())


class Looks:
    """An event that lets `count` looks pass, with an hour between them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = self.count = 0
        monkeypatch.setattr(jobs.time, "monotonic", lambda: self.now)

    def wait(self, seconds: float) -> bool:
        self.now += 3600
        self.count -= 1
        return self.count < 0


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    return Looks(monkeypatch)


def test_a_job_is_replaced_when_all_its_workers_are_gone_and_not_while_it_waits_in_the_queue(looks: Looks) -> None:
    queue = Queue()
    watched = jobs._Jobs(queue)
    for names, closed in [(["a-0", "a-1"], []), (["a-1"], []), (["x"], ["a"]), (["x"], ["a"])]:
        queue.present(*names)
        looks.count = 1
        watched.watch(looks)
        assert queue.closed == closed
    assert {name: job.job_id for name, job in queue.workers.items()} == {"a": "again", "b": "b"}


def test_a_job_that_the_queue_refuses_is_submitted_again_at_the_next_look_and_it_is_said_once(
    looks: Looks, capsys: pytest.CaptureFixture[str]
) -> None:
    queue = Queue()
    watched = jobs._Jobs(queue)
    looks.count = 1
    watched.watch(looks)
    queue.present("b-0")
    queue.refuses = True
    looks.count = 3
    watched.watch(looks)
    assert queue.workers.keys() == {"b"}
    queue.refuses = False
    looks.count = 1
    watched.watch(looks)
    assert queue.workers["a"].job_id == "again"
    assert capsys.readouterr().err.count("could not be submitted again: no more jobs") == 1


def test_that_no_job_has_a_worker_is_said_once(looks: Looks, capsys: pytest.CaptureFixture[str]) -> None:
    queue = Queue()
    queue.present()
    looks.count = 3
    jobs._Jobs(queue).watch(looks)
    assert capsys.readouterr().err.count("no job has a worker") == 1
    assert queue.closed == []
