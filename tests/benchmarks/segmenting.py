"""What does segment.py cost beside the forward passes of the network? Every stage alone, and the whole.

    python tests/benchmarks/segmenting.py path/to/images [--images 100] [--rounds 5] [--clock wall]

The forward passes that an image needs are recorded once: those of the looks, which measure the diameter, and those of
the final prediction. In each round they are repeated bare, on tensors of the same sizes in the same order; then each
stage runs alone on each image; then segment.py's own loop segments all images into an empty folder. Printed are the
medians over the rounds, in seconds, in megapixels of the images a second, and as multiples of the bare forward passes.

`--diameter` gives the diameter of the nuclei, so that no image needs a look. `--clock cpu` counts the processor time of
all threads, for a machine with other work to do: overlap does not show in it.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "stages"))

from nuclei.base.machine import cores, cpu_model, keep_freed_memory
from nuclei.base.progress import track
from nuclei.base.shipped import MODEL
from nuclei.export.engine import open_model
from nuclei.network.runtime import STRIDE
from nuclei.network.segmenter import Segmenter
from nuclei.segment import batch as in_batch
from nuclei.segment.batch import Batch, LargeOptions, Options
from nuclei.segment.finding import Image, find_images
from nuclei.segment.manifest import opened
from nuclei.segment.opening import planes
from nuclei.segment.page import write_page
from nuclei.segment.pipelined import segment_pipelined
from nuclei.segment.table import write_tables

Shape = tuple[int, ...]  # (1, 3, H, W), of what goes through the network at once
LOOKS, FINAL = "bare forward passes of the looks", "bare forward passes of the final predictions"
STEPS = ("hash", "read", "predict, with the looks", "label, measure and write", "manifest")
WITHIN = (  # what writing a plane calls, in nuclei.segment.batch
    "label", "write_marked_labels", "overlay", "write_marked_rgb", "channels_of", "measure", "summarise", "rounded",
    "thumbnail",
)  # fmt: skip
TABLES, WHOLE = "tables and page", "the whole"
INDENT = "\N{EN DASH} "


class Rounds:
    """Seconds by part of the work: summed over the images of a round, a list over the rounds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.seconds: dict[str, list[float]] = defaultdict(list)

    def begin(self, parts: list[str]) -> None:
        for part in parts:
            self.seconds[part].append(0.0)

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        start = self.clock()
        yield
        self.seconds[part][-1] += self.clock() - start

    def watched(self, function: Callable[..., Any], part: str) -> Callable[..., Any]:
        """The function, timed."""

        def run(*arguments: Any, **named: Any) -> Any:
            with self.timed(part):
                return function(*arguments, **named)

        return run

    def median(self, *parts: str) -> float:
        return float(np.median(np.sum([self.seconds[part] for part in parts], axis=0)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=100, help="at most so many, evenly taken from the sorted names")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--diameter", type=float)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    arguments = parser.parse_args()
    keep_freed_memory()
    segmenter = open_model(arguments.model, "cpu")
    found = find_images([arguments.folder], Path("nowhere")).images
    images = found[:: max(len(found) // arguments.images, 1)][: arguments.images]
    options = Options(arguments.diameter)
    needed, megapixels = forwards(segmenter, images, options)
    rounds = Rounds(time.perf_counter if arguments.clock == "wall" else time.process_time)
    for _ in range(arguments.rounds):
        bare(segmenter, needed, rounds)
        with tempfile.TemporaryDirectory() as folder, opened(Path(folder)) as manifest:
            alone(Batch(segmenter, "model", Path(folder), manifest, options), images, rounds)
        with tempfile.TemporaryDirectory() as folder, opened(Path(folder)) as manifest:
            batch = Batch(segmenter, "model", Path(folder), manifest, options)
            rounds.begin([WHOLE])
            with rounds.timed(WHOLE), redirect_stderr(io.StringIO()):
                whole(batch, images)
    print_table(rounds, megapixels)
    final = rounds.median(WHOLE) / rounds.median(FINAL)
    print(f"\nwhole / bare with looks {rounds.median(WHOLE) / rounds.median(LOOKS, FINAL):.2f}, without {final:.2f}")
    print(f"{len(images)} images, {megapixels:.2f} megapixels, diameter {arguments.diameter or 'measured'}")
    print(f"{cpu_model()}, {torch.get_num_threads()} threads of torch on {cores()} cores, {arguments.clock} clock")


def forwards(segmenter: Segmenter, images: list[Image], options: Options) -> tuple[dict[str, list[Shape]], float]:
    """What goes through the network, and the megapixels of the images."""
    seen: list[Shape] = []
    predict = segmenter.net.predict

    def recorded(tile: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(tile.shape))
        return predict(tile)

    needed: dict[str, list[Shape]] = {LOOKS: [], FINAL: []}
    megapixels = 0.0
    with patch.object(segmenter.net, "predict", recorded):
        for image in images:
            for plane in planes(image.path):
                seen.clear()
                diameter = options.diameter and options.diameter.px(plane.pixel_size_um, image.path)
                scale = segmenter.scale(plane.rgb, diameter)
                looks = seen.copy()
                segmenter.predict(plane.rgb, scale)
                final = seen[len(looks) :]
                if not final:  # the look at the image itself is the final prediction
                    height, width = (side + -side % STRIDE for side in plane.rgb.shape[:2])
                    final = [(1, 3, height, width)]
                    looks.remove(final[0])
                needed[LOOKS] += looks
                needed[FINAL] += final
                megapixels += plane.rgb.shape[0] * plane.rgb.shape[1] / 1e6
    return needed, megapixels


@torch.inference_mode()
def bare(segmenter: Segmenter, needed: dict[str, list[Shape]], rounds: Rounds) -> None:
    """Nothing but the network."""
    rounds.begin([LOOKS, FINAL])
    for part, shapes in needed.items():
        for shape in shapes:
            tile = torch.randn(shape).contiguous(memory_format=torch.channels_last)
            with (
                rounds.timed(part),
                torch.autocast("cpu", segmenter.dtype, enabled=segmenter.dtype != torch.float32),
            ):
                segmenter.net.predict(tile)


def alone(batch: Batch, images: list[Image], rounds: Rounds) -> None:
    """Each stage alone, plane by plane, and beneath `written` each function that it calls."""
    rounds.begin([*STEPS, *WITHIN, TABLES])
    with ExitStack() as patches:
        for name in WITHIN[1:]:
            patches.enter_context(patch.object(in_batch, name, rounds.watched(getattr(in_batch, name), name)))
        patches.enter_context(patch.object(batch.segmenter, "label", rounds.watched(batch.segmenter.label, "label")))
        for image in images:
            with rounds.timed("hash"):
                key = batch.key(image)
            with rounds.timed("read"):
                tasks = list(batch.tasks(image, key))
            for task in tasks:
                with rounds.timed("predict, with the looks"):
                    predicted = batch.predicted(task)
                with rounds.timed("label, measure and write"):
                    segmented = batch.written(predicted)
                with rounds.timed("manifest"):
                    batch.manifest.add(segmented)
            with rounds.timed("manifest"):
                batch.manifest.finish(image.stem, key)
        with rounds.timed(TABLES):
            finish(batch)


def whole(batch: Batch, images: list[Image]) -> None:
    """What segment.py does when it has its model."""
    for _, error in track(segment_pipelined(batch, images, LargeOptions()), what="segment", total=len(images)):
        assert error is None, error
    finish(batch)


def finish(batch: Batch) -> None:
    write_tables(batch.manifest, batch.out)
    write_page(batch.manifest, batch.out, {}, "a model", batch.options)


def print_table(rounds: Rounds, megapixels: float) -> None:
    base = rounds.median(LOOKS, FINAL)
    print("| part | s | megapixels a second | of the bare forward passes |\n|---|---|---|---|")
    for part in rounds.seconds:
        seconds = rounds.median(part)
        print(
            f"| {INDENT * (part in WITHIN)}{part} | {seconds:.2f} | {megapixels / seconds:.2f} | {seconds / base:.3f} |"
        )


if __name__ == "__main__":
    main()
