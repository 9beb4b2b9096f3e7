"""The built-in sample has the layout of the real data, and always the same bytes."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import numpy as np

from nuclei.fetch.sample import write_sample
from nuclei.images.io import read_mask, read_rgb
from nuclei.prepare.archives import Archive
from nuclei.prepare.layouts import samples
from nuclei.simulate.images import draw


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    digests = []
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        write_sample(tmp_path / name, images=3, unlabelled=2, seed=seed)
        digests.append([hashlib.sha256(path.read_bytes()).digest() for path in sorted((tmp_path / name).iterdir())])
    assert digests[0] == digests[1]
    assert digests[0][0] != digests[2][0] and digests[0][1] != digests[2][1]


def test_an_image_does_not_depend_on_how_many_are_drawn(tmp_path: Path) -> None:
    contents = []
    for count in (2, 4):
        write_sample(tmp_path, images=count, unlabelled=0, seed=0)
        with zipfile.ZipFile(tmp_path / "stage1_train.zip") as archive:
            contents.append({name: archive.read(name) for name in archive.namelist()})
    assert contents[0].items() <= contents[1].items()


def test_the_layout_is_kaggles_and_the_masks_are_the_drawn_nuclei(tmp_path: Path) -> None:
    write_sample(tmp_path, images=3, unlabelled=1, seed=0)
    path = tmp_path / "stage1_train.zip"
    archive = Archive(path, max_bytes=10**9, max_member_bytes=10**7)
    found = samples(archive.files, path)
    assert [sample.id for sample in found] == ["synthetic_0000", "synthetic_0001", "synthetic_0002"]
    for number, sample in enumerate(found):
        rgb, labels = draw(0, number)
        np.testing.assert_array_equal(read_rgb(archive.member(sample.image).read()), rgb)
        assert len(sample.masks) == labels.max()
        masks = [read_mask(archive.member(mask).read()) for mask in sample.masks]
        np.testing.assert_array_equal(sum(mask * label for label, mask in enumerate(masks, start=1)), labels)
    with zipfile.ZipFile(path) as archive_file:
        assert {info.date_time for info in archive_file.infolist()} == {(2018, 1, 16, 0, 0, 0)}


def test_the_unlabelled_images_are_others_and_only_there_when_wanted(tmp_path: Path) -> None:
    write_sample(tmp_path, images=2, unlabelled=2, seed=0)
    with zipfile.ZipFile(tmp_path / "stage1_test.zip") as archive:
        assert archive.namelist() == [f"synthetic_{n:04d}/images/synthetic_{n:04d}.png" for n in (2, 3)]
    write_sample(tmp_path, images=2, unlabelled=0, seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["stage1_train.zip"]
