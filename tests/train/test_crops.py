"""Training crops depend on the seed and their number alone, and their targets are made after augmentation."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import label as connected

from conftest import write_params, write_prepared
from nuclei.base.params import Augment, Params
from nuclei.images.io import read_labels, write_labels, write_rgb
from nuclei.images.records import Record, image_path, label_path
from nuclei.network.components import relabel
from nuclei.network.sizing import diameter
from nuclei.network.targets import TARGETS, loss_weight
from nuclei.simulate.varied import draw_varied
from nuclei.train.augment import augmentation, seed_all, window_px
from nuclei.train.crops import Crops, draw, image_weights

OFF = Augment(
    zoom=1, rotate=0, elastic=0, colour=0, gray=0, invert=0, shuffle=0, blur=0, noise=0, light=0, quality=0
)  # fmt: skip
ALL_ON = Augment(
    zoom=2, rotate=1, elastic=1, colour=0.5, gray=0.5, invert=0.5, shuffle=0.5, blur=1, noise=1, light=1, quality=1
)  # fmt: skip


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Record], Params]:
    folder = tmp_path_factory.mktemp("crops")
    records = write_prepared(folder, {"train": 5})
    return folder / "data/prepared", records, write_params(folder)


def make(prepared: tuple[Path, list[Record], Params], **changes: object) -> Crops:
    folder, records, params = prepared
    train = dataclasses.replace(params.train, **changes)  # type: ignore[type-var]
    return Crops(records, folder, train, epochs=3, seed=7)


def same(one: tuple[torch.Tensor, ...], other: tuple[torch.Tensor, ...]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_crop_is_the_same_whenever_and_by_whichever_process_it_is_made(
    prepared: tuple[Path, list[Record], Params],
) -> None:
    one, other = make(prepared), make(prepared)
    for index in (11, 3, 3, 0):
        assert same(one[index], other[index])
    assert not same(one[0], one[5])


def test_an_epoch_is_drawn_once_and_not_for_every_crop(
    prepared: tuple[Path, list[Record], Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    epochs = []

    def counted(weights: np.ndarray, count: int, seed: int, epoch: int) -> np.ndarray:
        epochs.append(epoch)
        return draw(weights, count, seed, epoch)

    monkeypatch.setattr("nuclei.train.crops.draw", counted)
    crops = make(prepared)
    for index in range(len(crops)):
        crops[index]
    assert epochs == [0, 1, 2]


def test_images_are_kept_in_memory_up_to_the_limit_and_change_no_crop(
    prepared: tuple[Path, list[Record], Params],
) -> None:
    all_kept, none_kept = make(prepared, keep_images_mb=1), make(prepared, keep_images_mb=0)
    for index in range(len(all_kept)):
        assert same(all_kept[index], none_kept[index])
    drawn = {all_kept.records[number].id for epoch in range(3) for number in draw(all_kept.weights, 5, 7, epoch)}
    assert set(all_kept.kept) == drawn
    assert not none_kept.kept
    some_kept = make(prepared, keep_images_mb=1, diameter_px=None)
    as_they_are = make(prepared, keep_images_mb=0, diameter_px=None)
    some_kept.free_bytes = 64 * 72 * (3 + 2)  # one of the larger images, or one of the smaller
    assert all(same(some_kept[index], as_they_are[index]) for index in range(len(as_they_are)))
    assert len(some_kept.kept) == 1


@pytest.mark.parametrize("instance_target", ["none", *TARGETS])
def test_a_crop_has_the_shapes_that_training_expects(
    instance_target: str, prepared: tuple[Path, list[Record], Params]
) -> None:
    image, foreground, maps, weight = make(prepared, instance_target=instance_target)[1]
    assert image.shape == (3, 32, 32)
    assert foreground.shape == weight.shape == (1, 32, 32)
    assert maps.shape == (1 if instance_target in TARGETS else 0, 32, 32)
    assert {tensor.dtype for tensor in (image, foreground, maps, weight)} == {torch.float32}


def test_crops_are_cut_from_images_whose_nuclei_have_the_diameter(
    prepared: tuple[Path, list[Record], Params],
) -> None:
    folder, records, _ = prepared
    own = [diameter(read_labels(label_path(folder, record.id))) for record in records]
    for target in (12.0, 16.0):
        crops = make(prepared, diameter_px=target, keep_images_mb=1)
        for index in range(len(crops)):
            crops[index]
        for record, before in zip(records, own, strict=True):
            rgb, labels = crops.kept[record.id]
            assert before is not None
            assert diameter(labels) == pytest.approx(target, rel=0.1)
            assert rgb.shape[:2] == labels.shape
            assert labels.shape[0] == pytest.approx(record.height * target / before, abs=1)


def test_images_smaller_than_a_crop_are_mirrored(prepared: tuple[Path, list[Record], Params]) -> None:
    image, foreground, *_ = make(prepared, crop_px=128)[0]
    assert image.shape == (3, 128, 128)
    assert 0 < foreground.mean() < 1


@given(seed=st.integers(0, 2**31 - 1))
@settings(max_examples=30, deadline=None)
def test_after_augmentation_every_nucleus_is_one_component_with_its_own_number(seed: int) -> None:
    side = window_px(64)
    rows, cols = np.indices((side, side))
    labels = ((rows // 12) * 8 + cols // 12 + 1).astype(np.uint16)
    labels[(rows % 12 < 2) | (cols % 12 < 2)] = 0
    transform = augmentation(ALL_ON, 64)
    seed_all(transform, seed)
    out = relabel(transform(image=np.zeros((side, side, 3), np.uint8), mask=labels)["mask"])
    assert out.shape == (64, 64)
    assert set(np.unique(out)) - {0} == set(range(1, out.max() + 1))
    for number in range(1, int(out.max()) + 1):
        assert connected(out == number, connectivity=2).max() == 1


@given(seed=st.integers(0, 2**31 - 1), index=st.integers(0, 14), name=st.sampled_from(sorted(TARGETS)))
@settings(max_examples=40, deadline=None)
def test_the_maps_are_made_of_the_augmented_and_relabelled_crop(
    seed: int, index: int, name: str, prepared: tuple[Path, list[Record], Params]
) -> None:
    folder, records, params = prepared
    train = dataclasses.replace(params.train, instance_target=name, augment=ALL_ON, crop_px=64)
    crops = Crops(records, folder, train, epochs=3, seed=seed)
    augmented: list[np.ndarray] = []

    def spy(**arrays: np.ndarray) -> dict[str, np.ndarray]:
        out = augment(**arrays)
        augmented.append(out["mask"])
        return out

    augment, crops.augment = crops.augment, spy  # type: ignore[assignment]
    spy.set_random_state = augment.set_random_state  # type: ignore[attr-defined]
    _, foreground, maps, weight = crops[index]
    labels = relabel(augmented[0])
    np.testing.assert_array_equal(foreground[0], labels > 0)
    np.testing.assert_array_equal(maps, TARGETS[name].encode(labels))
    np.testing.assert_array_equal(weight[0], loss_weight(labels))


SQUARES = 120  # in a row of the chequered image, each of 4 px


@pytest.fixture(scope="module")
def chequered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one image in which each square has its own label, which tells its row and column."""
    folder = tmp_path_factory.mktemp("chequered")
    rows, cols = np.indices((4 * SQUARES, 4 * SQUARES)) // 4
    labels = (1 + rows * SQUARES + cols).astype(np.uint16)
    for path in (image_path(folder, "squares"), label_path(folder, "squares")):
        path.parent.mkdir()
    write_labels(label_path(folder, "squares"), labels)
    write_rgb(image_path(folder, "squares"), np.repeat((labels % 251).astype(np.uint8)[..., None], 3, axis=2))
    return folder


