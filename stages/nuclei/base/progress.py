"""Progress on stderr: a bar on a terminal, elsewhere a line every 15 seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
SECONDS_BETWEEN_LINES = 15.0


def track(items: Iterable[Item], *, what: str, total: int, unit: str = "image") -> Iterator[Item]:
    """Yield `items`, showing on stderr how many of `total` are done, the rate and the estimated time."""
    if sys.stderr.isatty():
        yield from tqdm(items, desc=what, total=total, unit=f" {unit}", leave=False, dynamic_ncols=True)
        return
    start = last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES and done != total:
            last = now
            line = tqdm.format_meter(done, total, now - start, prefix=what, ncols=0, unit=f" {unit}")
            print(line, file=sys.stderr, flush=True)
