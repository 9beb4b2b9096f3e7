"""Compare two revisions, or DVC experiments by name, by their tracked metrics: python stages/compare.py BASE [HEAD]

Reads:  reports/metrics.json, reports/per_image.csv and params.yaml of both; no data, no DVC cache, no network
Writes: nothing but its output
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from nuclei.comparison import compare, document, read_revision, read_working_tree
from nuclei.documents import as_html, as_markdown, as_text
from nuclei.errors import run


def main() -> None:
    arguments = _arguments()
    base = read_revision(arguments.base, Path())
    head = read_revision(arguments.head, Path()) if arguments.head else read_working_tree(Path())
    comparison = compare(base, head)
    blocks = document(comparison)
    if arguments.format == "json":
        output = json.dumps(asdict(comparison), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    elif arguments.format == "html":
        output = as_html(blocks, title=f"{comparison.head} against {comparison.base}")
    else:
        output = as_markdown(blocks) if arguments.format == "md" else as_text(blocks)
    sys.stdout.buffer.write(output.encode())  # UTF-8 whatever the locale
    if arguments.fail_on == "worse" and comparison.worse:
        sys.exit(f"worse: {', '.join(comparison.worse)}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("base", help="branch, tag, commit or DVC experiment to compare with")
    parser.add_argument("head", nargs="?", help="the same, to be compared; the working tree if left out")
    formats = parser.add_mutually_exclusive_group()
    for name, what in {"md": "Markdown", "json": "JSON", "html": "a page of HTML"}.items():
        formats.add_argument(f"--{name}", action="store_const", const=name, dest="format", help=f"print {what}")
    parser.add_argument("--fail-on", choices=["worse"], help="exit with 1 if any metric got worse")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
