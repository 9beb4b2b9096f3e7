"""A large image on many workers: one prepares it, all segment its blocks, and one puts the blocks together.

The client submits the tasks of a step when the step before has ended, instead of a graph of all: Dask runs tasks that
depend on one result where that result is, and would give all blocks to the worker that prepared the image. Blocks go
before images that are not begun, and what ends an image before blocks, so that few large images are begun at a time and
the files of their blocks do not pile up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any

from nuclei.base.errors import InputError
from nuclei.base.files import remove, write_text
from nuclei.segment.batch import Batch
from nuclei.segment.finding import Image
from nuclei.segment.shards import FOLDER
from nuclei.segment.tasks import Deaths, Task, begun

if TYPE_CHECKING:  # an extra, and torch takes seconds to import
    from distributed import Client, Future, KilledWorker

    from nuclei.segment.blocks import Block
    from nuclei.segment.pipelined import Outcome
    from nuclei.segment.prepared import Prepared

CHUNKS_PER_WORKER = 4  # of the blocks of an image, so that workers end at about the same time
LEAST_BLOCKS = 4  # in a chunk: neighbours share tiles of the network


@dataclass
class Large:
    """A large image that is being segmented.

    Attributes:
        image: it.
        name: how the parts of its tasks begin.
        key: as `large.unfinished` returned it.
        prepared: what is known of it, once it is.
        tasks: the keys of those that have not ended, each with the name of its part.
        seconds: that the tasks which have ended took, together.
        error: why it can not be segmented.
    """

    image: Image
    name: str
    key: str
    prepared: Prepared | None = None
    tasks: dict[Any, str] = field(default_factory=dict)
    seconds: float = 0.0
    error: InputError | None = None


class Spread:
    """The large images of a run, as the client sees them.

    Args:
        client: of Dask.
        workers: that it has or will have.
        batch: the run, with the manifest of the folder.
        task: makes a task, from the name of its part.
    """

    def __init__(self, client: Client, workers: int, batch: Batch, task: Callable[[str], Task]) -> None:
        self._client, self._workers, self._batch, self._task = client, workers, batch, task
        self._begun = 0
        self._of: dict[Any, Large] = {}  # by the key of a future

    def __contains__(self, future: Future[Any]) -> bool:
        return future.key in self._of

    def begin(self, image: Image) -> tuple[list[Future[Any]], Outcome | None]:
        """Begin with an image; see `go_on`."""
        from nuclei.segment.large import unfinished  # imports torch, which takes seconds

        task = self._task("")
        try:
            key = unfinished(self._batch, image, task.large)
        except InputError as error:
            return [], (image, error)
        if key is None:
            return [], (image, None)
        large = Large(image, f"large-{self._begun:06}", key)
        self._begun += 1
        return [self._submit(large, "prepare", 0, prepare_task)], None

    def go_on(self, future: Future[Any]) -> tuple[list[Future[Any]], Outcome | None]:
        """Take what a task has returned.

        Returns:
            The tasks of the next step if this was the last one of its step; the outcome if it was the last of all.
        """
        from distributed import KilledWorker

        large = self._of.pop(future.key)
        part = large.tasks.pop(future.key)
        folder = self._batch.out / FOLDER
        try:
            returned = future.result()
        except (InputError, KilledWorker) as error:
            large.error = large.error or _reported(error, large.image)
            write_text(folder / _stop(large.name), "")
        else:
            large.prepared, seconds = returned if large.prepared is None else (large.prepared, returned)
            large.seconds += seconds
            self._batch.manifest.take(folder / part)
        future.release()  # else Dask does the task again if the worker that has the result dies
        remove(folder / part)
        if large.tasks:
            return [], None
        if large.error is None and part != _part(large.name, "write"):
            return list(self._next(large, part)), None
        remove(folder / _stop(large.name))
        return [], (large.image, large.error)

    def _next(self, large: Large, part: str) -> Iterator[Future[Any]]:
        assert large.prepared is not None
        if part == _part(large.name, "prepare"):
            wanted = CHUNKS_PER_WORKER * self._workers
            chunks = max(1, min(wanted, len(large.prepared.blocks) // LEAST_BLOCKS))
            for chunk in range(chunks):
                arguments = large.prepared, chunk, chunks, _stop(large.name)
                yield self._submit(large, f"blocks-{chunk:06}", 1, blocks_task, *arguments)
        else:
            yield self._submit(large, "write", 2, write_task, large.prepared, large.key, large.seconds)

    def _submit(
        self, large: Large, step: str, priority: int, function: Callable[..., Any], *arguments: object
    ) -> Future[Any]:
        part = _part(large.name, step)
        task = self._task(part)
        future = self._client.submit(function, task, large.image, *arguments, pure=False, priority=priority)
        self._of[future.key], large.tasks[future.key] = large, part
        return future


def prepare_task(task: Task, image: Image) -> tuple[Prepared, float]:
    """Read a large image once, on a worker; return what its blocks need, and the seconds that it took.

    Raises:
        InputError: see `tasks.begun` and `large.prepare_large`.
    """
    from nuclei.segment.large import prepare_large

    with begun(task) as batch:
        start = perf_counter()
        Deaths(task.attempt).begin(0, image.path)
        return prepare_large(batch, image, task.large), perf_counter() - start


def blocks_task(task: Task, image: Image, prepared: Prepared, chunk: int, chunks: int, stop: str) -> float:
    """Segment the blocks of a chunk that are not done, on a worker; return the seconds that it took.

    Args:
        task: see `Task`.
        image: it.
        prepared: see `prepare_task`.
        chunk, chunks: see `by_blocks.segment_blocks`.
        stop: a file beside the parts that the client writes when another chunk has failed.

    Raises:
        InputError: see `tasks.begun` and `by_blocks.segment_blocks`; or workers died at a block, or `stop` exists.
    """
    from nuclei.segment.by_blocks import segment_blocks

    with begun(task) as batch:
        start = perf_counter()
        deaths = Deaths(task.attempt)

        def before(block: Block) -> None:
            if (task.out / FOLDER / stop).exists():
                raise InputError("another part of the image can not be segmented", file=image.path)
            deaths.begin(block.number, image.path)

        segment_blocks(batch.segmenter, prepared, chunk, chunks, before)
        return perf_counter() - start


def write_task(task: Task, image: Image, prepared: Prepared, key: str, seconds: float) -> float:
    """Write the results of a large image, on a worker; return the seconds that it took.

    Raises:
        InputError: see `tasks.begun` and `large.write_large`.
    """
    from nuclei.segment.large import write_large

    with begun(task) as batch:
        start = perf_counter()
        Deaths(task.attempt).begin(0, image.path)
        if batch.manifest.is_finished(image.stem, key):  # by a worker that died thereafter
            remove(prepared.scratch)
        else:
            write_large(batch, image, prepared, key, seconds)
        return perf_counter() - start


def _part(name: str, step: str) -> str:
    return f"{name}-{step}.sqlite"


def _stop(name: str) -> str:
    return f"{name}.stop"


def _reported(error: InputError | KilledWorker, image: Image) -> InputError:
    if isinstance(error, InputError):
        return error
    fix = "perhaps the memory was full: take fewer workers; then run it again, and it goes on"
    got = f"{error.allowed_failures + 1} deaths"
    return InputError("workers died again and again", file=image.path, got=got, fix=fix)
