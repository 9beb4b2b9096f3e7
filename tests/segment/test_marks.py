"""Which files count as this program's own."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from nuclei.base.errors import InputError
from nuclei.images.io import read_labels, read_rgb, write_labels, write_rgb
from nuclei.segment.marks import SHOWN, check_replaceable, is_ours, write_marked_labels, write_marked_rgb

LABELS = np.array([[0, 1, 1], [2, 2, 0]], np.uint16)
RGB = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
SHAPE = hnp.array_shapes(min_dims=2, max_dims=2, max_side=6)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(labels=hnp.arrays(np.uint32, SHAPE), data=st.data())
def test_a_label_map_is_ours_until_a_pixel_changes(labels: np.ndarray, data: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / "a_labels.tif"
    write_marked_labels(path, labels)
    assert is_ours(path)
    np.testing.assert_array_equal(read_labels(path), labels)
    row, col = (data.draw(st.integers(0, side - 1)) for side in labels.shape)
    corrected = read_labels(path)
    corrected[row, col] ^= 1
    with tifffile.TiffFile(path) as file:
        mark = file.pages.first.software
    tifffile.imwrite(path, corrected, software=mark)  # by a program that keeps the tag
    assert not is_ours(path)


def test_an_overlay_is_ours_until_it_is_saved_by_another_program(tmp_path: Path) -> None:
    path = tmp_path / "a_overlay.png"
    write_marked_rgb(path, RGB)
    assert is_ours(path)
    np.testing.assert_array_equal(read_rgb(path), RGB)
    cv2.imwrite(str(path), cv2.imread(str(path)))
    assert not is_ours(path)


def test_a_large_overlay_is_recognised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2)  # what Pillow takes for an attack, from twice as many on
    write_marked_rgb(tmp_path / "a_overlay.png", RGB)
    assert is_ours(tmp_path / "a_overlay.png")


def test_the_same_pixels_give_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        write_marked_labels(tmp_path / f"{name}.tif", LABELS)
        write_marked_rgb(tmp_path / f"{name}.png", RGB)
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_files_of_others_are_not_ours(tmp_path: Path) -> None:
    write_marked_labels(tmp_path / "ours.tif", LABELS)
    tifffile.imwrite(tmp_path / "resaved.tif", tifffile.imread(tmp_path / "ours.tif"))
    Image.fromarray(LABELS).save(tmp_path / "pillow.tif")
    write_labels(tmp_path / "stage.tif", LABELS)
    write_rgb(tmp_path / "stage.png", RGB)
    (tmp_path / "text.tif").write_text("mine")
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.tif").mkdir()
    (tmp_path / "half.tif").write_bytes((tmp_path / "ours.tif").read_bytes()[:-20])
    found = {path.name for path in tmp_path.iterdir() if is_ours(path)}
    assert found == {"ours.tif"}


def test_the_error_names_the_files_and_the_ways_out(tmp_path: Path) -> None:
    mine = [tmp_path / f"{number}_labels.tif" for number in range(SHOWN + 2)]
    for path in mine:
        path.write_text("mine")
    write_marked_labels(tmp_path / "ours_labels.tif", LABELS)
    with pytest.raises(InputError, match=r"would replace files(.|\n)*and 2 more\n(.|\n)*--force") as caught:
        check_replaceable([*mine, tmp_path / "ours_labels.tif", tmp_path / "absent_labels.tif"])
    assert str(mine[0]) in str(caught.value)
    assert "ours_labels" not in str(caught.value)
