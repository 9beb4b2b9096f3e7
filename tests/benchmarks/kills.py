"""Interrupt the pipeline at random moments of every stage, and prove that it goes on and ends with the same bits.

    python tests/benchmarks/kills.py [--kills 25] [--seed 0]

It clones the last commit, makes the parameters small and runs the pipeline once untouched. In a second clone it runs
`dvc repro` again and again, each time aimed at the next stage: `kill -9` of all processes, of the stage alone or of one
of its workers, Ctrl-C, and, where it may mount a small file system, a disk that is full from that moment on. After each
it looks for processes left behind, for outputs that are not whole and for tracebacks; whenever the pipeline ends well,
for outputs that differ from the untouched run's. Then all is wiped and it starts over. Exits with 1 at the first of
them. Takes about ten minutes on two idle cores.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import psutil
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "stages"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from clones import environment, make_small
from nuclei.base.files import remove
from verify import ROOT, differing, outputs

EPOCHS = 4
# Small data is too little work for workers: these lines decide from how much on there are any.
WORKERS = {
    "stages/prepare.py": ("WORKER_S = 3.0", "WORKER_S = 0.1"),
    "stages/nuclei/scoring.py": ("FEW_PX = 2 * 10**8", "FEW_PX = 0"),
}
GROWS = "reports/live/plots/metrics"  # the learning curves, a point an epoch: never whole before the end
KINDS = ("kill all", "kill the stage", "kill a worker", "Ctrl-C")
FULL = "full disk"
# Files that DVC does not write whole or not at all, and what it says of one that it had half written.
HALF_WRITTEN = {
    ".dvc/tmp/rwlock": "Unable to read RWLock-file",
    "dvc.lock": r"dvc\.lock'? (validation failed|is invalid)|dvc\.lock'?.*corrupted",
}
DISK_MB = 2000
LONG_S = 300  # a guard against hangs


class Run:
    """One `dvc repro` in a process group of its own, and what it says."""

    started: ClassVar[list[Run]] = []

    def __init__(self, folder: Path) -> None:
        self.said = folder.parent / "said.txt"
        places = {"DVC_SITE_CACHE_DIR": str(folder.parent / "site"), "TMPDIR": str(folder.parent)}
        with self.said.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dvc", "repro"],
                cwd=folder,
                env=environment(**places),
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started.append(self)

    def text(self) -> str:
        return self.said.read_text(encoding="utf-8", errors="replace")

    def reaches(self, stage: str) -> bool:
        """Wait until the stage runs; False if the run ends before."""
        end = time.monotonic() + LONG_S
        while time.monotonic() < end:
            ended = self.process.poll() is not None
            if f"Running stage '{stage}'" in self.text():
                return True
            if ended:
                return False
            time.sleep(0.01)
        raise TimeoutError(self.text())

    def processes(self) -> list[psutil.Process]:
        """All of its group that live."""
        found = []
        for process in psutil.process_iter():
            try:
                if os.getpgid(process.pid) == self.process.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (ProcessLookupError, psutil.Error):
                continue
        return found

    def find(self, words: str) -> list[psutil.Process]:
        """Those of its processes in whose command line the words stand."""
        found = []
        for process in self.processes():
            try:
                if words in " ".join(process.cmdline()):
                    found.append(process)
            except psutil.Error:
                continue
        return found


def make_clone(folder: Path) -> None:
    """Clone the last commit, with small parameters and none of the outputs that git holds."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    make_small(folder, epochs=EPOCHS)
    for name, (before, after) in WORKERS.items():
        code = (folder / name).read_text(encoding="utf-8")
        assert code.count(before) == 1, f"{name} holds {before!r} no more"
        (folder / name).write_text(code.replace(before, after), encoding="utf-8")
    wipe(folder)


def wipe(folder: Path) -> None:
    """Remove every output and all that DVC could bring one back from."""
    for name in ("data", "reports", "dvc.lock", ".dvc/cache", ".dvc/tmp"):
        remove(folder / name)


