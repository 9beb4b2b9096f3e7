"""`make verify` compares every output and names the first that differs."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from conftest import ROOT
from verify import DATA_STAGES, demand_equal, demand_learned, differing, metrics, outputs


def test_every_output_of_the_pipeline_is_compared_in_the_order_of_the_stages() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    declared = [
        next(iter(entry)) if isinstance(entry, dict) else entry
        for stage in stages.values()
        for kind in ("outs", "metrics", "plots")
        for entry in stage.get(kind, [])
    ]
    found = list(outputs(ROOT))
    assert sorted(found) == sorted(declared)
    assert found.index("data/raw") < found.index("data/model") < found.index("reports/index.html")


def test_an_output_that_differs_or_is_missing_is_named_first_to_last(tmp_path: Path) -> None:
    one = {"data/raw": "a", "data/model": "b", "reports/metrics.json": "c"}
    assert differing(one, one) == []
    assert differing(one, {"data/raw": "a", "data/model": "x"}) == ["data/model", "reports/metrics.json"]


def test_the_stages_before_the_training_are_compared_alone(capsys: pytest.CaptureFixture[str]) -> None:
    some = outputs(ROOT, DATA_STAGES)
    assert {"data/raw", "data/prepared", "data/split.csv"} <= set(some)
    assert "data/model" not in some
    demand_equal(some, dict(some), "two runs")
    assert f"two runs gave the same {len(some)} outputs" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="data/prepared is the first of 1 outputs that differ"):
        demand_equal(some, {**some, "data/prepared": "other"}, "two runs")


def test_a_network_that_learned_nothing_is_told_and_the_committed_one_has_learned() -> None:
    learned = metrics(ROOT)["test"]
    demand_learned(learned)
    with pytest.raises(SystemExit, match=r"did not learn to segment the sample: map 0\.1, expected 0\.58 or more"):
        demand_learned({**learned, "map": 0.1})
