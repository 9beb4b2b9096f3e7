"""Images one after the other, small and large ones, each with the error that kept it from being segmented."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from nuclei.base.errors import InputError
from nuclei.segment.batch import Batch
from nuclei.segment.finding import Image
from nuclei.segment.slides import is_large

LARGE_PX = 64 * 10**6  # an image with more is segmented by blocks
Outcome = tuple[Image, InputError | None]


def segment_each(batch: Batch, images: Iterable[Image], block_px: int | None) -> Iterator[Outcome]:
    """Segment images, and yield each of them when it is done, with why it was not segmented or None.

    Args:
        batch: the run.
        images: to segment.
        block_px: the side of the blocks in which every TIFF is segmented; None: only large images are.
    """
    for image in images:
        yield image, _error(batch, image, block_px)


def _error(batch: Batch, image: Image, block_px: int | None) -> InputError | None:
    try:
        if is_large(image.path, 0 if block_px else LARGE_PX):
            from nuclei.segment.large import segment_large  # imports torch, which takes seconds

            segment_large(batch, image, block_px)
        else:
            batch.segment(image)
    except InputError as error:
        return error
    return None
