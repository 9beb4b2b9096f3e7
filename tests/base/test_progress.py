"""Without a terminal, progress is a line at intervals, and the items pass through unchanged."""

from __future__ import annotations

import pytest

from nuclei.base import progress
from nuclei.base.progress import track, track_bytes


def test_items_pass_through_in_order_and_a_short_run_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track(range(5), what="reading", total=5)) == list(range(5))
    assert list(track_bytes([b"ab", b"c"], what="a.zip", total=3)) == [b"ab", b"c"]
    assert capsys.readouterr() == ("", "")


def test_a_long_run_prints_its_progress(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0)
    list(track(range(3), what="reading", total=3, unit="file"))
    first, second = capsys.readouterr().err.splitlines()  # none for the last item
    assert first.startswith("reading:")
    assert "1/3" in first
    assert "2/3" in second
    assert "file" in second


def test_a_resumed_download_is_counted_in_bytes_from_where_it_resumes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0)
    list(track_bytes([bytes(1000), bytes(1000)], what="a.zip", total=4000, done=1000))
    half, three_quarters = capsys.readouterr().err.splitlines()
    assert "50%" in half and "75%" in three_quarters
    list(track_bytes([bytes(1000)], what="a.zip", total=None))
    assert "1.00kB" in capsys.readouterr().err
