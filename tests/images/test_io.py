"""Images are read as 8-bit RGB, label maps keep their labels, and damaged files end in one error."""

from __future__ import annotations

import io
import itertools
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from made_up import with_tags
from nuclei.base.errors import InputError
from nuclei.images.io import (
    check_background,
    modality,
    read_image,
    read_labels,
    read_mask,
    read_rgb,
    read_scores,
    write_labels,
    write_rgb,
    write_scores,
)

RANDOM = np.random.default_rng(0)
GRAY = RANDOM.integers(0, 256, (5, 7), dtype=np.uint8)
RGB = RANDOM.integers(0, 256, (5, 7, 3), dtype=np.uint8)
RGBA = RANDOM.integers(1, 256, (5, 7, 4), dtype=np.uint8)


def encoded(pixels: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def saved(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def tiff(pixels: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


def three(gray: np.ndarray) -> np.ndarray:
    return np.repeat(gray[..., None], 3, axis=2)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
@pytest.mark.parametrize(
    ("pixels", "expected"), [(GRAY, three(GRAY)), (RGB, RGB), (RGBA, RGBA[..., :3])], ids=["gray", "rgb", "rgba"]
)
def test_eight_bit_values_are_kept_and_alpha_is_dropped(kind: str, pixels: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_array_equal(read_rgb(encoded(pixels, kind)), expected)


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("pixels", [GRAY, RGB, RGBA], ids=["gray", "rgb", "rgba"])
def test_every_common_compression_of_tiff_is_read(compression: str | None, pixels: np.ndarray) -> None:
    expected = three(pixels) if pixels.ndim == 2 else pixels[..., :3]
    np.testing.assert_array_equal(read_rgb(encoded(pixels, "TIFF", compression=compression)), expected)


def test_a_palette_is_looked_up() -> None:
    image = Image.fromarray(RGB).quantize(16)
    for kind in ("PNG", "TIFF", "BMP"):
        np.testing.assert_array_equal(read_rgb(saved(image, kind)), np.asarray(image.convert("RGB")))


def test_cmyk_becomes_rgb() -> None:
    image = Image.fromarray(RGB).convert("CMYK")
    for kind, tolerance in (("TIFF", 0), ("JPEG", 40)):
        file = io.BytesIO()
        image.save(file, kind, quality=100)
        np.testing.assert_allclose(read_rgb(file.getvalue()), np.asarray(image.convert("RGB")), atol=tolerance)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_an_image_and_its_annotation_are_turned_as_a_viewer_turns_them(kind: str, orientation: int) -> None:
    smooth = np.add.outer(np.arange(20), 3 * np.arange(32)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"tiffinfo": exif} if kind == "TIFF" else {"exif": exif}
    data = encoded(smooth, kind, **options)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    np.testing.assert_allclose(read_rgb(data), three(expected), atol=4 * (kind == "JPEG"))
    if kind != "JPEG":
        np.testing.assert_array_equal(read_labels(data), expected)
        mask = encoded((smooth > 90) * np.uint8(255), kind, **options)
        np.testing.assert_array_equal(read_mask(mask), expected > 90)


@pytest.mark.parametrize("exif", [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"x" * 99])
def test_damaged_exif_is_ignored(exif: bytes) -> None:
    np.testing.assert_array_equal(read_rgb(encoded(GRAY, "PNG", exif=exif)), three(GRAY))


def test_one_bit_becomes_black_and_white_and_labels_0_and_1() -> None:
    bits = GRAY > 127
    for kind in ("PNG", "TIFF", "BMP"):
        np.testing.assert_array_equal(read_rgb(encoded(bits, kind)), three(bits * np.uint8(255)))
        np.testing.assert_array_equal(read_labels(encoded(bits, kind)), bits)


def test_sixteen_bit_and_float_are_rescaled_between_percentiles() -> None:
    ramp = np.arange(1000, dtype=np.uint16).reshape(20, 50) + 300
    for data in (encoded(ramp), tiff(ramp), tiff(ramp.astype(np.float32)), tiff((ramp / 65535).astype(np.float64))):
        found = read_rgb(data)
        assert found.min() == 0 and found.max() == 255
        np.testing.assert_allclose(found[..., 0].ravel(), np.linspace(0, 255, 1000), atol=1.2)


def test_one_hot_pixel_does_not_darken_the_rest() -> None:
    image = np.tile(np.arange(100, 200, dtype=np.uint16), (100, 1))
    image[50, 50] = 65535
    assert np.median(read_rgb(tiff(image))) > 100


def test_the_channels_of_sixteen_bit_colour_are_rescaled_together() -> None:
    image = np.zeros((40, 40, 3), np.uint16)
    image[..., 0], image[..., 1] = np.arange(40) * 1000, np.arange(40) * 500
    for compression in (None, "zlib"):
        found = read_rgb(tiff(image, photometric="rgb", compression=compression))
        np.testing.assert_allclose(found[0, -1], [255, 127, 0], atol=2)


def test_a_constant_image_of_sixteen_bit_becomes_black() -> None:
    assert read_rgb(tiff(np.full((4, 4), 700, np.uint16))).max() == 0


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "packbits", "zstd"])
def test_min_is_white_inverts_an_image_but_neither_its_labels_nor_its_mask(compression: str | None) -> None:
    data = tiff(GRAY, photometric="miniswhite", compression=compression)
    np.testing.assert_array_equal(read_rgb(data), three(255 - GRAY))
    np.testing.assert_array_equal(read_labels(data), GRAY)
    wide = tiff(GRAY.astype(np.uint16) * 257, photometric="miniswhite", compression=compression)
    plain = tiff(GRAY.astype(np.uint16) * 257, photometric="minisblack", compression=compression)
    np.testing.assert_array_equal(read_rgb(wide), 255 - read_rgb(plain))
    nucleus = GRAY > 200
    for mask in (nucleus, nucleus * np.uint8(255)):
        data = tiff(mask, photometric="miniswhite", compression=compression)
        np.testing.assert_array_equal(read_mask(data), nucleus)


def test_an_inverting_look_up_table_inverts_an_image_but_not_its_labels() -> None:
    inverting = np.repeat(np.arange(255, -1, -1, dtype=np.uint8), 3)
    image = Image.fromarray(GRAY, "L")
    image.putpalette(inverting.tobytes())
    for kind in ("PNG", "TIFF", "BMP"):
        data = saved(image, kind)
        np.testing.assert_array_equal(read_rgb(data), three(255 - GRAY))
        np.testing.assert_array_equal(read_labels(data), GRAY)


def test_gray_values_that_a_program_stored_as_a_small_palette_are_looked_up() -> None:
    image = Image.fromarray(np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]], np.uint8), "L")
    for palette, nucleus in (([0, 0, 0, 255, 255, 255], 1), ([255, 255, 255, 0, 0, 0], 8)):
        image.putpalette(palette)
        assert np.count_nonzero(read_labels(saved(image, "PNG")) == 255) == nucleus


