"""Jobs of a queue that are Dask's workers: submitted, and submitted again when they have ended before the run.

dask-jobqueue submits each job once. A job has a time limit, and may be cancelled or preempted; if all of them have
ended, the tasks that are left would wait for ever.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from nuclei.base.errors import InputError

CHECK_S = 1  # between two looks at the workers: a job that none has seen is taken for one that waits
LOST_S = 60  # without its workers, after which a job has ended; twice as long without any worker is said; and
# between two tries to submit it again when the queue has refused it
NO_WORKER = "no job has a worker"
NEVER = "3650 days"  # for Dask, which would give up a job or process 15 s after its worker died, and start none instead


@contextmanager
def running_jobs(cluster: Any, count: int) -> Iterator[None]:
    """Keep `count` jobs in the queue until the end of the block.

    Args:
        cluster: a `JobQueueCluster` without jobs.
        count: how many.

    Raises:
        InputError: the queue does not take the jobs.
    """
    import dask

    for _ in range(count):
        cluster.worker_spec.update(cluster.new_worker_spec())
    try:
        cluster.sync(lambda: cluster)
    except Exception as error:
        for job in cluster.workers.values():
            _mark_closed(job)
        raise InputError("the queue does not take the jobs", got=error, fix="correct the YAML of --cluster") from None
    jobs, ended = _Jobs(cluster), threading.Event()
    thread = threading.Thread(target=jobs.watch, args=[ended], daemon=True)
    with dask.config.set({"distributed.deploy.lost-worker-timeout": NEVER}):
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


class _Jobs:
    """The jobs of a cluster, watched by a thread."""

    def __init__(self, cluster: Any) -> None:
        self.cluster = cluster
        self.seen: dict[str, float] = {}  # when a job last had a worker, by its name
        self.any_seen = time.monotonic()
        self.refused: float | None = None  # when the queue did not take a job
        self.said: set[str] = set()

    def watch(self, ended: threading.Event) -> None:
        """Look at the workers again and again until the run has ended."""
        while not ended.wait(CHECK_S):
            try:
                self.cluster.sync(self._replace)
            except Exception as error:
                self._say("a job that has ended could not be submitted again", error)

    async def _replace(self) -> None:
        """Submit the jobs again that had a worker and have none any more.

        One that never had any may still wait in the queue. So a job that fails when it starts is submitted only once.
        """
        cluster, now = self.cluster, time.monotonic()
        present = {worker["name"] for worker in cluster.scheduler_info["workers"].values()}
        if present:
            self.any_seen = now
            self.said.discard(NO_WORKER)
        elif now - self.any_seen > 2 * LOST_S:  # not while the jobs are submitted again
            self._say(NO_WORKER, "they wait in the queue, or failed when they started: see their logs")
        for name, spec in list(cluster.worker_spec.items()):
            if present.intersection(f"{name}{suffix}" for suffix in spec.get("group", [""])):
                self.seen[name] = now
            elif now - self.seen.get(name, now) > LOST_S:
                del self.seen[name]
                job = cluster.workers.pop(name)
                _mark_closed(job)
                with contextlib.suppress(OSError):
                    await job.close()
        if cluster.worker_spec.keys() <= cluster.workers.keys():
            return
        if self.refused is not None and now - self.refused < LOST_S:
            return
        try:
            await cluster  # submits what is not in `workers`
            self.refused = None
        except Exception:
            self.refused = now
            for name in [name for name, job in cluster.workers.items() if job.job_id is None]:
                _mark_closed(cluster.workers.pop(name))
            raise

    def _say(self, what: str, details: object) -> None:
        if what not in self.said:
            self.said.add(what)
            tqdm.write(f"{what}: {details}", file=sys.stderr)


def _mark_closed(job: Any) -> None:
    """Let the cluster close: it asserts that its jobs have this status, which dask-jobqueue does not set."""
    from distributed.core import Status

    job.status = Status.closed
