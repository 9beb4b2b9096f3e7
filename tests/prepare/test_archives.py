"""Archives are read within bounds, and both layouts are told apart."""

from __future__ import annotations

import io
import stat
import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nuclei.base.errors import InputError
from nuclei.prepare.archives import Archive, Sample, samples

HERE = Path("some.zip")


def packed(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def opened(path: Path, *, max_bytes: int = 10**8, max_member_bytes: int = 10**7) -> Archive:
    return Archive(path, max_bytes=max_bytes, max_member_bytes=max_member_bytes)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_are_read_and_those_of_the_system_passed_over(tmp_path: Path, compression: int) -> None:
    hidden = ("__MACOSX/a/._b.png", "a/.DS_Store", ".git/x", "a/Thumbs.db", "empty/")
    members = {"a/b.png": b"1" * 5000, "a/c.png": b"", **dict.fromkeys(hidden, b"")}
    archive = opened(packed(tmp_path / "a.zip", members, compression))
    assert archive.files == ["a/b.png", "a/c.png"]
    assert archive.member("a/b.png").read() == b"1" * 5000
    assert archive.member("a/c.png").read() == b""
    assert str(archive.member("a/b.png")) == f"{tmp_path / 'a.zip'}: a/b.png"


def test_members_are_read_behind_what_lies_before_the_archive_and_without_sizes_in_their_headers(
    tmp_path: Path,
) -> None:
    members = {f"{number}.png": bytes([number]) * 300 * number for number in range(5)}
    stream = io.BytesIO()
    stream.seekable = lambda: False  # type: ignore[method-assign] # zipfile then writes the sizes behind each member
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as written:
        for name, data in members.items():
            with written.open(name, "w", force_zip64=True) as member:
                member.write(data)
    path = tmp_path / "a.zip"
    path.write_bytes(b"#!/bin/sh\nexec unzip\n" + stream.getvalue())
    archive = opened(path)
    assert {name: archive.member(name).read() for name in archive.files} == members


@pytest.mark.parametrize("name", ["/etc/passwd", "../up.png", "a/../../up.png", "a\\..\\up.png", "C:/up.png"])
def test_a_path_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="leads out of it") as caught:
        opened(packed(tmp_path / "a.zip", {name: b""}))
    assert str(caught.value.file).startswith(str(tmp_path / "a.zip"))


@pytest.mark.parametrize("length", [0, 1])
def test_a_file_without_a_name_is_refused(tmp_path: Path, length: int) -> None:
    data = bytearray(packed(tmp_path / "a.zip", {".Q": b"1"}).read_bytes())
    for at in (data.index(b"PK\x03\x04") + 26, data.index(b"PK\x01\x02") + 28):
        struct.pack_into("<HH", data, at, length, 2 - length)  # the rest of the name becomes an extra field
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(InputError, match="it has no name"):
        opened(tmp_path / "a.zip")


