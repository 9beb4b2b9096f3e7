"""Do time and memory grow with the data? `prepare` and `evaluate` on 1, 4 and 16 copies of it.

    python tests/benchmarks/scaling.py WORKSPACE [--times 1 4 16] [--images 24]

WORKSPACE is a folder in which the pipeline has run as far as `train`, and whose data is in Kaggle's layout. `prepare`
gets an archive with every image and mask of its own several times, `evaluate` the first `--images` val and test images
several times, both under new names, in temporary folders. Prints seconds, seconds an image, and the peak memory of
all processes together.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "stages"))

from measuring import stage
from nuclei.base import files
from nuclei.images.records import COLUMNS, image_path, label_path, read_index, read_part

ARCHIVE = Path("data/raw/stage1_train.zip")
PREPARED, SPLIT, MODEL = Path("data/prepared"), Path("data/split.csv"), Path("data/model")


def copies_to_prepare(workspace: Path, folder: Path, times: int) -> int:
    """Write an archive with every sample of the workspace's `times` times; return its number of images."""
    (folder / ARCHIVE).parent.mkdir(parents=True)
    images = 0
    with zipfile.ZipFile(workspace / ARCHIVE) as given, zipfile.ZipFile(folder / ARCHIVE, "w") as written:
        for name in given.namelist():
            id, kind, file = name.split("/")[-3:]
            images += times * (kind == "images")
            content = given.read(name)
            for number in range(times):
                written.writestr(f"{id}-{number}/{kind}/{number}-{file}", content)
    return images


def copies_to_evaluate(workspace: Path, folder: Path, times: int, images: int) -> int:
    """Link val and test images and their label maps `times` times under new names; return the number of images."""
    prepared = folder / PREPARED
    records = {record.id: record for record in read_index(workspace / PREPARED)}
    rows, parts = [], []
    for part in ("val", "test"):
        for record in read_part(workspace / PREPARED, workspace / SPLIT, part)[: images // 2]:
            for number in range(times):
                id = f"{number}-{record.id}"
                for path in (image_path, label_path):
                    path(prepared, id).parent.mkdir(parents=True, exist_ok=True)
                    os.link(path(workspace / PREPARED, record.id), path(prepared, id))
                rows.append({**vars(records[record.id]), "id": id})
                parts.append({"id": id, "part": part})
    files.write_rows(prepared / "index.csv", COLUMNS, rows)
    files.write_rows(folder / SPLIT, ["id", "part"], parts)
    shutil.copytree(workspace / MODEL, folder / MODEL)
    return len(rows)


def measure(name: str, workspace: Path, times: int, make: Callable[[Path, Path, int], int]) -> str:
    """Run a stage on copies of the data; a row of the table."""
    # beside the workspace, since links can not cross file systems
    with tempfile.TemporaryDirectory(prefix=".scaling-", dir=workspace) as temporary:
        folder = Path(temporary)
        shutil.copy(workspace / "params.yaml", folder)
        images = make(workspace, folder, times)
        done = stage(name, folder)
    cells = (name, times, images, f"{done.seconds:.1f}", f"{done.seconds / images:.4f}", f"{done.peak_mb:.0f}")
    return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--times", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--images", type=int, default=24, help="for evaluate")
    given = parser.parse_args()
    workspace = given.workspace.resolve()
    print("| stage | times | images | seconds | seconds an image | peak memory, MiB |\n|---|---|---|---|---|---|")
    for times in given.times:
        print(measure("prepare", workspace, times, copies_to_prepare), flush=True)
    for times in given.times:

        def make(workspace: Path, folder: Path, times: int) -> int:
            return copies_to_evaluate(workspace, folder, times, given.images)

        print(measure("evaluate", workspace, times, make), flush=True)


if __name__ == "__main__":
    main()
