"""An error for a user is one readable message and an exit status; a bug keeps its traceback."""

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


def test_names_from_outside_can_neither_forge_lines_nor_steer_a_terminal() -> None:
    error = InputError("it is wrong", file="a\nerror: b\x1b[2J.png", got="\x07\u202e")
    assert str(error).splitlines() == [
        "it is wrong",
        r"  file:     a\nerror: b\x1b[2J.png",
        r"  got:      \x07\u202e",
    ]


def test_an_error_crosses_processes_whole() -> None:
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


def test_a_full_disk_is_an_error_with_a_fix() -> None:
    def main() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "data/x")

    with pytest.raises(SystemExit, match="free some space"):
        run(main)


def test_a_full_disk_under_dvcs_databases_is_one_too() -> None:
    def main() -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with pytest.raises(SystemExit, match=r"database of DVC[\s\S]*disk is full[\s\S]*free some space"):
        run(main)


def test_a_name_too_long_for_the_file_system_is_an_error_with_a_fix() -> None:
    def main() -> None:
        raise OSError(errno.ENAMETOOLONG, "File name too long", "n" * 300)

    with pytest.raises(SystemExit, match="shorter name"):
        run(main)


@pytest.mark.parametrize("prints", ["print('x')", "print('x', flush=True)", "sys.stdout.buffer.write(bytes(10**6))"])
def test_output_that_nobody_reads_ends_in_silence(prints: str) -> None:
    code = f"import sys; from nuclei.base.errors import run; sys.stdin.read(); run(lambda: {prints})"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT / "stages", **pipes) as process:
        assert process.stdin and process.stdout and process.stderr
        process.stdout.close()
        process.stdin.close()  # only now it prints
        assert process.stderr.read() == b""
        assert process.wait() == 141


def test_another_broken_pipe_is_a_bug_and_keeps_its_traceback() -> None:
    def main() -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        run(main)


def test_a_bug_keeps_its_traceback() -> None:
    def main() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(main)
