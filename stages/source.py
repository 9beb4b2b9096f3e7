"""Say what `data:` is, so that DVC sees when the user's own data changes.

Reads:      what `data` points to; the network never
Writes:     data/source.json
Parameters: data

It runs every time (`always_changed` in dvc.yaml), so it imports little and only hashes; fetch depends on what it
writes and runs again when that changes. Nothing in it depends on where the data or the repository lies.
"""

from __future__ import annotations

from pathlib import Path

from nuclei.errors import run
from nuclei.files import write_json
from nuclei.params import load
from nuclei.sources import describe

SOURCE = Path("data/source.json")
OUTPUTS = (
    "data/raw",
    "data/prepared",
    "data/unlabelled",
    "data/model",
    "data/predictions",
    "data/submission",
    "data/.download",
    "reports",
)


def main() -> None:
    write_json(SOURCE, describe(load().data, Path.cwd(), OUTPUTS))


if __name__ == "__main__":
    run(main)
