"""Planes that would get the results of another image are refused before anything is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from results import contents
from test_segment import here, run, table

from conftest import draw_discs
from nuclei.base.errors import InputError

__all__ = ["here"]  # fixture


def write(path: Path, axes: str = "YX", shape: tuple[int, ...] = ()) -> None:
    """Write a TIFF of discs, with so many images along the axes before YX."""
    path.parent.mkdir(parents=True, exist_ok=True)
    gray = draw_discs(50, 40, 45)[0][..., 0]
    pixels = np.broadcast_to(gray, (*shape, *gray.shape))
    tifffile.imwrite(path, pixels, ome=bool(shape), photometric="minisblack", metadata={"axes": axes})


@pytest.mark.parametrize(
    "arguments", [["a"], [".", "--recursive"], ["--list", "list.txt"], ["a/s.tif", "b/s_t001.tif", "--shard", "1/2"]]
)
def test_a_plane_of_a_stack_and_a_file_of_its_name_are_refused(
    here: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    write(here / "a/s.tif", "TYX", (2,))
    write(here / "a/s_t001.tif")
    write(here / "b/s_t001.tif")
    (here / "list.txt").write_text("a/s.tif\nb/s_t001.tif\n")
    with pytest.raises(InputError, match=r"the same name\n.*s\.tif, (a|b)/s_t001\.tif, both (a/)?s_t001\n"):
        run(monkeypatch, *arguments, "-o", "out")
    assert not (here / "out").exists()


def test_planes_of_two_stacks_that_would_get_one_name_are_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(here / "a/s.tif", "TZYX", (2, 2))
    write(here / "a/s_t002.tif", "ZYX", (2,))
    with pytest.raises(InputError, match=r"the same name\n.*both s_t002_z001\n"):
        run(monkeypatch, "a", "-o", "out", "--z", "each")


def test_names_that_planes_might_have_but_do_not_are_segmented_and_again_nothing_changes(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(here / "a/s.tif")
    write(here / "a/s_t001.tif")
    write(here / "a/t.tif", "TYX", (2,))
    write(here / "a/t_t003.tif")
    for _ in range(2):
        run(monkeypatch, "a", "-o", "out")
    assert [row["image"] for row in table(here / "out", "images.csv")] == [
        "s.tif", "s_t001.tif", "t_t001.tif", "t_t002.tif", "t_t003.tif"
    ]  # fmt: skip


@pytest.mark.parametrize("earlier", ["s.tif", "s_t001.tif"])
def test_results_of_an_earlier_run_are_not_replaced_by_those_of_another_file(
    here: Path, monkeypatch: pytest.MonkeyPatch, earlier: str
) -> None:
    write(here / "a/s.tif", "TYX", (2,))
    write(here / "a/s_t001.tif")
    (later,) = {"s.tif", "s_t001.tif"} - {earlier}
    run(monkeypatch, f"a/{earlier}", "-o", "out")
    before = contents(here / "out")
    with pytest.raises(InputError, match=rf"the same name\n.*{earlier[:-4]} of an earlier run(.|\n)*after -o"):
        run(monkeypatch, f"a/{later}", "-o", "out")
    assert contents(here / "out") == before
    run(monkeypatch, f"a/{earlier}", "-o", "out")
    assert contents(here / "out") == before