def test_the_alpha_channel_is_dropped_only_where_the_file_says_that_it_is_one() -> None:
    two = RANDOM.integers(0, 256, (5, 7, 2), dtype=np.uint8)
    for kind in ("assocalpha", "unassalpha"):
        data = tiff(two, photometric="minisblack", planarconfig="contig", extrasamples=[kind])
        np.testing.assert_array_equal(read_rgb(data), three(two[..., 0]))
        np.testing.assert_array_equal(read_labels(data), two[..., 0])
    for pixels, photometric in ((two, "minisblack"), (RGB, "minisblack"), (RGBA, "minisblack"), (RGBA, "rgb")):
        extra = ["unspecified"] * (pixels.shape[2] - (3 if photometric == "rgb" else 1))
        data = tiff(pixels, photometric=photometric, planarconfig="contig", extrasamples=extra)
        for read in (read_labels, read_mask):
            with pytest.raises(InputError, match=rf"{pixels.shape[2]} channels(.|\n)*fix: +save"):
                read(data)
        with pytest.raises(InputError, match="channels"):
            read_rgb(data)


def test_a_picture_in_the_alpha_channel_is_not_read_as_a_constant_image() -> None:
    pixels = np.dstack([np.zeros((5, 7, 3), np.uint8), GRAY])
    for kind in ("PNG", "TIFF"):
        for read in (read_rgb, read_labels, read_mask):
            with pytest.raises(InputError, match="nothing outside its alpha channel"):
                read(encoded(pixels, kind))


