"""Work on all cores: results in order, few of them waiting, and no worker left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import TypeVar

from nuclei.errors import InputError
from nuclei.machine import cores

Item = TypeVar("Item")
Result = TypeVar("Result")
AHEAD = 4  # items in flight for each worker: enough to keep it busy, few enough to fit the memory


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], *, workers: int | None = None
) -> Iterator[Result]:
    """Yield `function(item)` for each of `items`, in their order, computed by `workers` processes.

    Args:
        function: defined at the top of a module; what it returns, and raises, must be picklable.
        items: taken only as fast as results are.
        workers: processes; all cores if None; with 1 there is none but this one.

    Raises:
        InputError: a worker was killed.
        Whatever `function` raises, for the first item that it raises for.
    """
    workers = workers or cores()
    if workers == 1:
        yield from map(function, items)
        return
    # spawn: the same on every system, and no copy of this process's threads in a state of their own
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_prepare_worker)
    waiting: deque[Future[Result]] = deque()
    items = iter(items)
    try:
        waiting.extend(pool.submit(function, item) for item in islice(items, workers * AHEAD))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(function, item) for item in islice(items, 1))
            yield result
    except BrokenProcessPool:
        fix = "perhaps the memory was full: close other programs, then run it again; nothing half-written was kept"
        raise InputError("a worker process was killed", fix=fix) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare_worker() -> None:
    """Leave Ctrl-C to the parent, and end when it ends, however it does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
