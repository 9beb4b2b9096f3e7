"""Large images spread over workers by blocks: the bytes of one process, whatever fails or dies meanwhile."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import brightness
import pytest
import tifffile
from results import contents
from test_cluster import Killed, same_files, scheduler, wait_for, workers
from test_shards import Run, images, run

from conftest import draw_discs
from nuclei.base.errors import InputError
from nuclei.export import engine
from nuclei.images.io import write_rgb
from nuclei.segment import by_blocks, large, prepared, spread
from nuclei.segment.batch import LargeOptions, Options
from nuclei.segment.blocks import Block
from nuclei.segment.by_blocks import segment_blocks
from nuclei.segment.finding import Image
from nuclei.segment.manifest import Manifest, hash_of, opened
from nuclei.segment.prepared import Prepared, prepare
from nuclei.segment.tasks import Model, Task

__all__ = ["images", "run", "scheduler", "workers"]  # fixtures

BLOCKS = "--blocks", "256"
ALL = 12  # blocks of the slide


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slide of three by four blocks, two small images, and one that can not be read."""
    folder = tmp_path_factory.mktemp("mixed")
    write_slide(folder / "slide.tif")
    for number in range(2):
        write_rgb(folder / f"{number}.png", draw_discs(50 + number, 40 + number, 45)[0])
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n")
    return folder


def write_slide(path: Path) -> None:
    tifffile.imwrite(path, brightness.discs(700, 1000, 400), tile=(128, 128), compression="zlib")


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    monkeypatch.setattr(engine, "open_model", brightness.open_brightness)
    monkeypatch.setattr(large, "time", SimpleNamespace(perf_counter=lambda: 0.0))
    monkeypatch.setattr(spread, "perf_counter", lambda: 0.0)
    monkeypatch.setattr(spread, "LEAST_BLOCKS", 2)