def test_axes_of_length_one_and_reduced_copies_are_ignored() -> None:
    for options in ({}, {"imagej": True}, {"ome": True}, {"metadata": None}):
        np.testing.assert_array_equal(read_rgb(tiff(GRAY[None, None], **options)), three(GRAY))
    np.testing.assert_array_equal(read_rgb(tiff(GRAY[..., None], photometric="minisblack")), three(GRAY))
    for thumbnail, first in itertools.product((GRAY[::2, ::2], GRAY[:2], RGB[:3, :2]), (True, False)):
        file = io.BytesIO()
        with tifffile.TiffWriter(file) as writer:
            for reduced in (first, not first):
                writer.write(thumbnail if reduced else GRAY, subfiletype=int(reduced), metadata=None)
        np.testing.assert_array_equal(read_rgb(file.getvalue()), three(GRAY))


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "zstd"])
@pytest.mark.parametrize(
    ("axes", "options", "got", "fix"),
    [
        ("CYX", {"imagej": True}, "3 channels of 5 x 7", "save the channel"),
        ("ZYX", {"imagej": True}, r"3 slices \(Z\) of 5 x 7", "save each page"),
        ("CYX", {"ome": True}, "3 channels of 5 x 7", "save the channel"),
        ("TYX", {"ome": True}, "3 time points of 5 x 7", "save each page"),
        ("QYX", {}, "3 pages of 5 x 7", "save each page"),
    ],
)
def test_a_stack_is_no_annotation(
    axes: str, options: dict[str, Any], got: str, fix: str, compression: str | None
) -> None:
    if options.get("imagej") and compression:
        options = {"metadata": {"axes": axes}, "ome": axes != "QYX"}
    else:
        options = {**options, "metadata": {"axes": axes}}
    data = tiff(np.moveaxis(RGB, -1, 0), photometric="minisblack", compression=compression, **options)
    for read in (read_labels, read_mask):
        with pytest.raises(InputError, match=rf"single image(.|\n)*{got}(.|\n)*{fix}"):
            read(data)


def test_planes_that_are_marked_as_rgb_are_an_image_whatever_their_compression() -> None:
    wide = np.moveaxis(RANDOM.integers(0, 65536, (20, 30, 3), dtype=np.uint16), -1, 0)
    plain = read_rgb(tiff(np.moveaxis(wide, 0, -1), photometric="rgb"))
    for compression in (None, "lzw", "packbits", "zlib", "zstd"):
        data = tiff(wide, photometric="rgb", planarconfig="separate", compression=compression)
        np.testing.assert_array_equal(read_rgb(data), plain)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1)])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "JPEG"])
def test_the_smallest_images_are_read(shape: tuple[int, int], kind: str) -> None:
    assert read_rgb(encoded(np.full(shape, 7, np.uint8), kind)).shape == (*shape, 3)


