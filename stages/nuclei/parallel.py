"""Work on all cores: results in order, few of them waiting, and no worker left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError

from nuclei.errors import InputError
from nuclei.machine import cores

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], *, workers: int | None = None
) -> Iterator[Result]:
    """Yield `function(item)` for each of `items`, in their order, computed by `workers` processes.

    The processes are joblib's: they import what the function needs and not the script that started them, they are
    safe beside torch's threads, and they end with their parent.

    Args:
        function: defined at the top of a module; what it returns, and raises, must be picklable.
        items: taken only a little faster than results are.
        workers: processes; all cores if None; with 1 there is none but this one.

    Raises:
        InputError: a worker was killed.
        Whatever `function` raises, for the first item that it raises for.
    """
    pool = Parallel(n_jobs=workers or cores(), return_as="generator", pre_dispatch="4 * n_jobs")
    try:
        yield from pool(delayed(function)(item) for item in items)
    except TerminatedWorkerError:
        fix = "perhaps the memory was full: close other programs, then run it again; nothing half-written was kept"
        raise InputError("a worker process was killed", fix=fix) from None
