"""The error shown to users, and the exit status of a script."""

from __future__ import annotations

import errno
import os
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS)
FREE = "free some space, or check permissions and quota there, then run it again: nothing half-written was kept"


class InputError(Exception):
    """Something outside the code is wrong: a file, a parameter, the disk, the network.

    The message begins with the problem; file, got, expected and fix follow, each on its own line.

    Args:
        problem: what is wrong, in one sentence.
        file: the file or folder concerned.
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
        """Pickle all fields, so that the error arrives whole from a worker process."""
        return _rebuild, (self.problem, self.file, self.got, self.expected, self.fix)


def _visible(character: str) -> str:
    """Escape control characters: a file name must not steer the terminal or forge lines of a log."""
    return character if character.isprintable() or character == "\n" else ascii(character)[1:-1]


def _rebuild(problem: str, file: str | Path | None, got: object, expected: object, fix: str | None) -> InputError:
    return InputError(problem, file=file, got=got, expected=expected, fix=fix)


def run(main: Callable[[], None]) -> None:
    """Run a script's `main`; exit with 1 and one readable error if it fails, with 130 after Ctrl-C.

    Errors that a user can fix are printed without a traceback; any other exception is a bug and keeps its traceback.
    If the reader of standard output has gone, as in `compare.py main | head`, exit silently with 141, as a program
    killed by SIGPIPE does.
    """
    try:
        main()
        if sys.stdout is not None:  # None if standard output was closed before the start
            sys.stdout.flush()
    except InputError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        if not _unread():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes stdout again at exit
        sys.exit(141)
    except OSError as error:
        if error.errno not in (*DISK, errno.ENAMETOOLONG):
            raise
        fix = "give it a shorter name" if error.errno == errno.ENAMETOOLONG else FREE
        sys.exit(f"error: {InputError(str(error.strerror), file=error.filename, fix=fix)}")
    except sqlite3.OperationalError as error:  # from DVC's own databases, which DVCLive opens
        sys.exit(f"error: {InputError('a database of DVC can not be used', got=error, fix=FREE)}")


def _unread() -> bool:
    """Whether the broken pipe is standard output: if so, writing to it fails; if not, an extra newline is harmless."""
    try:
        os.write(sys.stdout.fileno(), b"\n")
    except BrokenPipeError:
        return True
    return False


def _excepthook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Print "interrupted" instead of a traceback for Ctrl-C during the imports, before `run` is reached."""
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, traceback)


if Path(sys.argv[0]).resolve().parent == Path(__file__).resolve().parents[2]:  # only for this project's own scripts
    sys.excepthook = _excepthook