def test_links_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        link = zipfile.ZipInfo("a.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(InputError, match="it is a link"):
        opened(tmp_path / "a.zip")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_duplicate_names_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", b"1")
        archive.writestr("a.png", b"2")
    with pytest.raises(InputError, match="twice"):
        opened(tmp_path / "a.zip")


def test_encrypted_members_are_refused(tmp_path: Path) -> None:
    data = bytearray(packed(tmp_path / "a.zip", {"a.png": b"1"}).read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(InputError, match="encrypted"):
        opened(tmp_path / "a.zip")


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressions_that_unpack_without_bound_are_refused(tmp_path: Path, compression: int) -> None:
    with pytest.raises(InputError, match="not stored or deflated"):
        opened(packed(tmp_path / "a.zip", {"a.png": b"1"}, compression))


@pytest.mark.parametrize("content", [b"", b"PK", b"not a zip" * 99, b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_zip_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(InputError, match="not a zip archive"):
        opened(tmp_path / "a.zip")
    with pytest.raises(InputError, match="missing"):
        opened(tmp_path / "absent.zip")


def test_the_bounds_on_sizes_are_exact(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.zip", {"a.png": b"1" * 600, "b.png": b"2" * 400})
    opened(path, max_bytes=1000, max_member_bytes=600)
    with pytest.raises(InputError, match=r"archive is too large[\s\S]*1000 bytes[\s\S]*max_archive_bytes"):
        opened(path, max_bytes=999)
    with pytest.raises(InputError, match="holds 600 bytes"):
        opened(path, max_member_bytes=599)


def with_sizes(path: Path, packed_size: int | None, size: int) -> Path:
    """Make the directory of an archive of one member lie about its sizes."""
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02")
    if packed_size is not None:
        struct.pack_into("<I", data, entry + 20, packed_size)
    struct.pack_into("<I", data, entry + 24, size)
    path.write_bytes(data)
    return path


def test_a_bomb_whose_header_lies_is_stopped_after_what_the_header_says(tmp_path: Path) -> None:
    path = with_sizes(packed(tmp_path / "a.zip", {"a.png": bytes(50_000_000)}), None, 1000)
    member = opened(path).member("a.png")
    tracemalloc.start()
    with pytest.raises(InputError, match="damaged"):
        member.read()
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


def test_a_size_that_no_deflate_can_reach_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="claims that"):
        opened(with_sizes(packed(tmp_path / "a.zip", {"a.png": b"1"}), None, 5_000_000))


def test_a_member_shorter_than_its_header_says_is_damaged(tmp_path: Path) -> None:
    path = with_sizes(packed(tmp_path / "a.zip", {"a.png": b"1"}), None, 900)
    with pytest.raises(InputError, match=r"damaged[\s\S]*a\.zip: a\.png"):
        opened(path).member("a.png").read()


@settings(max_examples=150)
@given(st.data())
def test_a_damaged_archive_ends_in_an_error_or_is_read(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/images/a.png", b"image" * 50)
        archive.writestr("a/masks/1.png", b"mask" * 50)
    damaged = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 5))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "a.zip"
    path.write_bytes(damaged)
    try:
        index = opened(path)
        for sample in samples(index.files, path):
            index.member(sample.image).read()
    except InputError as error:
        assert str(path) in str(error)


@pytest.mark.parametrize("above", ["", "stage1_train/", "a/b/"])
def test_kaggles_layout_is_read_with_or_without_folders_above(above: str) -> None:
    files = [f"{above}{file}" for file in ("x/masks/2.png", "x/images/x.png", "x/masks/1.png", "y/images/y.png")]
    assert samples([*files, "stage1_train_labels.csv"], HERE) == [
        Sample("x", f"{above}x/images/x.png", masks=(f"{above}x/masks/1.png", f"{above}x/masks/2.png")),
        Sample("y", f"{above}y/images/y.png"),
    ]


def test_an_image_of_kaggles_layout_is_named_by_its_folder() -> None:
    files = ["x/images/image.png", "x/masks/1.png", "y/images/image.png", "y/masks/1.png"]
    assert [sample.id for sample in samples(files, HERE)] == ["x", "y"]


@pytest.mark.parametrize("above", ["", "dsb/train/"])
@pytest.mark.parametrize("mask", ["masks/{}.tif", "masks/{}_masks.tif", "images/{}_masks.png", "{}_masks.png"])
def test_label_maps_lie_beside_their_images(above: str, mask: str) -> None:
    image = "{}.png" if mask == "{}_masks.png" else "images/{}.png"
    files = [above + path.format(name) for name in ("b", "a") for path in (image, mask)]
    assert samples(files, HERE) == [
        Sample(name, above + image.format(name), labels=above + mask.format(name)) for name in ("a", "b")
    ]


@pytest.mark.parametrize(("images", "masks"), [("Images", "Masks"), ("IMAGES", "masks"), ("images", "labels")])
def test_folders_may_be_capitalised_and_masks_may_be_called_labels(images: str, masks: str) -> None:
    files = [f"set/{images}/a.png", f"set/{masks}/a.tif", f"set/{images}/b.png", f"set/{masks}/b_masks.tif"]
    assert [(sample.image, sample.labels) for sample in samples(files, HERE)] == [
        (files[0], files[1]),
        (files[2], files[3]),
    ]
    nuclei = [f"x/{images}/x.png", f"x/{masks}/1.png", f"x/{masks}/2.png"]
    assert samples(nuclei, HERE) == [Sample("x", nuclei[0], masks=tuple(nuclei[1:]))]


def test_boxes_under_labels_are_no_part_of_the_data() -> None:
    assert samples(["images/a.png", "labels/a.txt"], HERE) == [Sample("a", "images/a.png")]


def test_names_are_kept_as_the_archive_writes_them() -> None:
    assert samples(["./x//images/x.png"], HERE) == [Sample("x", "./x//images/x.png")]


def test_one_image_with_its_label_map_is_no_kaggle_sample() -> None:
    assert samples(["set/images/a.png", "set/masks/a.tif"], HERE) == [
        Sample("a", "set/images/a.png", labels="set/masks/a.tif")
    ]


def test_images_without_masks_may_lie_anywhere() -> None:
    files = ["b.tif", "deep/er/a.JPG", "c/images/c.png", "notes.txt"]
    assert [(sample.id, sample.annotated) for sample in samples(files, HERE)] == [
        ("a", False),
        ("b", False),
        ("c", False),
    ]


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        (["notes.txt"], "no images"),
        (["images/a.png", "masks/b.png"], "belongs to no image"),
        (["x/masks/1.png", "y/images/y.png"], "belongs to no image"),
        (["x/images/1.png", "x/images/2.png", "x/masks/3.png"], "belongs to no image"),
        (["images/a.png", "masks/a.png", "masks/a_masks.tif"], "two label maps"),
        (["x/images/a.png", "y/images/a.png"], "same name"),
        (["images/a.png", "images/A.png"], "same name"),
        (["images/\u00e9.png", "images/e\u0301.png"], "same name"),
        (["images/a.gif", "images/b.png"], "among the images is none"),
        (["images/a.png", "Masks/a.gif"], "among the masks is none"),
        (["images/a.png", "masks/a.png", "labels/a.png"], "two label maps"),
        (["images/a?.png"], "file name everywhere"),
        (["images/a\n.png"], "file name everywhere"),
        (["images/" + "a" * 300 + ".png"], "file name everywhere"),
    ],
)
def test_a_layout_in_doubt_is_an_error_that_names_the_archive(files: list[str], problem: str) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        samples(files, HERE)
    assert "some.zip" in str(caught.value)
