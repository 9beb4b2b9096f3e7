"""Images pipelined: the results of one image after the other, in their order, whatever fails or is interrupted."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from results import contents, segment_alone
from test_segment import Threshold

from conftest import draw_discs
from nuclei.base.errors import InputError
from nuclei.images.io import write_rgb
from nuclei.images.stacks import Reading
from nuclei.segment import batch as in_batch
from nuclei.segment.batch import Batch, LargeOptions
from nuclei.segment.finding import find_images
from nuclei.segment.manifest import Segmented, opened
from nuclei.segment.opening import Plane, planes
from nuclei.segment.pipelined import Outcome, segment_pipelined
from nuclei.segment.table import write_tables

IMAGES, TIMEOUT_S = 7, 60
model = Threshold()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Seven files; the third has three planes, the fifth can not be read."""

    def some(path: Path, reading: Reading) -> Iterator[Plane]:
        (plane,) = planes(path, reading)
        suffixes = ["_t1", "_t2", "_t3"] if path.stem == "2" else [""]
        yield from (dataclasses.replace(plane, suffix=suffix) for suffix in suffixes)

    monkeypatch.setattr(in_batch, "planes", some)
    for number in range(IMAGES):
        write_rgb(tmp_path / f"mine/{number}.png", draw_discs(50 + number, 40, 45)[0])
    (tmp_path / "mine/4.png").write_bytes(b"no image")
    return tmp_path


def pipelined(here: Path, out: str, segmenter: Threshold = model) -> list[Outcome]:
    with opened(here / out) as manifest:
        batch = Batch(segmenter, "model", here / out, manifest)
        outcomes = list(segment_pipelined(batch, find_images([here / "mine"], here / out).images, LargeOptions()))
        write_tables(manifest, here / out)
    return outcomes


def rows(out: Path) -> list[Segmented]:
    with opened(out) as manifest:
        return list(manifest.images())


def test_all_results_are_those_of_one_image_after_the_other(here: Path) -> None:
    pipelined(here, "out")
    with opened(here / "serial") as manifest:
        batch = Batch(model, "model", here / "serial", manifest)
        for image in find_images([here / "mine"], here / "serial").images:
            if image.stem != "4":
                segment_alone(batch, image)
        write_tables(manifest, here / "serial")
    assert contents(here / "out") == contents(here / "serial")
    assert rows(here / "out") == rows(here / "serial")


def test_images_come_in_their_order_each_with_its_own_error(here: Path) -> None:
    write_rgb(here / "out/2_t2_overlay.png", np.zeros((4, 4, 3), np.uint8))  # a file of the user's
    outcomes = pipelined(here, "out")
    assert [image.stem for image, _ in outcomes] == [str(number) for number in range(IMAGES)]
    errors = {image.stem: str(error) for image, error in outcomes if error}
    assert list(errors) == ["2", "4"]
    assert "would replace files" in errors["2"] and "4.png" in errors["4"]
    assert [row.name for row in rows(here / "out")] == ["0.png", "1.png", "2_t1.png", "3.png", "5.png", "6.png"]


def test_an_error_while_a_plane_is_written_is_that_of_its_file_which_is_not_finished(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = in_batch.write_marked_rgb

    def fails(path: Path, rgb: np.ndarray) -> None:
        if path.name == "2_t2_overlay.png":
            raise InputError("no")
        write(path, rgb)

    with monkeypatch.context() as patched:
        patched.setattr(in_batch, "write_marked_rgb", fails)
        assert [image.stem for image, error in pipelined(here, "out") if error] == ["2", "4"]
    pipelined(here, "out")
    pipelined(here, "whole")
    assert contents(here / "out") == contents(here / "whole")


def test_the_next_plane_is_read_and_the_one_before_written_while_the_network_predicts(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    third_is_read, first_is_written = threading.Event(), threading.Event()
    read, write = in_batch.planes, in_batch.write_marked_rgb

    def watched_planes(path: Path, reading: Reading) -> Iterator[Plane]:
        for plane in read(path, reading):
            if path.stem == "2":
                third_is_read.set()
            yield plane

    def watched_write(path: Path, rgb: np.ndarray) -> None:
        write(path, rgb)
        if path.name == "0_overlay.png":
            first_is_written.set()

    class Waiting(Threshold):
        seen = 0

        def predict(self, rgb, scale):
            self.seen += 1
            if self.seen == 2:
                assert third_is_read.wait(TIMEOUT_S) and first_is_written.wait(TIMEOUT_S)
            return super().predict(rgb, scale)

    monkeypatch.setattr(in_batch, "planes", watched_planes)
    monkeypatch.setattr(in_batch, "write_marked_rgb", watched_write)
    pipelined(here, "out", Waiting())


def test_after_ctrl_c_no_thread_is_left_and_the_same_command_ends_with_the_same_bytes(here: Path) -> None:
    class Interrupted(Threshold):
        seen = 0

        def predict(self, rgb, scale):
            self.seen += 1
            if self.seen == 5:
                raise KeyboardInterrupt
            return super().predict(rgb, scale)

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        pipelined(here, "out", Interrupted())
    assert threading.active_count() == before
    pipelined(here, "out")
    pipelined(here, "whole")
    assert contents(here / "out") == contents(here / "whole")
