"""Which files are segmented, and what is said of the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from nuclei.base.errors import InputError
from nuclei.segment.finding import SHOWN, Found, find_images, read_list


def folder(where: Path, *names: str) -> Path:
    """A folder with empty files of these names, which may lie in subfolders."""
    for name in names:
        (where / name).parent.mkdir(parents=True, exist_ok=True)
        (where / name).touch()
    return where


def names(found: Found) -> list[str]:
    return [image.name for image in found.images]


def test_the_images_of_a_folder_are_found_by_extension_in_any_case(tmp_path: Path) -> None:
    folder(
        tmp_path,
        "b.TIF",
        "a.png",
        "c.JPG",
        "d.jpeg",
        "e.bmp",
        "f.tiff",
        "h.CZI",
        "i.nd2",
        "j.lif",
        "notes.txt",
        "g.csv",
    )
    found = find_images([tmp_path], tmp_path / "out")
    assert names(found) == ["a.png", "b.TIF", "c.JPG", "d.jpeg", "e.bmp", "f.tiff", "h.CZI", "i.nd2", "j.lif"]
    assert found.notes == []


def test_hidden_files_and_those_of_operating_systems_are_ignored(tmp_path: Path) -> None:
    folder(tmp_path, "x.tif", "._x.tif", ".DS_Store", "Thumbs.db", "__MACOSX/x.tif", ".cache/y.tif", ".y.tif.part")
    found = find_images([tmp_path], tmp_path / "out", recursive=True)
    assert (names(found), found.notes) == (["x.tif"], [])


@pytest.mark.parametrize(
    "name",
    ["x_labels.tif", "x_overlay.png", "x_cp_masks.png", "x_seg.npy", "x_seg.tif", "x_flows.tif", "x_masks.PNG"],
)
def test_what_is_named_after_an_image_beside_it_is_not_segmented_and_that_is_said(tmp_path: Path, name: str) -> None:
    folder(tmp_path, "x.tif", name)
    for given in ([tmp_path], [tmp_path / "x.tif", tmp_path / name]):
        found = find_images(given, tmp_path)
        assert names(found) == ["x.tif"]
        assert found.notes == [f"label maps, masks and overlays of images beside them: {name}"]


def test_an_image_named_like_a_mask_is_segmented_where_no_image_lies_beside_it(tmp_path: Path) -> None:
    folder(tmp_path, "b_overlay.png", "c_labels.png", "d/x.tif", "e/x_masks.tif")
    assert names(find_images([tmp_path], tmp_path)) == ["b_overlay.png", "c_labels.png"]
    assert names(find_images([tmp_path / "d", tmp_path / "e"], tmp_path)) == ["x.tif", "x_masks.tif"]


def test_formats_that_are_not_read_are_named_with_what_to_do(tmp_path: Path) -> None:
    folder(tmp_path, "x.tif", "x.oib", "y.vsi", "z.lsm", "a.jp2")
    (note,) = find_images([tmp_path], tmp_path).notes
    assert note.startswith("formats that are not read: a.jp2, x.oib, y.vsi, z.lsm; convert them to TIFF")
    assert names(find_images([tmp_path / "x.oib"], tmp_path)) == ["x.oib"]  # given itself: an error when it is read


def test_subfolders_are_named_and_searched_only_if_asked(tmp_path: Path) -> None:
    folder(tmp_path, "x.tif", "A01/x.tif", "A01/deep/y.png", "masks/x.tif", "out/x_labels.tif")
    found = find_images([tmp_path], tmp_path / "out")
    assert names(found) == ["x.tif"]
    assert found.notes == [
        "folders of annotations: masks",
        "subfolders: A01; add --recursive to segment their images too",
    ]
    found = find_images([tmp_path], tmp_path / "out", recursive=True)
    assert names(found) == ["A01/deep/y.png", "A01/x.tif", "x.tif"]
    assert found.notes == ["folders of annotations: masks"]
    assert found.images[0].results(tmp_path / "out")[0] == tmp_path / "out/A01/deep/y_labels.tif"


def test_ome_zarr_and_links_to_folders_are_named_with_what_to_do_and_label_maps_are_not_taken_for_images(
    tmp_path: Path,
) -> None:
    zarrs = "new.zarr/zarr.json", "s.ome.zarr/.zgroup", "s.ome.zarr/0/x.tif", "sub/t.ome.zarr/.zgroup"
    folder(tmp_path / "mine", "x.tif", "sub/y.tif", "s.ome_labels.ome.zarr/zarr.json", *zarrs)
    folder(tmp_path / "elsewhere", "z.tif")
    (tmp_path / "mine/link").symlink_to(tmp_path / "elsewhere")
    found = find_images([tmp_path / "mine"], tmp_path / "out")
    assert names(found) == ["x.tif"]
    assert found.notes == [
        "folders of annotations: s.ome_labels.ome.zarr",
        "OME-Zarr: new.zarr, s.ome.zarr; give the folder itself to segment it",
        "links to folders: link; they are not followed, give them by name to segment their images too",
        "subfolders: sub; add --recursive to segment their images too",
    ]
    searched = find_images([tmp_path / "mine"], tmp_path / "out", recursive=True)
    assert names(searched) == ["sub/y.tif", "x.tif"]
    assert searched.notes == [
        found.notes[0],
        "OME-Zarr: new.zarr, s.ome.zarr, sub/t.ome.zarr; give the folder itself to segment it",
        found.notes[2],
    ]
    given = [tmp_path / "mine", *(tmp_path / "mine" / name for name in ("new.zarr", "s.ome.zarr", "link"))]
    found = find_images(given, tmp_path / "out")
    assert names(found) == ["new.zarr", "s.ome.zarr", "x.tif", "z.tif"]
    assert [note.split(":")[0] for note in found.notes] == ["folders of annotations", "subfolders"]


def test_of_many_names_the_first_are_listed_and_the_rest_counted(tmp_path: Path) -> None:
    folder(tmp_path, "x.tif", *(f"{number}.oib" for number in range(SHOWN + 3)))
    (note,) = find_images([tmp_path], tmp_path).notes
    assert "4.oib and 3 more; " in note


@pytest.mark.parametrize(
    ("files", "got"),
    [
        ((), "no such files"),
        (("a.txt",), "no such files"),
        (("a.oib",), "a.oib; convert"),
        (("b/a.tif",), "--recursive"),
        (("a.zarr/.zgroup",), "OME-Zarr: a.zarr; give the folder itself"),
    ],
)
def test_a_folder_without_images_is_an_error_that_says_what_is_there(
    tmp_path: Path, files: tuple[str, ...], got: str
) -> None:
    with pytest.raises(InputError, match="there are no images") as caught:
        find_images([folder(tmp_path, *files)], tmp_path / "out")
    assert got in str(caught.value)


@pytest.mark.parametrize("given", [["one", "two"], ["one/a.png", "one/a.tif"]])
def test_two_images_whose_results_would_have_one_name_are_refused(tmp_path: Path, given: list[str]) -> None:
    folder(tmp_path, "one/a.png", "one/a.tif", "two/a.png")
    with pytest.raises(InputError, match="the results of two images would get the same name"):
        find_images([tmp_path / name for name in given], tmp_path / "out")


def test_an_image_given_twice_is_segmented_once(tmp_path: Path) -> None:
    folder(tmp_path, "a.png")
    assert names(find_images([tmp_path, tmp_path / "a.png"], tmp_path / "out")) == ["a.png"]


def test_a_name_too_long_for_its_results_is_refused_at_once(tmp_path: Path) -> None:
    folder(tmp_path, "ü" * 101 + ".png")  # 202 bytes
    with pytest.raises(InputError, match="the name is too long"):
        find_images([tmp_path], tmp_path / "out")


def test_a_path_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such image"):
        find_images([tmp_path / "none.png"], tmp_path)


def test_a_list_has_a_path_in_each_line(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("\ufeffa b.tif\r\n\n  c/d.png \n", encoding="utf-8")
    assert read_list(tmp_path / "list.txt") == [Path("a b.tif"), Path("c/d.png")]


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_list_that_can_not_be_read_is_an_error(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(InputError, match="the list of images can not be read"):
        read_list(tmp_path / "list.txt")
