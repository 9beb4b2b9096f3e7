"""Work on all cores: results in order, few of them waiting, no worker left behind. And a thread that works ahead."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import TypeVar, cast

from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError

from nuclei.base.errors import InputError
from nuclei.base.machine import cores

Item = TypeVar("Item")
Result = TypeVar("Result")
WATCH_S = 0.2  # how often a worker looks whether its parent is still there


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], *, workers: int | None = None
) -> Iterator[Result]:
    """Yield `function(item)` for each of `items`, in their order, computed by `workers` processes.

    The processes are joblib's: they import what the function needs and not the script that started them, they are
    safe beside torch's threads, and they end with their parent, even if that is killed: a worker that outlived it would
    write into what the next run writes.

    Args:
        function: defined at the top of a module; what it returns, and raises, must be picklable.
        items: taken only a little faster than results are.
        workers: processes; all cores if None; with 1 there is none but this one.

    Raises:
        InputError: a worker was killed.
        Whatever `function` raises, for the first item that it raises for.
    """
    pool = Parallel(n_jobs=workers or cores(), return_as="generator", pre_dispatch="4 * n_jobs")
    guarded = partial(_guarded, function, os.getpid())
    try:
        yield from pool(delayed(guarded)(item) for item in items)
    except TerminatedWorkerError:
        fix = "perhaps the memory was full: close other programs, then run it again; nothing half-written was kept"
        raise InputError("a worker process was killed", fix=fix) from None


def ahead(items: Iterator[Item]) -> Iterator[Item]:
    """Yield `items`, each made by a thread while the one before is in use."""
    with ThreadPoolExecutor(1) as thread:
        end = object()
        coming = thread.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = thread.submit(next, items, end)
            yield cast(Item, item)


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
