"""What a run says at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nuclei.base.errors import InputError
from nuclei.segment.finding import Found, Image
from nuclei.segment.manifest import Manifest


def report(
    manifest: Manifest, found: Found, done: Sequence[Image], failed: Mapping[str, InputError], where: str
) -> None:
    """Say what was done and what was not; raise InputError if an image was not segmented."""
    nuclei, warnings = 0, []
    for image in done:
        for segmented in manifest.images(image.stem):
            nuclei += int(segmented.summary["nuclei"] or 0)
            warnings += [f"warning: {segmented.name}: {note}" for note in segmented.notes]
    print(f"{len(done)} image{'' if len(done) == 1 else 's'}, {nuclei} nuclei: {where}")
    for line in [*warnings, *(f"not segmented: {note}" for note in found.notes)]:
        print(line)
    if failed:
        problem = f"{len(found.images) - len(done)} of {len(found.images)} images were not segmented"
        raise InputError("\n".join([problem, *map(str, failed.values())]))
