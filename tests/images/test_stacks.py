"""Files of several channels, slices and time points: the plane that is read is the one that was written."""

from __future__ import annotations

import argparse
import io
import itertools
import struct
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from nuclei.base.errors import InputError
from nuclei.images.io import read_image
from nuclei.images.stacks import Reading, nuclear_channel, sharpness
from nuclei.segment.opening import Plane, add_reading_options, planes, reading_of

RANDOM = np.random.default_rng(0)
SIZES = {"T": 2, "Z": 3, "C": 2, "Y": 20, "X": 24}
ARRAY = RANDOM.integers(0, 60_000, tuple(SIZES.values()), dtype=np.uint16)  # TZCYX
TWO = ARRAY[0, 0]  # (2, 20, 24)
NAMED = {"axes": "CYX", "Channel": {"Name": ["membrane", "DAPI"]}}


def tiff(values: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, values, **{"photometric": "minisblack", **options})
    return file.getvalue()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.tif"


def read(path: Path, data: bytes, **choices: Any) -> list[Plane]:
    path.write_bytes(data)
    return list(planes(path, Reading(**choices)))


def stored(array: np.ndarray, order: str) -> np.ndarray:
    """TZCYX in another order of axes."""
    return np.ascontiguousarray(array.transpose(["TZCYX".index(axis) for axis in order]))


@settings(max_examples=20)
@given(st.permutations("TZC").map("".join), st.sampled_from([None, "zlib"]), st.booleans(), st.sampled_from(["<", ">"]))
def test_the_order_of_axes_compression_and_layout_do_not_change_the_plane(
    tmp_path_factory: pytest.TempPathFactory, order: str, compression: str | None, bigtiff: bool, byteorder: str
) -> None:
    path = tmp_path_factory.mktemp("order") / "a.ome.tif"
    options = {"compression": compression, "bigtiff": bigtiff, "byteorder": byteorder, "ome": True}
    data = tiff(stored(ARRAY, order + "YX"), metadata={"axes": order + "YX"}, **options)
    found = read(path, data, channel=2, z="each")
    assert [plane.suffix for plane in found] == [f"_t00{t}_z00{z}" for t in (1, 2) for z in (1, 2, 3)]
    for plane, expected in zip(found, ARRAY.reshape(6, 2, 20, 24), strict=True):
        np.testing.assert_array_equal(plane.stored, np.moveaxis(expected, 0, -1))


@pytest.mark.parametrize("order", ["TZCYX", "TZYXC", "YXCZT", "CTZXY", "XYZCT"])
def test_axes_that_tifffile_names_are_read_in_any_order(path: Path, order: str) -> None:
    data = tiff(stored(ARRAY, order), metadata={"axes": order}, planarconfig=None)
    (plane, _) = read(path, data, channel=1, z=2)
    np.testing.assert_array_equal(plane.stored, np.moveaxis(ARRAY[0, 1], 0, -1))


@pytest.mark.parametrize("truncated", [False, True])
def test_a_hyperstack_of_imagej_is_read_also_where_only_its_first_page_is_listed(path: Path, truncated: bool) -> None:
    data = tiff(ARRAY, imagej=True, metadata={"axes": "TZCYX"})
    if truncated:  # as ImageJ writes files above 4 GB
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            first, byteorder = file.pages.first, "big" if file.byteorder == ">" else "little"
            after = first.offset + 2 + 12 * len(first.tags)
        data = data[:after] + (0).to_bytes(4, byteorder) + data[after + 4 :]
    found = read(path, data, channel=2, z=3)
    np.testing.assert_array_equal(found[1].stored, np.moveaxis(ARRAY[1, 2], 0, -1))


@pytest.mark.parametrize("planarconfig", ["contig", "separate"])
def test_samples_that_are_no_colours_are_channels(path: Path, planarconfig: str) -> None:
    values = np.moveaxis(TWO, 0, -1) if planarconfig == "contig" else TWO
    (plane,) = read(path, tiff(values, planarconfig=planarconfig, metadata=None), channel=2)
    np.testing.assert_array_equal(plane.stored, np.moveaxis(TWO, 0, -1))


