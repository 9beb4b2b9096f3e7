"""The two layouts of data sets are told apart, and a layout in doubt is an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from nuclei.base.errors import InputError
from nuclei.prepare.layouts import Sample, check_annotated, ignored, samples

HERE = Path("some.zip")


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


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("Images", "Masks"),
        ("IMAGES", "masks"),
        ("images", "labels"),
        ("image", "mask"),
        ("images", "gt"),
        ("img", "Label"),
    ],
)
def test_folders_may_have_other_names_of_the_same_meaning(images: str, masks: str) -> None:
    files = [f"set/{images}/a.png", f"set/{masks}/a.tif", f"set/{images}/b.png", f"set/{masks}/b_masks.tif"]
    assert [(sample.image, sample.labels) for sample in samples(files, HERE)] == [
        (files[0], files[1]),
        (files[2], files[3]),
    ]
    nuclei = [f"x/{images}/x.png", f"x/{masks}/1.png", f"x/{masks}/2.png"]
    assert samples(nuclei, HERE) == [Sample("x", nuclei[0], masks=tuple(nuclei[1:]))]


@pytest.mark.parametrize(
    ("image", "labels"),
    [
        ("a.png", "a_cp_masks.png"),  # Cellpose
        ("a_img.tif", "a_masks.tif"),
        ("images/a.png", "masks/a_mask.png"),
        ("a.tif", "a_labels.tif"),  # this program
        ("imagesTr/a_0000.png", "labelsTr/a.png"),  # nnU-Net
        ("images/day1/a.png", "masks/day1/a.png"),
        ("day1/images/a.png", "day1/masks/a.png"),
        ("a.png", "masks/a.png"),
        ("a/a.png", "a/a_masks.png"),
    ],
)
def test_the_names_that_other_programs_give_are_known(image: str, labels: str) -> None:
    (found,) = samples([image, labels], HERE)
    assert (found.image, found.labels, found.masks) == (image, labels, ())


def test_pictures_of_a_result_and_other_files_are_ignored() -> None:
    others = ["a_cp_output.png", "a_flows.tif", "a_seg.npy", "images/Metadata.xml", "labels/a.txt"]
    files = ["a.png", "a_cp_masks.png", *others]
    assert samples(files, HERE) == [Sample("a", "a.png", labels="a_cp_masks.png")]
    assert ignored(files, samples(files, HERE)) == sorted(others)


def test_images_of_several_folders_with_one_name_are_told_apart_by_the_folders() -> None:
    sides = [f"{part}/{kind}/1.png" for part in ("train", "val") for kind in ("images", "masks")]
    assert [sample.id for sample in samples(sides, HERE)] == ["train_1", "val_1"]
    kaggle = [f"{part}/x/{file}.png" for part in ("train", "val") for file in ("images/x", "masks/1")]
    assert [sample.id for sample in samples(kaggle, HERE)] == ["train_x", "val_x"]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["images/a.png", "outlines/a.png"], r"same name(.|\n)*are those in images/ or outlines/ masks\? Name"),
        (["images/a.png", "masks/0/a.png"], r"belongs to no image(.|\n)*move them up"),
        (["images/a.png", "images/a.tif"], r"same name(.|\n)*rename one"),
        (["images/a.nd2", "b.png", "b.czi"], r"1 files are in a format(.|\n)*images/a\.nd2(.|\n)*export them as TIFF"),
        (["images/a.zarr/0/0", "b.png"], r"format(.|\n)*images/a\.zarr\n"),
    ],
)
def test_a_likely_reason_is_named(files: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        samples(files, HERE)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["images/a.png", "annotations.json"], r"1 of 1 images(.|\n)*annotations\.json(.|\n)*COCO"),
        (["images/a.png", "tissue.geojson"], r"NAME\.geojson beside NAME\.png"),
        (["a.png", "a_seg.npy"], "Cellpose"),
        (["images/a.png", "RoiSet.zip"], r"set of ROIs after its image, NAME_rois\.zip"),
        (["imagesTr/a_0000.png", "imagesTr/a_0001.png", "labelsTr/a.png"], "not as channels"),
        (
            ["images/a.png", "images/b.png", "masks/a.png", "notes.json"],
            "1 of 2(.|\n)*one mask that is all zero",
        ),
    ],
)
def test_images_without_masks_are_an_error_that_names_a_likely_reason(files: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_annotated(samples(files, HERE), files, HERE)


@pytest.mark.parametrize(
    ("image", "outlines"),
    [
        ("a.png", "a_rois.zip"),
        ("a.tif", "a.geojson"),
        ("day1/a.png", "day1/a.roi"),
        ("images/a.png", "masks/a_rois.zip"),
        ("images/a.png", "annotations/a.GeoJSON"),
        ("a/images/a.png", "a/masks/a.geojson"),
        ("a_img.png", "a.geojson"),
    ],
)
def test_outlines_have_the_name_of_their_image_and_lie_where_label_maps_may(image: str, outlines: str) -> None:
    files = [image, outlines, "tissue.geojson", "RoiSet.zip"]
    (found,) = samples(files, HERE)
    assert (found.image, found.annotated, found.outlines) == (image, True, (outlines,))
    assert ignored(files, [found]) == ["RoiSet.zip", "tissue.geojson"]


def test_a_folder_of_images_with_the_results_of_segmenting_them_is_a_data_set() -> None:
    results = ["_labels.tif", "_rois.zip", ".geojson", "_overlay.png"]
    others = ["images.csv", "index.html", "manifest.sqlite", "nuclei.csv"]
    files = [*others, *(f"{name}{ending}" for name in ("a", "b") for ending in (".jpg", *results))]
    found = samples(files, HERE)
    assert found == [
        Sample(name, f"{name}.jpg", labels=f"{name}_labels.tif", outlines=(f"{name}.geojson", f"{name}_rois.zip"))
        for name in ("a", "b")
    ]
    assert ignored(files, found) == ["a_overlay.png", "b_overlay.png", *others]


@pytest.mark.parametrize(
    "files", [["a.tif", "a_labels.tif", "review/a.png", "review/a_labels.tif"], ["day1/a.png", "review/day1/a.png"]]
)
def test_an_image_that_lies_in_the_folder_to_review_too_is_an_error(files: list[str]) -> None:
    with pytest.raises(InputError, match=r"twice(.|\n)*review/.*a\.png(.|\n)*give the folder review/"):
        samples(files, HERE)


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
        (["images/a.gif", "images/b.png"], "format that is not read"),
        (["images/a.png", "Masks/a.gif"], "format that is not read"),
        (["images/a.png", "masks/a.png", "labels/a.png"], "two label maps"),
        (["images/a?.png"], "valid file name"),
        (["images/a\n.png"], "valid file name"),
        (["images/" + "a" * 300 + ".png"], "valid file name"),
    ],
)
def test_a_layout_in_doubt_is_an_error_that_names_the_archive(files: list[str], problem: str) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        samples(files, HERE)
    assert "some.zip" in str(caught.value)
