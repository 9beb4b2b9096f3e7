"""What has been segmented in a folder of results: an SQLite database, one row for each image, beside the results.

A row is added when the files of an image are complete, so that a run which was killed goes on where it stopped. The row
holds all that the tables and the page show, and they are written from the rows; memory does not grow with the images.
A folder has one writer at a time, which holds a lock. Several workers or shards write a manifest each, a part, and
their rows can be merged, because everything about an image is in one row.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nuclei.base.errors import InputError
from nuclei.base.files import replacing, sha256

NAME = "manifest.sqlite"
APPLICATION = 0x4E55434C  # "NUCL": SQLite's mark of the program that owns a file
FORMAT = 3  # of the tables below, and of the results: raised when the same image gives other results
SCHEMA = """
CREATE TABLE files (stem BLOB PRIMARY KEY, key TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE images (
    stem BLOB PRIMARY KEY, name BLOB NOT NULL, file BLOB NOT NULL, key TEXT NOT NULL,
    channels TEXT NOT NULL, pixel_size_um REAL, summary TEXT NOT NULL, nuclei TEXT NOT NULL, notes TEXT NOT NULL,
    certainty REAL, seconds REAL NOT NULL, thumbnail BLOB NOT NULL
);
CREATE INDEX by_name ON images (name);
CREATE INDEX by_file ON images (file);
CREATE TABLE written (name TEXT, sha256 TEXT, PRIMARY KEY (name, sha256)) WITHOUT ROWID;
"""
COLUMNS = "stem, name, file, key, channels, pixel_size_um, summary, nuclei, notes, certainty, seconds, thumbnail"
WRITTEN = "SELECT sha256 FROM written WHERE name = ?"

Value = int | float | str | None


@dataclass(frozen=True)
class Segmented:
    """An image that has been segmented: one plane of a file.

    Attributes:
        stem: what its results are called, without their endings; no two images have the same.
        name: what it is called in the tables.
        file: the stem of its file's name; a file with one plane has the same as the image.
        key: of the file, the model and the options; see `key_of`.
        summary: its own row, by column.
        nuclei: a list for each column, with an entry for each nucleus.
        channels: the names of the channels that were measured.
        pixel_size_um: side of a pixel in µm; None if unknown.
        notes: what the user should know.
        certainty: mean score of the nuclei; None without nuclei.
        seconds: that it took.
        thumbnail: a JPEG.
    """

    stem: str
    name: str
    file: str
    key: str
    summary: Mapping[str, Value]
    nuclei: dict[str, list[Value]]
    channels: tuple[str, ...]
    pixel_size_um: float | None = None
    notes: tuple[str, ...] = ()
    certainty: float | None = None
    seconds: float = field(default=0.0, compare=False)
    thumbnail: bytes = b""


class Manifest:
    """The manifest of one folder; see `opened`."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def is_done(self, stem: str, key: str) -> bool:
        """Whether an image was segmented with this key."""
        return self._has("SELECT 1 FROM images WHERE stem = ? AND key = ?", os.fsencode(stem), key)

    def is_finished(self, file: str, key: str) -> bool:
        """Whether all images of a file, named by its stem, were segmented with this key."""
        return self._has("SELECT 1 FROM files WHERE stem = ? AND key = ?", os.fsencode(file), key)

    def add(self, image: Segmented) -> None:
        """Add an image, in the place of an earlier one with the same stem."""
        texts = (json.dumps(text) for text in (image.channels, image.summary, image.nuclei, image.notes))
        channels, summary, nuclei, notes = texts
        row = (
            *map(os.fsencode, (image.stem, image.name, image.file)), image.key, channels, image.pixel_size_um, summary,
            nuclei, notes, image.certainty, image.seconds, image.thumbnail,
        )  # fmt: skip
        with self._database:
            self._database.execute(f"INSERT OR REPLACE INTO images ({COLUMNS}) VALUES ({', '.join('?' * 12)})", row)

    def finish(self, file: str, key: str) -> None:
        """Note that all images of a file have been added with this key, and drop those of earlier keys.

        Where this is so already, the database stays as it is, byte by byte.
        """
        with self._database:
            self._database.execute("DELETE FROM images WHERE file = ? AND key != ?", [os.fsencode(file), key])
            insert = (
                "INSERT INTO files VALUES (?, ?) ON CONFLICT DO UPDATE SET key = excluded.key WHERE key != excluded.key"
            )
            self._database.execute(insert, [os.fsencode(file), key])

    def images(self, file: str | None = None) -> Iterator[Segmented]:
        """All images, or those of one file, sorted by name, one after the other."""
        where, values = ("", []) if file is None else ("WHERE file = ?", [os.fsencode(file)])
        query = f"SELECT {COLUMNS} FROM images {where} ORDER BY name, stem"
        yield from map(_segmented, self._database.execute(query, values))

    def least_certain(self, count: int) -> Iterator[Segmented]:
        """So many images, the least certain first; those without nuclei come last."""
        order = "ORDER BY certainty IS NULL, certainty, name LIMIT ?"
        yield from map(_segmented, self._database.execute(f"SELECT {COLUMNS} FROM images {order}", [count]))

    def by_certainty(self) -> Iterator[tuple[str, str]]:
        """The stem of each image and that of its file, in the order of `least_certain`."""
        query = "SELECT stem, file FROM images ORDER BY certainty IS NULL, certainty, name"
        yield from ((os.fsdecode(stem), os.fsdecode(file)) for stem, file in self._database.execute(query))

    def channels(self) -> list[tuple[str, ...]]:
        """The channels that images have, each combination once."""
        rows = self._database.execute("SELECT DISTINCT channels FROM images ORDER BY channels")
        return [tuple(json.loads(channels)) for (channels,) in rows]

    def nuclei(self) -> int:
        """How many nuclei the table of nuclei has: those of large images have tables of their own."""
        query = "SELECT sum(json_extract(summary, '$.nuclei')) FROM images WHERE nuclei != '{}'"
        return self._database.execute(query).fetchone()[0] or 0

    def has_pixel_sizes(self) -> bool:
        """Whether the pixel size of any image is known."""
        return self._has("SELECT 1 FROM images WHERE pixel_size_um IS NOT NULL LIMIT 1")

    def take(self, part: Path, files: Iterable[str] | None = None) -> None:
        """Add all rows of another manifest, or those of some image files, in the place of earlier ones.

        The hashes of tables and pages are added in any case.

        Args:
            part: the other manifest, a file that exists.
            files: the stems of the files.

        Raises:
            InputError: another run is writing into it, or it is no manifest of this version.
        """
        with self._attached(part):
            self._copy("part", "main", files)

    def give(self, part: Path, files: Iterable[str]) -> None:
        """Add the rows of some image files to another manifest, as `take` does the other way round."""
        with self._attached(part):
            self._copy("main", "part", files)

    def _copy(self, source: str, target: str, files: Iterable[str] | None) -> None:
        where, values = ("", [()]) if files is None else ("WHERE {} = ?", [(os.fsencode(stem),) for stem in files])
        finished = f"SELECT stem FROM {source}.files {where.format('stem')}"
        with self._database:  # one transaction
            for query in (
                f"DELETE FROM {target}.images WHERE file IN ({finished})",
                f"INSERT OR REPLACE INTO {target}.images SELECT * FROM {source}.images {where.format('file')}",
                f"INSERT OR REPLACE INTO {target}.files SELECT * FROM {source}.files {where.format('stem')}",
            ):
                self._database.executemany(query, values)
            renewed = f"DELETE FROM {target}.written WHERE name IN (SELECT name FROM {source}.written)"
            self._database.execute(renewed)
            self._database.execute(f"INSERT INTO {target}.written SELECT * FROM {source}.written")

    @contextmanager
    def _attached(self, path: Path) -> Iterator[None]:
        """Make the tables of another manifest those of a schema named `part`."""
        with _reported(path):
            self._database.execute("ATTACH DATABASE ? AS part", [str(path)])
            try:
                _check(self._database, path, "part.")
                yield
            finally:
                self._database.execute("DETACH DATABASE part")

    @contextmanager
    def replacing(self, path: Path) -> Iterator[Path]:
        """As `files.replacing`, for a table or page; its content is noted, so that `check_unchanged` knows it."""
        with replacing(path) as temporary:
            yield temporary
            digest = _digest(temporary)
            with self._database:  # before the renaming: a run killed in between has left a file that is known
                self._database.execute("INSERT OR IGNORE INTO written VALUES (?, ?)", [path.name, digest])
        with self._database:
            self._database.execute("DELETE FROM written WHERE name = ? AND sha256 != ?", [path.name, digest])

    def check_unchanged(self, paths: Iterable[Path]) -> None:
        """As the function `check_unchanged`, which can not read the manifest while it is open."""
        for path in paths:
            _check_known(path, {sha for (sha,) in self._database.execute(WRITTEN, [path.name])})

    def _has(self, query: str, *values: bytes | str) -> bool:
        return self._database.execute(query, values).fetchone() is not None


@contextmanager
def opened(out: Path, name: str = NAME, *, wait_s: float = 1) -> Iterator[Manifest]:
    """Open the manifest of a folder of results, made if there is none, and lock it until the end of the block.

    Args:
        out: the folder.
        name: of the file, another one for a part.
        wait_s: how long to wait for the end of another run that writes there.

    Raises:
        InputError: another run is writing there, or the file is no manifest of this version.
    """
    out.mkdir(parents=True, exist_ok=True)
    path = out / name
    with _reported(path), closing(sqlite3.connect(path, timeout=wait_s, check_same_thread=False)) as database:
        # SQLite itself lets threads take turns: one reads images ahead and asks which are done
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        with database:  # one transaction: killed here, the file is as empty as before
            database.execute("BEGIN EXCLUSIVE")
            if not database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                for statement in SCHEMA.split(";\n"):
                    database.execute(statement)
                database.execute(f"PRAGMA application_id = {APPLICATION}")
                database.execute(f"PRAGMA user_version = {FORMAT}")
        _check(database, path)
        yield Manifest(database)


def check_unchanged(paths: Iterable[Path], out: Path) -> None:
    """Raise InputError if a file exists that this program did not write, or that was changed since.

    Args:
        paths: tables and pages, directly in `out`.
        out: the folder of results.
    """
    for path in paths:
        _check_known(path, _known(out, path.name))


def files_of(out: Path) -> Iterator[tuple[str, str]]:
    """The stem of each image that was segmented into the folder `out`, and that of its file."""
    path = out / NAME
    if path.exists():
        with _read(path) as database:
            for stem, file in database.execute("SELECT stem, file FROM images"):
                yield os.fsdecode(stem), os.fsdecode(file)


def key_of(image: Path, model: str, options: dict[str, Any]) -> str:
    """What decides the results of an image file: the hash of its content, of the model and of the options.

    Args:
        image: the file.
        model: hash of the model; see `hash_of`.
        options: all that changes the results, as JSON can hold it.
    """
    return hashlib.sha256(json.dumps([FORMAT, hash_of(image), model, options]).encode()).hexdigest()


def hash_of(*paths: Path) -> str:
    """The SHA-256 of the files that exist, by name and content; raise InputError if one can not be read."""
    found = hashlib.sha256()
    for path in paths:
        try:
            found.update(f"{path.suffix} {sha256(path)}\n".encode())
        except FileNotFoundError:
            continue
        except OSError as error:
            raise InputError("a file can not be read", file=path, got=error) from None
    return found.hexdigest()


def _check_known(path: Path, known: set[str]) -> None:
    if path.exists() and _digest(path) not in known:
        raise InputError(
            "the file is not one that this program wrote, or it was changed since",
            file=path,
            fix="give another folder after -o, move the file away, or add --force to replace it",
        )


def _digest(path: Path) -> str:
    """The SHA-256 of a file, or of the names and contents of the files in a folder."""
    if path.is_dir():
        listed = [(file.name, sha256(file)) for file in sorted(path.iterdir())]
        return hashlib.sha256(json.dumps(listed).encode()).hexdigest()
    return sha256(path)


def _known(out: Path, name: str) -> set[str]:
    """The hashes of the contents that a table or page may have."""
    path = out / NAME
    if not path.exists():
        return set()
    with _read(path) as database:
        return {digest for (digest,) in database.execute(WRITTEN, [name])}


@contextmanager
def _read(path: Path) -> Iterator[sqlite3.Connection]:
    """A manifest that exists, to look something up."""
    with _reported(path), closing(sqlite3.connect(path, timeout=1)) as database:
        _check(database, path)
        yield database


def _check(database: sqlite3.Connection, path: Path, schema: str = "") -> None:
    found = [database.execute(f"PRAGMA {schema}{name}").fetchone()[0] for name in ("application_id", "user_version")]
    if found != [APPLICATION, FORMAT]:
        fix = "give another folder after -o, or move the file away: all images are then segmented again"
        raise InputError("the manifest is not one of this version of the program", file=path, fix=fix)


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    """Turn what SQLite raises into an InputError."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            fix = "wait until it ends, or give another folder after -o"
            raise InputError("another run is writing into this folder", file=path, fix=fix) from None
        raise InputError("the manifest can not be written", file=path, got=error) from None
    except sqlite3.DatabaseError as error:
        fix = "move the file away: all images are then segmented again"
        raise InputError("the manifest can not be read", file=path, got=error, fix=fix) from None


def _segmented(row: tuple[Any, ...]) -> Segmented:
    stem, name, file, key, channels, pixel_size_um, summary, nuclei, notes, certainty, seconds, thumbnail = row
    return Segmented(
        os.fsdecode(stem),
        os.fsdecode(name),
        os.fsdecode(file),
        key,
        json.loads(summary),
        json.loads(nuclei),
        tuple(json.loads(channels)),
        pixel_size_um,
        tuple(json.loads(notes)),
        certainty,
        seconds,
        thumbnail,
    )
