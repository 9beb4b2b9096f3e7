"""How a figure is drawn: this project's style on white or on a dark page, and the PNG that comes of it.

Validation is blue and dashed, test orange and solid, so that they can be told apart without colour. The colours are
those of Okabe and Ito (https://jfly.uni-koeln.de/color/). The same tables give the same bytes: a PNG holds no date and
no software tag, and matplotlib's settings on this machine are not used.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import matplotlib as mpl
from cycler import cycler
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from PIL import Image

from nuclei.base.errors import InputError
from nuclei.images.records import REMAKE

NAMES = {"val": "validation", "test": "test"}
COLOURS = {"val": "C0", "test": "C1"}
DASHES = {"val": (0, (4, 1.6)), "test": "solid"}
MARKERS = {"fluorescence": "o", "tissue": "^", "brightfield": "s"}
SIZE = (5.8, 4.4)  # inches, the same for all: two side by side on a page, one below the other on a phone

STYLE: dict[str, Any] = {
    "figure.figsize": SIZE,
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",  # ships with matplotlib
    "font.size": 10.5,
    "axes.titlesize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.9,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
}
LIGHT: dict[str, Any] = {
    "paper": "#ffffff",
    "ink": "#1d2733",
    "faint": "#dfe4ea",
    "parts": ("#0072b2", "#d55e00", "#009e73"),
}
DARK: dict[str, Any] = {
    "paper": "#161b22",
    "ink": "#dde4ec",
    "faint": "#30363f",
    "parts": ("#56b4e9", "#f0913a", "#2fc79a"),
}


Shown = TypeVar("Shown")


@dataclass(frozen=True)
class Picture:
    """A rendered figure: its file name without suffix, title, alternative text, PNG, and the size of the PNG."""

    name: str
    title: str
    alt: str
    png: bytes
    width_px: int
    height_px: int


@dataclass(frozen=True)
class Drawing:
    """A figure before it is rendered, with its title and its alternative text, which gives the same numbers."""

    title: str
    alt: str
    figure: Figure


def render(figure: Callable[[Shown], Drawing], shown: Shown, *, dpi: int, dark: bool = False) -> Picture:
    """Render what a function such as those of figures.py draws of `shown`, on white or for a dark page."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_style(DARK if dark else LIGHT))
        drawing = figure(shown)
        buffer = io.BytesIO()
        # git keeps these files: optimised, they are a tenth smaller
        drawing.figure.savefig(
            buffer, format="png", dpi=dpi, metadata={"Software": None}, pil_kwargs={"optimize": True}
        )
    width, height = Image.open(buffer).size
    return Picture(figure.__name__, drawing.title, drawing.alt, buffer.getvalue(), width, height)


def stored(picture: Picture, folder: Path) -> Picture:
    """The same figure as read from its file in `folder`; InputError if there is none."""
    path = folder / f"{picture.name}.png"
    if not path.is_file():
        raise InputError("a figure is missing", file=path, fix=REMAKE)
    with Image.open(path) as image:
        width, height = image.size
    return replace(picture, png=path.read_bytes(), width_px=width, height_px=height)


def ramp(part: str) -> LinearSegmentedColormap:
    """A colour map from the background to the colour of the part."""
    return LinearSegmentedColormap.from_list("ramp", [mpl.rcParams["axes.facecolor"], COLOURS[part]])


def _style(theme: dict[str, Any]) -> Any:
    ink, paper, faint = theme["ink"], theme["paper"], theme["faint"]
    ink_names = ("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor")
    cycle = [*theme["parts"], "#8b949e", ink]  # C0 val, C1 test, C2 training, C3 reference lines, C4 neutral
    return {
        **STYLE,
        **dict.fromkeys(ink_names, ink),
        **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), paper),
        "grid.color": faint,
        "axes.prop_cycle": cycler(color=cycle),
    }
