"""Archives become images, label maps and tables: the same bytes on any number of cores, or one error and nothing."""

from __future__ import annotations

import csv
import hashlib
import io
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

import prepare
from nuclei.base.errors import InputError
from nuclei.base.params import Prepare
from nuclei.fetch.sample import write_sample
from nuclei.images.io import read_labels, read_rgb
from nuclei.images.records import image_path, label_path, read_index, read_unlabelled
from nuclei.simulate.images import draw

PARAMS = Prepare(channel=None, max_image_px=10**8, max_archive_bytes=10**10, binary_masks="error")
NUCLEUS = np.zeros((20, 30), np.uint8)
NUCLEUS[3:9, 4:12] = 255
OTHER = np.zeros((20, 30), np.uint8)
OTHER[10:15, 8:20] = 255
RANDOM = np.random.default_rng(0)


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def tif(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels)
    return file.getvalue()


def image(seed: int = 0, *, rgba: bool = False) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 90, (20, 30, 4) if rgba else (20, 30), dtype=np.uint8)


def packed(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def run(folder: Path, members: dict[str, bytes], params: Prepare = PARAMS) -> Path:
    prepare.prepare_labelled(packed(folder / "stage1_train.zip", members), folder / "prepared", params, workers=1)
    return folder / "prepared"


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def contents(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_kaggles_layout_becomes_images_label_maps_and_an_index(tmp_path: Path) -> None:
    pixels = image(rgba=True)
    folder = run(
        tmp_path,
        {"a/images/a.png": png(pixels), "a/masks/1.png": png(NUCLEUS), "a/masks/2.png": png(OTHER)},
    )
    (record,) = read_index(folder)
    assert (record.id, record.height, record.width, record.nuclei) == ("a", 20, 30, 2)
    assert (record.modality, record.source) == ("fluorescence", "a/images/a.png")
    assert record.foreground == pytest.approx(108 / 600, abs=1e-6)
    np.testing.assert_array_equal(read_rgb(image_path(folder, "a")), pixels[..., :3])
    np.testing.assert_array_equal(read_labels(label_path(folder, "a")), (NUCLEUS > 0) * 1 + (OTHER > 0) * 2)
    assert (folder / "annotations.csv").read_text() == "id,defect,count,pixels,action\n"


def test_images_and_label_maps_side_by_side_give_the_same(tmp_path: Path) -> None:
    labels = (NUCLEUS > 0) * np.uint16(700) + (OTHER > 0) * np.uint16(900)
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one = run(tmp_path / "one", {"images/a.png": png(image()), "masks/a_masks.tif": tif(labels)})
    members = {"a/images/a.png": png(image()), "a/masks/1.png": png(NUCLEUS), "a/masks/2.png": png(OTHER)}
    two = run(tmp_path / "two", members)
    one_files, two_files = contents(one), contents(two)
    assert one_files.pop("index.csv") != two_files.pop("index.csv")  # the sources differ
    assert one_files == two_files


def test_sixteen_bit_tiff_and_jpeg_are_taken(tmp_path: Path) -> None:
    jpeg = io.BytesIO()
    Image.fromarray(image()).save(jpeg, "JPEG")
    members = {
        "images/a.tif": tif(image().astype(np.uint16) * 257),
        "images/b.jpg": jpeg.getvalue(),
        "masks/a.png": png(NUCLEUS),
        "masks/b.png": png(OTHER.astype(np.uint16) * 200),
    }
    assert [record.nuclei for record in read_index(run(tmp_path, members))] == [1, 1]


def test_defects_are_in_a_table_with_what_was_done(tmp_path: Path) -> None:
    shifted = np.roll(NUCLEUS, 6, axis=1)
    pieces = OTHER.copy()
    pieces[18, 28] = 255
    folder = run(
        tmp_path,
        {
            "a/images/a.png": png(image(1)),
            "a/masks/1.png": png(NUCLEUS),
            "a/masks/2.png": png(shifted),
            "a/masks/3.png": png(np.zeros_like(NUCLEUS)),
            "b/images/b.png": png(image(1)),
            "b/masks/1.png": png(pieces),
            "c/images/c.png": png(image(2)),
            "c/masks/1.png": png(NUCLEUS),
        },
    )
    rows = [(row["id"], row["defect"], row["count"], row["pixels"]) for row in table(folder / "annotations.csv")]
    assert rows == [
        ("a", "empty masks", "1", "0"),
        ("a", "overlapping masks", "1", "12"),
        ("b", "divided nuclei", "1", "1"),
        ("b", "duplicate image", "1", "0"),
    ]
    assert all(row["action"] for row in table(folder / "annotations.csv"))


DOTS = np.zeros((20, 30), np.uint8)
DOTS[2:18:4, 3:27:6] = 255  # sixteen nuclei of one pixel


@pytest.mark.parametrize(
    "members",
    [
        {"a/images/a.png": png(image()), "a/masks/all.png": png(DOTS)},
        {"images/a.png": png(image()), "masks/a.png": png(DOTS)},
    ],
)
def test_a_binary_mask_is_an_error_or_divided_or_kept_as_the_parameter_says(
    tmp_path: Path, members: dict[str, bytes]
) -> None:
    with pytest.raises(InputError, match=r"looks like a binary mask(.|\n)*binary_masks=components"):
        run(tmp_path, members)
    folder = run(tmp_path, members, replace(PARAMS, binary_masks="components"))
    assert [record.nuclei for record in read_index(folder)] == [16]
    assert [(row["defect"], row["count"], row["pixels"]) for row in table(folder / "annotations.csv")] == [
        ("components of binary masks", "16", "16")
    ]
    folder = run(tmp_path, members, replace(PARAMS, binary_masks="instances"))
    assert [record.nuclei for record in read_index(folder)] == [1]
    assert [row["defect"] for row in table(folder / "annotations.csv")] == ["divided nuclei"]


def test_masks_too_sparse_to_look_binary_alone_do_so_together(tmp_path: Path) -> None:
    two = NUCLEUS | OTHER
    members = {f"images/{n}.png": png(image(n)) for n in range(3)} | {f"masks/{n}.png": png(two) for n in range(3)}
    with pytest.raises(InputError, match=r"3 labels in 6 connected components"):
        run(tmp_path, members)
    assert [path.name for path in tmp_path.iterdir()] == ["stage1_train.zip"]


def test_how_the_files_were_read_and_which_were_ignored_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    members = {"imagesTr/a_0000.png": png(image()), "labelsTr/a.png": png(NUCLEUS), "imagesTr/notes.xml": b"x"}
    run(tmp_path, members)
    said = capsys.readouterr().out
    assert "1 with a label map, such as labelsTr/a.png for imagesTr/a_0000.png" in said
    assert "files ignored: 1, such as imagesTr/notes.xml" in said


def test_pixels_without_a_value_are_a_defect(tmp_path: Path) -> None:
    pixels = image().astype(np.float32)
    pixels[0, :3] = np.nan
    folder = run(tmp_path, {"images/a.tif": tif(pixels), "masks/a.png": png(NUCLEUS)})
    assert [(row["defect"], row["pixels"]) for row in table(folder / "annotations.csv")] == [
        ("pixels without a value", "3")
    ]


def test_an_image_without_nuclei_is_marked_by_an_empty_mask(tmp_path: Path) -> None:
    empty = np.zeros_like(NUCLEUS)
    folder = run(
        tmp_path,
        {
            "set/images/a.png": png(image(1)),
            "set/masks/a.png": png(empty),
            "b/images/b.png": png(image(2)),
            "b/masks/1.png": png(empty),
        },
    )
    assert [(record.id, record.nuclei) for record in read_index(folder)] == [("a", 0), ("b", 0)]


GOOD = {"a/images/a.png": png(image()), "a/masks/1.png": png(NUCLEUS)}


@pytest.mark.parametrize(
    ("members", "problem", "named"),
    [
        ({"b/images/b.png": png(image())}, "1 of 2 images have no masks", "b/images/b.png"),
        ({"a/masks/2.png": png(NUCLEUS[:-1])}, "shape of its image", "a/masks/2.png"),
        ({"a/masks/2.png": png(NUCLEUS)[:-20]}, "damaged", "a/masks/2.png"),
        ({"a/masks/2.png": png(NUCLEUS // 2 + OTHER // 3)}, "more than two values", "a/masks/2.png"),
        ({"b/images/b.png": b"", "b/masks/1.png": png(NUCLEUS)}, "empty", "b/images/b.png"),
        ({"b/images/b.png": b"GIF89a", "b/masks/1.png": png(NUCLEUS)}, "not an image", "b/images/b.png"),
        ({"images/b.png": png(image()), "masks/b.tif": tif(NUCLEUS / 2)}, "fractions", "masks/b.tif"),
    ],
    ids=["no masks", "shape", "truncated", "label map", "empty file", "not an image", "fractions"],
)
def test_bad_input_ends_in_one_error_and_leaves_nothing(
    tmp_path: Path, members: dict[str, bytes], problem: str, named: str
) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        run(tmp_path, GOOD | members)
    assert "stage1_train.zip" in str(caught.value) and named in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["stage1_train.zip"]


def test_the_bound_on_an_image_comes_from_the_parameters(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="too large"):
        run(tmp_path, GOOD, replace(PARAMS, max_image_px=599))
    with pytest.raises(InputError, match="archive is too large"):
        run(tmp_path, GOOD, replace(PARAMS, max_image_px=600, max_archive_bytes=100))


def test_the_unlabelled_images_are_read_flat_or_in_kaggles_layout_or_not_at_all(tmp_path: Path) -> None:
    for number, members in enumerate(({"b.png": png(image())}, {"b/images/b.png": png(image())})):
        archive = packed(tmp_path / f"{number}.zip", members)
        prepare.prepare_unlabelled(archive, tmp_path / "unlabelled", PARAMS, workers=1)
        (found,) = read_unlabelled(tmp_path / "unlabelled")
        assert (found.id, found.height, found.width, found.source) == ("b", 20, 30, next(iter(members)))
        assert read_rgb(image_path(tmp_path / "unlabelled", "b")).shape == (20, 30, 3)
    prepare.prepare_unlabelled(tmp_path / "absent.zip", tmp_path / "unlabelled", PARAMS, workers=1)
    assert read_unlabelled(tmp_path / "unlabelled") == []
    assert list((tmp_path / "unlabelled" / "images").iterdir()) == []


def test_the_bytes_do_not_depend_on_the_number_of_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "WORKER_S", 0.01)
    write_sample(tmp_path, images=12, unlabelled=0, seed=3)
    for workers in (1, 2):
        prepare.prepare_labelled(tmp_path / "stage1_train.zip", tmp_path / str(workers), PARAMS, workers)
    assert contents(tmp_path / "1") == contents(tmp_path / "2")
    assert len(contents(tmp_path / "1")) == 26


def test_an_error_in_a_worker_reaches_the_user_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "WORKER_S", 0.01)
    members = {f"{n}/{kind}/{n}.png": png(image()) for n in range(9) for kind in ("images",)}
    members |= {f"{n}/masks/1.png": png(NUCLEUS) for n in range(8)} | {"8/masks/1.png": png(NUCLEUS[:-1])}
    archive = packed(tmp_path / "a.zip", members)
    with pytest.raises(InputError, match="shape of its image") as caught:
        prepare.prepare_labelled(archive, tmp_path / "prepared", PARAMS, workers=2)
    assert caught.value.file == f"{archive}: 8/masks/1.png"
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_the_sample_comes_through_with_every_nucleus(tmp_path: Path) -> None:
    write_sample(tmp_path, images=4, unlabelled=0, seed=1)
    prepare.prepare_labelled(tmp_path / "stage1_train.zip", tmp_path / "prepared", PARAMS, workers=1)
    for number, record in enumerate(read_index(tmp_path / "prepared")):
        rgb, labels = draw(1, number)
        np.testing.assert_array_equal(read_rgb(image_path(tmp_path / "prepared", record.id)), rgb)
        np.testing.assert_array_equal(read_labels(label_path(tmp_path / "prepared", record.id)), labels)
    assert table(tmp_path / "prepared" / "annotations.csv") == []


def test_real_images_come_through_with_every_nucleus_and_overlap(tmp_path: Path, real_data: Path) -> None:
    """Thirty images, among them those whose masks overlap or are in pieces."""
    with_defects = ("0a7d30b2", "1609b1b8", "175dbb36", "547ef286", "72e8c49d", "ef3ef194", "f26f4c2c", "f6863b83")
    with zipfile.ZipFile(real_data) as archive:
        names = archive.namelist()
        ids = sorted({name.split("/")[0] for name in names})
        assert len(ids) == 664 and sum("/masks/" in name for name in names) == 28_986
        chosen = {id for id in ids if id.startswith(with_defects)} | set(ids[::30])
        members = {name: archive.read(name) for name in names if name.split("/")[0] in chosen}
    folder = run(tmp_path, members)
    records = read_index(folder)
    assert sum(record.nuclei for record in records) == sum("/masks/" in name for name in members)
    defects = table(folder / "annotations.csv")
    overlap = [int(row["pixels"]) for row in defects if row["defect"] == "overlapping masks"]
    assert sorted(overlap) == [1, 1, 1, 2, 2, 2]  # the nine pixels that belong to two masks
    assert [row["defect"] for row in defects if "overlap" not in row["defect"]] == ["divided nuclei"] * 2


def test_the_channel_of_an_image_is_chosen_by_its_name_or_by_the_parameter_and_that_is_listed(tmp_path: Path) -> None:
    two = np.stack([image(1), image(2)])
    file = io.BytesIO()
    names = {"axes": "CYX", "Channel": {"Name": ["GFP", "DAPI"]}}
    tifffile.imwrite(file, two, ome=True, photometric="minisblack", metadata=names)
    members = {"images/a.tif": file.getvalue(), "masks/a.tif": tif((NUCLEUS > 0) * np.uint16(1) + (OTHER > 0) * 2)}
    for channel, expected in ((None, two[1]), (1, two[0]), ("gfp", two[0])):
        folder = tmp_path / str(channel)
        folder.mkdir()
        prepared = run(folder, members, replace(PARAMS, channel=channel))
        np.testing.assert_array_equal(read_rgb(image_path(prepared, "a"))[..., 0], expected)
        listed = [row["action"] for row in table(prepared / "annotations.csv")]
        assert listed == (["of 2 channels, number 2 is taken, which is called DAPI"] if channel is None else [])
    with pytest.raises(InputError, match=r"no channel 3(.|\n)*1 GFP, 2 DAPI"):
        run(tmp_path, members, replace(PARAMS, channel=3))
