"""Files that are whole or absent: written under a temporary name beside the target, then renamed."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import reprlib
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nuclei.base.errors import InputError


@contextmanager
def replacing(target: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`, and rename it to `target` when the block succeeds.

    The block creates a file or a folder at that path. If it raises, the temporary is deleted and the target is left as
    it was. Temporaries of the same name that a killed process left behind are deleted first. An OSError without a file
    name, as raised by writing to an open file, is given the target's.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary, old = (target.with_name(f".{target.name}.{ending}") for ending in ("part", "old.part"))
    remove(temporary)
    remove(old)
    try:
        yield temporary
        if temporary.is_dir() and target.exists():
            target.replace(old)  # a folder can not be renamed onto another
        temporary.replace(target)
        remove(old)
    except OSError as error:
        error.filename = error.filename or str(target)
        raise
    finally:
        remove(temporary)


def remove(path: Path) -> None:
    """Delete a file, a link (not its target), or a folder with its contents; a missing path is not an error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text with `\\n` line ends on every platform."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | Path, value: Any) -> None:
    """Write indented JSON, keys in the order given; NaN becomes null, since JSON has no NaN."""
    write_text(path, json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and value != value else value


def read_json(path: str | Path, fix: str) -> Any:
    """Read JSON; if the file is missing or not valid JSON, raise an InputError with this `fix`."""
    content = _content(path, "a file", fix)
    try:
        return json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, a number too long, lists nested too deeply
        raise InputError("a file is not valid JSON", file=path, got=error, fix=fix) from None


def _content(path: str | Path, what: str, fix: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"{what} is missing", file=path, fix=fix) from None
    except (OSError, ValueError) as error:  # a folder, or an invalid file name
        raise InputError(f"{what} can not be read", file=path, got=error, fix=fix) from None


def write_rows(path: str | Path, columns: list[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write a CSV table with a header; the keys of each row are among `columns`."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_rows(path: str | Path, columns: Iterable[str], fix: str) -> list[dict[str, str]]:
    """Read a CSV table as text, each row as a dictionary; it may have more columns than `columns`.

    Raises:
        InputError: with this `fix`: the file is missing or not CSV, lacks one of `columns`, has two columns of one name
            or a row with too few or too many fields.
    """
    content = _content(path, "a table", fix)
    try:
        reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError("a table can not be read as CSV", file=path, got=error, fix=fix) from None
    found, expected = list(reader.fieldnames or []), list(columns)
    got = reprlib.repr(found)
    if not set(expected) <= set(found):
        raise InputError("a table lacks columns", file=path, got=got, expected=expected, fix=fix)
    if len(set(found)) < len(found):
        raise InputError("a table has two columns of one name", file=path, got=got, expected=expected, fix=fix)
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            got = reprlib.repr(row)
            raise InputError(f"line {number} has the wrong number of fields", file=path, got=got, fix=fix)
    return rows
