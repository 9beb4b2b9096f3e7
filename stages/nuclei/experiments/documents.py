"""A short report of headings, sentences and tables, as plain text, Markdown or a page of HTML."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 72rem; margin: 2rem auto; padding: 0 1rem }
div { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .2rem .7rem; border-bottom: 1px solid #8884; text-align: left; white-space: nowrap }
.better td:last-child { color: #118844; font-weight: 600 }
.worse td:last-child { color: #cc3333; font-weight: 600 }
"""


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
    """Rows of cells, as many in each as in the header; `folded` hides it under its caption where that is possible."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    folded: bool = False


Block = Heading | Sentence | Table


def as_text(blocks: Sequence[Block]) -> str:
    """Columns that line up in a terminal."""
    return "\n\n".join(_text(block) for block in blocks) + "\n"


def as_markdown(blocks: Sequence[Block]) -> str:
    """GitHub's Markdown, folded tables in <details>."""
    return "\n\n".join(_markdown(block) for block in blocks) + "\n"


def as_html(blocks: Sequence[Block], title: str) -> str:
    """One page that needs nothing else. A table row has its last cell as class, so that verdicts have colours."""
    body = "\n".join(_html(block) for block in blocks)
    viewport = '<meta name="viewport" content="width=device-width, initial-scale=1">'
    head = f'<meta charset="utf-8">{viewport}<title>{escape(title)}</title><style>{STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def _text(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{block.text}\n{'=-'[block.level > 1] * len(block.text)}"
    if isinstance(block, Sentence):
        return textwrap.fill(block.text, 100, break_long_words=False, break_on_hyphens=False)
    lines = [block.header, *block.rows]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    aligned = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    return "\n".join([block.caption + ":", *aligned] if block.caption else aligned)


def _markdown(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{'#' * (block.level + 1)} {_plain(block.text)}"
    if isinstance(block, Sentence):
        return _plain(block.text)
    lines = [block.header, ["---"] * len(block.header), *block.rows]
    table = "\n".join("| " + " | ".join(_plain(cell) for cell in line) + " |" for line in lines)
    if block.folded:
        return f"<details><summary>{escape(block.caption)}</summary>\n\n{table}\n\n</details>"
    return f"{_plain(block.caption)}:\n\n{table}" if block.caption else table


def _html(block: Block) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{escape(block.text)}</h{block.level}>"
    if isinstance(block, Sentence):
        return f"<p>{escape(block.text)}</p>"
    header = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in block.header)
    rows = "\n".join(
        f'<tr class="{escape(row[-1])}">' + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
        for row in block.rows
    )
    table = f"<div><table>\n<thead><tr>{header}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>"
    if block.folded:
        return f"<details><summary>{escape(block.caption)}</summary>\n{table}\n</details>"
    return f"<h3>{escape(block.caption)}</h3>\n{table}" if block.caption else table


def _plain(text: str) -> str:
    """The text with what Markdown or HTML would read as markup made harmless; names of metrics keep their `_`."""
    escaped = text.replace("\\", "\\\\").replace("|", "\\|").replace("`", "\\`").replace("*", "\\*")
    return escaped.replace("[", "\\[").replace("<", "&lt;").replace("@", "&#64;")
