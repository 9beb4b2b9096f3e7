"""A short report of headings, sentences and tables, as plain text, Markdown or a page of HTML."""

from __future__ import annotations

import base64
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

TEMPLATE = "document.html.j2"


@dataclass(frozen=True)
class Heading:
    """A title; `level` 1 is the document's own."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Sentence:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Table:
    """Rows with as many cells as the header; `folded` collapses the table under its caption in Markdown and HTML."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    folded: bool = False


@dataclass(frozen=True)
class Picture:
    """A drawing, shown in HTML; text and Markdown, which hold no picture, have its alternative text."""

    alt: str
    light: bytes  # PNG
    dark: bytes  # PNG, for a dark page


Block = Heading | Sentence | Table | Picture


def as_text(blocks: Sequence[Block]) -> str:
    """Plain text for a terminal, with aligned columns."""
    return "\n\n".join(_text(block) for block in blocks) + "\n"


def as_markdown(blocks: Sequence[Block]) -> str:
    """GitHub's Markdown, with folded tables in <details>."""
    return "\n\n".join(_markdown(block) for block in blocks) + "\n"


def as_html(blocks: Sequence[Block], title: str) -> str:
    """One self-contained page. The last cell of a row is also the row's class, which colours the verdicts."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,  # ids and parameters are the user's: text, never markup
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["kind"] = lambda block: type(block).__name__
    environment.filters["uri"] = lambda png: f"data:image/png;base64,{base64.b64encode(png).decode()}"
    return environment.get_template(TEMPLATE).render(blocks=blocks, title=title) + "\n"


def _text(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{block.text}\n{'=-'[block.level > 1] * len(block.text)}"
    if isinstance(block, Sentence | Picture):
        text = block.text if isinstance(block, Sentence) else block.alt
        return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False)
    lines = [block.header, *block.rows]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    aligned = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    return "\n".join([block.caption + ":", *aligned] if block.caption else aligned)


def _markdown(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{'#' * (block.level + 1)} {_plain(block.text)}"
    if isinstance(block, Sentence | Picture):
        return _plain(block.text if isinstance(block, Sentence) else block.alt)
    lines = [block.header, ["---"] * len(block.header), *block.rows]
    table = "\n".join("| " + " | ".join(_plain(cell) for cell in line) + " |" for line in lines)
    if block.folded:
        return f"<details><summary>{escape(block.caption)}</summary>\n\n{table}\n\n</details>"
    return f"{_plain(block.caption)}:\n\n{table}" if block.caption else table


def _plain(text: str) -> str:
    """The text with the characters escaped that are markup in Markdown or HTML; `_` stays, for names of metrics."""
    escaped = text.replace("\\", "\\\\").replace("|", "\\|").replace("`", "\\`").replace("*", "\\*")
    return escaped.replace("[", "\\[").replace("<", "&lt;").replace("@", "&#64;")
