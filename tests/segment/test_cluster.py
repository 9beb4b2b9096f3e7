"""Workers leave the bytes of one process, whatever dies meanwhile."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import dask
import distributed
import psutil
import pytest
import threshold
from results import contents
from test_shards import Run, images, run

from nuclei.base.errors import InputError
from nuclei.export import engine
from nuclei.segment import cluster, pipelined, tasks
from nuclei.segment.finding import Image
from nuclei.segment.manifest import Manifest

__all__ = ["images", "run"]  # fixtures


@pytest.fixture(scope="module")
def workers() -> Iterator[Any]:
    """A scheduler with two workers, which are threads of this process."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, protocol="tcp", dashboard_address=None
    ) as workers:
        yield workers


@pytest.fixture
def scheduler(workers: Any) -> Iterator[str]:
    """The address of the scheduler; after the test, wait for the tasks of a client that has died.

    They share the working directory of this process with the next test.
    """
    yield workers.scheduler_address
    wait_for(workers)


def wait_for(workers: Any) -> None:
    """Wait until no worker has a task."""
    while any(worker.state.executing for worker in workers.workers.values()):
        time.sleep(0.01)


def test_two_workers_leave_the_bytes_of_one_process_and_do_nothing_twice(
    run: Run, tmp_path: Path, scheduler: str
) -> None:
    run("-o", "whole")
    assert run("-o", "out", "--scheduler", scheduler) == [40, 41, 42, 43, 44]
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert not (tmp_path / "out/shards").exists()
    (tmp_path / "out/3_overlay.png").unlink()
    assert run("-o", "out", "--scheduler", scheduler) == [43]
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.parametrize("images_per_task", [1, 3])
def test_what_tasks_have_done_when_the_client_is_killed_the_next_run_takes_over(
    run: Run,
    tmp_path: Path,
    workers: Any,
    scheduler: str,
    monkeypatch: pytest.MonkeyPatch,
    images_per_task: int,
) -> None:
    run("-o", "whole")
    monkeypatch.setattr(cluster, "TASK_IMAGES", images_per_task)
    take, taken = Manifest.take, []

    def dies(self: Manifest, part: Path) -> None:
        take(self, part)
        taken.append(part)
        raise SystemExit

    with monkeypatch.context() as patched, pytest.raises(SystemExit):
        patched.setattr(Manifest, "take", dies)
        run("-o", "out", "--scheduler", scheduler, failed="")
    wait_for(workers)
    first = list(threshold.Counting.seen)
    assert len(taken) == 1 and taken[0].exists()
    second = run("-o", "out")
    assert sorted({*first, *second}) == [40, 41, 42, 43, 44] and len(second) < 5
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_worker_with_another_model_is_an_error_and_not_other_results(
    run: Run, tmp_path: Path, scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "hash_of", lambda *files: "another")
    tasks.opened_model.cache_clear()
    run("-o", "out", "--scheduler", scheduler, failed="a worker has another model")
    assert not list((tmp_path / "out").glob("*.tif"))


def same_files(out: Path, whole: Path) -> bool:
    """Whether two folders have the same label maps, overlays and tables; the page states how long each image took."""
    files = [{name: data for name, data in contents(place).items() if name != "index.html"} for place in (out, whole)]
    return files[0] == files[1]


