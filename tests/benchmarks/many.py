"""What a data set of many small images costs before training: time and memory of `prepare`, `split` and DVC.

    python tests/benchmarks/many.py FOLDER [--images 1000] [--px 48] [--steps draw prepare ...] [--link copy]

FOLDER becomes a clone of this repository's HEAD whose data is an archive of drawn images with label maps. Its
stages/train.py only says that it would start, so the steps of DVC end where training would begin. `--steps` runs some
of them, in an order such that each finds what the earlier ones made:

    draw      the clone and the archive, brought in by fetch; not a measurement
    prepare   stages/prepare.py
    split     stages/split.py
    commit    `dvc commit`: hash what they wrote, and copy it into the cache
    nothing   `dvc repro split` with nothing changed
    train     `dvc repro train` with another number of epochs, up to training
    exp       `dvc exp run` with another number, up to training
    queue     `dvc exp run --queue`
    temp      `dvc exp run --temp`, up to training: data/prepared is checked out in another workspace
    push      `dvc push` to a folder

`--link` is DVC's cache.type. Prints seconds, seconds of processor time, which other work disturbs less, and the peak
memory of all processes together.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "stages"))

from measuring import ROOT, Ran, ran, stage

STEPS = ("draw", "prepare", "split", "commit", "nothing", "train", "exp", "queue", "temp", "push")
STAGES = ("source", "fetch", "prepare", "split")
STARTS = "training would start here"
NUCLEI = 4
ARCHIVE = "images.zip"


def draw(folder: Path, images: int, px: int) -> None:
    """Clone the repository into `folder` and bring in an archive of drawn images."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    with zipfile.ZipFile(folder.with_suffix(".zip"), "w") as archive:
        for number in range(images):
            pixels, labels = field(number, px)
            for kind, content in (("images", pixels), ("masks", labels)):
                archive.writestr(f"{kind}/{number:07}.png", cv2.imencode(".png", content)[1].tobytes())
    (folder / "stages/train.py").write_text(f'raise SystemExit("{STARTS}")\n')
    set_parameter(folder, "data", str(folder.with_suffix(".zip")))
    for name in ("source", "fetch"):
        stage(name, folder)
    dvc(folder, "remote", "add", "--default", "store", str(folder.with_suffix(".remote")))


def field(seed: int, px: int) -> tuple[np.ndarray, np.ndarray]:
    """A dark image with noise and a few bright ellipses, (px, px) uint8, and its label map."""
    random = np.random.default_rng(seed)
    light, labels = random.normal(12, 2, (px, px)).astype(np.float32), np.zeros((px, px), np.uint8)
    for number in range(1, NUCLEI + 1):
        centre, axes = random.integers(px, size=2).tolist(), random.integers(4, 8, size=2).tolist()
        cv2.ellipse(labels, centre, axes, float(random.uniform(0, 180)), 0, 360, number, -1)
        light += float(random.uniform(50, 150)) * (labels == number)
    return np.rint(cv2.GaussianBlur(light, (0, 0), 1).clip(0, 255)).astype(np.uint8), labels


def set_parameter(folder: Path, name: str, value: object) -> None:
    values = yaml.safe_load((folder / "params.yaml").read_text())
    (folder / "params.yaml").write_text(yaml.safe_dump({**values, name: value}, sort_keys=False))


def dvc(folder: Path, *arguments: str) -> Ran:
    return ran([sys.executable, "-m", "dvc", *arguments], folder)


def until_training(folder: Path, *arguments: str) -> Ran:
    """Run a dvc command that has to fail where training would start."""
    done = ran([sys.executable, "-m", "dvc", *arguments], folder, may_fail=True)
    if STARTS not in done.lines:
        raise RuntimeError("\n".join(done.lines[-30:]))
    return done


def step(name: str, folder: Path) -> Ran:
    """Run one of STEPS but the first."""
    if name in ("prepare", "split"):
        return stage(name, folder)
    if name == "commit":
        done = dvc(folder, "commit", "--force", *STAGES)
        identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        subprocess.run(["git", *identity, "commit", "--quiet", "--all", "--message", "Data"], cwd=folder, check=True)
        return done
    if name == "train":
        before = (folder / "params.yaml").read_text()
        set_parameter(folder, "epochs", 17)
        done = until_training(folder, "repro", "train")
        (folder / "params.yaml").write_text(before)
        return done
    if name == "queue":
        return dvc(folder, "exp", "run", "--queue", "-S", "epochs=18", "train")
    if name == "temp":
        return until_training(folder, "exp", "run", "--temp", "-S", "epochs=19", "train")
    if name == "exp":
        done = until_training(folder, "exp", "run", "-S", "epochs=20", "train")
        subprocess.run(["git", "checkout", "--quiet", "params.yaml"], cwd=folder, check=True)
        return done
    if name == "push":
        return dvc(folder, "push", *STAGES[1:])
    return dvc(folder, "repro", "split")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--px", type=int, default=48, help="side of an image")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS)
    parser.add_argument("--link", help="DVC's cache.type, such as hardlink,symlink")
    given = parser.parse_args()
    folder = given.folder.resolve()
    if "draw" in given.steps:
        draw(folder, given.images, given.px)
    if given.link:
        dvc(folder, "config", "--local", "cache.type", given.link)
    print("| step | images | seconds | seconds of processor time | peak memory, MiB |\n|---|---|---|---|---|")
    for name in given.steps:
        if name != "draw":
            before = processor_s()
            done = step(name, folder)
            cells = (f"{given.images:,}", f"{done.seconds:.1f}", f"{processor_s() - before:.1f}", f"{done.peak_mb:.0f}")
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


def processor_s() -> float:
    """Seconds of processor time of all commands so far, their own children included."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
