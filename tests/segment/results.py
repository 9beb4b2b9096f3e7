"""What a run of segment.py leaves in its folder, and a run without its threads."""

from __future__ import annotations

import re
from pathlib import Path

from nuclei.segment.batch import Batch
from nuclei.segment.finding import Image


def contents(out: Path) -> dict[str, bytes]:
    """All results by name, without the manifest, the records of shards, and how long each image took."""
    found = {
        str(path.relative_to(out)): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and path.name != "manifest.sqlite" and path.parent.name != "shards"
    }
    if "images.csv" in found:
        found["images.csv"] = re.sub(rb",[^,\n]*\n", b"\n", found["images.csv"])  # the last column
    return found


def segment_alone(batch: Batch, image: Image) -> None:
    """Segment the planes of one image file, without a thread, unless they are done."""
    key = batch.key(image)
    for task in batch.tasks(image, key):
        batch.manifest.add(batch.written(batch.predicted(task)))
    batch.manifest.finish(image.stem, key)