def test_a_process_that_is_killed_changes_no_byte(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("-o", "whole")
    (tmp_path / "model").mkdir()
    monkeypatch.setattr(engine, "open_model", threshold.open_deadly)
    run("-o", "out", "--workers", "2", "--model", "model")
    assert (tmp_path / "model/died").exists()
    assert same_files(tmp_path / "out", tmp_path / "whole")


DYING = """
import os, signal
from pathlib import Path
folder = Path({folder!r})
(folder / f"{{os.getpid()}}.pid").touch()
if not (folder / "once").exists() or not (folder / "died").exists():
    (folder / "died").touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""  # for workers to run when they start: they die, or, where there is a file `once`, only until one has died


def alive(folder: Path) -> int:
    """How many of the workers that have run `DYING` are alive."""
    return sum(psutil.pid_exists(int(path.stem)) for path in folder.glob("*.pid"))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has none")
def test_workers_that_are_killed_while_they_start_are_started_again_and_then_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = argparse.Namespace(workers=2, scheduler=None, cluster=None)
    with dask.config.set({"distributed.worker.preload": [DYING.format(folder=str(tmp_path))]}):
        with pytest.raises(InputError, match=r"can not be started(.|\n)*fewer workers"), cluster.connected(given):
            pass
        assert capsys.readouterr().err.count("started again") == cluster.START_TRIES - 1
        assert alive(tmp_path) == 0
        (tmp_path / "died").unlink()
        (tmp_path / "once").touch()
        with cluster.connected(given) as connected:
            assert connected is not None and connected.client.submit(abs, -3).result() == 3
            assert alive(tmp_path) == 2
        assert (tmp_path / "died").exists() and alive(tmp_path) == 0
    assert capsys.readouterr().err.count("started again") == 1


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has none")
def test_a_worker_that_takes_long_to_start_again_is_waited_for() -> None:
    given = argparse.Namespace(workers=2, scheduler=None, cluster=None)
    late = {"distributed.deploy.lost-worker-timeout": "10ms"}  # by default it is 15 s
    with dask.config.set(late), cluster.connected(given) as connected:
        assert connected is not None
        killed = next(iter(connected.client.run(os.getpid).values()))
        psutil.Process(killed).kill()
        until = time.monotonic() + 60
        while killed in (found := connected.client.run(os.getpid, on_error="ignore").values()) or len(found) < 2:
            assert time.monotonic() < until
            time.sleep(0.1)


def test_jobs_of_a_queue_leave_the_bytes_of_one_process(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("-o", "whole")
    monkeypatch.setenv("PYTHONPATH", str(Path(threshold.__file__).parent))
    monkeypatch.setenv("DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE", "0.01")  # of 2 GB, which a job would wait for in vain
    monkeypatch.setattr(engine, "open_model", threshold.open_counting)
    (tmp_path / "local.yaml").write_text("cluster: local\njobs: 1\ncores: 1\nmemory: 2GB\n")
    run("-o", "out", "--cluster", "local.yaml")
    assert same_files(tmp_path / "out", tmp_path / "whole")


def test_threads_of_one_worker_do_not_change_each_others_working_directory(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "open_model", threshold.open_relative)
    (tmp_path / "model").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with distributed.LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=None) as workers:
        monkeypatch.chdir(tmp_path)
        run("-o", "out", "--scheduler", workers.scheduler_address, "--model", "model")
    assert len(list((tmp_path / "out").glob("*_labels.tif"))) == 5


class Killed(BaseException):
    """In place of the death of a worker."""


def test_an_image_at_which_two_workers_die_is_left_out_and_no_other_is(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadly = images / "3.png"

    def each(batch: object, given: Sequence[Image], large: object) -> Iterator[tuple[Image, None]]:
        for image in given:
            if image.path == deadly:
                raise Killed
            yield image, None

    monkeypatch.setattr(pipelined, "segment_pipelined", each)
    given = [Image(path, path.name) for path in sorted(images.iterdir())]
    for _ in range(3):  # after the first death images are segmented one by one: the next two are known to be its fault
        with pytest.raises(Killed):
            list(cluster._survived(None, given, None, tmp_path / "attempt"))
    outcomes = list(cluster._survived(None, given, None, tmp_path / "attempt"))
    assert [image for image, _ in outcomes] == given
    assert [(image.path, error.problem.startswith("2 workers died")) for image, error in outcomes if error] == [
        (deadly, True)
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cluster: slurm\ncores: 8\n", "jobs: None"),
        ("cluster: nonesuch\njobs: 2\n", r"cluster: nonesuch(.|\n)*slurm"),
        ("cluster: local\njobs: 0\ncores: 1\nmemory: 2GB\n", "at least 1"),
        ("cluster: local\njobs: 1\nmemory: 2GB\n", "cores"),
        ("cluster: local\njobs: 1\ncores: 1\nmemory: 2GB\nqeue: x\n", "qeue"),
        ("- cluster\n", "names and values"),
        ("a: [", "can not be read"),
        (None, "can not be read"),
    ],
)
def test_a_wrong_description_of_a_cluster_is_an_error_that_names_it(
    run: Run, tmp_path: Path, text: str | None, said: str
) -> None:
    if text is not None:
        (tmp_path / "cluster.yaml").write_text(text)
    run("-o", "out", "--cluster", "cluster.yaml", failed=rf"(?s)(?=.*cluster\.yaml).*{said}")
    assert not (tmp_path / "out").exists()


def test_a_scheduler_that_is_not_there_is_an_error(run: Run, tmp_path: Path) -> None:
    with dask.config.set({"distributed.comm.timeouts.connect": "100ms"}):
        run("-o", "out", "--scheduler", "tcp://127.0.0.1:9", failed="scheduler can not be reached")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("submits", [False, True])
def test_a_scheduler_that_ends_meanwhile_is_an_error_that_says_how_to_go_on(tmp_path: Path, submits: bool) -> None:
    written = tmp_path / "scheduler.json"
    module, options = "distributed.cli.dask_scheduler", ["--port", "0", "--scheduler-file", str(written)]
    with (
        subprocess.Popen([sys.executable, "-m", module, *options, "--no-dashboard", "--no-show"]) as scheduler,
        dask.config.set({"distributed.comm.timeouts.connect": "10s"}),
    ):
        try:
            until = time.monotonic() + 60
            while not written.exists():
                assert time.monotonic() < until
                time.sleep(0.1)
            address = json.loads(written.read_text())["address"]
            given = argparse.Namespace(workers=None, scheduler=address, cluster=None)
            expected = rf"the scheduler ended(.|\n)*{address}(.|\n)*goes on"
            with pytest.raises(InputError, match=expected), cluster.connected(given) as connected:
                assert connected is not None
                ended = distributed.as_completed([connected.client.submit(abs, -3)])  # there is no worker
                scheduler.kill()
                future = next(ended)
                if submits:
                    future = connected.client.submit(abs, -3)
                future.result()
        finally:
            scheduler.kill()


def test_no_worker_is_an_error(run: Run) -> None:
    run("-o", "out", "--workers", "0", failed="at least 1")


@pytest.mark.parametrize("module", ["distributed", "dask_jobqueue"])
def test_without_the_packages_one_worker_segments_and_more_are_an_error_that_names_what_to_install(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / "slurm.yaml").write_text("cluster: slurm\njobs: 2\n")
    options = ["--workers", "2"] if module == "distributed" else ["--cluster", "slurm.yaml"]
    run("-o", "out", *options, failed=r"not installed(.|\n)*requirements-cluster\.txt")
    assert run("-o", "out", "--workers", "1") == [40, 41, 42, 43, 44]
