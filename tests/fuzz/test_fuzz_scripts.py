"""Bad input through the scripts: status 1, one error, nothing half-written, nothing lost, and memory within bounds."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from fuzzing import OUTCOMES, contents
from PIL import Image

from committed import run_here
from conftest import ROOT, write_params, write_prepared
from made_up import with_tags
from nuclei.base import files
from nuclei.images.records import COLUMNS, UNLABELLED_COLUMNS

ROOM_MB = 100  # that a file may take to be refused, where unpacked it has hundreds of MB


def fails(script: str, folder: Path, *arguments: str) -> None:
    """Run a script that has to end in one error, and leave every file as it was."""
    before = contents(folder)
    done = run_here(script, folder, *arguments)
    assert done.returncode == 1, done.stderr
    assert [line[:6] for line in done.stderr.splitlines()].count("error:") == 1, done.stderr
    assert "Traceback" not in done.stderr and "Warning" not in done.stderr, done.stderr
    assert contents(folder) == before
    OUTCOMES["scripts", "clear error"] += 1


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def tiff(**values: int) -> bytes:
    """A TIFF of 10 x 10 pixels in one tile, whose tags of these names say something else."""
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((10, 10), np.uint8), tile=(16, 16), compression="zlib")
    return with_tags(file.getvalue(), **values)


GOOD = {"a/images/a.png": png(np.zeros((9, 9, 3), np.uint8)), "a/masks/1.png": png(np.eye(9, dtype=np.uint8))}


def archive(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in members.items():
            packed.writestr(name, data)
    return path


@pytest.mark.parametrize(
    "members",
    [
        {"../../up.png": b"x"},
        {"a/masks/2\nerror: forged.png": b"\x1b[2J"},
        {"b/images/b.tif": tiff(TileWidth=2**16, TileLength=2**14, Compression=5), "b/masks/1.png": b""},
    ],
    ids=["path", "forged", "bomb"],
)
def test_prepare_refuses_a_bad_archive_and_keeps_what_it_made_before(tmp_path: Path, members: dict[str, bytes]) -> None:
    write_params(tmp_path)
    archive(tmp_path / "data/raw/stage1_train.zip", GOOD)
    assert run_here("prepare", tmp_path).returncode == 0
    archive(tmp_path / "data/raw/stage1_train.zip", GOOD | members)
    fails("prepare", tmp_path)


def test_source_and_fetch_refuse_an_archive_that_was_cut_off(tmp_path: Path) -> None:
    write_params(tmp_path, data="given.zip")
    whole = archive(tmp_path / "given.zip", GOOD).read_bytes()
    assert run_here("source", tmp_path).returncode == 0
    (tmp_path / "given.zip").write_bytes(whole[: len(whole) // 2])
    fails("source", tmp_path)
    fails("fetch", tmp_path)


def test_split_refuses_an_index_that_names_an_image_twice_and_keeps_the_split(tmp_path: Path) -> None:
    write_params(tmp_path)
    write_prepared(tmp_path, {"train": 3})
    rows = files.read_rows(tmp_path / "data/prepared/index.csv", COLUMNS, "")
    files.write_rows(tmp_path / "data/prepared/index.csv", COLUMNS, [*rows[:2], rows[2] | {"id": "image00"}])
    fails("split", tmp_path)


def test_split_refuses_a_list_that_is_a_folder_and_parameters_without_end(tmp_path: Path) -> None:
    write_prepared(tmp_path, {"train": 3})
    write_params(tmp_path, split={"list": "data"})
    fails("split", tmp_path)
    bomb = ["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30))]
    (tmp_path / "params.yaml").write_text("\n".join(bomb))
    fails("split", tmp_path)


def test_predict_refuses_an_id_that_leads_out_of_its_folder(workspace: Path) -> None:
    row = {"id": "../../../up", "height": 5, "width": 5, "modality": "tissue", "source": "x"}
    files.write_rows(workspace / "data/unlabelled/index.csv", UNLABELLED_COLUMNS, [row])
    (workspace / "data/up.png").write_bytes(GOOD["a/images/a.png"])
    fails("predict", workspace)


def test_segment_refuses_a_name_that_is_too_long_for_its_results(tmp_path: Path) -> None:
    name = "n" * 240 + ".png"
    (tmp_path / name).write_bytes(GOOD["a/images/a.png"])
    fails("segment", tmp_path, name, "-o", "out")


def test_segment_refuses_a_model_with_one_flipped_bit(workspace: Path) -> None:
    (workspace / "a.png").write_bytes(GOOD["a/images/a.png"])
    weights = workspace / "data/model/unet_final_model.pth"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    fails("segment", workspace, "a.png", "-o", "out", "--model", "data/model")


def header(kind: str) -> bytes:
    """A whole file of 30,000 x 30,000 pixels as its header says, and of hardly any as its length does."""
    file = io.BytesIO()
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(file, kind)
    data = bytearray(file.getvalue())
    at, form = {"PNG": (16, ">II"), "BMP": (18, "<II"), "JPEG": (data.find(b"\xff\xc0") + 5, ">HH")}[kind]
    struct.pack_into(form, data, at, 30_000, 30_000)
    if kind == "PNG":
        struct.pack_into(">I", data, 29, zlib.crc32(data[12:29]))
    return bytes(data)


def bombs(folder: Path) -> list[Path]:
    """Small files that unpack to hundreds of MB, or say so; named by what has to refuse them."""
    inflated = zlib.compress(bytes(3 * 10**8))
    whole = tiff()
    lying = bytearray(archive(folder / "zip_lying", {"a.png": bytes(3 * 10**8)}).read_bytes())
    struct.pack_into("<I", lying, lying.index(b"PK\x01\x02") + 24, 1000)
    made = {
        "rgb_deflate": tiff(TileOffsets=len(whole), TileByteCounts=len(inflated)) + inflated,
        "rgb_tile": tiff(TileWidth=2**16, TileLength=2**14, Compression=5),
        **{f"rgb_{kind}": header(kind) for kind in ("PNG", "BMP", "JPEG")},
        "zip_lying": bytes(lying),
        "weights_lying": struct.pack("<Q", 2**40) + b"{}",
        "params_aliases": "\n".join(
            ["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30))]
        ).encode(),
    }
    for name, data in made.items():
        (folder / name).write_bytes(data)
    archive(folder / "zip_large", {f"{n}.png": bytes(10**8) for n in range(3)})
    return sorted(folder.iterdir())


MEASURE = """
import resource, sys
from pathlib import Path
sys.path.insert(0, "stages")
from nuclei.prepare.archives import Archive
from nuclei.base.errors import InputError
from nuclei.images.io import read_rgb
from nuclei.network.model import read_weights
from nuclei.base.params import load

def unpack(path):
    archive = Archive(path, max_bytes=2 * 10**8, max_member_bytes=10**9)
    return [archive.member(name).read() for name in archive.files]

readers = {"rgb": lambda path: read_rgb(path, max_px=10**8), "zip": unpack, "weights": read_weights, "params": load}
for path in map(Path, sys.argv[1:]):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        readers[path.name.split("_")[0]](path)
        outcome = "taken"
    except InputError:
        outcome = "refused"
    print(path.name, outcome, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it reads the largest memory of a process, in kB")
def test_a_bomb_is_refused_within_little_memory(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *map(str, bombs(tmp_path))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    outcomes = [line.split() for line in done.stdout.splitlines()]
    assert len(outcomes) == 9
    for name, outcome, grown_mb in outcomes:
        assert outcome == "refused" and int(grown_mb) < ROOM_MB, (name, outcome, grown_mb)
        OUTCOMES["bombs", "clear error"] += 1
