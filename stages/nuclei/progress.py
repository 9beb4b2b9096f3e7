"""How far long work has come: a bar on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
SECONDS_BETWEEN_LINES = 15.0


def track(items: Iterable[Item], *, what: str, total: int, unit: str = "image") -> Iterator[Item]:
    """Pass `items` on while showing on stderr how many of `total` are done, the rate and an estimate."""
    if sys.stderr.isatty():
        yield from tqdm(items, desc=what, total=total, unit=f" {unit}", leave=False, dynamic_ncols=True)
        return
    start = last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES and done < total:
            last = now
            meter = tqdm.format_meter(done, total, now - start, prefix=what, unit=f" {unit}", ncols=0)
            print(meter, file=sys.stderr, flush=True)
