"""Without a terminal, progress is a line at intervals, and the items pass through unchanged."""

from __future__ import annotations

import pytest

from nuclei.base import progress
from nuclei.base.progress import track


def test_items_pass_through_in_order_and_a_short_run_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track(range(5), what="reading", total=5)) == list(range(5))
    assert capsys.readouterr() == ("", "")


def test_a_long_run_prints_its_progress(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0)
    list(track(range(3), what="reading", total=3, unit="file"))
    first, second = capsys.readouterr().err.splitlines()  # none for the last item
    assert first.startswith("reading:")
    assert "1/3" in first
    assert "2/3" in second
    assert "file" in second
