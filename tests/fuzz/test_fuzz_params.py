"""Parameters with several wrong values, and text that is hardly YAML, are taken as they stand there or refused."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.utils.serialize import parse_yaml
from fuzzing import cases, damaged, judge, refused, taken
from hypothesis import given
from hypothesis import strategies as st

from conftest import ROOT
from nuclei.base import params

TEXT = (ROOT / "params.yaml").read_text(encoding="utf-8")
SHIPPED = yaml.safe_load(TEXT)
ODD = st.sampled_from(
    [None, True, "", "1e-3", "NaN", float("nan"), float("inf"), -1, 0, 1, 31, 32, 0.5, 1e308, 2**31, 2**64, 10**400]
) | st.sampled_from([[], [[]], {}, {"a": {"b": 1}}, [0.5] * 5000, "x" * 20_000, "a\0b", "\x1b[2J", "../../up", "1_000"])
LINES = (  # YAML that is seldom written by hand
    "anchor: &a [*a]",
    "anchor: &a {b: *a}",
    "seed: &a 1\nepochs: *a",
    "seed: 1\nseed: 2",
    "train: {epochs: 1}",
    "\tseed: 1",
    "seed:\t1",
    "seed: !!binary aGVsbG8=",
    "seed: !!python/object/apply:os.system ['true']",
    "seed: !!int x",
    "seed: !!timestamp x",
    "seed: 2001-99-99",
    "seed: 0x" + "f" * 5000,
    "seed: " + "9" * 5000,
    "seed: 1:30",
    "? [a, b]\n: 1",
    "? !!timestamp 2001-01-01\n: 1",
    "2001-01-01: 1",
    "1: 1",
    "null: 1",
    "<<: {seed: 1}",
    "<<: 1",
    "--- {}\n--- {}",
    "%YAML 9.9\n---",
    "seed: " + "[" * 3000,
    "seed: '\\ud800'",
    'seed: "\\ud800"',
    'seed: "\\x1b[2J"',
    "data: |\n  text\n more",
    "seed: *unknown",
    "\ufeffseed: 1",
    "\x85",
    "...",
)


def plain(values: Any) -> Any:
    """As JSON has it: lists for tuples, floats for whole numbers that stand for them."""
    return json.loads(json.dumps(values))


def says(text: str) -> Any:
    """Whether the parameters are those that DVC reads in the text."""
    return lambda found: plain(dataclasses.asdict(found)) == plain(parse_yaml(text, "params.yaml"))


def load(folder: Path, content: bytes) -> params.Params:
    (folder / "params.yaml").write_bytes(content)
    return params.load(folder / "params.yaml")


@cases(100)
@given(data=st.data())
def test_several_odd_values_at_once_are_taken_or_refused_together(tmp_path: Path, data: st.DataObject) -> None:
    values = copy.deepcopy(SHIPPED)
    for _ in range(data.draw(st.integers(2, 8))):
        section = values
        while True:
            name = data.draw(st.sampled_from(sorted(section)))
            if not isinstance(section[name], dict) or not section[name] or data.draw(st.integers(0, 9)) == 0:
                break
            section = section[name]
        if data.draw(st.booleans()):
            section[name] = data.draw(ODD)
        else:
            section[name + data.draw(st.sampled_from(["", "s", "\x1b"]))] = section.pop(name)
    text = yaml.safe_dump(values)
    judge("parameters", lambda: load(tmp_path, text.encode()), says(text))


@cases(100)
@given(content=damaged(TEXT.encode()))
def test_a_damaged_file_of_parameters_is_taken_as_it_stands_or_refused(tmp_path: Path, content: bytes) -> None:
    judge("parameters", lambda: load(tmp_path, content), says(content.decode(errors="replace")))


@pytest.mark.parametrize("line", LINES, ids=range(len(LINES)))
@pytest.mark.parametrize("where", ["before", "after", "alone"])
def test_yaml_that_is_seldom_written_is_taken_as_it_stands_or_refused(tmp_path: Path, line: str, where: str) -> None:
    text = {"before": f"{line}\n{TEXT}", "after": f"{TEXT}\n{line}\n", "alone": line}[where]
    judge("parameters", lambda: load(tmp_path, text.encode()), says(text))


@cases(20)
@given(depth=st.integers(5, 60), width=st.integers(2, 10))
def test_aliases_that_multiply_are_refused_before_they_fill_the_memory(tmp_path: Path, depth: int, width: int) -> None:
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, depth))]
    refused("parameters", lambda: load(tmp_path, "\n".join(lines).encode()))
    refused("parameters", lambda: load(tmp_path, f"{TEXT}\n".encode() + "\n".join(lines).encode()))


@cases(20)
@given(data=st.data())
def test_a_name_that_stands_twice_is_refused(tmp_path: Path, data: st.DataObject) -> None:
    lines = [line for line in TEXT.splitlines() if ":" in line.split("#")[0]]
    line = data.draw(st.sampled_from(lines))
    text = TEXT.replace(f"{line}\n", f"{line.split('#')[0]}\n{line}\n", 1)
    refused("parameters", lambda: load(tmp_path, text.encode()))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp037"])
def test_a_file_of_parameters_is_utf_8(tmp_path: Path, encoding: str) -> None:
    if encoding.startswith("utf-8"):
        taken("parameters", lambda: load(tmp_path, TEXT.encode(encoding)), says(TEXT))
    else:
        refused("parameters", lambda: load(tmp_path, TEXT.encode(encoding)))
