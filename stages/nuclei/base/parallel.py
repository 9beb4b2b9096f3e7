"""A map over processes that yields results in order and leaves none behind, and threads that work ahead or behind."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache, partial
from typing import TypeVar, cast

from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError

from nuclei.base.errors import InputError
from nuclei.base.machine import cores

Item = TypeVar("Item")
Result = TypeVar("Result")
WATCH_S = 0.2  # interval at which a worker checks that its parent is still running


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], *, workers: int | None = None
) -> Iterator[Result]:
    """Yield `function(item)` for each of `items`, in order, computed by `workers` processes.

    The processes are joblib's (loky): they import the function's module but not the script that started them, and,
    unlike forked ones, are safe in a process that runs torch's threads. They exit when the parent does, even if it is
    killed: a surviving worker would write into the files of the next run.

    Args:
        function: defined at module level; its results and exceptions must be picklable.
        items: consumed lazily, a few items ahead of the results.
        workers: number of processes; all cores if None; with 1 everything runs in the calling process.

    Raises:
        InputError: a worker was killed.
        Exception: whatever `function` raises, for the first item on which it does.
    """
    pool = Parallel(n_jobs=workers or cores(), return_as="generator", pre_dispatch="4 * n_jobs")
    guarded = partial(_guarded, function, os.getpid())
    try:
        yield from pool(delayed(guarded)(item) for item in items)
    except TerminatedWorkerError:
        fix = "perhaps the memory was full: close other programs, then run it again; nothing half-written was kept"
        raise InputError("a worker process was killed", fix=fix) from None


def ahead(items: Iterator[Item], *, count: int = 1) -> Generator[Item, None, None]:
    """Yield `items`; a thread computes the next `count` of them while the caller uses the current one."""
    with ThreadPoolExecutor(1) as thread:
        end = object()
        coming = deque(thread.submit(next, items, end) for _ in range(count))
        while (item := coming.popleft().result()) is not end:
            coming.append(thread.submit(next, items, end))
            yield cast(Item, item)


def behind(function: Callable[[Item], Result], items: Iterable[Item], *, waiting: int) -> Iterator[Result]:
    """Yield `function(item)` for each of `items`, in order; a thread computes it while `items` makes the next ones.

    Args:
        function: runs in the thread. What it raises is raised here, when its turn has come.
        items: iterated over by the caller's thread.
        waiting: how many items, at most, wait for the thread beside the one that it has.
    """
    with ThreadPoolExecutor(1) as thread:
        coming: deque[Future[Result]] = deque()
        for item in items:
            coming.append(thread.submit(function, item))
            if len(coming) > waiting:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()


@lru_cache(maxsize=1)
def end_with_parent() -> None:
    """In a process that another one started: leave Ctrl-C to that one, and end when it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _guarded(function: Callable[[Item], Result], parent: int, item: Item) -> Result:
    if os.getpid() != parent:
        end_with_parent()
    return function(item)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_S)
    os._exit(1)
