"""A user's error ends in one readable message and an exit status; a bug keeps its traceback."""

from __future__ import annotations

import errno
import pickle
import sqlite3
import subprocess
import sys

import pytest

from conftest import ROOT
from nuclei.base.errors import InputError, run


def test_the_message_names_file_got_expected_and_fix_one_a_line() -> None:
    error = InputError("it is wrong", file="a.png", got=1, expected=2, fix="mend it")
    lines = ["it is wrong", "  file:     a.png", "  got:      1", "  expected: 2", "  fix:      mend it"]
    assert str(error).splitlines() == lines


def test_control_characters_in_names_are_escaped() -> None:
    error = InputError("it is wrong", file="a\nerror: b\x1b[2J.png", got="\x07\u202e")
    assert str(error).splitlines() == [
        "it is wrong",
        r"  file:     a\nerror: b\x1b[2J.png",
        r"  got:      \x07\u202e",
    ]


def test_an_error_survives_pickling() -> None:
    error = InputError("it is wrong", file="a.png", fix="mend it")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_script_ends_with_status_1_and_the_message(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        raise InputError("it is wrong")

    with pytest.raises(SystemExit) as ended:
        run(main)
    assert ended.value.code == "error: it is wrong"  # Python prints it to stderr and exits with 1


def test_ctrl_c_ends_with_status_130() -> None:
    def main() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        run(main)
    assert ended.value.code == 130


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "data/x"), r"data/x\n  fix: .*free some space"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "n" * 300), "fix: .*shorter name"),
        (sqlite3.OperationalError("database or disk is full"), r"DVC(.|\n)*disk is full\n  fix: .*free some space"),
    ],
    ids=["full disk", "long name", "full disk under a database of DVC"],
)
def test_an_error_of_the_file_system_says_what_to_do(error: Exception, message: str) -> None:
    def main() -> None:
        raise error

    with pytest.raises(SystemExit, match=message):
        run(main)


@pytest.mark.parametrize("prints", ["print('x')", "print('x', flush=True)", "sys.stdout.buffer.write(bytes(10**6))"])
def test_a_closed_standard_output_ends_silently_with_status_141(prints: str) -> None:
    code = f"import sys; from nuclei.base.errors import run; sys.stdin.read(); run(lambda: {prints})"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT / "stages", **pipes) as process:
        assert process.stdin and process.stdout and process.stderr
        process.stdout.close()
        process.stdin.close()  # the process prints once stdin is closed
        assert process.stderr.read() == b""
        assert process.wait() == 141


@pytest.mark.parametrize("bug", [ZeroDivisionError, BrokenPipeError], ids=["any", "a pipe other than stdout"])
def test_a_bug_keeps_its_traceback(bug: type[Exception]) -> None:
    def main() -> None:
        raise bug

    with pytest.raises(bug):
        run(main)
