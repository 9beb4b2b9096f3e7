"""Results come in order from any number of processes, and no process is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nuclei.base.errors import InputError
from nuclei.base.parallel import ahead, behind, ordered_map

STAGES = Path(__file__).resolve().parents[2] / "stages"


def square(number: int) -> int:
    time.sleep(0.02 * (number % 3))
    return number**2


def refuse(number: int) -> int:
    if number == 5:
        raise InputError("five is wrong", got=number, expected="another")
    return number


def die(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_items(workers: int) -> None:
    assert list(ordered_map(square, range(12), workers=workers)) == [number**2 for number in range(12)]


def test_items_are_consumed_lazily() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(60):
            taken += 1
            yield number

    seen = [taken for _ in ordered_map(square, items(), workers=2)]
    assert seen[0] < 40 and len(seen) == 60


def test_the_next_item_is_computed_while_the_current_one_is_in_use() -> None:
    made: list[int] = []
    second = threading.Event()

    def items() -> Iterator[int]:
        for number in range(4):
            made.append(number)
            if number == 1:
                second.set()
            yield number

    taken = ahead(items())
    assert next(taken) == 0
    assert second.wait(60)
    assert made == [0, 1]
    assert list(taken) == [1, 2, 3]


def test_a_thread_prefetches_as_many_items_as_were_asked_for() -> None:
    made, third = [], threading.Event()

    def items() -> Iterator[int]:
        for number in range(5):
            made.append(number)
            if number == 2:
                third.set()
            yield number

    taken = ahead(items(), count=2)
    assert next(taken) == 0
    assert third.wait(60)
    assert made == [0, 1, 2]
    assert list(taken) == [1, 2, 3, 4]


def test_an_error_of_a_prefetched_item_is_raised_in_its_turn() -> None:
    def items() -> Iterator[int]:
        yield 0
        raise InputError("the second can not be made")

    taken = ahead(items())
    assert next(taken) == 0
    with pytest.raises(InputError, match="the second"):
        next(taken)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_comes_back_with_all_its_fields(workers: int) -> None:
    with pytest.raises(InputError, match="five is wrong") as caught:
        list(ordered_map(refuse, range(20), workers=workers))
    assert (caught.value.got, caught.value.expected) == (5, "another")


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_killed_worker_is_one_clear_error() -> None:
    with pytest.raises(InputError, match="a worker process was killed"):
        list(ordered_map(die, range(4), workers=2))


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for processes in /proc")
def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "endless.py"
    script.write_text(
        "import os, sys, time\n"
        f"sys.path.insert(0, {str(STAGES)!r})\n"
        "from nuclei.base.parallel import ahead, ordered_map\n"
        "def work(number):\n"
        "    return os.getpid() if number < 8 else time.sleep(60)\n"
        "if __name__ == '__main__':\n"
        "    for pid in ordered_map(work, range(99), workers=2):\n"
        "        print(pid, flush=True)\n"
    )
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    workers = {int(parent.stdout.readline()) for _ in range(8)}
    parent.kill()
    parent.wait()
    parent.stdout.close()
    end = time.monotonic() + 10
    while any(Path(f"/proc/{pid}/cmdline").exists() for pid in workers) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{pid}/cmdline").exists() for pid in workers)


def test_a_thread_works_behind_in_order_on_a_bounded_number_of_items() -> None:
    made, done, go = [], [], threading.Event()

    def items() -> Iterator[int]:
        for number in range(20):
            made.append(number)
            assert len(made) - len(done) <= 2 + 1  # those behind, and the one that is being made
            if number == 2:
                go.set()  # the first is not done before the third is made
            yield number

    def square(number: int) -> int:
        assert threading.current_thread() is not threading.main_thread()
        assert go.wait(60)
        done.append(number)
        return number**2

    assert list(behind(square, items(), waiting=2)) == [number**2 for number in range(20)]


def test_what_is_raised_behind_is_raised_when_its_turn_has_come() -> None:
    results = behind(lambda number: 1 // (2 - number), iter(range(10)), waiting=3)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
