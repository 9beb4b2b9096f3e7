"""Files of every kind that five programs write are read as they were written, or refused with a reason."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
import tifffile
from matrix import containers_table, outcome, properties, properties_table, readings
from written import CODECS, COMMANDS, CONTAINERS, files

from nuclei.base.errors import InputError
from nuclei.images.io import read_rgb

PAGE = Path(__file__).resolve().parents[2] / "docs/files.md"
ABSENT = [writer for writer, command in COMMANDS.items() if not shutil.which(command)]


@pytest.mark.parametrize("container", CONTAINERS)
def test_values_do_not_depend_on_compression_layout_and_writer(container: str) -> None:
    found = [outcome(file) for file in files() if file.container == container]
    assert found or ABSENT


@pytest.mark.parametrize("container", CODECS)
def test_a_tiff_that_is_cut_off_is_refused_whatever_its_compression(container: str) -> None:
    for file in (file for file in files() if file.container == container and file.writer == "tifffile"):
        with tifffile.TiffFile(io.BytesIO(file.data)) as tiff:
            start, length = tiff.pages.first.dataoffsets[-1], tiff.pages.first.databytecounts[-1]
        with pytest.raises(InputError):
            read_rgb(file.data[: start + length // 8])


@pytest.mark.parametrize("name", dict.fromkeys(file.name for file in properties()))
def test_a_property_of_a_file_means_what_the_page_says(name: str) -> None:
    for file in properties():
        if file.name == name:
            assert len(readings(file)) == 3  # raises where a file is read as anything but what the words say


@pytest.mark.skipif(bool(ABSENT), reason=f"not installed: {', '.join(ABSENT)}")
@pytest.mark.parametrize("table", [containers_table, properties_table])
def test_the_page_holds_the_table_of_what_is_read(table: type) -> None:
    assert table() in PAGE.read_text(encoding="utf-8"), "print the tables: python tests/images/matrix.py"
