"""Archives that were cut off, made to lie, or made to lead out of their folder are unpacked right or leave nothing."""

from __future__ import annotations

import io
import shutil
import stat
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from fuzzing import cases, contents, damaged, judge, refused, taken
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import prepare
from nuclei.base.params import Prepare
from nuclei.fetch.packing import check_archive, fingerprint, write_archive
from nuclei.fetch.sources import describe
from nuclei.images.io import read_labels, read_rgb
from nuclei.images.records import image_path, label_path, read_index
from nuclei.prepare.layouts import samples

PARAMS = Prepare(channel=None, max_image_px=10**4, max_archive_bytes=10**6, binary_masks="error")
LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
FIELDS = {  # (offset, form) of what a header says
    LOCAL: [(4, "<H"), (6, "<H"), (8, "<H"), (14, "<I"), (18, "<I"), (22, "<I"), (26, "<H"), (28, "<H")],
    CENTRAL: [(6, "<H"), (8, "<H"), (10, "<H"), (16, "<I"), (20, "<I"), (24, "<I"), (28, "<H"), (30, "<H"), (32, "<H"),
              (34, "<H"), (38, "<I"), (42, "<I")],
    END: [(4, "<H"), (6, "<H"), (8, "<H"), (10, "<H"), (12, "<I"), (16, "<I"), (20, "<H")],
}  # fmt: skip
NUMBERS = st.sampled_from([0, 1, 8, 9, 12, 99, 0xFFFF, 0xFFFFFFFF, 0x7FFFFFFF, 10**6]) | st.integers(0, 400)
BAD_NAMES = ("../up.png", "a/../../up.png", "/up.png", "C:up.png", "a\\..\\up.png", "..", "a/..", "\\\\host\\up.png")
ODD_NAMES = (".", "./", "/", "a/images/.", "a/images/a.png/", "a//images/./z.png", "a/images/a.png\0.txt", ".png",
             "images/.png", "masks/.png", "CON.png", "a/masks/a\n.png", "\x1b[2J.png", "é.png", "名.png", " .png",
             "x" * 300 + ".png", "a" * 65_000, "a/masks/x.gif", "stage1_train.zip", "__MACOSX/x.png", "a/images",
             "A/IMAGES/A.PNG")  # fmt: skip
WRITABLE = st.text(st.characters(exclude_characters="\0"), min_size=1, max_size=12)  # by zipfile
Members = dict[str, bytes]


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def picture(number: int) -> tuple[np.ndarray, np.ndarray]:
    """An image, and the label map of its two nuclei."""
    labels = np.zeros((6, 5 + number), np.uint8)
    labels[:2, :2], labels[4:, 3:] = 1, 2
    return np.random.default_rng(number).integers(0, 256, (*labels.shape, 3), dtype=np.uint8), labels


@st.composite
def data_sets(draw: st.DrawFn) -> Members:
    """Images and masks in one of the two layouts, perhaps with folders above them."""
    above, count = draw(st.sampled_from(["", "set/"])), draw(st.integers(1, 3))
    members: Members = {}
    kaggles = draw(st.booleans())
    for number in range(count):
        id, (rgb, labels) = f"i{number}", picture(number)
        if kaggles:
            members[f"{above}{id}/images/{id}.png"] = png(rgb)
            members |= {f"{above}{id}/masks/{n}.png": png(labels == n) for n in (1, 2)}
        else:
            members |= {f"{above}images/{id}.png": png(rgb), f"{above}masks/{id}.png": png(labels)}
    return members