def test_an_array_with_its_channels_last_is_taken_for_what_it_is_and_that_is_said(path: Path) -> None:
    (plane,) = read(path, tiff(np.moveaxis(TWO, 0, -1)), channel=1)
    np.testing.assert_array_equal(plane.stored, np.moveaxis(TWO, 0, -1))
    assert "an array of 20 x 24 x 2 was taken for 2 channels" in plane.notes


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "f4", "f8"])
def test_channels_of_every_type_keep_their_values(path: Path, dtype: str) -> None:
    values = (TWO // 600).astype(dtype)
    (plane,) = read(path, tiff(values, ome=True, metadata=NAMED))
    assert plane.stored.dtype == dtype
    np.testing.assert_array_equal(plane.stored, np.moveaxis(values, 0, -1))


def test_the_network_sees_the_channel_named_after_a_nuclear_stain_and_all_are_kept(path: Path) -> None:
    (plane,) = read(path, tiff(TWO, ome=True, metadata=NAMED))
    alone = read_image(tiff(TWO[1])).rgb
    np.testing.assert_array_equal(plane.rgb, alone)
    assert plane.channels == ("membrane", "DAPI")
    assert plane.notes == ("of 2 channels, number 2 is taken, which is called DAPI",)
    for choice in ("dapi", 2):
        np.testing.assert_array_equal(read(path, tiff(TWO, ome=True, metadata=NAMED), channel=choice)[0].rgb, alone)
    np.testing.assert_array_equal(read_image(path, channel="membrane").rgb, read_image(tiff(TWO[0])).rgb)


@pytest.mark.parametrize(
    ("channel", "names", "problem"),
    [
        (None, ["a", "b"], "not known which"),
        (None, ["DAPI", "H2B-GFP"], "not known which"),
        (3, ["a", "DAPI"], "no channel 3"),
        (0, ["a", "DAPI"], "no channel 0"),
        ("c", ["a", "DAPI"], "no channel called c"),
        ("a", ["a", "A"], "2 channels called a"),
    ],
)
def test_a_channel_that_is_not_clear_is_an_error_that_lists_them(
    path: Path, channel: int | str | None, names: list[str], problem: str
) -> None:
    data = tiff(TWO, ome=True, metadata={"axes": "CYX", "Channel": {"Name": names}})
    with pytest.raises(InputError, match=rf"{problem}(.|\n)*1 {names[0]}, 2 {names[1]}(.|\n)*prepare.channel"):
        read(path, data, channel=channel)


@pytest.mark.parametrize("name", ["DAPI", "w1DAPI (405)", "Hoechst 33342", "H2B-mCherry", "SYTO13", "DRAQ5", "dna"])
def test_names_of_nuclear_stains_are_known(name: str) -> None:
    assert nuclear_channel(["GFP", name, ""]) == 1


@pytest.mark.parametrize("name", ["", "GFP", "cDNA", "nucleolin", "anti-nuclear pore", "Brightfield"])
def test_names_of_other_things_are_not(name: str) -> None:
    assert nuclear_channel([name]) is None


def test_a_colour_image_is_one_image_unless_a_channel_is_asked_for(path: Path) -> None:
    rgb = (ARRAY[0, :, 0] // 256).astype(np.uint8).transpose(1, 2, 0)
    (plane,) = read(path, tiff(rgb, photometric="rgb"))
    np.testing.assert_array_equal(plane.rgb, rgb)
    (plane,) = read(path, tiff(rgb, photometric="rgb"), channel="blue")
    np.testing.assert_array_equal(plane.rgb, np.repeat(rgb[..., 2:], 3, axis=2))


def test_of_slices_the_maximum_the_sharpest_each_or_one_is_taken(path: Path) -> None:
    stack = np.stack([np.full((20, 24), 7), np.indices((20, 24)).sum(0) % 2 * 90, np.full((20, 24), 40)]).astype(
        np.uint8
    )
    data = tiff(stack, ome=True, metadata={"axes": "ZYX"})
    (highest,) = read(path, data)
    np.testing.assert_array_equal(highest.stored, stack.max(axis=0))
    assert highest.notes == ("of 3 slices (Z), the maximum of each pixel is taken; see --z",)
    np.testing.assert_array_equal(read(path, data, z="best")[0].stored, stack[1])
    np.testing.assert_array_equal(read(path, data, z=3)[0].stored, stack[2])
    assert [plane.suffix for plane in read(path, data, z="each")] == ["_z001", "_z002", "_z003"]
    with pytest.raises(InputError, match=r"no such slice(.|\n)*1 to 3"):
        read(path, data, z=4)


def test_a_blurred_image_is_less_sharp() -> None:
    sharp = np.kron(RANDOM.integers(0, 200, (8, 8)), np.ones((6, 6)))
    assert sharpness(sharp) > sharpness(np.array([np.convolve(row, np.ones(7) / 7, "same") for row in sharp]))


def test_only_the_planes_that_are_asked_for_are_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(tiff(ARRAY, ome=True, metadata={"axes": "TZCYX"}, compression="zlib"))
    decoded: list[int] = []
    asarray = tifffile.TiffPage.asarray

    def counted(page: Any, *arguments: Any, **options: Any) -> np.ndarray:
        decoded.append(page.offset)
        return asarray(page, *arguments, **options)

    monkeypatch.setattr(tifffile.TiffPage, "asarray", counted)
    monkeypatch.setattr(tifffile.TiffFrame, "asarray", counted)
    next(planes(path, Reading(channel=1, z=2)))
    assert len(set(decoded)) == len(decoded) == 2


@pytest.mark.parametrize("choice", [{}, {"channel": 1, "z": "max"}])
def test_pages_of_which_nothing_is_known_are_an_error_until_one_choice_says_what_they_are(
    path: Path, choice: dict[str, Any]
) -> None:
    data = tiff(ARRAY[0, :, 0], metadata=None)
    with pytest.raises(InputError, match=r"not known what(.|\n)*3 pages of 20 x 24(.|\n)*--channel(.|\n)*--z"):
        read(path, data, **choice)
    np.testing.assert_array_equal(read(path, data, z="max")[0].stored, ARRAY[0, :, 0].max(axis=0))
    assert read(path, data, channel=3)[0].stored.shape == (20, 24, 3)


def described(data: bytes, change: tuple[str, str]) -> bytes:
    """The file with its OME-XML changed to a text of the same length or shorter."""
    before, after = (text.encode() for text in change)
    assert data.count(before) and len(after) <= len(before)
    return data.replace(before, after + b" " * (len(before) - len(after)))


@pytest.mark.parametrize(
    "change",
    [
        (' SizeC="2"', ""),
        (' SizeC="2"', ' SizeC="x"'),
        (' SizeC="2"', ' SizeC="9"'),
        (' SizeC="2"', ' SizeC="1"'),
        (' SizeX="24"', ' SizeX="20"'),
        (' DimensionOrder="XYCZT"', ""),
        ("<Pixels ", "<Pixel& "),
        ('PlaneCount="2"', 'PlaneCount="9"'),
        ('IFD="0"', 'IFD="1"'),
        ("<Channel ", "<Chanel "),
    ],
)
def test_a_wrong_description_is_an_error_or_a_note_and_never_another_plane(path: Path, change: tuple[str, str]) -> None:
    data = described(tiff(TWO, ome=True, metadata=NAMED), change)
    try:
        (plane,) = read(path, data, channel=2)
    except InputError:
        return
    assert plane.notes
    np.testing.assert_array_equal(plane.rgb, read_image(tiff(TWO[1])).rgb)


def test_a_description_that_lists_one_page_as_two_channels_is_an_error(path: Path) -> None:
    listed = '<TiffData IFD="0" PlaneCount="2"/>'
    twice = '<TiffData IFD="0"/><TiffData FirstC="1"/>'  # a page without a number is the first
    with tifffile.TiffFile(io.BytesIO(tiff(TWO, ome=True, metadata=NAMED))) as file:
        description = file.pages.first.description
    assert description.count(listed) == 1
    data = tiff(TWO, metadata=None, description=description.replace(listed, twice))
    with pytest.raises(InputError, match=r"damaged(.|\n)*lists one page twice"):
        read(path, data, channel=2)


def test_a_single_page_with_a_damaged_description_is_read_and_that_is_said(path: Path) -> None:
    data = tiff(TWO[0], ome=True)
    for change in ((' SizeC="1"', ""), ("<Pixels ", "<Pixel& ")):
        (plane,) = read(path, described(data, change))
        np.testing.assert_array_equal(plane.stored, TWO[0])
        assert "OME" in plane.notes[0]


@pytest.mark.parametrize("lie", ["channels=3", "channels=1", "channels=7", "channels=0"])
def test_pages_that_a_description_of_imagej_does_not_fit_are_not_known(path: Path, lie: str) -> None:
    data = described(tiff(TWO, imagej=True, metadata={"axes": "CYX"}), ("channels=2", lie))
    with pytest.raises(InputError, match=r"not known what the pages(.|\n)*2 pages"):
        read(path, data)
    np.testing.assert_array_equal(read(path, data, channel=2)[0].rgb, read_image(tiff(TWO[1])).rgb)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"ome": True, "metadata": {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25}}, 0.25),
        ({"ome": True, "metadata": {"PhysicalSizeX": 250, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.25}}, 0.25),
        ({"ome": True, "metadata": {"PhysicalSizeX": 0, "PhysicalSizeY": 0.25}}, None),
        ({"imagej": True, "resolution": (4, 4), "metadata": {"unit": "um"}}, 0.25),
        ({"imagej": True, "resolution": (4, 4), "metadata": {"unit": "\\u00B5m"}}, 0.25),
        ({"imagej": True, "resolution": (72, 72), "metadata": {"unit": "inch"}}, None),
        ({"imagej": True, "resolution": (4, 4)}, None),
        ({"resolution": (40_000, 40_000), "resolutionunit": "CENTIMETER"}, 0.25),
        ({"resolution": (300, 300), "resolutionunit": "INCH"}, None),
        ({"resolution": (4, 4), "resolutionunit": "NONE"}, None),
        ({}, None),
    ],
)
def test_the_size_of_a_pixel_is_taken_where_it_can_be_one_of_a_microscope(
    path: Path, options: dict[str, Any], expected: float | None
) -> None:
    (plane,) = read(path, tiff(TWO[0], **options))
    assert plane.pixel_size_um == (expected if expected is None else pytest.approx(expected))
    assert read(path, path.read_bytes(), pixel_size_um=0.7)[0].pixel_size_um == 0.7


