"""The built-in sample has the looks, the layout and the touching nuclei of the real data, and always the same bytes."""

from __future__ import annotations

import hashlib
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from nuclei.fetch.simulate import APPEARANCES, draw, write_sample
from nuclei.images.io import modality, read_mask, read_rgb
from nuclei.prepare.archives import Archive
from nuclei.prepare.layouts import samples


@pytest.fixture(scope="module")
def drawn() -> list[tuple[np.ndarray, np.ndarray]]:
    return [draw(0, number) for number in range(2 * len(APPEARANCES))]


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


def test_the_modalities_are_told_apart_and_mixed_as_said(drawn: list[tuple[np.ndarray, np.ndarray]]) -> None:
    assert Counter(modality(rgb) for rgb, _ in drawn) == {"fluorescence": 24, "tissue": 10, "brightfield": 6}
    first = {modality(rgb) for rgb, _ in drawn[:4]}
    assert first == {"fluorescence", "tissue", "brightfield"}  # the smallest sample has all three


def test_every_nucleus_is_one_piece_of_a_sensible_size(drawn: list[tuple[np.ndarray, np.ndarray]]) -> None:
    for _, labels in drawn:
        count = int(labels.max())
        assert count >= 1 and set(np.unique(labels)) == set(range(count + 1))
        assert all(ndimage.label(labels == label)[1] == 1 for label in range(1, count + 1))
        areas = np.bincount(labels.ravel())[1:]
        assert areas.min() >= 12 and areas.max() < 3000


def test_nuclei_touch_in_many_images(drawn: list[tuple[np.ndarray, np.ndarray]]) -> None:
    touching = 0
    for _, labels in drawn:
        right = (labels[:, 1:] != labels[:, :-1]) & (labels[:, 1:] > 0) & (labels[:, :-1] > 0)
        touching += bool(right.any())
    assert touching >= len(drawn) / 2


def test_nuclei_stand_out_from_their_surroundings(drawn: list[tuple[np.ndarray, np.ndarray]]) -> None:
    for rgb, labels in drawn:
        gray = rgb.astype(float).mean(axis=2)
        inside, outside = gray[labels > 0].mean(), gray[labels == 0].mean()
        dark = modality(rgb) == "fluorescence"
        assert inside > outside + 8 if dark else inside < outside - 40


def test_the_images_are_of_several_sizes_and_mostly_small(drawn: list[tuple[np.ndarray, np.ndarray]]) -> None:
    sizes = [labels.shape for _, labels in drawn]
    assert len(set(sizes)) >= 6
    assert np.mean([max(size) <= 192 for size in sizes]) > 0.5
    assert all(128 <= side <= 320 for size in sizes for side in size)
