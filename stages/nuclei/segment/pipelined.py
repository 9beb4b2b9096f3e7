"""The images of a run, pipelined: while the network predicts a plane, the next is read and those before are written.

Reading and writing have a thread each; the caller's runs the network, and notes the images in the manifest in their
order. All results are, byte for byte, those of one image after the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from nuclei.base.errors import InputError
from nuclei.base.parallel import ahead, behind
from nuclei.segment.batch import Batch, LargeOptions, Predicted, Task
from nuclei.segment.finding import Image
from nuclei.segment.large import segment_large
from nuclei.segment.manifest import Segmented
from nuclei.segment.slides import is_large

WAITING = 2  # planes, at most, that the network has seen and that are not written yet
AHEAD = 2  # steps that are read while the network predicts: the end of a file, and a plane of the next
Outcome = tuple[Image, InputError | None]


@dataclass(frozen=True)
class End:
    """Stands behind the planes of an image file.

    Attributes:
        image: the file.
        key: see `manifest.key_of`; None where it was not read to its end, or is large.
        error: why it was not read.
    """

    image: Image
    key: str | None = None
    error: InputError | None = None


def segment_pipelined(batch: Batch, images: Iterable[Image], large: LargeOptions) -> Iterator[Outcome]:
    """Segment images, and yield each of them when it is done, with why it was not segmented or None.

    At most six planes are in memory: `AHEAD` that are read, one that the network predicts, one that is written, and
    `WAITING` between the two. A large image is segmented alone, when those before it are done.

    Args:
        batch: the run.
        images: to segment.
        large: what the user chose for large images.
    """
    failed: InputError | None = None  # of the planes of the present file
    with closing(ahead(_read(batch, images, large), count=AHEAD)) as steps:
        predicted = (_predicted(batch, step) for step in steps)
        for step in behind(partial(_written, batch), predicted, waiting=WAITING):
            if isinstance(step, Segmented):
                batch.manifest.add(step)
            elif isinstance(step, InputError):
                failed = failed or step
            else:
                yield step.image, failed or step.error or _ended(batch, step, large)
                failed = None


def _read(batch: Batch, images: Iterable[Image], large: LargeOptions) -> Iterator[Task | End]:
    """The planes of each file that are not done, and its end."""
    for image in images:
        try:
            if is_large(image.path, large.block_px):
                yield End(image)
                continue
            key = batch.key(image)
            yield from batch.tasks(image, key)
            yield End(image, key)
        except InputError as error:
            yield End(image, error=error)


def _predicted(batch: Batch, step: Task | End) -> Predicted | End | InputError:
    try:
        return batch.predicted(step) if isinstance(step, Task) else step
    except InputError as error:  # the diameter given does not fit the image
        return error


def _written(batch: Batch, step: Predicted | End | InputError) -> Segmented | End | InputError:
    try:
        return batch.written(step) if isinstance(step, Predicted) else step
    except InputError as error:
        return error


def _ended(batch: Batch, end: End, large: LargeOptions) -> InputError | None:
    """Note that all planes of a file are done, or segment a large image."""
    try:
        if end.key is None:
            segment_large(batch, end.image, large)
        else:
            batch.manifest.finish(end.image.stem, end.key)
    except InputError as error:
        return error
    return None