def test_pixels_that_are_not_square_have_no_single_size_and_that_is_said(path: Path) -> None:
    data = tiff(TWO[0], ome=True, metadata={"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5})
    (plane,) = read(path, data)
    assert plane.pixel_size_um is None
    assert "pixels are 0.5 µm high and 0.25 µm wide, not square" in plane.notes[0]


def test_the_full_resolution_of_a_pyramid_is_taken(path: Path) -> None:
    file = io.BytesIO()
    with tifffile.TiffWriter(file, ome=True) as writer:
        options = {"tile": (16, 16), "photometric": "minisblack"}
        writer.write(TWO, subifds=1, metadata=NAMED, **options)
        writer.write(TWO[:, ::2, ::2], subfiletype=1, **options)
    (plane,) = read(path, file.getvalue())
    np.testing.assert_array_equal(plane.stored, np.moveaxis(TWO, 0, -1))


def test_each_field_of_view_is_an_image_with_its_own_names(path: Path) -> None:
    file = io.BytesIO()
    with tifffile.TiffWriter(file, ome=True) as writer:
        writer.write(TWO, photometric="minisblack", metadata=NAMED)
        writer.write(TWO[0, :16, :16], photometric="minisblack", metadata={"axes": "YX"})
    first, second = read(path, file.getvalue())
    assert (first.suffix, second.suffix) == ("_s001", "_s002")
    assert (first.channels, second.channels) == (("membrane", "DAPI"), ())
    np.testing.assert_array_equal(second.stored, TWO[0, :16, :16])
    with pytest.raises(InputError, match="2 fields of view"):
        read_image(path)


@pytest.mark.parametrize(("extension", "module"), [(".nd2", "nd2"), (".czi", "pylibCZIrw.czi"), (".lif", "liffile")])
def test_without_the_package_of_a_format_the_error_names_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extension: str, module: str
) -> None:
    path = tmp_path / f"a{extension}"
    path.write_bytes(b"x")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=rf"{module.split('.')[0]}(.|\n)*requirements-microscopes.txt"):
        next(planes(path))


