"""Try DVC's own edges on a small run of this commit, each with the bytes of every output compared.

    python tests/edges.py

An experiment gives the same bytes wherever it runs (in the workspace, in a temporary one, two at once in the queue) and
however it comes back (applied, as a branch, pulled, computed again after its outputs are gone). A fork without data
shows its reports and computes the same, with a shallow history too. DVC goes on after `kill -9`, with the repairs that
docs/reliability.md names. Prints one line for each edge, and exits with 1 and the first thing that went wrong. It takes
about ten minutes on two cores.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from clones import dvc, make_small, running
from verify import ROOT, differing, outputs

KILLED_ONCE = """
stages:
  once:
    desc: Kill DVC and itself when it runs for the first time
    cmd: test -e ../again || { touch ../again; kill -9 $PPID $$; }; cp params.yaml out.yaml
    params: [value]
    outs:
      - out.yaml: {cache: false}
"""
NOTHING = ["source"]  # the stages that `dvc repro` runs where nothing changed: see dvc.yaml
CHANGES = {"temporary": ["epochs=2"], "one": ["epochs=2", "seed=1"], "two": ["epochs=3"]}  # experiments by their names
WAIT_S = 1800  # for the queue, so that a worker that died ends the script
Hashes = dict[str, str]


@dataclass
class Place:
    """Where the edges are tried.

    Attributes:
        home: a clone in which the pipeline has run.
        fork: a clone of its one commit, with a cache of its own.
        bare: the git remote of both.
        store: the DVC remote of both.
        before: the hashes of home's outputs.
        alone: the hashes of each experiment's outputs, run in the fork's workspace with nothing beside it.
    """

    home: Path
    fork: Path
    bare: Path
    store: Path
    before: Hashes
    alone: dict[str, Hashes] = field(default_factory=dict)


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def hashes(folder: Path) -> Hashes:
    """The hash of every file of every output, of what lies on the disk."""
    paths = [folder / out for out in outputs(folder)]
    found = [file for path in paths for file in ([path] if path.is_file() else sorted(path.rglob("*")))]
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in found
        if file.is_file()
    }


def expect(right: bool, problem: str) -> None:
    if not right:
        sys.exit(problem)


def expect_same(folder: Path, expected: Hashes, what: str) -> None:
    different = differing(hashes(folder), expected)
    expect(not different, f"{what}: {len(different)} files differ, {different[:1]} first")


def expect_nothing_to_do(folder: Path, what: str) -> None:
    ran = running(dvc(folder, "repro"))
    expect(ran == NOTHING, f"{what}: `dvc repro` ran {ran}")


def expect_untouched(place: Place, what: str) -> None:
    expect_same(place.home, place.before, what)
    expect(not git(place.home, "status", "--porcelain"), f"{what}: the workspace changed")


def put_back(place: Place) -> None:
    """Make home what it was before an experiment was applied to it."""
    git(place.home, "checkout", "--quiet", "--force", "main")
    dvc(place.home, "checkout")
    expect_untouched(place, "git checkout, dvc checkout")


def experiment(name: str) -> list[str]:
    """The arguments of `dvc exp run` for one of CHANGES."""
    return [*(word for change in CHANGES[name] for word in ("-S", change)), "--name", name]


def new_clone(place: Place, name: str) -> Path:
    """Another clone, with the DVC remote and nothing in its cache."""
    folder = place.home.parent / name
    git(place.home.parent, "clone", "--quiet", str(place.bare), name)
    dvc(folder, "remote", "add", "--local", "--default", "store", str(place.store))
    return folder


def start(folder: Path) -> Place:
    """Run the small pipeline in a clone of this repository, and commit and push it."""
    home, bare = folder / "home", folder / "bare.git"
    git(folder, "clone", "--quiet", str(ROOT), str(home))
    git(home, "checkout", "--quiet", "-B", "main")
    make_small(home)
    dvc(home, "repro")
    git(home, "commit", "--quiet", "--all", "--message", "Run the pipeline")
    git(folder, "clone", "--quiet", "--bare", str(home), str(bare))
    git(home, "remote", "set-url", "origin", str(bare))
    return Place(home, folder / "fork", bare, folder / "store", hashes(home))


def fork_without_data(place: Place) -> None:
    """a shallow fork without data shows its reports, says what it lacks, and computes the same bytes"""
    git(place.home.parent, "clone", "--quiet", "--depth=1", place.bare.as_uri(), "fork")
    make_small(place.fork)
    said, _ = json.JSONDecoder().raw_decode(dvc(place.fork, "metrics", "show", "--json"))
    shown = said[""]["data"]["reports/metrics.json"]["data"]["test"]
    metrics = json.loads((place.home / "reports/metrics.json").read_text())["test"]
    expect(all(shown.get(name) == value for name, value in metrics.items()), f"dvc metrics show: {shown}")
    dvc(place.fork, "plots", "show", "--out", "../shown")
    expect("ROC curve" in (place.fork / "../shown/index.html").read_text(), "dvc plots show: no ROC curve")
    expect("not in cache" in dvc(place.fork, "status"), "dvc status: it does not tell what is not there")
    expect("No remote provided" in dvc(place.fork, "pull", fails=True), "dvc pull: it does not say why it can not")
    ran = running(dvc(place.fork, "repro"))
    expect(ran == ["source", "fetch", "prepare", "split", "train", "evaluate", "predict"], f"a fork ran {ran}")
    expect_same(place.fork, place.before, "dvc repro in a fork")
    changed = git(place.fork, "status", "--porcelain").split()
    expect(changed == ["M", "reports/run.js"], f"dvc repro in a fork changed {changed}")


def shallow_history(place: Place) -> None:
    """a shallow clone compares with what it has, and is told how to fetch what it lacks"""
    command = [sys.executable, "stages/compare.py"]

    def compare(revision: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, revision], cwd=place.fork, check=False, capture_output=True, text=True)

    expect("No parameter differs" in compare("origin/main").stdout, "compare.py origin/main: it compared nothing")
    expect("unknown Git revision" in dvc(place.fork, "metrics", "diff", "HEAD~1", fails=True), "metrics diff: unclear")
    lacking = compare("HEAD~1")
    fix = re.search(r"this clone is shallow, fetch what it lacks: git (.+)", lacking.stderr)
    if not fix or lacking.returncode != 1:
        sys.exit(f"compare.py HEAD~1: no fix in {lacking.stderr}")
    git(place.fork, *shlex.split(fix[1]))
    expect("epochs" in compare("HEAD~1").stdout, "compare.py HEAD~1: the parameters that differ are not told")
    expect("reports/metrics.json" in dvc(place.fork, "metrics", "diff", "HEAD~1"), "metrics diff: no difference")


def temporary(place: Place) -> None:
    """dvc exp run --temp gives the bytes of the same experiment in a workspace, and leaves its own alone"""
    dvc(place.home, "exp", "run", "--temp", *experiment("temporary"))
    expect_untouched(place, "dvc exp run --temp")
    for name in CHANGES:
        dvc(place.fork, "exp", "run", *experiment(name))
        place.alone[name] = hashes(place.fork)
        git(place.fork, "checkout", "--quiet", ".")
    expect(len({tuple(found.items()) for found in place.alone.values()}) == len(CHANGES), "experiments are alike")
    dvc(place.home, "exp", "apply", "temporary")
    expect_same(place.home, place.alone["temporary"], "dvc exp run --temp")
    put_back(place)


def queue(place: Place) -> None:
    """two experiments of the queue, trained at once, each give the bytes of one trained alone"""
    for name in ("one", "two"):
        dvc(place.home, "exp", "run", "--queue", *experiment(name))
    dvc(place.home, "queue", "start", "--jobs", "2")
    end = time.monotonic() + WAIT_S
    while re.search("Queued|Running", said := dvc(place.home, "queue", "status")):
        expect(time.monotonic() < end, f"the queue does not end:\n{said}")
        time.sleep(2)
    expect(said.count("Success") == 2, f"the queue failed:\n{said}")
    expect_untouched(place, "dvc exp run --queue")


def applied(place: Place) -> None:
    """an experiment that is applied, or made a branch, is in the workspace whole, and nothing is left to run"""
    for name in ("one", "two"):
        dvc(place.home, "exp", "apply", name)
        expect_same(place.home, place.alone[name], f"dvc exp apply {name}")
        expect_nothing_to_do(place.home, f"dvc exp apply {name}")
        put_back(place)
    dvc(place.home, "exp", "branch", "two", "branch-of-two")
    git(place.home, "checkout", "--quiet", "branch-of-two")
    dvc(place.home, "checkout")
    expect_same(place.home, place.alone["two"], "dvc exp branch")
    expect_nothing_to_do(place.home, "dvc exp branch")
    put_back(place)


def remote(place: Place) -> None:
    """dvc push and pull bring every output into an empty clone"""
    dvc(place.home, "remote", "add", "--local", "--default", "store", str(place.store))
    dvc(place.home, "push")
    pulled = new_clone(place, "pulled")
    dvc(pulled, "pull")
    expect_nothing_to_do(pulled, "dvc pull")
    expect_same(pulled, place.before, "dvc pull")


def pushed(place: Place) -> None:
    """dvc exp push and pull bring an experiment into an empty clone"""
    dvc(place.home, "exp", "push", "origin", "two")
    other = new_clone(place, "other")
    dvc(other, "exp", "pull", "origin", "two")
    dvc(other, "exp", "apply", "two")
    expect_nothing_to_do(other, "dvc exp pull")
    expect_same(other, place.alone["two"], "dvc exp pull")


def own_data(place: Place) -> None:
    """dvc exp run --temp finds the user's own folder by its relative path, though git does not track it"""
    zipfile.ZipFile(place.home / "data/raw/stage1_train.zip").extractall(place.home / "mine/stage1_train")
    said = dvc(place.home, "exp", "run", "--temp", "-S", "data=mine", "--name", "own")
    expect({"prepare", "predict"} <= set(running(said)), f"-S data=mine ran {running(said)}")
    expect("train" not in running(said), "the same images from a folder were trained on anew")
    dvc(place.home, "exp", "apply", "own")
    own = {path: found for path, found in place.before.items() if path.startswith(("data/prepared/", "data/model/"))}
    expect(own.items() <= hashes(place.home).items(), "the same images from a folder gave another model")
    expect_nothing_to_do(place.home, "dvc exp apply own")
    git(place.home, "checkout", "--quiet", "--force", "main")
    expect_nothing_to_do(place.home, "git checkout after other data")  # `source` writes its own output back
    shutil.rmtree(place.home / "mine")
    put_back(place)
    dvc(place.home, "exp", "remove", "own")
    expect("[own]" not in dvc(place.home, "exp", "list", "--all-commits"), "dvc exp remove left the experiment")


