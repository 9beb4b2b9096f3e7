"""Run a command and say how long it took, how much memory it had, and when it printed what."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from clones import environment

ROOT = Path(__file__).resolve().parents[2]
SAMPLE_S = 0.5  # between two looks at the memory


@dataclass(frozen=True)
class Ran:
    """A command that has ended.

    Attributes:
        seconds: from its start to its end.
        peak_mb: the most memory, in MiB, that its processes had together; what they share counts once on Linux.
        lines: what it printed, stdout and stderr.
    """

    seconds: float
    peak_mb: float
    lines: list[str]


def ran(command: Sequence[str | Path], cwd: Path, *, may_fail: bool = False) -> Ran:
    """Run a command to its end, or raise RuntimeError with what it printed where it fails and may not."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [str(word) for word in command],
        cwd=cwd,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    peaks = [0.0]
    watcher = threading.Thread(target=_watch, args=(process, peaks), daemon=True)
    watcher.start()
    assert process.stdout is not None
    lines = list(process.stdout)
    status = process.wait()
    seconds = time.perf_counter() - start
    watcher.join()
    if status and not may_fail:
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {status}:\n{''.join(lines[-30:])}")
    return Ran(seconds, max(peaks), [line.rstrip("\n") for line in lines])


def stage(name: str, cwd: Path, *, may_fail: bool = False) -> Ran:
    """Run the script of one stage of this repository in the workspace `cwd`."""
    return ran([sys.executable, ROOT / "stages" / f"{name}.py"], cwd, may_fail=may_fail)


def _watch(process: subprocess.Popen[str], peaks: list[float]) -> None:
    while process.poll() is None:
        peaks.append(_memory_mb(process.pid))
        time.sleep(SAMPLE_S)


def _memory_mb(pid: int) -> float:
    """What a process and its descendants have in memory, in MiB."""
    total = 0
    try:
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            memory = process.memory_full_info()
            total += getattr(memory, "pss", memory.rss)
    except psutil.Error:  # one of them has just ended
        pass
    return total / 2**20
