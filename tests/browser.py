"""Chromium, in which the tests of pages open them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--enable-logging=stderr"),
    "--virtual-time-budget=3000",
]
# without a browser these tests are skipped at a desk, and fail where they are meant to stand in the way
in_browser = pytest.mark.skipif(CHROMIUM is None and not os.environ.get("CI"), reason="no Chromium is installed")


def browse(file: Path, profile: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    assert CHROMIUM, "no Chromium is installed, and CI is set: install it, these tests are not to be skipped there"
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", *flags, file.resolve().as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