def run_untouched(folder: Path) -> dict[str, float]:
    """Run the pipeline and return how many seconds each stage took, with what DVC did after it."""
    run, starts = Run(folder), {}
    for stage in stages():
        if not run.reaches(stage):
            sys.exit(f"the untouched run failed:\n{run.text()}")
        starts[stage] = time.monotonic()
    if run.process.wait(LONG_S):
        sys.exit(f"the untouched run failed:\n{run.text()}")
    ends = [*list(starts.values())[1:], time.monotonic()]
    return {stage: end - start for (stage, start), end in zip(starts.items(), ends, strict=True)}


def stages() -> list[str]:
    return list(yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"])


def planned(kills: int, full_disks: bool) -> list[tuple[str, str]]:
    """Stage and kind of each interruption: every stage in turn, train twice, each time with the next kind."""
    turn = [name for stage in stages() for name in [stage] * (2 if stage == "train" else 1)]
    with_workers = {"prepare", "train", "evaluate"}
    plan = []
    for number in range(kills):
        stage = turn[number % len(turn)]
        kind = KINDS[(number % len(turn) + number // len(turn)) % len(KINDS)]
        plan.append((stage, KINDS[0] if kind == "kill a worker" and stage not in with_workers else kind))
    return plan + [(stage, FULL) for stage in stages() if full_disks]


def interrupt(run: Run, stage: str, kind: str, wait_s: float) -> str:
    """Interrupt a run, `wait_s` after the stage has started, and wait for its end; return the kind that it was.

    It is `kill all` where the stage has ended by then or has no workers yet.
    """
    if kind == "kill a worker":  # they live for a part of the stage only
        while not run.find("LokyProcess") and run.find(f"stages/{stage}.py"):
            time.sleep(0.01)
        wait_s = min(wait_s, 0.5)
    time.sleep(wait_s)
    targets = run.find({"kill the stage": f"stages/{stage}.py", "kill a worker": "LokyProcess"}.get(kind, ""))
    if kind == FULL:
        fill_until_ended(run)
    elif kind == "Ctrl-C" and run.process.poll() is None:
        os.killpg(run.process.pid, signal.SIGINT)
    elif kind in KINDS[1:3] and targets:
        targets[-1].kill()
    elif run.process.poll() is None:
        kind = KINDS[0]
        os.killpg(run.process.pid, signal.SIGKILL)
    run.process.wait(LONG_S)
    return kind


def fill_until_ended(run: Run) -> None:
    """Take all free space of the disk away until the run has ended, then give it back."""
    filler = run.said.parent / "filler"
    with filler.open("wb", buffering=0) as file:
        while run.process.poll() is None:
            for size in (2**20, 2**12, 1):
                try:
                    while run.process.poll() is None:
                        file.write(b"\0" * size)
                except OSError:
                    continue
            time.sleep(0.005)
    filler.unlink()


def check(run: Run, kind: str, clone: Path, reference: Path) -> None:
    """Exit where an interruption left a process, a half output, or a traceback that a user would see."""
    end = time.monotonic() + 10  # a worker looks for its parent now and then
    while (left := run.processes()) and time.monotonic() < end:
        time.sleep(0.05)
    if left:
        sys.exit(f"{kind} left {len(left)} processes: {left}")
    for out in outputs(reference):
        if out != GROWS and (clone / out).exists() and not same(clone / out, reference / out):
            sys.exit(f"{kind} left {out}, which is not whole\n{run.text()}")
    if re.search(r'Traceback[\s\S]*File ".*/stages/', run.text()):
        sys.exit(f"{kind} ended with a traceback:\n{run.text()}")
    if (
        kind == FULL
        and run.process.returncode
        and not re.search("No space left|disk is full|disk I/O error|RWLock-file", run.text())
    ):
        sys.exit(f"{kind} is not what the error says:\n{run.text()}")


def same(one: Path, other: Path) -> bool:
    """Whether two files, or two folders with all that is in them, are equal."""
    if not one.is_dir():
        return filecmp.cmp(one, other, shallow=False)
    names = [sorted(path.relative_to(top) for path in top.rglob("*") if path.is_file()) for top in (one, other)]
    return names[0] == names[1] and all(filecmp.cmp(one / name, other / name, shallow=False) for name in names[0])


def compare(run: Run, clone: Path, expected: dict[str, str]) -> None:
    """Exit where a run that was expected to end well did not, or ended with other outputs."""
    if run.process.wait(LONG_S):
        sys.exit(f"the run after an interruption failed:\n{run.text()}")
    if different := differing(expected, outputs(clone)):
        sys.exit(f"{different[0]} is the first of {len(different)} outputs that differ from the untouched run's")


@contextmanager
def workplace() -> Iterator[tuple[Path, bool]]:
    """A temporary folder, and whether it is a small disk of its own that may be filled."""
    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", name]
        mounted = sys.platform == "linux" and subprocess.run(command, capture_output=True, check=False).returncode == 0
        try:
            yield Path(name), mounted
        finally:
            for run in Run.started:
                if run.process.poll() is None:
                    os.killpg(run.process.pid, signal.SIGKILL)
                    run.process.wait()
            if mounted:
                subprocess.run(["umount", "--lazy", name], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=25, help="a full disk in each stage comes on top")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    given = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell runs in the background ignores it
    moments = random.Random(given.seed)
    counts: Counter[tuple[str, str]] = Counter()
    mended: Counter[str] = Counter()
    resumed = trained = finished = 0
    with workplace() as (place, disk):
        reference, clone = place / "reference", place / "clone"
        make_clone(reference)
        seconds, expected = run_untouched(reference), outputs(reference)
        make_clone(clone)
        plan = planned(given.kills, disk)
        while True:
            run = Run(clone)
            interrupted = bool(plan) and run.reaches(plan[0][0])
            if interrupted:
                stage, kind = plan[0]
                kind = interrupt(run, stage, kind, moments.uniform(0, seconds[stage]))
                check(run, kind, clone, reference)
                print(f"{stage}: {kind}, status {run.process.returncode}", flush=True)
            status = run.process.wait(LONG_S)
            broken = [name for name, said in HALF_WRITTEN.items() if not interrupted and re.search(said, run.text())]
            if status and broken:
                remove(clone / broken[0])
                mended[broken[0]] += 1
                continue
            resumed += sum(int(epochs) for epochs in re.findall(r"resuming after epoch (\d+)", run.text()))
            trained += len(re.findall(rf"epoch \d+/{EPOCHS}  train loss", run.text()))
            if interrupted and status:  # else it came too late and is done again
                plan.pop(0)
                counts[stage, kind] += 1
                continue
            compare(run, clone, expected)
            finished += 1
            if not plan:
                break
            wipe(clone)
    print(table(counts))
    if not disk:
        print("no disk was filled: that takes root on Linux")
    print(f"{resumed} epochs were taken up from a checkpoint, {trained - finished * EPOCHS} were done twice")
    for name in HALF_WRITTEN:
        print(f"{mended[name]} times {name}, which DVC had half written, had to be removed")
    print(f"{finished} times the pipeline came to its end, each time with the untouched run's {len(expected)} outputs")


def table(counts: Counter[tuple[str, str]]) -> str:
    """Markdown: interruptions by stage and kind."""
    kinds = [kind for kind in (*KINDS, FULL) if any(kind == found for _, found in counts)]
    lines = [f"| stage | {' | '.join(kinds)} |", f"|---{'|---' * len(kinds)}|"]
    lines += [f"| {stage} | {' | '.join(str(counts[stage, kind]) for kind in kinds)} |" for stage in stages()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
