"""What a change does to the scores: run the pipeline of two commits on this machine and compare what they reach.

    python .github/report.py BASE HEAD -o OUT
    python .github/report.py BASE HEAD -o OUT --pipeline "dvc repro"   # in the active environment

The committed reports are not compared: another kind of processor may have made them, and that alone moves the scores.
OUT receives report.md, which CI posts on a pull request, plots/ with the curves of both, and reports/ of HEAD. With
--store FOLDER the reports of both commits are kept there by commit and processor, and a BASE found there is not run.
Uncommitted changes are left out.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

JUDGED = ("dice", "map")  # one of them worse is what the report says first
SCORES = ("reports/metrics.json", "reports/per_image.csv")
COMMIT = ("-c", "user.name=report", "-c", "user.email=report@localhost", "commit", "--quiet", "--allow-empty")


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def processor() -> tuple[str, str]:
    """The processor in words, and a key of what decides the bits of a training: model, instruction sets, cores."""
    listed = Path("/proc/cpuinfo")
    text = listed.read_text() if listed.exists() else ""
    model = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    name = f"{model[1] if model else platform.machine()}, {os.cpu_count()} cores"
    lines = sorted(set(re.findall(r"^(?:model name|flags)\s*:.*$", text, re.MULTILINE)))
    facts = [platform.system(), platform.machine(), str(os.cpu_count()), *lines]
    return name, hashlib.sha256("\n".join(facts).encode()).hexdigest()[:12]


def run(clone: Path, commit: str, pipeline: str) -> str:
    """Run the pipeline of a commit in the clone; return the end of what it said where it failed."""
    # of the last training, because one that DVC restores from its run cache does not write it
    record = clone / "reports/run.js"
    trained = record.read_bytes() if record.exists() else b""
    git(clone, "checkout", "--quiet", "--force", commit)
    if trained:
        record.parent.mkdir(exist_ok=True)
        record.write_bytes(trained)
    done = subprocess.run(pipeline, shell=True, cwd=clone, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.stdout[-4000:] or "it failed" if done.returncode else ""


def tag(clone: Path, name: str) -> None:
    """Commit what a run left in the clone, so that the comparison can read its reports by name."""
    git(clone, "add", "--all")
    git(clone, *COMMIT, "--message", "A run on this machine")
    git(clone, "tag", name)


def replace(folder: Path, source: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder)


def quoted(text: str) -> str:
    return f"```\n{text.strip()}\n```"


def verdict(clone: Path, environment: dict[str, str]) -> str:
    """One line that says whether anything got worse, then the comparison, in Markdown."""
    metrics = [word for name in JUDGED for word in ("--metric", name)]
    command = ["python", "stages/compare.py", "base", "head", "--md", "--fail-on", "worse", *metrics]
    done = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, check=False)
    if worse := re.search(r"^worse: .+$", done.stderr, re.MULTILINE):
        line = worse[0]
    elif done.returncode:  # the first reports, or ones of another shape, are no reason to fail
        return f"These two can not be compared:\n\n{quoted(done.stderr)}\n\n{done.stdout}"
    elif git(clone, "diff", "--name-only", "base", "head", "--", *SCORES):
        line = f"Not worse: {', '.join(JUDGED)}"
    else:
        line = "No difference: every score is the same."
    return f"**{line}**\n\n{done.stdout}"


def report(repository: Path, base: str, head: str, out: Path, store: Path, pipeline: str) -> None:
    """Write `out`; see the module. Ends with an error where the head does not run."""
    base, head = (git(repository, "rev-parse", "--verify", f"{name}^{{commit}}") for name in (base, head))
    name, key = processor()
    kept = {commit: store / f"{key}-{commit}" for commit in (base, head)}
    lines = [
        "# On synthetic data: the built-in sample\n",
        f"Base `{base[:9]}` and head `{head[:9]}`, both run on the same kind of machine: {name}.\n",
    ]
    with tempfile.TemporaryDirectory(prefix="report-") as folder:
        clone = Path(folder) / "clone"
        git(repository, "clone", "--quiet", str(repository.resolve()), str(clone))
        if kept[base].is_dir():
            git(clone, "checkout", "--quiet", "--force", base)
            replace(clone / "reports", kept[base])
        elif problem := run(clone, base, pipeline):
            git(clone, "checkout", "--quiet", "--force", base)
            lines.append(f"The base does not run here; its committed reports may be of another:\n\n{quoted(problem)}\n")
        else:
            replace(kept[base], clone / "reports")
        tag(clone, "base")
        if problem := run(clone, head, pipeline):
            raise SystemExit(f"the head does not run:\n{problem}")
        tag(clone, "head")
        for folder_of_reports in (kept[head], out / "reports"):
            replace(folder_of_reports, clone / "reports")
        environment = {**os.environ, "PATH": os.pathsep.join([str(clone / ".venv/bin"), os.environ["PATH"]])}
        lines.append(verdict(clone, environment))
        draw = ["dvc", "plots", "diff", "base", "head", "--out", str(out.resolve() / "plots")]
        if subprocess.run(draw, cwd=clone, env=environment, capture_output=True, check=False).returncode:
            lines.append("The curves of the two can not be drawn together.\n")
    (out / "report.md").write_text("\n".join(lines), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", help="a branch, tag or commit")
    parser.add_argument("head", help="the same, to be compared with it")
    parser.add_argument("-o", "--out", type=Path, required=True, help="the folder to write to")
    parser.add_argument("--store", type=Path, help="a folder that keeps reports for later calls")
    parser.add_argument("--processor", action="version", version=processor()[1], help="print the key of this processor")
    parser.add_argument("--pipeline", default="make", help="the command that runs the pipeline (make)")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="store-") as temporary:
        store = given.store or Path(temporary)
        store.mkdir(parents=True, exist_ok=True)
        report(Path(), given.base, given.head, given.out, store, given.pipeline)


if __name__ == "__main__":
    main()
