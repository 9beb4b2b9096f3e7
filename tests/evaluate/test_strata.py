"""Scores by modality and by size: counts that add up, and intervals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from drawn import draw, of_one_group, rows, score


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("nuclei.evaluate.bootstrap.FEWEST_GROUPS", 2)  # the drawn images are few
    return draw(tmp_path)


def test_strata_add_up_to_all_images_and_all_nuclei(folder: Path) -> None:
    reports = score(folder)
    val = rows(reports, "by_stratum", "val")
    for grouping in ("modality", "family", "size", "nucleus size"):
        assert sum(int(row["nuclei"]) for row in val if row["grouping"] == grouping) == 4
    for grouping in ("modality", "family", "size"):
        assert sum(int(row["images"]) for row in val if row["grouping"] == grouping) == 3
    tissue = next(row for row in val if row["stratum"] == "tissue")
    assert (tissue["images"], tissue["nuclei"], tissue["ap50"], tissue["recall50"]) == ("2", "2", "0.333333", "0.5")
    assert (tissue["map_undefined"], tissue["splits"], tissue["merges"]) == ("1", "0.0", "50.0")
    # areas of both parts 2, 2, 2, 4, 4, 4, 10: quarters end at 2, 4, 4
    sizes = {row["stratum"]: row for row in val if row["grouping"] == "nucleus size"}
    assert list(sizes) == ["up to 2 px", "3 to 4 px"]
    assert (sizes["up to 2 px"]["images"], sizes["up to 2 px"]["nuclei"]) == ("2", "3")
    assert (sizes["up to 2 px"]["recall50"], sizes["up to 2 px"]["recall75"]) == ("0.666667", "0.0")
    assert [sizes["up to 2 px"][name] for name in ("dice", "map_undefined", "splits")] == [""] * 3
    assert [row["stratum"] for row in val if row["grouping"] == "size"] == ["up to 2 px", "3 to 4 px", "no nuclei"]


def test_the_interval_of_a_stratum_that_is_the_whole_part_is_that_of_the_part(folder: Path) -> None:
    reports = score(folder)
    whole = json.loads((reports / "metrics_ci.json").read_text())["test"]
    (brightfield,) = (row for row in rows(reports, "by_stratum", "test") if row["grouping"] == "modality")
    assert (brightfield["images"], brightfield["groups"]) == ("2", "2")
    for name in ("dice", "iou", "map", "ap50", "pq", "splits", "merges"):
        assert float(brightfield[f"{name}_low"]) == whole[name]["low"]
        assert float(brightfield[f"{name}_high"]) == whole[name]["high"]
    assert float(brightfield["dice_low"]) < float(brightfield["dice"]) < float(brightfield["dice_high"])
    assert float(brightfield["recall50_low"]) == whole["nucleus_recall_pooled"]["low"]


def test_a_stratum_with_a_score_in_one_group_alone_has_no_interval(folder: Path) -> None:
    val = {(row["grouping"], row["stratum"]): row for row in rows(score(folder), "by_stratum", "val")}
    fluorescence, tissue = val["modality", "fluorescence"], val["modality", "tissue"]
    assert (fluorescence["images"], fluorescence["groups"], fluorescence["dice_low"]) == ("1", "1", "")
    # b has no mAP, which leaves c; both count for the recall
    assert (tissue["images"], tissue["groups"], tissue["map"], tissue["map_low"]) == ("2", "2", "0.033333", "")
    assert (tissue["recall50_low"], tissue["recall50_high"]) == ("0.5", "0.5")


def test_the_recall_of_nuclei_by_their_size_has_an_interval_over_the_groups_that_hold_some(folder: Path) -> None:
    val = {(row["grouping"], row["stratum"]): row for row in rows(score(folder), "by_stratum", "val")}
    small, large = val["nucleus size", "up to 2 px"], val["nucleus size", "3 to 4 px"]
    # of a 1 of 1 is found, of c 1 of 2
    assert (small["groups"], small["recall50_low"], small["recall50_high"]) == ("2", "0.5", "1.0")
    assert (large["groups"], large["recall50"], large["recall50_low"]) == ("1", "1.0", "")
    assert {small[f"{name}_low"] for name in ("dice", "map", "splits")} == {""}


def test_a_stratum_of_one_group_has_no_interval_however_many_images_it_has(folder: Path) -> None:
    of_one_group(folder, "d", "e")
    for row in rows(score(folder), "by_stratum", "test"):
        assert row["groups"] == "1"
        assert {cell for name, cell in row.items() if name.endswith(("_low", "_high"))} == {""}
