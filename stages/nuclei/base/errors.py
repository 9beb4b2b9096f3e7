"""The one error that a user is meant to read, and how a script ends with it."""

from __future__ import annotations

import errno
import os
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS)
FREE = "free some space, or check who may write how much there; then run it again: nothing half-written was kept"


class InputError(Exception):
    """Something outside the code is wrong: a file, a parameter, the disk, the network.

    The message says what is wrong first, then, one a line, the file, what was got, what was expected,
    and what the user can do about it.

    Args:
        problem: what is wrong, in one sentence.
        file: the file or folder that it is about.
        got: what was found.
        expected: what would have been right.
        fix: what to do now.
    """

    def __init__(
        self,
        problem: str,
        *,
        file: str | Path | None = None,
        got: object = None,
        expected: object = None,
        fix: str | None = None,
    ) -> None:
        self.problem, self.file, self.got, self.expected, self.fix = problem, file, got, expected, fix
        super().__init__(str(self))

    def __str__(self) -> str:
        file = None if self.file is None else str(self.file).replace("\n", "\\n")
        details = {"file": file, "got": self.got, "expected": self.expected, "fix": self.fix}
        lines = [f"  {name + ':':<10}{value}" for name, value in details.items() if value is not None]
        return "".join(map(_visible, "\n".join([self.problem, *lines])))

    def __reduce__(self) -> tuple[object, ...]:
        """Survive the way back from a worker process with every field in place."""
        return _rebuild, (self.problem, self.file, self.got, self.expected, self.fix)


def _visible(character: str) -> str:
    """What names and values from outside may do to a terminal, or to the lines of a log, is written out."""
    return character if character.isprintable() or character == "\n" else ascii(character)[1:-1]


def _rebuild(problem: str, file: str | Path | None, got: object, expected: object, fix: str | None) -> InputError:
    return InputError(problem, file=file, got=got, expected=expected, fix=fix)


def run(main: Callable[[], None]) -> None:
    """Run a script's `main` and end the process: 0, or 1 with one readable error, or 130 after Ctrl-C.

    A bug still shows its traceback: only what a user can mend is made short. Where nobody reads the output any more,
    as in `compare.py main | head`, it ends in silence with 141, as a shell's own programs do.
    """
    try:
        main()
        if sys.stdout is not None:  # it is where standard output was closed before the start
            sys.stdout.flush()
    except InputError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        if not _unread():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at the end
        sys.exit(141)
    except OSError as error:
        if error.errno not in (*DISK, errno.ENAMETOOLONG):
            raise
        fix = "give it a shorter name" if error.errno == errno.ENAMETOOLONG else FREE
        sys.exit(f"error: {InputError(str(error.strerror), file=error.filename, fix=fix)}")
    except sqlite3.OperationalError as error:  # of DVC's own databases, which its learning curves open
        sys.exit(f"error: {InputError('a database of DVC can not be used', got=error, fix=FREE)}")


def _unread() -> bool:
    """Whether it is standard output that nobody reads; where somebody does, a line end more does no harm."""
    try:
        os.write(sys.stdout.fileno(), b"\n")
    except BrokenPipeError:
        return True
    return False


def _last_word(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """What Python shows of an exception: after Ctrl-C while a script still imports, before `run`, a word as well."""
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, traceback)


if Path(sys.argv[0]).resolve().parent == Path(__file__).resolve().parents[2]:  # one of this project's scripts runs
    sys.excepthook = _last_word