@pytest.mark.parametrize("extension", [".nd2", ".czi", ".lif"])
def test_a_damaged_file_of_a_microscope_is_one_error(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"a{extension}"
    path.write_bytes(bytes(1000))
    with pytest.raises(InputError, match="damaged"):
        next(planes(path))


def test_a_file_that_the_library_of_zeiss_writes_is_read_plane_by_plane(tmp_path: Path) -> None:
    czi = pytest.importorskip("pylibCZIrw.czi")
    path = tmp_path / "a.czi"
    with czi.create_czi(str(path)) as file:
        for t, z, c in itertools.product(range(2), range(3), range(2)):
            file.write(ARRAY[t, z, c][..., None], plane={"T": t, "Z": z, "C": c})
        file.write_metadata("a", {0: "membrane", 1: "DAPI"}, scale_x=0.25e-6, scale_y=0.25e-6)
    found = list(planes(path, Reading(z="each")))
    assert found[0].channels == ("membrane", "DAPI")
    assert found[0].pixel_size_um == pytest.approx(0.25)
    for plane, expected in zip(found, ARRAY.reshape(6, 2, 20, 24), strict=True):
        np.testing.assert_array_equal(plane.stored, np.moveaxis(expected, 0, -1))


def lif(array: np.ndarray, pixel_m: float) -> bytes:
    """A LIF file with one image (T, Z, C, Y, X) of uint16, written by hand after Leica's description of the format."""
    inc = {"X": 2, "Y": 2 * 24, "C": 2 * 24 * 20, "Z": 2 * 24 * 20 * 2, "T": 2 * 24 * 20 * 2 * 3}
    numbers = {"X": 1, "Y": 2, "Z": 3, "T": 4}
    dimensions = "".join(
        f'<DimensionDescription DimID="{numbers[axis]}" NumberOfElements="{SIZES[axis]}" Origin="0" '
        f'Length="{(SIZES[axis] - 1) * pixel_m}" Unit="m" BitInc="0" BytesInc="{inc[axis]}"/>'
        for axis in "XYZT"
    )
    channels = "".join(
        f'<ChannelDescription DataType="0" ChannelTag="0" Resolution="16" NameOfMeasuredQuantity="" Min="0" Max="1" '
        f'Unit="" LUTName="Gray" IsLUTInverted="0" BytesInc="{channel * inc["C"]}" BitInc="0"/>'
        for channel in range(2)
    )
    xml = (
        '<LMSDataContainerHeader Version="2"><Element Name="all"><Children><Element Name="a"><Data><Image>'
        f"<ImageDescription><Channels>{channels}</Channels><Dimensions>{dimensions}</Dimensions></ImageDescription>"
        f'</Image></Data><Memory Size="{array.nbytes}" MemoryBlockID="M1"/></Element></Children></Element>'
        "</LMSDataContainerHeader>"
    ).encode("utf-16-le")
    name, data = "M1".encode("utf-16-le"), array.tobytes()
    header = struct.pack("<IIBI", 0x70, len(xml) + 5, 0x2A, len(xml) // 2)
    block = struct.pack("<IIBQBI", 0x70, len(name) + 14, 0x2A, len(data), 0x2A, len(name) // 2)
    return header + xml + block + name + data


def test_a_lif_file_is_read_plane_by_plane(tmp_path: Path) -> None:
    pytest.importorskip("liffile")
    path = tmp_path / "a.lif"
    path.write_bytes(lif(ARRAY, 0.25e-6))
    found = list(planes(path, Reading(channel=2, z="each")))
    assert found[0].pixel_size_um == pytest.approx(0.25)
    for plane, expected in zip(found, ARRAY.reshape(6, 2, 20, 24), strict=True):
        np.testing.assert_array_equal(plane.stored, np.moveaxis(expected, 0, -1))


class FakeND2:
    """In place of `nd2.ND2File`, of which there is no writer: two positions, frames in the order of the loops."""

    sizes: ClassVar[dict[str, int]] = {"T": 2, "P": 2, "Z": 3, "C": 2, "Y": 20, "X": 24}
    is_rgb = False
    metadata = SimpleNamespace(channels=[SimpleNamespace(channel=SimpleNamespace(name=name)) for name in ("a", "DAPI")])
    frames = np.stack([ARRAY, ARRAY + 1], axis=1).reshape(12, 2, 20, 24)

    def __init__(self, path: Path) -> None:
        assert path.exists()

    def __enter__(self) -> FakeND2:
        return self

    def __exit__(self, *_: object) -> None: ...

    def voxel_size(self) -> SimpleNamespace:
        return SimpleNamespace(x=0.25, y=0.25)

    def read_frame(self, index: int) -> np.ndarray:
        return self.frames[index]


def test_the_frames_of_an_nd2_file_are_counted_in_the_order_of_its_loops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nd2", SimpleNamespace(ND2File=FakeND2))
    path = tmp_path / "a.nd2"
    path.touch()
    found = {plane.suffix: plane for plane in planes(path, Reading(z=2))}
    assert list(found) == ["_s001_t001", "_s001_t002", "_s002_t001", "_s002_t002"]
    np.testing.assert_array_equal(found["_s002_t002"].stored, np.moveaxis(ARRAY[1, 1] + 1, 0, -1))
    assert (found["_s001_t001"].channels, found["_s001_t001"].pixel_size_um) == (("a", "DAPI"), 0.25)


def test_the_options_of_the_command_line_become_a_reading() -> None:
    parser = argparse.ArgumentParser()
    add_reading_options(parser)
    read_options = parser.parse_args(["--channel", "DAPI", "--z", "best", "--pixel-size", "0.5"])
    assert reading_of(read_options) == Reading("DAPI", "best", 0.5)
    assert reading_of(parser.parse_args(["--channel", "2", "--z", "3"])) == Reading(2, 3)
    assert reading_of(parser.parse_args([])) == Reading()
    for wrong in (["--z", "0"], ["--z", "all"], ["--pixel-size", "0"], ["--pixel-size", "nan"]):
        with pytest.raises(SystemExit):
            parser.parse_args(wrong)
