"""A batch that was stopped goes on, does nothing twice, and ends as one that was never touched."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from results import contents, segment_alone
from test_segment import Threshold

from conftest import draw_discs
from nuclei.base.errors import InputError
from nuclei.images.io import read_labels, write_rgb
from nuclei.images.stacks import Reading
from nuclei.segment import batch
from nuclei.segment.batch import Batch, Options
from nuclei.segment.finding import find_images
from nuclei.segment.manifest import opened
from nuclei.segment.opening import Plane, planes
from nuclei.segment.size import Diameter
from nuclei.segment.table import write_tables

DEFAULT = Options()


class Counting(Threshold):
    """A model that counts its images, and is killed at one of them."""

    def __init__(self, killed_at: int | None = None) -> None:
        self.count, self.killed_at = 0, killed_at

    def predict(self, rgb, scale):
        if self.count == self.killed_at:
            raise SystemExit  # of the kinds that nothing here catches
        self.count += 1
        return super().predict(rgb, scale)


def run(here: Path, out: Path, segmenter: Counting, *, model: str = "model", options: Options = DEFAULT) -> int:
    """Segment `here`/mine into `out`; return how many images the network has seen."""
    with opened(out) as manifest:
        for image in find_images([here / "mine"], out).images:
            segment_alone(Batch(segmenter, model, out, manifest, options), image)
        write_tables(manifest, out)
    return segmenter.count


@pytest.fixture
def here(tmp_path: Path) -> Path:
    for number in range(3):
        write_rgb(tmp_path / f"mine/{number}.png", draw_discs(50 + number, 40, 45)[0])
    return tmp_path


def test_after_a_kill_the_same_command_segments_the_rest_alone_and_ends_with_the_same_bytes(here: Path) -> None:
    assert run(here, here / "whole", Counting()) == 3
    with pytest.raises(SystemExit):
        run(here, here / "out", Counting(killed_at=2))
    assert run(here, here / "out", Counting()) == 1
    assert contents(here / "out") == contents(here / "whole")
    assert run(here, here / "out", Counting()) == 0
    assert contents(here / "out") == contents(here / "whole")


def test_an_image_is_segmented_again_if_it_the_model_or_an_option_has_changed(here: Path) -> None:
    run(here, here / "out", Counting())
    write_rgb(here / "mine/1.png", draw_discs(7, 40, 45)[0])
    assert run(here, here / "out", Counting()) == 1
    assert run(here, here / "out", Counting(), model="other") == 3
    assert run(here, here / "out", Counting(), model="other", options=Options(diameter=Diameter(12))) == 3


def test_a_run_with_other_options_that_was_killed_leaves_nothing_in_the_results_of_a_later_one(series: Path) -> None:
    run(series, series / "out", Counting())
    before = contents(series / "out")
    with pytest.raises(SystemExit):
        run(series, series / "out", Counting(killed_at=2), options=Options(diameter=Diameter(12)))
    assert run(series, series / "out", Counting()) == 2
    assert contents(series / "out") == before


def test_an_image_whose_label_map_or_overlay_is_gone_is_segmented_again(here: Path) -> None:
    run(here, here / "out", Counting())
    before = contents(here / "out")
    (here / "out/0_labels.tif").unlink()
    (here / "out/2_overlay.png").unlink()
    assert run(here, here / "out", Counting()) == 2
    assert contents(here / "out") == before


def test_an_image_is_as_certain_as_its_nuclei_are_on_average() -> None:
    labels = np.array([[1, 1, 0], [2, 0, 0]])
    foreground = np.array([[0.9, 0.7, 0.1], [0.6, 0.2, 0.3]], np.float32)
    assert batch.certainty(foreground, labels) == pytest.approx((0.8 + 0.6) / 2)
    assert batch.certainty(foreground, np.zeros_like(labels)) is None


@pytest.fixture
def series(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each file has three frames."""

    def three(path: Path, reading: Reading) -> Iterator[Plane]:
        (plane,) = planes(path, reading)
        for time in range(3):
            stored = np.stack([plane.stored[..., 0], plane.stored[..., 0] // 2], axis=2)
            yield dataclasses.replace(
                plane, suffix=f"_t{time}", stored=stored, channels=("DAPI", "GFP"), pixel_size_um=0.5, notes=("said",)
            )

    monkeypatch.setattr(batch, "planes", three)
    return here


def test_a_file_of_several_planes_goes_on_at_the_plane_where_it_was_killed(series: Path) -> None:
    assert run(series, series / "whole", Counting()) == 9
    with pytest.raises(SystemExit):
        run(series, series / "out", Counting(killed_at=4))
    assert run(series, series / "out", Counting()) == 5
    assert contents(series / "out") == contents(series / "whole")


def test_each_plane_has_results_and_rows_of_its_own_with_the_names_of_the_channels(series: Path) -> None:
    run(series, series / "out", Counting())
    assert read_labels(series / "out/1_t2_labels.tif").max() > 0
    header, first, *_ = (series / "out/nuclei.csv").read_text().splitlines()
    assert first.startswith("0_t0.png,1,")
    assert "area_um2" in header and "intensity_mean_DAPI" in header and "background_median_GFP" in header
    with opened(series / "out") as manifest:
        assert [image.notes for image in manifest.images("1")] == [("said",)] * 3


def test_a_plane_does_not_replace_a_label_map_of_the_users(series: Path) -> None:
    run(series, series / "out", Counting())
    write_rgb(series / "out/0_t1_overlay.png", np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(InputError, match="would replace files"):
        run(series, series / "out", Counting())