def test_a_wrong_extension_does_not_matter_and_the_path_is_named(tmp_path: Path) -> None:
    (tmp_path / "really_png.tif").write_bytes(encoded(GRAY))
    np.testing.assert_array_equal(read_rgb(tmp_path / "really_png.tif"), three(GRAY))
    (tmp_path / "text.png").write_text("not an image")
    with pytest.raises(InputError, match=r"not an image of a format that is read\n  file: .*text\.png"):
        read_rgb(tmp_path / "text.png")
    with pytest.raises(InputError, match=r"missing\n  file: .*absent\.png"):
        read_rgb(tmp_path / "absent.png")


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "BMP"])
def test_a_truncated_file_is_an_error_that_names_it(kind: str) -> None:
    data = encoded(RANDOM.integers(0, 256, (60, 60, 3), dtype=np.uint8), kind)
    for size in (0, 4, 20, len(data) // 2, len(data) - 40):
        with pytest.raises(InputError, match=r"file:\s+x\.img"):
            read_rgb(data[:size], name="x.img")


def test_a_png_with_a_changed_byte_is_an_error() -> None:
    data = bytearray(encoded(RANDOM.integers(0, 256, (60, 60), dtype=np.uint8)))
    data[len(data) // 2] ^= 1
    with pytest.raises(InputError, match="checksum"):
        read_rgb(bytes(data))


def test_a_huge_image_is_refused_by_its_header_before_decoding() -> None:
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    with pytest.raises(InputError, match="too large") as caught:
        read_rgb(b"\x89PNG\r\n\x1a\n" + chunk, max_px=10**8)
    assert "30000 x 30000" in str(caught.value) and "prepare.max_image_px" in str(caught.value)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "BMP"])
def test_the_bound_on_pixels_is_exact(kind: str) -> None:
    data = encoded(GRAY, kind)
    assert read_rgb(data, max_px=35).shape == (5, 7, 3)
    with pytest.raises(InputError, match=r"too large(.|\n)*5 x 7(.|\n)*prepare.max_image_px"):
        read_rgb(data, max_px=34)


def test_values_that_are_not_finite_become_background_and_are_counted() -> None:
    ramp = np.linspace(5, 9, 1000, dtype=np.float32).reshape(20, 50)
    bordered = np.pad(ramp, 3, constant_values=np.nan)
    bordered[0, 0], bordered[0, 1] = np.inf, -np.inf
    found = read_image(tiff(bordered))
    assert found.missing_px == bordered.size - ramp.size
    np.testing.assert_array_equal(found.rgb, np.pad(read_rgb(tiff(ramp)), ((3, 3), (3, 3), (0, 0))))
    with pytest.raises(InputError, match="no finite value"):
        read_rgb(tiff(np.full((2, 2), np.nan, np.float32)))


@pytest.mark.parametrize(
    "data",
    [
        encoded(np.array([[0, 1], [2, 300]], np.uint16)),
        tiff(np.array([[0, 1], [2, 300]], np.int64)),
        tiff(np.array([[0, 1], [2, 300]], np.float32)),
        tiff(np.array([[0, 1], [2, 300]], np.float16)),
        tiff(np.array([[0, 1], [2, 300]], np.uint16), compression="zlib"),
        encoded(np.array([[0, 1], [2, 300]], np.int32), "TIFF", compression="tiff_lzw"),
    ],
    ids=["png16", "int64", "float", "half", "zlib", "lzw"],
)
def test_labels_keep_their_values(data: bytes) -> None:
    labels = read_labels(data)
    assert labels.dtype == np.uint16
    np.testing.assert_array_equal(labels, [[0, 1], [2, 300]])


def test_labels_of_a_palette_image_are_its_indices() -> None:
    image = Image.fromarray(np.array([[0, 1], [2, 3]], np.uint8), "L")
    image.putpalette([9, 9, 9, 200, 0, 0, 0, 200, 0, 0, 0, 200])
    for kind in ("PNG", "TIFF", "BMP"):
        np.testing.assert_array_equal(read_labels(saved(image, kind)), [[0, 1], [2, 3]])


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (tiff(np.array([[0.0, 0.5]], np.float32)), "fractions"),
        (tiff(np.array([[0.0, np.nan]], np.float32)), "NaN"),
        (tiff(np.array([[0, -1]], np.int16)), "out of range"),
        (tiff(np.array([[0, 2**32]], np.int64)), "out of range"),
        (encoded(RGB), "in colour"),
        (encoded(GRAY, "JPEG"), "JPEG"),
    ],
    ids=["fraction", "nan", "negative", "too large", "rgb", "jpeg"],
)
def test_what_is_not_a_label_map_is_refused(data: bytes, problem: str) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        read_labels(data, name="labels.tif")
    assert caught.value.file == "labels.tif"


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 2**32 - 1), min_size=6, max_size=6))
def test_labels_come_back_in_the_smallest_type(tmp_path_factory: pytest.TempPathFactory, values: list[int]) -> None:
    path = tmp_path_factory.mktemp("labels") / "a.tif"
    labels = np.array(values, np.int64).reshape(2, 3)
    write_labels(path, labels)
    found = read_labels(path)
    np.testing.assert_array_equal(found, labels)
    assert found.dtype == (np.uint16 if max(values) < 2**16 else np.uint32)