def crops_of_squares(
    folder: Path, params: Params, augment: Augment, monkeypatch: pytest.MonkeyPatch, count: int
) -> list[np.ndarray]:
    """Of `count` crops, the row and column of the square that each pixel was cut from: (2, 64, 64)."""
    found: list[np.ndarray] = []

    def spy(labels: np.ndarray) -> np.ndarray:
        found.append(np.stack(divmod(labels.astype(int) - 1, SQUARES)))
        return relabel(labels)

    monkeypatch.setattr("nuclei.train.crops.relabel", spy)
    train = dataclasses.replace(params.train, augment=augment, crop_px=64, diameter_px=None, instance_target="none")
    side = 4 * SQUARES
    crops = Crops([Record("squares", side, side, 9, 1.0, "fluorescence", "x")], folder, train, epochs=count, seed=3)
    for index in range(count):
        crops[index]
    return found


def test_no_mirrored_border_enters_a_crop_however_it_is_rotated_and_rescaled(
    prepared: tuple[Path, list[Record], Params], chequered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.column_stack([*np.indices((64, 64)).reshape(2, -1), np.ones(64 * 64)])
    augment = dataclasses.replace(OFF, zoom=2.5, rotate=1)
    for squares in crops_of_squares(chequered, prepared[2], augment, monkeypatch, 25):
        squares = squares.reshape(2, -1).T  # a rotation and a factor place every pixel, unless it was mirrored
        affine = np.linalg.lstsq(pixels, squares, rcond=None)[0]
        assert np.abs(pixels @ affine - squares).max() < 1.3


def test_crops_are_rescaled_by_up_to_the_factor_either_way_as_often_enlarged_as_reduced(
    prepared: tuple[Path, list[Record], Params], chequered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    augment = dataclasses.replace(OFF, zoom=3)
    zooms = [
        64 / 4 / (np.ptp(one[0]) + 0.5) for one in crops_of_squares(chequered, prepared[2], augment, monkeypatch, 60)
    ]
    assert min(zooms) == pytest.approx(1 / 3, rel=0.15)
    assert max(zooms) == pytest.approx(3, rel=0.2)
    assert abs(np.log(zooms).mean()) < 0.25
    for squares in crops_of_squares(chequered, prepared[2], OFF, monkeypatch, 3):
        assert np.ptp(squares[0]) in (15, 16)


@pytest.mark.parametrize("name", ["colour", "quality"])
def test_colour_and_quality_change_the_image_and_never_the_labels(name: str) -> None:
    side = window_px(64)
    rgb, labels = np.zeros((side, side, 3), np.uint8), np.zeros((side, side), np.uint16)
    labels[30:70, 30:70] = 5
    rgb[30:70, 30:70], rgb[40:50, 40:50] = (150, 90, 160), (210, 180, 220)
    augmented = []
    for augment in (OFF, dataclasses.replace(OFF, **{name: 1})):
        transform = augmentation(augment, 64)
        for seed in range(12):
            seed_all(transform, seed)
            augmented.append(transform(image=rgb, mask=labels))
    plain, changed = augmented[:12], augmented[12:]
    assert all((out["mask"] > 0).sum() == (one["mask"] > 0).sum() for out, one in zip(changed, plain, strict=True))
    inside = [out["image"][out["mask"] > 0].mean(axis=0) for out in changed]
    different = [
        not np.array_equal(np.sort(out["image"], axis=None), np.sort(rgb[16:80, 16:80], axis=None)) for out in changed
    ]
    assert sum(different) >= 8 and len(np.unique(np.rint(inside), axis=0)) >= 3


def test_the_synthetic_fraction_of_the_crops_is_cut_from_synthetic_images(
    prepared: tuple[Path, list[Record], Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []

    def spy(seed: int, number: int) -> tuple[np.ndarray, np.ndarray]:
        drawn.append(number)
        return draw_varied(seed, number)

    monkeypatch.setattr("nuclei.train.crops.draw_varied", spy)
    crops = make(prepared, synthetic_fraction=0.4, keep_images_mb=0, crops_per_image=4)
    assert crops.weights.sum() == pytest.approx(1)
    for index in range(crops.per_epoch):
        crops[index]
    assert len(drawn) == pytest.approx(0.4 * crops.per_epoch, abs=1)
    assert len(set(drawn)) == len(drawn)
    drawn.clear()
    crops = make(prepared, keep_images_mb=0)
    for index in range(crops.per_epoch):
        crops[index]
    assert drawn == []


def test_image_and_labels_move_together() -> None:
    side = window_px(64)
    labels = np.zeros((side, side), np.uint16)
    labels[30:60, 40:50] = 1
    rgb = np.repeat((labels * 255).astype(np.uint8)[..., None], 3, axis=2)
    transform = augmentation(dataclasses.replace(OFF, rotate=1, elastic=0.5), 64)
    for seed in range(20):
        seed_all(transform, seed)
        out = transform(image=rgb, mask=labels)
        bright = out["image"][..., 0] > 127
        assert (bright != (out["mask"] > 0)).sum() <= 0.2 * max(bright.sum(), 40)


def test_large_and_rare_images_are_drawn_more() -> None:
    def record(id: str, side: int, modality: str) -> Record:
        return Record(id, side, side, 1, 0.1, modality, "x")

    records = [record("a", 100, "fluorescence"), record("b", 200, "fluorescence"), record("c", 100, "tissue")]
    np.testing.assert_allclose(image_weights(records, 0, 0), 1 / 3)
    by_size = image_weights(records, 0.5, 0)
    assert by_size[1] == pytest.approx(2 * by_size[0])
    by_modality = image_weights(records, 0, 1)
    assert by_modality[2] == pytest.approx(2 * by_modality[0])


@given(count=st.integers(1, 200), seed=st.integers(0, 100), epoch=st.integers(0, 5))
def test_every_image_is_drawn_as_often_as_its_weight_says_give_or_take_one(count: int, seed: int, epoch: int) -> None:
    weights = np.array([0.5, 0.25, 0.125, 0.125])
    drawn = Counter(draw(weights, count, seed, epoch).tolist())
    for image, weight in enumerate(weights):
        assert abs(drawn[image] - weight * count) <= 1


def test_whether_one_augmentation_is_applied_says_nothing_about_another() -> None:
    transform = augmentation(dataclasses.replace(OFF, gray=0.5, invert=0.5, light=0.5), 32)
    transform = type(transform)(transform.transforms, save_applied_params=True)
    window = np.zeros((window_px(32), window_px(32), 3), np.uint8)
    drawn = []
    for seed in range(400):
        seed_all(transform, seed)
        applied = {name for name, _ in transform(image=window)["applied_transforms"]}
        drawn.append([name in applied for name in ("ToGray", "InvertImg", "RandomGamma")])
    correlation = np.corrcoef(np.array(drawn).T)
    assert abs(correlation[np.triu_indices(3, k=1)]).max() < 0.2  # of 400 independent draws: 0.05, standard deviation
