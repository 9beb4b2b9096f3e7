"""What a task on a worker has: the model, a part of the manifest, and a count of the workers that died at it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from nuclei.base.errors import InputError
from nuclei.base.files import read_json, remove, write_json
from nuclei.base.machine import keep_freed_memory
from nuclei.segment.batch import Batch, LargeOptions, Options
from nuclei.segment.manifest import hash_of, opened
from nuclei.segment.shards import FOLDER

if TYPE_CHECKING:  # torch takes seconds to import
    from nuclei.network.segmenter import Segmenter

WAIT_S = 300  # for the end of a worker that Dask has given up
DEATHS = 2  # of workers at one image or block, after which the image is left out
ONE_TASK = threading.Lock()  # at a time in a process, of however many threads: they have one working directory


@dataclass(frozen=True)
class Model:
    """How each worker opens the model.

    Attributes:
        open: opens a model on a device.
        path: the folder or file of the model.
        files: those that decide what it predicts.
        device: to run on.
        sha256: `hash_of` the files, on the machine that starts the run.
    """

    open: Callable[[Path, str], Segmenter]
    path: Path
    files: tuple[Path, ...]
    device: str
    sha256: str


@dataclass(frozen=True)
class Task:
    """What a worker needs beside the images.

    Attributes:
        model: see `Model`.
        out, options, force: as `Batch` has them.
        large: what the user chose for large images.
        folder: the working directory, to which paths are relative.
        part: the name of the part of the manifest, of no other task.
    """

    model: Model
    out: Path
    options: Options
    force: bool
    large: LargeOptions
    folder: Path
    part: str

    @property
    def attempt(self) -> Path:
        """The file of `Deaths`."""
        return self.out / FOLDER / f"{self.part}.json"


@contextmanager
def begun(task: Task) -> Iterator[Batch]:
    """The run for which a task works, in the working directory of the client, until the end of the block.

    The part of the manifest is locked: a worker that Dask has given up, but that is not dead, ends its task first.

    Raises:
        InputError: the model can not be opened, or is not that of the client.
    """
    folder = task.out / FOLDER
    with ONE_TASK, contextlib.chdir(task.folder), opened(folder, task.part, wait_s=WAIT_S) as manifest:
        segmenter = opened_model(task.model)
        try:
            yield Batch(segmenter, task.model.sha256, task.out, manifest, task.options, force=task.force)
        finally:  # a worker that is killed leaves it
            remove(task.attempt)


@lru_cache(maxsize=1)
def opened_model(model: Model) -> Segmenter:
    """The model, opened once in a process; raise InputError if it is not that of the client."""
    if hash_of(*model.files) != model.sha256:
        fix = "copy the model of the machine that started the run"
        raise InputError("a worker has another model than the run was started with", file=model.path, fix=fix)
    keep_freed_memory()
    return model.open(model.path, model.device)


class Deaths:
    """The workers that died at a task, each with the place, in the list of its images or blocks, where it was.

    Args:
        file: where they are noted, from the beginning of a task to its end; a task that ends deletes it.
    """

    def __init__(self, file: Path) -> None:
        self._file, self._known = file, file.exists()
        self._places: list[int] = read_json(file, "delete the file")["deaths"] if self._known else []

    def __bool__(self) -> bool:
        """Whether a worker has died before this one began."""
        return self._known

    def begin(self, place: int | None, image: Path) -> None:
        """Note where this worker is: at a place, or, with None, somewhere.

        Raises:
            InputError: `DEATHS` workers died there; `image` is named.
        """
        if place is not None and self._places.count(place) >= DEATHS:
            fix = "perhaps the memory was full: take fewer workers, or segment the image on a larger machine"
            raise InputError(f"{DEATHS} workers died while they segmented the image", file=image, fix=fix)
        write_json(self._file, {"deaths": [*self._places, *([] if place is None else [place])]})