def collected(place: Place) -> None:
    """dvc gc keeps what it says; an experiment whose outputs are gone is computed again, with the same bytes"""
    dvc(place.home, "gc", "--all-experiments", "--force")
    expect_nothing_to_do(place.home, "dvc gc --all-experiments")
    dvc(place.home, "exp", "apply", "one")
    expect_same(place.home, place.alone["one"], "dvc gc --all-experiments")
    put_back(place)
    dvc(place.home, "gc", "--workspace", "--force")
    expect_nothing_to_do(place.home, "dvc gc --workspace")
    expect_untouched(place, "dvc gc --workspace")
    said = dvc(place.home, "exp", "apply", "two", fails=True)
    expect("Checkout failed" in said and "data/model" in said, f"dvc exp apply after dvc gc is unclear: {said}")
    dvc(place.home, "repro")
    expect_same(place.home, place.alone["two"], "dvc repro after dvc gc")


def killed(place: Place) -> None:
    """after kill -9 the same command goes on, once a half-written lock is removed and git is back on its branch"""
    folder = place.home.parent / "killed"
    again, experiment = folder.parent / "again", ("exp", "run", "--set-param", "value=2", "--name", "two")
    folder.mkdir()
    for name, text in {"dvc.yaml": KILLED_ONCE, "params.yaml": "value: 1\n", "notes.txt": "committed\n"}.items():
        (folder / name).write_text(text)
    git(folder, "init", "--quiet", "--initial-branch", "main")
    dvc(folder, "init")
    git(folder, "add", "--all")
    identity = ("-c", "user.name=Tester", "-c", "user.email=tester@example.org")
    git(folder, *identity, "commit", "--quiet", "--message", "A stage")

    dvc(folder, "repro", fails=True)
    dvc(folder, "repro")
    expect((folder / "out.yaml").read_text() == "value: 1\n", "dvc repro after kill -9 wrote something else")
    (folder / ".dvc/tmp/rwlock").write_text("")
    expect("Unable to read RWLock-file" in dvc(folder, "repro", "--force", fails=True), "a damaged lock is not told")
    (folder / ".dvc/tmp/rwlock").unlink()
    dvc(folder, "repro", "--force")

    again.unlink()
    (folder / "notes.txt").write_text("not committed\n")
    dvc(folder, *experiment, fails=True)
    expect(not git(folder, "branch", "--show-current"), "a killed experiment left git on a branch")
    git(folder, "switch", "--quiet", "main")
    dvc(folder, *experiment)
    expect(git(folder, "branch", "--show-current") == "main\n", "the experiment left git off its branch")
    expect((folder / "out.yaml").read_text() == "value: 2\n", "the experiment after kill -9 wrote something else")
    expect((folder / "notes.txt").read_text() == "not committed\n", "a killed experiment lost what was not committed")


EDGES = (fork_without_data, shallow_history, temporary, queue, applied, remote, pushed, own_data, collected, killed)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="edges-") as folder:
        place = start(Path(folder))
        for edge in EDGES:
            edge(place)
            print(edge.__doc__, flush=True)


if __name__ == "__main__":
    main()
