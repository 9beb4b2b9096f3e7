"""One large image, segmented block by block."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaozarrs
import zarr
from brightness import discs, open_brightness
from hypothesis import given, settings
from hypothesis import strategies as st

from nuclei.base.errors import InputError
from nuclei.base.params import InvertLight
from nuclei.images.stacks import RGB, Reading
from nuclei.network.confidence import Confidence
from nuclei.network.segmenter import Segmenter
from nuclei.network.sizing import INVERTED
from nuclei.segment.assembling import assemble
from nuclei.segment.blocks import owned, plan
from nuclei.segment.by_blocks import segment_blocks
from nuclei.segment.measurements import channels_of, measure
from nuclei.segment.opening import AS_IT_IS
from nuclei.segment.prepared import Prepared, prepare
from nuclei.segment.size import Diameter
from nuclei.segment.slides import is_large, opened
from nuclei.segment.survey import is_blank

SIDE_PX, OVERLAP_PX = 608, 64


@pytest.fixture
def segmenter() -> Segmenter:
    return open_brightness(Path(), "cpu")


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """Bright discs, many of them touching, on a noisy dark background, with an empty corner."""
    return discs(SIDE_PX, SIDE_PX, 300)


@pytest.fixture(scope="module")
def tiff(pixels: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("slide") / "slide.tif"
    tifffile.imwrite(path, pixels, tile=(128, 128), bigtiff=True, compression="zlib")
    return path


def run(
    segmenter: Segmenter,
    path: Path,
    out: Path,
    block_px: int,
    diameter_px: float | None = None,
    reading: Reading = AS_IT_IS,
) -> tuple[np.ndarray, dict[str, np.ndarray], Any]:
    tables: list[dict[str, np.ndarray]] = []
    prepared = prepare(
        segmenter,
        path,
        out / "x_labels.ome.zarr",
        reading=reading,
        diameter=None if diameter_px is None else Diameter(diameter_px),
        min_score=segmenter.settings.min_score,
        min_best_score=segmenter.settings.min_best_score,
        block_px=block_px,
        overlap_px=OVERLAP_PX,
    )
    segment_blocks(segmenter, prepared)
    summary, warnings = assemble(prepared, lambda nuclei: tables.append(nuclei.measured))
    shutil.rmtree(prepared.scratch)
    table = {name: np.concatenate([part[name] for part in tables]) for name in tables[0]}
    return zarr.open_group(out / "x_labels.ome.zarr", mode="r")["0"][:], table, (summary, warnings)  # type: ignore[index,return-value]


@pytest.mark.parametrize("block_px", [130, 200, 450])
def test_labels_and_table_in_blocks_are_those_of_the_whole_image_up_to_numbering(
    segmenter: Segmenter, pixels: np.ndarray, tiff: Path, tmp_path: Path, block_px: int
) -> None:
    whole = segmenter.segment(np.repeat(pixels[..., None], 3, axis=2))

    labels, table, (summary, _) = run(segmenter, tiff, tmp_path, block_px)

    assert whole.max() > 50
    pairs = np.unique(np.stack([whole.ravel(), labels.ravel()]), axis=1)
    assert pairs.shape[1] == whole.max() + 1  # every label has one partner, and the background the background
    assert len(np.unique(pairs[1])) == pairs.shape[1]
    assert pairs[1][0] == 0
    expected = measure(whole, *channels_of(pixels))
    order = np.argsort(pairs[1][1:])  # the nuclei of the whole image in the order of the blocks
    for name, column in table.items():
        if name != "label":
            np.testing.assert_allclose(column, expected[name][order], rtol=1e-6, atol=1e-6, err_msg=name)
    assert summary["nuclei"] == whole.max()
    assert summary["foreground"] == pytest.approx((whole > 0).mean())


def test_all_nuclei_are_dropped_if_none_of_any_block_has_the_least_score_of_the_surest(
    segmenter: Segmenter, pixels: np.ndarray, tiff: Path, tmp_path: Path
) -> None:
    rgb = np.repeat(pixels[..., None], 3, axis=2)
    segmenter.calibrate(Confidence(-3, 1, 1))
    maps = segmenter.maps(rgb)
    scores = segmenter.scores(segmenter.label(maps), maps)
    assert scores is not None
    best = float(scores.max())
    for place, (least, count) in enumerate([(best, len(scores)), (best + 1e-4, 0)]):
        segmenter.settings = replace(segmenter.settings, min_best_score=least)
        labels, table, (summary, notes) = run(segmenter, tiff, tmp_path / str(place), 200)
        assert any("no nucleus: the surest has a score of" in note for note in notes) is (count == 0)
        assert segmenter.segment(rgb).max() == labels.max() == summary["nuclei"] == count
        assert {len(column) for column in table.values()} == {count}


@pytest.mark.parametrize("colour", [False, True])
def test_a_light_image_is_inverted_as_a_whole_only_if_it_is_gray(
    segmenter: Segmenter, pixels: np.ndarray, tmp_path: Path, colour: bool
) -> None:
    segmenter.settings = replace(segmenter.settings, invert_light=True)
    light = np.repeat(255 - pixels[..., None], 3, axis=2)
    light[..., 2] //= 1 + colour
    whole = segmenter.segment(light)
    tifffile.imwrite(tmp_path / "light.tif", light, tile=(128, 128), photometric="rgb")
    labels, _, _ = run(segmenter, tmp_path / "light.tif", tmp_path, 200)
    for found in (whole, labels):
        assert bool(np.mean(found > 0) > 0.5) is colour  # the bright background
    assert colour or np.array_equal(labels > 0, whole > 0)


@pytest.mark.parametrize("surer", [True, False])
def test_a_light_image_is_inverted_as_a_whole_where_the_model_is_surer_of_it_so(
    segmenter: Segmenter, pixels: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, surer: bool
) -> None:
    segmenter.calibrate(Confidence(-3, 1, 1))
    segmenter.settings = replace(segmenter.settings, invert_light="auto")
    monkeypatch.setattr(segmenter, "_is_surer_inverted", lambda rgb, scale, of_inverse: surer)
    light = 255 - pixels
    tifffile.imwrite(tmp_path / "light.tif", light, tile=(128, 128))
    labels, _, (_, notes) = run(segmenter, tmp_path / "light.tif", tmp_path, 200)
    assert (INVERTED in notes) is surer
    assert bool(np.mean(labels > 0) < 0.5) is surer  # otherwise the bright background
    whole = segmenter.segment(np.repeat(light[..., None], 3, axis=2))
    assert not surer or np.array_equal(labels > 0, whole > 0)  # the background is one cluster larger than the overlap


def prepared_light(
    segmenter: Segmenter, pixels: np.ndarray, folder: Path, monkeypatch: pytest.MonkeyPatch, invert_light: InvertLight
) -> Prepared:
    """A slide that the model would be surer of if it were inverted."""
    segmenter.calibrate(Confidence(-3, 1, 1))
    segmenter.settings = replace(segmenter.settings, invert_light=invert_light)
    monkeypatch.setattr(segmenter, "_is_surer_inverted", lambda rgb, scale, of_inverse: True)
    tifffile.imwrite(folder / "light.tif", pixels, tile=(128, 128))
    return prepare(segmenter, folder / "light.tif", folder / "x_labels.ome.zarr")


@pytest.mark.parametrize("invert_light", [False, "auto", True])
def test_a_light_image_is_normalised_as_without_its_black_margin_which_becomes_background(
    segmenter: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invert_light: InvertLight
) -> None:
    light = 255 - discs(1000, 1000, 300)
    alone = prepared_light(segmenter, light, tmp_path, monkeypatch, invert_light)
    with_margin = prepared_light(segmenter, np.pad(light, (20, 480)), tmp_path, monkeypatch, invert_light)
    assert alone.scale.inverted is with_margin.scale.inverted is (invert_light == "auto")
    assert bool(alone.table[light.min()] > alone.table[light.max()]) is (invert_light is not False)
    np.testing.assert_array_equal(with_margin.table[1:], alone.table[1:])
    assert with_margin.table[0] == alone.table[int(np.median(light))]


@pytest.mark.parametrize("invert_light", ["auto", True])
def test_a_slide_is_inverted_where_its_sample_is_though_most_of_it_is_dark(
    segmenter: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invert_light: InvertLight
) -> None:
    slide = np.random.default_rng(0).integers(0, 4, (1500, 1500), np.uint8)
    slide[20:1020, 20:1020] = light = 255 - discs(1000, 1000, 300)
    prepared = prepared_light(segmenter, slide, tmp_path, monkeypatch, invert_light)
    assert prepared.scale.inverted is (invert_light == "auto")
    assert prepared.table[light.min()] > prepared.table[light.max()]


@pytest.mark.parametrize("zoom", [0.5, 1.0, 4.0])
def test_a_tile_with_one_dim_nucleus_is_not_blank_and_one_with_noise_is(zoom: float) -> None:
    rng = np.random.default_rng(0)
    gray = rng.normal(10, 1, (256, 256))
    assert is_blank(np.repeat(gray.round().astype(np.uint8)[..., None], 3, axis=2), zoom=1)
    row, col = np.mgrid[:256, :256] - 100
    gray[row**2 + col**2 < (12.5 / zoom) ** 2] += 8  # of the diameter that the network was trained on, when rescaled
    assert not is_blank(np.repeat(gray.round().astype(np.uint8)[..., None], 3, axis=2), zoom)


@pytest.mark.parametrize("diameter_px", [50, 12])
def test_labels_in_blocks_are_those_of_the_whole_image_where_it_is_rescaled(
    segmenter: Segmenter, pixels: np.ndarray, tiff: Path, tmp_path: Path, diameter_px: float
) -> None:
    segmenter.settings = replace(segmenter.settings, diameter_px=25.0)
    whole = segmenter.segment(np.repeat(pixels[..., None], 3, axis=2), diameter_px)

    labels, _, (summary, _) = run(segmenter, tiff, tmp_path, 200, diameter_px)

    assert summary["zoom"] == 25 / diameter_px
    assert whole.max() > 50
    pairs = np.unique(np.stack([whole.ravel(), labels.ravel()]), axis=1)
    assert pairs.shape[1] == whole.max() + 1
    assert len(np.unique(pairs[1])) == pairs.shape[1]


def test_a_run_that_was_interrupted_goes_on_and_ends_with_the_same_bytes(
    segmenter: Segmenter, tiff: Path, tmp_path: Path
) -> None:
    net: Any = segmenter.net
    run(segmenter, tiff, tmp_path / "whole", 160)
    all_tiles, net.tiles, net.fails_at = net.tiles, 0, 20
    with pytest.raises(KeyboardInterrupt):
        run(segmenter, tiff, tmp_path / "again", 160)
    net.tiles, net.fails_at = 0, -1

    run(segmenter, tiff, tmp_path / "again", 160)

    assert 0 < net.tiles < all_tiles
    assert contents(tmp_path / "again") == contents(tmp_path / "whole")


def test_blocks_of_another_model_are_not_kept(segmenter: Segmenter, tiff: Path, tmp_path: Path) -> None:
    net: Any = segmenter.net
    net.fails_at = 20
    with pytest.raises(KeyboardInterrupt):
        run(segmenter, tiff, tmp_path, 160)
    net.fails_at, net.nothing.data[:] = -1, 0.01
    run(segmenter, tiff, tmp_path, 160)
    kept = contents(tmp_path)
    shutil.rmtree(tmp_path)

    run(segmenter, tiff, tmp_path, 160)

    assert kept == contents(tmp_path)


@pytest.mark.parametrize(("before", "after"), [(None, 0.5), (0.25, 0.5), (0.25, None)])
def test_blocks_measured_with_another_size_of_a_pixel_are_not_kept(
    segmenter: Segmenter, tiff: Path, tmp_path: Path, before: float | None, after: float | None
) -> None:
    net: Any = segmenter.net
    net.fails_at = 20
    with pytest.raises(KeyboardInterrupt):
        run(segmenter, tiff, tmp_path, 160, reading=Reading(pixel_size_um=before))
    net.fails_at = -1
    assert list(tmp_path.glob(".*/*.npz"))

    _, table, _ = run(segmenter, tiff, tmp_path, 160, reading=Reading(pixel_size_um=after))

    assert ("area_um2" in table) is (after is not None)
    assert after is None or np.array_equal(table["area_um2"], table["area_px"] * after**2)


def test_blocks_of_the_same_values_where_0_was_white_are_not_kept(
    segmenter: Segmenter, pixels: np.ndarray, tmp_path: Path
) -> None:
    net: Any = segmenter.net
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, pixels, tile=(128, 128), photometric="miniswhite")
    net.fails_at = 20
    with pytest.raises(KeyboardInterrupt):
        run(segmenter, path, tmp_path, 160)
    net.fails_at = -1
    tifffile.imwrite(path, pixels, tile=(128, 128), photometric="minisblack")

    labels, _, _ = run(segmenter, path, tmp_path, 160)

    assert np.mean(labels > 0) < 0.5  # the background is dark


def test_a_label_map_is_replaced_only_if_asked(segmenter: Segmenter, tiff: Path, tmp_path: Path) -> None:
    (tmp_path / "x_labels.ome.zarr").mkdir()
    with pytest.raises(InputError, match="never replaced unasked"):
        run(segmenter, tiff, tmp_path, 450)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_label_map_is_valid_ome_zarr_with_a_pyramid(segmenter: Segmenter, tmp_path: Path) -> None:
    image = np.zeros((1200, 1100), np.uint8)
    image[1005:1045, 1000:1050] = 200
    tifffile.imwrite(tmp_path / "wide.tif", image, tile=(256, 256))

    labels, table, _ = run(segmenter, tmp_path / "wide.tif", tmp_path, 4096)

    group = yaozarrs.validate_zarr_store(tmp_path / "x_labels.ome.zarr")
    assert len(table["label"]) == 1
    assert group is not None
    np.testing.assert_array_equal(zarr.open_group(tmp_path / "x_labels.ome.zarr", mode="r")["1"][:], labels[::2, ::2])  # type: ignore[index]
    assert segmenter.net.tiles < 12  # type: ignore[attr-defined,operator]  # of 144: the others are blank


def test_ome_tiff_and_ome_zarr_are_read_at_full_resolution_with_their_pixel_size(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 60000, (3, 200, 150), np.uint16)
    group = zarr.open_group(tmp_path / "s.ome.zarr", mode="w", zarr_format=2)
    group.create_array("full", data=pixels, chunks=(1, 64, 64))
    axes = [{"name": "c", "type": "channel"}, *({"name": n, "type": "space", "unit": "micrometer"} for n in "yx")]
    scale = [{"type": "scale", "scale": [1, 0.25, 0.25]}]
    datasets = [{"path": "full", "coordinateTransformations": scale}]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    with tifffile.TiffWriter(tmp_path / "s.ome.tif", ome=True) as writer:
        colour = np.moveaxis(pixels, 0, 2)
        metadata = {"axes": "YXS", "PhysicalSizeX": 250.0, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.25}
        writer.write(colour, subifds=1, tile=(64, 64), photometric="rgb", metadata=metadata)
        writer.write(colour[::2, ::2], subfiletype=1, tile=(64, 64), photometric="rgb")

    for name in ("s.ome.zarr", "s.ome.tif"):
        with opened(tmp_path / name, AS_IT_IS) as slide:
            assert (slide.height, slide.width, slide.channels, slide.pixel_size_um) == (200, 150, RGB, 0.25)
            assert slide.colour
            assert slide.nuclear is None
            part = slide.read(slice(60, 190), slice(30, 140))
        np.testing.assert_array_equal(part, np.moveaxis(pixels, 0, 2)[60:190, 30:140])
        assert is_large(tmp_path / name, 64)


def write_channels(path: Path, planes: np.ndarray, names: list[str]) -> None:
    """Write (C, H, W) as OME-TIFF, or as OME-Zarr."""
    if path.suffix == ".zarr":
        group = zarr.open_group(path, mode="w", zarr_format=3)
        group.create_array("0", data=planes[None], chunks=(1, 1, 128, 128))
        axes = [{"name": "t", "type": "time"}, {"name": "c", "type": "channel"}]
        axes += [{"name": name, "type": "space", "unit": "nanometer"} for name in "yx"]
        datasets = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1, 1, 500, 500]}]}]
        window = {"start": 0, "min": 0, "end": 255, "max": 255}
        channels = [{"label": name, "color": "FFFFFF", "window": window} for name in names]
        multiscales = [{"axes": axes, "datasets": datasets}]
        group.attrs["ome"] = {"version": "0.5", "multiscales": multiscales, "omero": {"channels": channels}}
    else:
        metadata = {"axes": "CYX", "Channel": {"Name": names}, "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
        tifffile.imwrite(path, planes, tile=(128, 128), photometric="minisblack", metadata=metadata)


def test_ome_zarr_in_either_byte_order_gives_the_same_results(
    segmenter: Segmenter, pixels: np.ndarray, tmp_path: Path
) -> None:
    found = []
    for order in "<>":
        group = zarr.open_group(tmp_path / "s.ome.zarr", mode="w", zarr_format=2)
        array = group.create_array("0", data=(pixels[-280:, -280:] * 250.0).astype(f"{order}u2"), chunks=(128, 128))
        assert array.dtype.str == f"{order}u2"
        axes = [{"name": name, "type": "space"} for name in "yx"]
        datasets = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1, 1]}]}]
        group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]
        labels, table, _ = run(segmenter, tmp_path / "s.ome.zarr", tmp_path / f"out{len(found)}", 150)
        found.append((labels, table))
    (little, of_little), (big, of_big) = found
    assert little.max() > 20
    np.testing.assert_array_equal(big, little)
    assert of_big.keys() == of_little.keys()
    for name, column in of_little.items():
        np.testing.assert_array_equal(of_big[name], column)


@pytest.mark.parametrize("name", ["s.ome.tif", "s.ome.zarr"])
def test_the_channel_called_dapi_is_segmented_and_all_are_measured(
    segmenter: Segmenter, pixels: np.ndarray, tmp_path: Path, name: str
) -> None:
    nuclei = pixels[-280:, -280:]
    write_channels(tmp_path / name, np.stack([nuclei.T, nuclei, nuclei // 2]), ["CD3", "DAPI", "CD8"])
    whole = segmenter.segment(np.repeat(nuclei[..., None], 3, axis=2))

    labels, table, (summary, warnings) = run(segmenter, tmp_path / name, tmp_path, 150)

    assert len(np.unique(np.stack([whole.ravel(), labels.ravel()]), axis=1).T) == whole.max() + 1 > 20
    assert warnings[0] == "of 3 channels, number 2 is taken, which is called DAPI"
    assert (summary["channels"], summary["pixel_size_um"]) == (3, 0.5)
    first = nuclei[labels == 1]
    assert table["intensity_sum_DAPI"][0] == first.sum()
    assert table["intensity_sum_CD8"][0] == (first // 2).sum()
    assert table["intensity_sum_CD3"][0] == nuclei.T[labels == 1].sum()


@pytest.mark.parametrize("name", ["s.ome.tif", "s.ome.zarr"])
def test_a_channel_and_the_size_of_a_pixel_are_taken_as_asked(tmp_path: Path, name: str) -> None:
    planes = np.random.default_rng(0).integers(0, 255, (4, 40, 50), np.uint8)
    write_channels(tmp_path / name, planes, ["a", "b", "c", "d"])
    for channel in (3, "C"):
        with opened(tmp_path / name, Reading(channel, pixel_size_um=0.2)) as slide:
            assert (slide.nuclear, slide.pixel_size_um, slide.channels) == (2, 0.2, ("a", "b", "c", "d"))
            part = slice(3, 20), slice(10, 50)
            np.testing.assert_array_equal(slide.read(*part, slide.nuclear)[..., 0], planes[2][part])
            np.testing.assert_array_equal(slide.read(*part), np.moveaxis(planes, 0, 2)[part])
    with pytest.raises(InputError, match="not known which one shows nuclei"), opened(tmp_path / name, AS_IT_IS):
        pass
    with pytest.raises(InputError, match="no channel 5"), opened(tmp_path / name, Reading(5)):
        pass


@pytest.mark.parametrize(
    ("values", "axes"), [(np.zeros((4, 32, 32), np.uint8), "ZYX"), (np.zeros((32, 32), np.float32), "YX")]
)
def test_slices_and_other_types_are_refused(tmp_path: Path, values: np.ndarray, axes: str) -> None:
    tifffile.imwrite(tmp_path / "odd.ome.tif", values, photometric="minisblack", metadata={"axes": axes})
    with pytest.raises(InputError, match="not read by blocks"), opened(tmp_path / "odd.ome.tif", AS_IT_IS):
        pass


@settings(max_examples=20, deadline=None)
@given(st.integers(60, 400), st.integers(60, 400), st.integers(20, 200), st.integers(8, 40))
def test_every_nucleus_belongs_to_exactly_one_block(height: int, width: int, block_px: int, overlap_px: int) -> None:
    row, col = np.mgrid[:height, :width]
    labels = np.where((row % 10 < 7) & (col % 10 < 7), row // 10 * 100 + col // 10 + 1, 0)
    found = []
    for block in plan(height, width, block_px, overlap_px):
        part = labels[block.seen]
        _, dense = np.unique(np.append(part.ravel(), 0), return_inverse=True)
        mine = owned(block, dense[:-1].reshape(part.shape), height, width)
        assert mine.cut == 0
        found += np.unique(part[mine.labels > 0]).tolist()
    assert sorted(found) == np.unique(labels[labels > 0]).tolist()
