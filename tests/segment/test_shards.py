"""Shards of the images end, after they are collected, as one run over all of them."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from results import contents
from threshold import Counting, open_counting

import segment
from conftest import draw_discs
from nuclei.base.errors import InputError
from nuclei.export import engine
from nuclei.images.io import write_rgb
from nuclei.segment import batch
from nuclei.segment.finding import Image
from nuclei.segment.manifest import opened
from nuclei.segment.shards import Shard

Run = Callable[..., list[int]]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with five images of discs, of different heights, and one that can not be read."""
    folder = tmp_path_factory.mktemp("images")
    for number in range(5):
        write_rgb(folder / f"{number}.png", draw_discs(50 + number, 40 + number, 45)[0])
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n")
    return folder


@pytest.fixture
def run(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run segment.py over the images, with a threshold in place of the network, which notes the heights it has seen."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(batch, "time", SimpleNamespace(perf_counter=lambda: 0.0))
    monkeypatch.setattr(engine, "open_model", open_counting)

    def run(*arguments: str, failed: str = "1 of", of: Path = images, killed_at: int | None = None) -> list[int]:
        monkeypatch.setattr(sys, "argv", ["segment.py", str(of), *arguments])
        monkeypatch.setattr(Counting, "killed_at", killed_at)
        Counting.seen.clear()
        if failed:
            with pytest.raises(InputError, match=failed):
                segment.main()
        else:
            segment.main()
        return sorted(Counting.seen)

    return run


@pytest.mark.parametrize("count", [1, 3, 8])
def test_shards_in_any_order_leave_the_bytes_of_one_run_when_they_are_collected(
    run: Run, tmp_path: Path, count: int
) -> None:
    assert run("-o", "whole") == [40, 41, 42, 43, 44]
    broken = 5 % count + 1  # of the sorted list, broken.png is the last
    seen = [
        run("-o", "out", "--shard", f"{number}/{count}", failed="1 of" if number == broken else "")
        for number in range(count, 0, -1)
    ]
    assert sorted(itertools.chain(*seen)) == [40, 41, 42, 43, 44]
    for _ in range(2):
        assert run("-o", "out", "--collect", failed=r"1 of 6 images(.|\n)*broken\.png") == []
        assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert sorted(path.suffix for path in (tmp_path / "out/shards").iterdir()) == [".json"] * count


@given(st.integers(0, 40), st.integers(1, 50))
def test_every_image_is_in_one_shard_and_the_shards_are_of_one_size(images: int, count: int) -> None:
    found = [Image(Path(str(number)), str(number)) for number in range(images)]
    shards = [Shard(number, count).of(found) for number in range(1, count + 1)]
    assert sorted(itertools.chain(*shards), key=found.index) == found
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


def test_a_shard_that_has_not_ended_is_named_and_its_images_are_counted(run: Run, tmp_path: Path) -> None:
    run("-o", "whole")
    run("-o", "out", "--shard", "1/4", failed="")
    run("-o", "out", "--shard", "2/4")
    run("-o", "out", "--shard", "4/4", failed="")
    run("-o", "out", "--collect", failed=r"2 of 6 images(.|\n)*shard 3/4 has not ended(.|\n)*1 images(.|\n)*again")
    assert "shard 3/4 has not ended" in (tmp_path / "out/index.html").read_text()
    run("-o", "out", "--shard", "3/4", failed="")
    run("-o", "out", "--collect")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_shard_that_was_killed_goes_on_where_it_was(run: Run, tmp_path: Path) -> None:
    run("-o", "whole")
    with pytest.raises(SystemExit):
        run("-o", "out", "--shard", "1/2", failed="", killed_at=42)
    assert run("-o", "out", "--shard", "1/2", failed="")[-2:] == [42, 44]  # and what was not written yet
    assert run("-o", "out", "--shard", "2/2") == [41, 43]
    run("-o", "out", "--collect")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_what_an_earlier_run_has_finished_no_shard_does_again_and_the_other_way_round(
    run: Run, tmp_path: Path, images: Path
) -> None:
    (tmp_path / "list.txt").write_text(f"{images}/0.png\n{images}/3.png\n")
    assert run("-o", "out", "--list", "list.txt", of=images / "1.png", failed="") == [40, 41, 43]
    assert run("-o", "out", "--shard", "1/2", failed="") == [42, 44]
    assert run("-o", "out") == []  # which takes over what the shard has done
    assert not (tmp_path / "out/shards").exists()
    assert run("-o", "out", "--shard", "1/2", failed="") == []


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--diameter", "12"], "options"),
        (["--blocks", "512"], "blocks"),
        (["--model", "other"], "model"),
        (["--list", "list.txt"], "images"),
    ],
)
def test_shards_of_another_run_are_not_collected(run: Run, tmp_path: Path, arguments: list[str], what: str) -> None:
    write_rgb(tmp_path / "another.png", np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "list.txt").write_text("another.png\n")
    run("-o", "out", "--shard", "1/1")
    before = contents(tmp_path / "out")
    run("-o", "out", "--collect", *arguments, failed=rf"other {what} than those given now(.|\n)*001-of-001\.json")
    assert contents(tmp_path / "out") == before


def test_shards_of_two_divisions_are_not_collected_and_neither_is_nothing(run: Run, tmp_path: Path) -> None:
    run("-o", "out", "--collect", failed="no shard that has ended")
    assert not (tmp_path / "out").exists()
    run("-o", "out", "--shard", "1/2", failed="")
    run("-o", "out", "--shard", "1/3", failed="")
    run("-o", "out", "--collect", failed="shards of 2 and shards of 3")


def test_a_shard_that_another_job_is_segmenting_is_neither_segmented_nor_collected(run: Run, tmp_path: Path) -> None:
    run("-o", "out", "--shard", "1/2", failed="")
    with opened(tmp_path / "out/shards", "001-of-002.sqlite"):
        run("-o", "out", "--shard", "1/2", failed="another run is writing")
        run("-o", "out", "--collect", failed=r"another run is writing(.|\n)*001-of-002\.sqlite")
    run("-o", "out", "--shard", "2/2")
    run("-o", "out", "--collect")


@pytest.mark.skipif(sys.platform != "linux", reason="file names that are not UTF-8")
def test_the_name_of_an_image_that_failed_need_not_be_utf_8(run: Run, tmp_path: Path) -> None:
    name = "caf\udce9.png"
    (tmp_path / name).write_bytes(b"\x89PNG\r\n")
    for out, arguments in (("whole", []), ("out", ["--shard", "1/1"]), ("out", ["--collect"])):
        run("-o", out, *arguments, of=tmp_path / name)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert os.fsencode(name) not in (tmp_path / "out/shards/001-of-001.json").read_bytes()


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "1/0", "-1/3", "1/3/3", "a/3", "1.0/3", "\u00b9/3", ""])
def test_what_is_no_shard_is_refused_with_an_example(run: Run, capsys: pytest.CaptureFixture[str], text: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        run("-o", "out", f"--shard={text}")
    assert "1/50 to 50/50" in capsys.readouterr().err
