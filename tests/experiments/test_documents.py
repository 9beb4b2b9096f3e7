"""The same blocks as text, Markdown and HTML."""

from __future__ import annotations

from html.parser import HTMLParser

from nuclei.experiments.documents import Heading, Sentence, Table, as_html, as_markdown, as_text

BLOCKS = [
    Heading("A | title", 1),
    Sentence("One <b>sentence</b>."),
    Table(["metric", "verdict"], [["dice", "worse"], ["a longer name", "better"]], "Changed", folded=True),
]


def test_text_lines_columns_up() -> None:
    lines = as_text(BLOCKS).splitlines()
    assert lines[:2] == ["A | title", "========="]
    assert lines[-3:] == ["metric         verdict", "dice           worse", "a longer name  better"]


def test_long_sentences_are_wrapped_in_text() -> None:
    assert max(map(len, as_text([Sentence("word " * 100)]).splitlines())) <= 100


def test_markdown_folds_tables_and_leaves_no_markup_of_others() -> None:
    text = as_markdown([*BLOCKS, Table(["a"], [["x|y @team [link](z) <img> *b*"]])])
    assert "<details><summary>Changed</summary>\n\n| metric | verdict |\n| --- | --- |\n| dice | worse |" in text
    assert "One &lt;b>sentence&lt;/b>." in text
    assert "| x\\|y &#64;team \\[link](z) &lt;img> \\*b\\* |" in text


def test_html_is_one_whole_page_that_needs_nothing_else() -> None:
    class Tags(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.open: list[str] = []
            self.seen: list[str] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.seen.append(tag)
            assert not {"src", "href"} & {name for name, _ in attrs}
            if tag != "meta":
                self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

    page, tags = as_html(BLOCKS, "a < b"), Tags()
    tags.feed(page)
    assert tags.open == []
    assert {"title", "style", "table", "details"} <= set(tags.seen)
    assert "<title>a &lt; b</title>" in page
    assert '<tr class="worse"><td>dice</td><td>worse</td></tr>' in page
    assert "One &lt;b&gt;sentence&lt;/b&gt;." in page
