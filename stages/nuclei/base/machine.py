"""The machine that runs: its cores, its accelerator, its memory allocator."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import sys
from pathlib import Path

SPINS = 1_000  # of a waiting thread before it sleeps, some hundredths of a millisecond; measured in docs/speed.md


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_model() -> str:
    """The name of the processor, or its architecture where the system does not give a name."""
    listed = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: *(.+)$", listed.read_text(), re.MULTILINE) if listed.exists() else None
    return found[1].strip() if found else platform.processor() or platform.machine()


def share_cores() -> None:
    """Make OpenMP's threads sleep soon while they wait, so that other work on the machine does not stall them.

    By default the threads of libgomp spin 300,000 times, for milliseconds, at the end of each parallel loop. Beside
    other work, a spinning thread takes the core from the one that it waits for. On two cores with another busy process,
    a training step takes 3.4 times as long as alone with 300,000 spins, and 2.1 times with 1,000 (resnet34).
    libgomp reads the variable when torch loads it. It changes no result, and what the user has set stands.
    """
    if "OMP_WAIT_POLICY" not in os.environ:  # GOMP_SPINCOUNT would override it
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))


def keep_freed_memory() -> None:
    """Make glibc keep the memory that torch frees instead of returning it to the system at every step.

    This makes a training step on a CPU 1.2 to 1.5 times faster. Without glibc it does nothing.
    The constants are those of mallopt(3).
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    m_trim_threshold, m_top_pad, m_mmap_max = -1, -2, -4
    mallopt(m_mmap_max, 0)
    mallopt(m_trim_threshold, 2**31 - 1)
    mallopt(m_top_pad, 64 * 2**20)
