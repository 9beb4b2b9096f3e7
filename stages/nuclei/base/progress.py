"""Progress on stderr: a bar on a terminal, elsewhere a line every 15 seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
SECONDS_BETWEEN_LINES = 15.0


def track(items: Iterable[Item], *, what: str, total: int, unit: str = "image") -> Iterator[Item]:
    """Yield `items`, showing on stderr how many of `total` are done, the rate and the estimated time."""
    return _show(items, lambda item: 1, desc=what, total=total, initial=0, unit=f" {unit}")


def track_bytes(chunks: Iterable[bytes], *, what: str, total: int | None, done: int = 0) -> Iterator[bytes]:
    """Yield `chunks`, showing bytes on stderr, `done` of which were there before; `total` is None if unknown."""
    return _show(chunks, len, desc=what, total=total, initial=done, unit="B", unit_scale=True)


def _show(items: Iterable[Item], size: Callable[[Item], int], **meter: Any) -> Iterator[Item]:
    """Yield `items`, each advancing the progress by `size(item)`; `meter` holds the arguments of tqdm."""
    if sys.stderr.isatty():
        with tqdm(**meter, leave=False, dynamic_ncols=True) as bar:
            for item in items:
                yield item
                bar.update(size(item))
        return
    total, done, prefix = meter.pop("total"), meter["initial"], meter.pop("desc")
    start = last = time.monotonic()
    for item in items:
        yield item
        done += size(item)
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES and done != total:
            last = now
            line = tqdm.format_meter(done, total, now - start, prefix=prefix, ncols=0, **meter)
            print(line, file=sys.stderr, flush=True)