@pytest.fixture
def segmented(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The name of the image and the number of each block that is segmented in this process, in their order."""
    segmented = []
    segment_block = by_blocks._segment_block

    def noted(work: by_blocks.Work, block: Block, maps: Any) -> Any:
        found = segment_block(work, block, maps)
        segmented.append((work.prepared.path.name, block.number))
        return found

    monkeypatch.setattr(by_blocks, "_segment_block", noted)
    return segmented


def failing(monkeypatch: pytest.MonkeyPatch, name: str, number: int, error: BaseException) -> None:
    """Let a block of an image raise."""
    segment_block = by_blocks._segment_block

    def fails(work: by_blocks.Work, block: Block, maps: Any) -> Any:
        if (work.prepared.path.name, block.number) == (name, number):
            raise error
        return segment_block(work, block, maps)

    monkeypatch.setattr(by_blocks, "_segment_block", fails)


def hidden(out: Path) -> list[str]:
    """What is left in a folder of results beside results."""
    return [path.name for path in out.iterdir() if path.name.startswith(".") or path.name == "shards"]


def test_a_slide_among_small_images_has_the_bytes_of_one_process_and_nothing_else_is_left(
    run: Run,
    folder: Path,
    tmp_path: Path,
    scheduler: str,
    monkeypatch: pytest.MonkeyPatch,
    segmented: list[tuple[str, int]],
) -> None:
    options = "--rois", "geojson", *BLOCKS
    run("-o", "whole", *options, of=folder)
    assert len(segmented) == ALL
    chunks = []

    def noted(segmenter: Any, prepared: Prepared, chunk: int, chunks_: int, before: Any) -> None:
        chunks.append((chunk, chunks_))
        segment_blocks(segmenter, prepared, chunk, chunks_, before)

    monkeypatch.setattr(by_blocks, "segment_blocks", noted)
    segmented.clear()
    run("-o", "out", *options, "--scheduler", scheduler, of=folder)
    assert sorted(segmented) == [("slide.tif", number) for number in range(ALL)]
    assert sorted(chunks) == [(chunk, 6) for chunk in range(6)]
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert {"slide.geojson", "slide_nuclei.csv", "0_labels.tif", "images.csv"} <= contents(tmp_path / "out").keys()
    assert hidden(tmp_path / "out") == []


def test_a_slide_that_is_finished_is_not_read_again(
    run: Run, folder: Path, tmp_path: Path, scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    surveyed, survey = [], prepared.survey
    monkeypatch.setattr(prepared, "survey", lambda slide: (surveyed.append(slide.path), survey(slide))[1])
    command = "-o", "out", *BLOCKS, "--scheduler", scheduler
    run(*command, of=folder)
    before = contents(tmp_path / "out")
    (tmp_path / "out/.slide_labels.ome.zarr.blocks").mkdir()  # what a run that was killed at its very end has left
    run(*command, of=folder)
    assert surveyed == [folder / "slide.tif"]
    assert contents(tmp_path / "out") == before
    assert hidden(tmp_path / "out") == []


def test_a_table_that_workers_have_written_is_known_and_replaced(
    run: Run, folder: Path, tmp_path: Path, scheduler: str
) -> None:
    command = "-o", "out", *BLOCKS, "--scheduler", scheduler
    run(*command, of=folder / "slide.tif", failed="")
    shutil.rmtree(tmp_path / "out/slide_labels.ome.zarr")
    run(*command, of=folder / "slide.tif", failed="")
    assert (tmp_path / "out/slide_labels.ome.zarr").exists()
    (tmp_path / "out/slide_nuclei.csv").write_text("mine")
    shutil.rmtree(tmp_path / "out/slide_labels.ome.zarr")
    run(*command, of=folder / "slide.tif", failed="not one that this program wrote")
    assert (tmp_path / "out/slide_nuclei.csv").read_text() == "mine"


def test_a_damaged_slide_is_reported_as_by_one_process_and_the_others_are_done(
    run: Run, folder: Path, tmp_path: Path, scheduler: str
) -> None:
    mixed = tmp_path / "mixed"
    shutil.copytree(folder, mixed)
    data = (folder / "slide.tif").read_bytes()
    with tifffile.TiffFile(folder / "slide.tif") as file:
        at = file.pages.first.dataoffsets[20]
    (mixed / "damaged.tif").write_bytes(data[:at] + bytes(2000) + data[at + 2000 :])
    said = r"2 of 5 images(.|\n)*can not be decoded(.|\n)*damaged\.tif"
    run("-o", "whole", *BLOCKS, of=mixed, failed=said)
    run("-o", "out", *BLOCKS, "--scheduler", scheduler, of=mixed, failed=said)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert "slide_nuclei.csv" in contents(tmp_path / "out")
    assert not (tmp_path / "out/shards").exists()


def test_a_block_that_fails_stops_its_image_and_no_other(
    run: Run,
    folder: Path,
    tmp_path: Path,
    scheduler: str,
    monkeypatch: pytest.MonkeyPatch,
    segmented: list[tuple[str, int]],
) -> None:
    mixed = tmp_path / "mixed"
    shutil.copytree(folder, mixed)
    shutil.copy(folder / "slide.tif", mixed / "bad.tif")
    failing(monkeypatch, "bad.tif", 0, InputError("no more", file="bad.tif"))
    run("-o", "out", *BLOCKS, "--scheduler", scheduler, of=mixed, failed=r"2 of 5 images(.|\n)*no more")
    assert Counter(name for name, _ in segmented)["slide.tif"] == ALL
    assert Counter(name for name, _ in segmented)["bad.tif"] < ALL - 2  # those of its chunk
    assert not (tmp_path / "out/shards").exists()


def test_a_client_that_is_killed_goes_on_with_the_blocks_that_are_not_done(
    run: Run,
    folder: Path,
    tmp_path: Path,
    workers: Any,
    scheduler: str,
    monkeypatch: pytest.MonkeyPatch,
    segmented: list[tuple[str, int]],
) -> None:
    run("-o", "whole", *BLOCKS, of=folder)
    segmented.clear()
    take = Manifest.take

    def dies(self: Manifest, part: Path) -> None:
        take(self, part)
        if "blocks" in part.name:
            raise SystemExit

    with monkeypatch.context() as patched, pytest.raises(SystemExit):
        patched.setattr(Manifest, "take", dies)
        run("-o", "out", *BLOCKS, "--scheduler", scheduler, of=folder, failed="")
    wait_for(workers)
    assert 0 < len(segmented) < ALL
    run("-o", "out", *BLOCKS, "--scheduler", scheduler, of=folder)
    assert sorted(segmented) == [("slide.tif", number) for number in range(ALL)]
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert hidden(tmp_path / "out") == []


def test_a_process_that_is_killed_amid_a_slide_changes_no_byte(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("-o", "whole", *BLOCKS, of=folder)
    (tmp_path / "model").mkdir()
    monkeypatch.setattr(engine, "open_model", brightness.open_deadly)
    run("-o", "out", *BLOCKS, "--workers", "2", "--model", "model", of=folder)
    assert (tmp_path / "model/died").exists()
    assert same_files(tmp_path / "out", tmp_path / "whole")
    assert hidden(tmp_path / "out") == []


@pytest.fixture
def task(tmp_path: Path) -> Callable[[str], Task]:
    """Makes a task, from the name of its part."""
    model = Model(brightness.open_brightness, Path("none"), (), "cpu", hash_of())
    return lambda part: Task(model, tmp_path / "out", Options(), False, LargeOptions(256), tmp_path, part)


def test_a_chunk_at_which_a_worker_died_is_taken_up_by_another_and_no_block_is_segmented_twice(
    folder: Path,
    task: Callable[[str], Task],
    monkeypatch: pytest.MonkeyPatch,
    segmented: list[tuple[str, int]],
) -> None:
    image = Image(folder / "slide.tif", "slide.tif")
    ready, _ = spread.prepare_task(task("prepare"), image)
    with monkeypatch.context() as patched, pytest.raises(Killed):
        failing(patched, "slide.tif", 4, Killed())
        patched.setattr("nuclei.segment.tasks.remove", lambda path: None)  # a worker that dies deletes nothing
        spread.blocks_task(task("blocks"), image, ready, 0, 2, "stop")
    assert [number for _, number in segmented] == [0, 1, 2, 3]
    spread.blocks_task(task("blocks"), image, ready, 0, 2, "stop")
    assert [number for _, number in segmented] == [0, 1, 2, 3, 4, 5]
    assert not task("blocks").attempt.exists()


def test_a_block_at_which_two_workers_die_is_an_error_of_its_image(
    folder: Path, task: Callable[[str], Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = Image(folder / "slide.tif", "slide.tif")
    ready, _ = spread.prepare_task(task("prepare"), image)
    with monkeypatch.context() as patched:
        failing(patched, "slide.tif", 4, Killed())
        patched.setattr("nuclei.segment.tasks.remove", lambda path: None)
        for _ in range(2):
            with pytest.raises(Killed):
                spread.blocks_task(task("blocks"), image, ready, 0, 2, "stop")
    with pytest.raises(InputError, match=r"2 workers died(.|\n)*slide\.tif"):
        spread.blocks_task(task("blocks"), image, ready, 0, 2, "stop")


class Future(SimpleNamespace):
    """In place of a future of Dask."""

    def release(self) -> None:
        pass


@pytest.mark.parametrize("killed_at", ["prepare_task", "blocks_task", "write_task"])
def test_a_slide_whose_task_dask_gives_up_is_left_out(
    folder: Path, tmp_path: Path, task: Callable[[str], Task], killed_at: str
) -> None:
    from distributed import KilledWorker

    class Client:
        """Runs each task when its result is asked for."""

        count = 0

        def submit(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Future:
            self.count += 1

            def result() -> Any:
                if function.__name__ == killed_at:
                    raise KilledWorker("a task", None, 3)
                return function(*arguments)

            return Future(key=self.count, result=result)

    image = Image(folder / "slide.tif", "slide.tif")
    with opened(tmp_path / "out") as manifest:
        batch = SimpleNamespace(
            out=tmp_path / "out", manifest=manifest, options=Options(), force=False, model=task("").model.sha256
        )
        run = spread.Spread(Client(), 2, batch, task)  # type: ignore[arg-type]
        futures, outcome = run.begin(image)
        while futures:
            more, outcome = run.go_on(futures.pop(0))
            futures += more
    assert outcome is not None
    assert outcome[0] == image
    assert "workers died again and again" in str(outcome[1])
    assert list((tmp_path / "out/shards").iterdir()) == []


def test_threads_that_share_the_blocks_share_the_tiles_and_leave_the_same_files(folder: Path, tmp_path: Path) -> None:
    files, tiles = [], []
    for chunks in (1, 6):
        segmenter = brightness.open_brightness(Path(), "cpu")
        ready = prepare(segmenter, folder / "slide.tif", tmp_path / f"{chunks}_labels.ome.zarr", block_px=128)
        before = segmenter.net.tiles
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(lambda chunk: segment_blocks(segmenter, ready, chunk, chunks), range(chunks)))  # noqa: B023
        tiles.append(segmenter.net.tiles - before)
        files.append({path.name: path.read_bytes() for path in ready.scratch.iterdir()})
    assert files[0] == files[1]
    assert {Path(name).suffix for name in files[0]} == {".json", ".npz"}
    assert tiles[0] <= tiles[1] < 1.5 * tiles[0]


def test_a_run_that_was_killed_before_its_slide_was_noted_replaces_the_label_map(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("-o", "whole", *BLOCKS, of=folder / "slide.tif", failed="")

    def dies(self: Manifest, *arguments: object) -> None:
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Manifest, "finish", dies)
        run("-o", "out", *BLOCKS, of=folder / "slide.tif", failed="")
    assert (tmp_path / "out/slide_labels.ome.zarr").exists()
    run("-o", "out", *BLOCKS, of=folder / "slide.tif", failed="")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert hidden(tmp_path / "out") == []
