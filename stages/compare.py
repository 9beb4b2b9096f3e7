"""Compare two revisions, or DVC experiments by name, by their tracked metrics: python stages/compare.py BASE [HEAD]

Reads:  reports/metrics.json, per_image.csv, run.js and history.csv and params.yaml of both, and reports/noise.csv of
        this folder; no data, no DVC cache, no network
Writes: nothing but its output
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from nuclei.base.errors import run
from nuclei.experiments import noise
from nuclei.experiments.comparison import compare, judged_worse
from nuclei.experiments.documents import as_html, as_markdown, as_text
from nuclei.experiments.revisions import read_revision, read_working_tree
from nuclei.experiments.summary import document

NOISE = Path("reports/noise.csv")


def main() -> None:
    arguments = _arguments()
    base = read_revision(arguments.base, Path())
    head = read_revision(arguments.head, Path()) if arguments.head else read_working_tree(Path())
    comparison = compare(base, head, noise.read(NOISE))
    blocks = document(comparison)
    if arguments.format == "json":
        output = json.dumps(asdict(comparison), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    elif arguments.format == "html":
        output = as_html(blocks, title=f"{comparison.head} against {comparison.base}")
    else:
        output = as_markdown(blocks) if arguments.format == "md" else as_text(blocks)
    sys.stdout.buffer.write(output.encode())  # UTF-8 whatever the locale
    sys.stdout.flush()  # before what goes to stderr
    if arguments.fail_on and (worse := judged_worse(comparison, arguments.metric)):
        sys.exit(f"worse: {', '.join(worse)}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("base", help="branch, tag, commit, DVC experiment or path of another clone to compare with")
    parser.add_argument("head", nargs="?", help="the same, to be compared; default: the working tree")
    formats = parser.add_mutually_exclusive_group()
    for name, what in {"md": "Markdown", "json": "JSON", "html": "a page of HTML"}.items():
        formats.add_argument(f"--{name}", action="store_const", const=name, dest="format", help=f"print {what}")
    parser.add_argument(
        "--fail-on", choices=["worse"], help="exit with 1 if a --metric got worse, or if nothing could be compared"
    )
    what = "a metric for --fail-on to judge, in every part; can be given several times"
    parser.add_argument("--metric", action="append", default=[], metavar="NAME", help=what)
    arguments = parser.parse_args()
    if arguments.metric and not arguments.fail_on:
        parser.error("--metric says what --fail-on judges: give --fail-on worse too")
    if arguments.fail_on and not arguments.metric:
        parser.error(
            "--fail-on needs --metric, as in --metric map: of all metrics, each tested on its own, "
            "one in forty is called worse by chance"
        )
    return arguments


if __name__ == "__main__":
    run(main)
