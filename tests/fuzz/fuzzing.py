"""What the tests that feed bad input share: how many cases there are, how bytes are damaged, how a case is judged.

A long run by hand: pytest tests/fuzz --hypothesis-profile long
"""

from __future__ import annotations

import faulthandler
import io
import pickle
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from nuclei.base.errors import InputError

HANG_S = 600  # far more than any case takes on any machine: it ends the run with a traceback
LONGEST_MESSAGE = 5000
HEADER_BYTES = 128
BYTES = st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]) | st.integers(0, 255)
OUTCOMES: Counter[tuple[str, str]] = Counter()  # (kind of input, outcome): the cases that ended so
Result = TypeVar("Result")


def cases(ordinary: int) -> settings:
    """So many cases in an ordinary run, the same in each; ten times as many, new ones, in a long one."""
    profile = settings()
    return settings(
        max_examples=ordinary * profile.max_examples // 100,
        derandomize=profile.max_examples <= 100,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
    )


def judge(kind: str, read: Callable[[], Result], right: Callable[[Result], object]) -> None:
    """Let a case end in a result that `right` does not deny, or in one clear error; anything else fails the test."""
    _count(kind, read, right, may_fail=True)


def taken(kind: str, read: Callable[[], Result], right: Callable[[Result], object]) -> None:
    """Let a case end in a result that `right` does not deny."""
    _count(kind, read, right, may_fail=False)


def refused(kind: str, read: Callable[[], object]) -> None:
    """Let a case end in one clear error."""

    def wrong(found: object) -> None:
        raise AssertionError(f"it was taken: {found!r:.500}")

    _count(kind, read, wrong, may_fail=True)


def _count(kind: str, read: Callable[[], Result], right: Callable[[Result], object], *, may_fail: bool) -> None:
    faulthandler.dump_traceback_later(HANG_S, exit=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)  # NumPy's, of values that mean nothing any more
            found = read()
    except InputError as error:
        if not may_fail:
            raise
        check_message(error)
        OUTCOMES[kind, "clear error"] += 1
    else:
        assert right(found) is not False, f"wrong: {found!r:.500}"
        OUTCOMES[kind, "right result"] += 1
    finally:
        faulthandler.cancel_dump_traceback_later()


def check_message(error: InputError) -> None:
    """An error is short, in printable characters, on lines of its own, and survives the way out of a process."""
    text = str(error)
    assert error.problem and len(text) <= LONGEST_MESSAGE, text[:LONGEST_MESSAGE]
    assert all(character.isprintable() or character == "\n" for character in text), repr(text)
    assert "Traceback" not in text
    assert str(pickle.loads(pickled(error))) == text


def pickled(error: InputError) -> bytes:
    """As any process pickles it that has not imported dask, which would add all that the error was raised from."""
    data = io.BytesIO()
    pickler = pickle.Pickler(data)
    pickler.dispatch_table = {}
    pickler.dump(error)
    return data.getvalue()


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Some bytes changed, most of them near the start; then perhaps a piece cut out, repeated, or all after it lost."""
    changed = bytearray(content)
    anywhere = st.integers(0, len(content) - 1)
    for _ in range(draw(st.integers(0, 4))):
        changed[draw(anywhere | st.integers(0, min(HEADER_BYTES, len(content)) - 1))] = draw(BYTES)
    start, end = sorted((draw(anywhere), draw(anywhere)))
    piece = bytes(changed[start:end])
    cuts = [changed[:start], changed[:start] + changed[end:], changed[:end] + piece + changed[end:]]
    return bytes(draw(st.sampled_from([changed, changed, changed, *cuts])))


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder, the temporary ones among them."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def counts() -> list[str]:
    """The cases so far as a table, with their total."""
    kinds, outcomes = sorted({kind for kind, _ in OUTCOMES}), ("right result", "clear error")
    rows = [("", "cases", *outcomes)]
    for name, some in [*((kind, [kind]) for kind in kinds), ("all", kinds)]:
        numbers = [sum(OUTCOMES[kind, outcome] for kind in some) for outcome in outcomes]
        rows.append((name, *(str(number) for number in (sum(numbers), *numbers))))
    return ["".join([f"{name:<28}", *(f"{cell:>14}" for cell in cells)]) for name, *cells in rows]
