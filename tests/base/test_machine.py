"""What is set on the machine before torch is imported."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from conftest import ROOT
from nuclei.base.machine import SPINS, share_cores


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"GOMP_SPINCOUNT": str(SPINS)}),
        ({"GOMP_SPINCOUNT": "7"}, {"GOMP_SPINCOUNT": "7"}),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, {"OMP_WAIT_POLICY": "ACTIVE"}),
    ],
)
def test_waiting_threads_sleep_soon_unless_the_user_has_set_something_else(
    before: dict[str, str], after: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    share_cores()
    assert {name: os.environ[name] for name in names if name in os.environ} == after


def test_importing_the_library_sets_it_before_torch_is_imported() -> None:
    code = "import os, sys, nuclei; print(os.environ['GOMP_SPINCOUNT'], 'torch' in sys.modules)"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GOMP", "OMP"))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, "PYTHONPATH": str(ROOT / "stages")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(SPINS), "False"]
