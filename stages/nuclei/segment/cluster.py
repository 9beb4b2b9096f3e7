"""Images segmented by several processes, on this machine or on many, with Dask.

A task is a chunk of images. The worker that has it notes them in a part of the manifest, as a shard does, and the
client adds the part to the manifest of the folder when the task has ended. If a worker dies, Dask gives its task to
another one, which goes on from the part; if the client dies, the next run adds the parts that are there. Large images
are left to `spread`. The packages of requirements-cluster.txt are imported only where there is more than one worker.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import logging
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from tqdm import tqdm

from nuclei.base.errors import InputError
from nuclei.base.files import remove
from nuclei.base.machine import cores
from nuclei.segment.batch import Batch, LargeOptions
from nuclei.segment.finding import Image
from nuclei.segment.jobs import NEVER, running_jobs
from nuclei.segment.manifest import opened
from nuclei.segment.shards import FOLDER
from nuclei.segment.slides import is_large
from nuclei.segment.spread import Spread
from nuclei.segment.tasks import Deaths, Model, Task, begun

if TYPE_CHECKING:  # an extra, and torch takes seconds to import
    from distributed import Client, Future

    from nuclei.segment.pipelined import Outcome

EXTRA = "requirements-cluster.txt"
LIBRARY = Path(__file__).resolve().parents[2]  # the folder from which workers import nuclei
TASK_IMAGES, TASKS_PER_WORKER = 1000, 8  # at most, and at least if there are as many images
TASKS_AHEAD = 1000  # known to the scheduler at a time: with 1,000 paths each, some 100 MB
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# Dask lets a worker rest at 80 % of its memory until there is less, but torch keeps what it has: it would rest for ever
NO_PAUSE = ("DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE", "False")
START_TRIES = 3  # to start the workers of this machine
ALLOWED_FAILURES = 20  # deaths of workers at one task: where jobs are preempted, a few say nothing about the task


@dataclass(frozen=True)
class Cluster:
    """A client of Dask, and how many workers it has or will have."""

    client: Client
    workers: int


@dataclass(frozen=True)
class Ended:
    """What a chunk of images came to.

    Attributes:
        failed: why an image was not segmented, by its stem.
        large: the images that were left aside, because their blocks are spread over the workers.
    """

    failed: dict[str, InputError]
    large: frozenset[Image]


def segment_on(
    cluster: Cluster, model: Model, batch: Batch, images: Sequence[Image], large: LargeOptions
) -> Iterator[Outcome]:
    """Segment images on the workers of a cluster; yield each when its task has ended, as `segment_pipelined` does.

    Args:
        cluster: see `connected`.
        model: see `Model`.
        batch: the run. Its manifest is that of the folder, and its model is not used.
        images: to segment.
        large: what the user chose for large images.

    Raises:
        InputError: the model can not be opened or is another one on a worker, or workers died again and again.
    """
    from distributed import KilledWorker, as_completed

    client, folder = cluster.client, batch.out / FOLDER
    size = min(TASK_IMAGES, -(-len(images) // (TASKS_PER_WORKER * cluster.workers)))
    chunks = ((f"task-{at // size:06}.sqlite", images[at : at + size]) for at in range(0, len(images), size))
    resumes = next(batch.manifest.images(), None) is not None
    submitted: dict[Any, tuple[str, Sequence[Image]]] = {}  # by the key of the future

    def task(part: str) -> Task:
        return Task(model, batch.out, batch.options, batch.force, large, Path.cwd(), part)

    def submit(count: int) -> Iterator[Future[Any]]:
        for part, chunk in islice(chunks, count):
            if resumes:
                with opened(folder, part):
                    pass
                batch.manifest.give(folder / part, [image.stem for image in chunk])
            future = client.submit(segment_task, task(part), chunk, pure=False)
            submitted[future.key] = part, chunk
            yield future

    spread = Spread(client, cluster.workers, batch, task)
    ended = as_completed(submit(TASKS_AHEAD))
    for future in ended:
        if future in spread:
            futures, outcome = spread.go_on(future)
            ended.update(futures)
            if outcome:
                yield outcome
            continue
        part, chunk = submitted.pop(future.key)
        try:
            returned: Ended = future.result()
        except KilledWorker as error:
            got = f"{error.allowed_failures + 1} deaths at the images from {chunk[0].path} to {chunk[-1].path}"
            fix = "perhaps the memory was full: take fewer workers; then run it again, and it goes on"
            raise InputError("workers died again and again", got=got, fix=fix) from None
        future.release()  # else Dask does the task again if the worker that has the result dies
        batch.manifest.take(folder / part)
        remove(folder / part)
        ended.update(submit(1))
        for image in chunk:
            if image in returned.large:
                futures, outcome = spread.begin(image)
                ended.update(futures)
            else:
                outcome = image, returned.failed.get(image.stem)
            if outcome:
                yield outcome
    remove(folder)


def segment_task(task: Task, images: Sequence[Image]) -> Ended:
    """Segment the images of a chunk that are not large on a worker, and note them in a part of the manifest.

    Raises:
        InputError: the model can not be opened, or is not that of the client.
    """
    with begun(task) as batch:
        large = frozenset(image for image in images if is_large(image.path, task.large.block_px))
        others = [image for image in images if image not in large]
        outcomes = _survived(batch, others, task.large, task.attempt)
        # without the exceptions that they were raised from, which would be pickled too
        return Ended({image.stem: InputError(str(error)) for image, error in outcomes if error}, large)


def _survived(batch: Batch, images: Sequence[Image], large: LargeOptions, attempt: Path) -> Iterator[Outcome]:
    """As `segment_pipelined`, but an image at which workers died again and again is left out, with an error.

    The file `attempt` tells the next worker that this one has died. That one segments each image by itself, and notes
    there which it is.
    """
    from nuclei.segment.pipelined import segment_pipelined  # imports torch, which takes seconds

    deaths = Deaths(attempt)
    if not deaths:
        deaths.begin(None, attempt)
        yield from segment_pipelined(batch, images, large)
        return
    for place, image in enumerate(images):
        try:
            deaths.begin(place, image.path)
        except InputError as error:
            yield image, error
        else:
            yield from segment_pipelined(batch, [image], large)


def add_worker_options(parser: argparse._ActionsContainer) -> None:
    """Add the options that `connected` takes from the command line."""
    parser.add_argument("--workers", type=int, metavar="N", help="segment with N processes, which share the cores (1)")
    parser.add_argument("--scheduler", metavar="tcp://HOST:PORT", help="segment on the workers of a Dask scheduler")
    parser.add_argument(
        "--cluster", type=Path, metavar="FILE", help="segment in jobs of Slurm or another queue, which a YAML describes"
    )


@contextmanager
def connected(arguments: argparse.Namespace) -> Iterator[Cluster | None]:
    """The workers that the options of `add_worker_options` name, until the end of the block; None without any.

    Raises:
        InputError: the options are wrong, a package is missing, the scheduler can not be reached or ended, or the
            workers of this machine ended again and again while they started.
    """
    if arguments.workers is not None and arguments.workers < 1:
        raise InputError("the number of workers is wrong", got=arguments.workers, expected="at least 1")
    if not arguments.scheduler and not arguments.cluster and arguments.workers in (None, 1):
        yield None
        return
    distributed = _imported("distributed")
    import dask
    from distributed.client import ClosedClientError
    from distributed.comm import CommClosedError

    with contextlib.ExitStack() as stack:
        stack.enter_context(dask.config.set({"distributed.scheduler.allowed-failures": ALLOWED_FAILURES}))
        if arguments.scheduler:
            try:
                client = stack.enter_context(distributed.Client(arguments.scheduler))
            except (OSError, ValueError) as error:
                raise InputError("the scheduler can not be reached", got=error) from None
            try:
                yield Cluster(client, max(1, len(client.nthreads())))
            except (distributed.CancelledError, CommClosedError, ClosedClientError) as error:
                fix = "start it and its workers again; then run the same command, and it goes on"
                raise InputError("the scheduler ended", file=arguments.scheduler, got=error, fix=fix) from None
        elif arguments.cluster:
            cluster, jobs, processes = _queue(arguments.cluster)
            client = stack.enter_context(distributed.Client(stack.enter_context(cluster)))
            stack.enter_context(running_jobs(cluster, jobs))
            yield Cluster(client, jobs * processes)
        else:
            threads = {name: max(1, cores() // arguments.workers) for name in THREADS}
            settings = {"distributed.nanny.pre-spawn-environ": threads, "distributed.deploy.lost-worker-timeout": NEVER}
            stack.enter_context(dask.config.set(settings))
            cluster = _local(distributed.LocalCluster, arguments.workers)
            yield Cluster(stack.enter_context(distributed.Client(stack.enter_context(cluster))), arguments.workers)


def _local(make: Callable[..., Any], workers: int) -> Any:
    """A cluster of processes on this machine, from Dask's class for one.

    Dask replaces a worker that dies, but not one that dies before it has started: then it closes them all.
    """
    for left in reversed(range(START_TRIES)):
        try:
            return make(
                n_workers=workers,
                threads_per_worker=1,  # of Dask: one task at a time
                memory_limit=0,  # none: what an image needs decides, not a share of the memory
                dashboard_address=":0",  # any free port
                silence_logs=logging.ERROR,
            )
        except RuntimeError as error:
            got = error.__cause__ or error
        if left:
            tqdm.write(f"a worker ended while it started, and all are started again: {got}", file=sys.stderr)
    expected = f"{workers} processes that start, in one of {START_TRIES} tries"
    fix = "perhaps the memory was full: take fewer workers; then run it again, and it goes on"
    raise InputError("the workers can not be started", got=got, expected=expected, fix=fix)


def _queue(path: Path) -> tuple[Any, int, int]:
    """A cluster whose workers are jobs of a queue, as a YAML file describes it; how many jobs, and workers in each."""
    jobqueue = _imported("dask_jobqueue")
    classes = {"local": _imported("dask_jobqueue.local").LocalCluster} | {
        name.removesuffix("Cluster").lower(): getattr(jobqueue, name)
        for name in dir(jobqueue)
        if name.endswith("Cluster") and name != "JobQueueCluster"
    }
    try:
        described = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, YAMLError) as error:
        raise InputError("the description of the cluster can not be read", file=path, got=error) from None
    expected = f"names and values, with cluster: {' | '.join(sorted(classes))}, and jobs: at least 1"
    if not isinstance(described, Mapping):
        raise InputError("the description of the cluster is wrong", file=path, got=described, expected=expected)
    keywords = dict(described)
    kind, jobs = keywords.pop("cluster", None), keywords.pop("jobs", None)
    if kind not in classes or type(jobs) is not int or jobs < 1:
        got = f"cluster: {kind}, jobs: {jobs}"
        raise InputError("the description of the cluster is wrong", file=path, got=got, expected=expected)
    processes = keywords.setdefault("processes", 1)
    try:
        threads = max(1, keywords["cores"] // processes)
        environment = (shlex.quote(f"{name}={value}") for name, value in _environment(threads))
        keywords["python"] = " ".join(["env", *environment, keywords.get("python", sys.executable)])
        # the last counts: threads are torch's, and a process has one task at a time
        keywords["worker_extra_args"] = [*keywords.get("worker_extra_args", []), "--nthreads", "1"]
        cluster = classes[kind](scheduler_options={"dashboard_address": ":0"}, **keywords)
    except (KeyError, TypeError, ValueError) as error:
        fix = "see the documentation of dask-jobqueue for the names that this kind of cluster takes"
        raise InputError("the description of the cluster is wrong", file=path, got=error, fix=fix) from None
    return cluster, jobs, processes


def _environment(threads: int) -> list[tuple[str, str]]:
    folders = os.pathsep.join(filter(None, [str(LIBRARY), os.environ.get("PYTHONPATH")]))
    return [*((name, str(threads)) for name in THREADS), NO_PAUSE, ("PYTHONPATH", folders)]


def _imported(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        problem = f"several workers need a package that is not installed: {module.split('.')[0].replace('_', '-')}"
        raise InputError(problem, fix=f"pip install -r {EXTRA}") from None