def packed(members: Members, *more: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", method) as archive:
        warnings.simplefilter("ignore")  # of names that stand twice
        for name, data in [*members.items(), *more]:
            archive.writestr(name, data)
    return file.getvalue()


def unpack(folder: Path, content: bytes, *, read: bool = False) -> Path:
    """What fetch and prepare do with an archive, in an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "raw").mkdir(parents=True)
    (folder / "given.zip").write_bytes(content)
    archive = folder / "raw/stage1_train.zip"
    assert describe(str(folder / "given.zip"), folder)["kind"] == "path"
    check_archive(folder / "given.zip", fix="make it again", read=read)
    write_archive(folder / "given.zip", archive)
    prepare.prepare_labelled(archive, folder / "prepared", PARAMS, workers=1)
    return folder / "prepared"


def tried(kind: str, how: Callable[..., None], folder: Path, content: bytes, *, read: bool = False) -> None:
    """Unpack in a folder of its own, and look for what was left there or elsewhere."""
    work = folder / "work"
    right = (lambda found: whole(found),) if how is not refused else ()
    how(kind, lambda: unpack(work, content, read=read), *right)
    places = {name.split("/")[0] for name in contents(folder)} | {path.name for path in work.iterdir()}
    assert places <= {"work", "given.zip", "raw", "prepared"}
    assert not list(folder.rglob("*.part"))


def whole(folder: Path) -> None:
    """Every image of the index is one that was put in, pixel by pixel, and so is its label map."""
    found = read_index(folder)
    names = {f"images/{record.id}.png" for record in found} | {f"labels/{record.id}.tif" for record in found}
    assert set(contents(folder)) == names | {"index.csv", "annotations.csv"}
    known = [picture(number) for number in range(3)]
    images = [rgb for rgb, _ in known] + [np.repeat(png_as_read(mask)[..., None], 3, 2) for mask in masks_of(known)]
    for record in found:
        rgb = read_rgb(image_path(folder, record.id))
        assert any(np.array_equal(rgb, image) for image in images)
        assert read_labels(label_path(folder, record.id)).max() <= 2


def masks_of(known: list[tuple[np.ndarray, np.ndarray]]) -> list[np.ndarray]:
    return [drawn for _, labels in known for drawn in (labels, labels == 1, labels == 2)]


def png_as_read(mask: np.ndarray) -> np.ndarray:
    return mask.astype(np.uint8) * np.uint8(255 if mask.dtype == np.bool_ else 1)


@cases(30)
@given(members=data_sets(), method=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]), before=st.binary())
def test_a_whole_archive_gives_its_pixels_even_behind_other_bytes(
    tmp_path: Path, members: Members, method: int, before: bytes
) -> None:
    tried("archives", taken, tmp_path, before + packed(members, method=method), read=True)
    for number, record in enumerate(read_index(tmp_path / "work/prepared")):
        rgb, labels = picture(number)
        folder = tmp_path / "work/prepared"
        np.testing.assert_array_equal(read_rgb(image_path(folder, record.id)), rgb)
        np.testing.assert_array_equal(read_labels(label_path(folder, record.id)), labels)


@cases(120)
@given(members=data_sets(), data=st.data(), read=st.booleans())
def test_a_damaged_archive_is_refused_or_gives_its_pixels(
    tmp_path: Path, members: Members, data: st.DataObject, read: bool
) -> None:
    tried("archives", judge, tmp_path, data.draw(damaged(packed(members))), read=read)


@cases(150)
@given(members=data_sets(), data=st.data())
def test_an_archive_whose_headers_lie_is_refused_or_gives_its_pixels(
    tmp_path: Path, members: Members, data: st.DataObject
) -> None:
    content = bytearray(packed(members))
    for _ in range(data.draw(st.integers(1, 3))):
        mark = data.draw(st.sampled_from(list(FIELDS)))
        starts = [at for at in range(len(content) - 21) if content[at : at + 4] == mark]
        offset, form = data.draw(st.sampled_from(FIELDS[mark]))
        number = data.draw(NUMBERS) % 2 ** (8 * struct.calcsize(form))
        if starts:
            struct.pack_into(form, content, data.draw(st.sampled_from(starts)) + offset, number)
    tried("archives with lying headers", judge, tmp_path, bytes(content))


@cases(60)
@given(members=data_sets(), name=st.sampled_from(ODD_NAMES) | WRITABLE, data=st.data())
def test_a_file_of_an_odd_name_is_refused_or_does_no_harm(
    tmp_path: Path, members: Members, name: str, data: st.DataObject
) -> None:
    body = data.draw(st.sampled_from([b"", b"text", *members.values()]))
    try:
        content = packed(members, (name, body))
    except ValueError:  # zipfile can not write it, a lone surrogate for instance
        return
    tried("archives with odd names", judge, tmp_path, content)


@cases(60)
@given(members=data_sets(), data=st.data())
def test_names_in_other_encodings_are_refused_or_do_no_harm(
    tmp_path: Path, members: Members, data: st.DataObject
) -> None:
    content = packed(members, ("i0/masks/QQQQQQ.png", members[next(iter(members))]))
    name = data.draw(
        st.sampled_from(["é名".encode()[:5] + b"x", "ééé".encode("latin-1") * 2, b"\xff" * 6, b"a\0b\x1b[2", b"../../"])
    )
    content = content.replace(b"QQQQQQ", name.ljust(6, b"_")[:6])
    flags = data.draw(st.sampled_from([0, 0x800]))  # UTF-8
    changed = bytearray(content)
    for at in range(len(changed) - 10):
        if changed[at : at + 4] in (LOCAL, CENTRAL):
            struct.pack_into("<H", changed, at + (6 if changed[at : at + 4] == LOCAL else 8), flags)
    tried("archives with odd names", judge, tmp_path, bytes(changed))


@cases(40)
@given(members=data_sets(), data=st.data())
def test_what_leads_out_is_a_link_encrypted_twice_or_too_large_is_refused(
    tmp_path: Path, members: Members, data: st.DataObject
) -> None:
    first = next(iter(members))
    link = zipfile.ZipInfo("link.txt")  # which is passed over where it is none
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    encrypted = bytearray(packed(members))
    encrypted[encrypted.index(CENTRAL) + 8] |= 1
    content = data.draw(
        st.sampled_from([packed(members, (name, b"")) for name in BAD_NAMES])
        | st.sampled_from(
            [
                packed(members, (link, b"/etc/passwd")),
                packed(members, (first, members[first])),
                packed(members, ("bomb.bin", bytes(10**6))),
                packed({}),
                packed({"inner.zip": packed(members)}),
                packed(members, method=zipfile.ZIP_BZIP2),
                packed(members, method=zipfile.ZIP_LZMA),
                bytes(encrypted),
            ]
        )
    )
    tried("archives to be refused", refused, tmp_path, content)


def named(name: str) -> bool:
    """Whether an archive that holds a file of this name is opened at all."""
    path = PurePosixPath(name)
    return bool(path.name) and ".." not in path.parts


@cases(60)
@given(names=st.lists((st.sampled_from(ODD_NAMES) | st.text(max_size=20)).filter(named), max_size=5))
def test_any_names_are_grouped_or_refused(names: list[str]) -> None:
    judge(
        "names of members",
        lambda: samples(names, Path("some.zip")),
        lambda found: all("/" not in sample.id and sample.id not in ("", ".", "..") for sample in found),
    )


@cases(20)
@given(
    names=st.lists(st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=9), max_size=4)
)
def test_a_folder_of_any_names_is_packed_as_it_is_described(tmp_path: Path, names: list[str]) -> None:
    folder = tmp_path / "folder"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in {*names, "a.png"} - {".", ".."}:
        (folder / name).write_bytes(name.encode())
    (tmp_path / "out.zip").unlink(missing_ok=True)
    judge(
        "folders to pack",
        lambda: write_archive(folder, tmp_path / "out.zip"),
        lambda found: found == fingerprint(folder),
    )


@pytest.mark.parametrize("content", [b"", b"PK", END + bytes(18), b"PK\x06\x06" + bytes(60), bytes(100)])
def test_what_is_hardly_an_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    tried("archives to be refused", refused, tmp_path, content)
