"""The table of how far scores move between trainings of one recipe."""

from __future__ import annotations

from pathlib import Path

import pytest

from nuclei.base import files
from nuclei.base.errors import InputError
from nuclei.experiments import noise


def test_the_noise_of_a_metric_is_the_largest_difference_between_two_trainings(tmp_path: Path) -> None:
    trainings = [{"dice": dice, "map": map, "images": 7} for dice, map in ((0.90, 0.6), (0.93, None), (0.91, 0.7))]
    (row,) = noise.rows("sample", "val", 7, trainings)  # mAP is undefined in one of them
    assert row["largest"] == pytest.approx(0.03)
    assert row["std"] == pytest.approx(0.015275, abs=1e-6)
    path = tmp_path / "noise.csv"
    files.write_rows(path, noise.COLUMNS, [row])
    found = noise.read(path)
    assert found.of('"sample"', "val", 7) == {"dice": 0.03}
    for other in (('"bbbc038"', "val", 7), ('"sample"', "test", 7), ('"sample"', "val", 8), (None, "val", 7)):
        assert found.of(*other) == {}


def test_without_a_table_nothing_is_known_and_a_malformed_one_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "noise.csv"
    assert noise.read(path).of('"sample"', "val", 7) == {}
    path.write_text(",".join(noise.COLUMNS) + "\nsample,val,7,dice,6,0.9,0.1,much\n")
    with pytest.raises(InputError, match=r"(?s)line 2: not a number.*noise.csv.*benchmarks/noise.py"):
        noise.read(path)
