"""The model that comes with the repository."""

from __future__ import annotations

from pathlib import Path

MODEL = Path(__file__).parents[3] / "models/nuclei"