def test_files_that_are_written_twice_are_equal_and_hold_no_date(tmp_path: Path) -> None:
    labels, scores = np.arange(35, dtype=np.uint16).reshape(5, 7), np.full((5, 7), 65535, np.uint16)
    for folder in ("a", "b"):
        write_labels(tmp_path / folder / "labels.tif", labels)
        write_rgb(tmp_path / folder / "image.png", RGB)
        write_scores(tmp_path / folder / "scores.png", scores)
    for name in ("labels.tif", "image.png", "scores.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    with tifffile.TiffFile(tmp_path / "a" / "labels.tif") as file:
        assert not {"DateTime", "Software", "ImageDescription"} & {tag.name for tag in file.pages.first.tags}
    np.testing.assert_array_equal(read_rgb(tmp_path / "a" / "image.png"), RGB)
    np.testing.assert_array_equal(read_scores(tmp_path / "a" / "scores.png"), scores)


def test_a_score_map_of_another_type_is_refused(tmp_path: Path) -> None:
    write_rgb(tmp_path / "a.png", RGB)
    with pytest.raises(InputError, match="not a score map"):
        read_scores(tmp_path / "a.png")


@pytest.mark.parametrize("high", [1, 255])
def test_masks_of_0_1_or_0_255_or_bool_or_equal_channels_are_equivalent(high: int) -> None:
    nucleus = np.zeros((5, 7), bool)
    nucleus[1:3, 2:6] = True
    gray = nucleus * np.uint8(high)
    opaque = np.dstack([three(gray), np.full((5, 7), 255, np.uint8)])
    for data in (encoded(gray), encoded(nucleus), encoded(three(gray)), encoded(opaque), tiff(gray.astype(np.int16))):
        found = read_mask(data)
        assert found.dtype == np.bool_
        np.testing.assert_array_equal(found, nucleus)
    assert not read_mask(encoded(np.zeros((3, 3), np.uint8))).any()


def test_a_label_map_in_place_of_a_mask_is_refused() -> None:
    with pytest.raises(InputError, match="more than two values") as caught:
        read_mask(encoded(np.array([[0, 1, 2]], np.uint8)), name="m.png")
    assert "3 values from 0 to 2" in str(caught.value) and "masks/NAME" in str(caught.value)
    with pytest.raises(InputError, match="more than two values"):
        read_mask(encoded(np.array([[3, 1, 2]], np.uint8)))
    assert "below half the maximum" in str(caught.value)
    with pytest.raises(InputError, match="in colour"):
        read_mask(encoded(RGB))
    jpegs = encoded(GRAY, "JPEG"), tiff(np.zeros((16, 16), np.uint8), compression="jpeg")
    for read, data in itertools.product((read_mask, read_labels), jpegs):
        with pytest.raises(InputError, match=r"JPEG, which changes values(.|\n)*PNG or TIFF"):
            read(data)


def test_an_annotation_without_a_plausible_background_is_refused() -> None:
    nucleus = np.zeros((20, 30), np.uint8)
    nucleus[5:12, 8:20] = 255
    for wrong, problem in ((255 - nucleus, "nucleus like a background"), (nucleus | 255, "no background")):
        with pytest.raises(InputError, match=f"mask of one nucleus.*{problem}"):
            read_mask(encoded(wrong))
        with pytest.raises(InputError, match=f"label map.*{problem}"):
            check_background(wrong, "labels.tif")
    labels = np.arange(600).reshape(20, 30) // 100 + 1
    with pytest.raises(InputError, match="no background"):
        check_background(labels, "")
    check_background(labels - 1, "")  # a nucleus on each side, one pixel in six background
    check_background(nucleus.T, "")
    large = np.zeros((20, 20), np.uint8)
    large[1:, 1:] = 1  # most of the image, but less than half of the border
    check_background(large[:, :-1] * (np.arange(19) < 18), "")
    assert read_mask(encoded(nucleus)).sum() == 84


def test_a_strip_that_inflates_to_more_than_the_image_is_not_unpacked() -> None:
    bomb = zlib.compress(bytes(100_000_000))
    whole = tiff(np.zeros((10, 10), np.uint16), compression="zlib")
    data = with_tags(whole + bomb, StripOffsets=len(whole), StripByteCounts=len(bomb))
    tracemalloc.start()
    with pytest.raises(InputError, match="damaged"):
        read_rgb(data)
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("compression", [None, "lzw"])
def test_a_tiff_without_some_of_its_strips_is_refused(compression: str | None) -> None:
    whole = tiff(RANDOM.integers(0, 256, (20, 30), dtype=np.uint8), rowsperstrip=20, compression=compression)
    for data in (with_tags(whole, RowsPerStrip=2), with_tags(whole, StripByteCounts=0)):
        with pytest.raises(InputError, match="strips or tiles are missing"):
            read_rgb(data)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_small_image_in_a_huge_tile_is_refused(dtype: type) -> None:
    data = tiff(np.zeros((10, 10), dtype), tile=(16, 16))
    with pytest.raises(InputError, match="tiles of 16384 x 65536"):
        read_rgb(with_tags(data, TileWidth=2**16, TileLength=2**14, Compression=5), max_px=10**8)


@pytest.mark.parametrize("values", [[[-1e308, 1e308]], [[0.0, 5e-324]]])
def test_a_range_beyond_floating_point_is_refused(values: list[list[float]]) -> None:
    with pytest.raises(InputError, match="too large or too small"):
        read_rgb(tiff(np.array(values)))


def test_the_modality_follows_background_and_colour() -> None:
    def flat(*colour: int) -> np.ndarray:
        return np.broadcast_to(np.array(colour, np.uint8), (8, 8, 3)).copy()

    assert modality(flat(5, 5, 5)) == "fluorescence"
    assert modality(flat(0, 0, 60)) == "fluorescence"
    assert modality(flat(228, 228, 228)) == "brightfield"
    assert modality(flat(190, 160, 210)) == "tissue"


SEEDS = [
    encoded(RGB),
    encoded(GRAY.astype(np.uint16)),
    encoded(RGB, "BMP"),
    encoded(RANDOM.integers(0, 256, (30, 30, 3), dtype=np.uint8), "JPEG"),
    encoded(RGB, "TIFF", compression="tiff_lzw"),
    encoded(GRAY > 127, "TIFF", compression="group4"),
    tiff(GRAY.astype(np.uint16), compression="zlib"),
    tiff(GRAY.astype(np.float32), tile=(16, 16)),
]


@settings(max_examples=300)
@given(st.data())
def test_damaged_bytes_end_in_an_image_or_in_one_error(data: st.DataObject) -> None:
    damaged = bytearray(data.draw(st.sampled_from(SEEDS)))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(damaged) - 1))
        damaged[position] = data.draw(st.integers(0, 255))
    del damaged[data.draw(st.integers(len(damaged) // 2, len(damaged))) :]
    for read in (read_rgb, read_labels, read_mask):
        try:
            found = read(bytes(damaged), name="damaged", max_px=10**6)
        except InputError as error:
            assert error.file == "damaged"
        else:
            assert found.shape[0] * found.shape[1] <= 10**6
