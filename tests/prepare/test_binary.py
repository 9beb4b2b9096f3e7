"""Binary masks are told from label maps and, when asked for, read as such."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nuclei.base.errors import InputError
from nuclei.prepare.annotations import from_label_map
from nuclei.prepare.binary import Structure, read_binary

DISCS = [(12, 12, 6), (12, 34, 7), (34, 12, 5), (36, 36, 8)]  # row, column, radius


def drawn() -> np.ndarray:
    """A label map of four discs that do not touch."""
    rows, cols = np.indices((48, 48))
    labels = np.zeros((48, 48), np.uint8)
    for label, (row, col, radius) in enumerate(DISCS, start=1):
        labels[np.hypot(rows - row, cols - col) < radius] = label
    return labels


def encoded(values: np.ndarray, form: str = "PNG", **options: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(values).save(file, form, **options)
    return file.getvalue()


def softened(values: np.ndarray) -> np.ndarray:
    """Enlarged and reduced again with interpolation, as an image editor does."""
    image = Image.fromarray(values)
    return np.asarray(image.resize((72, 72), Image.Resampling.BILINEAR).resize(image.size, Image.Resampling.BILINEAR))


def through_jpeg(values: np.ndarray) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(encoded(values, "JPEG", quality=90))))


def white() -> np.ndarray:
    return (drawn() > 0).astype(np.uint8) * 255


def structure(values: np.ndarray) -> Structure:
    return from_label_map("a.png", values.astype(np.uint16), values.shape).structure


@pytest.mark.parametrize("values", [softened(white()), through_jpeg(white())], ids=["resized", "from a JPEG"])
def test_gray_edges_look_binary(values: np.ndarray) -> None:
    assert structure(values).looks_binary


def test_a_label_map_does_not_look_binary() -> None:
    assert structure(drawn()) == Structure(nuclei=4, divided=0, components=4)
    assert not structure(drawn()).looks_binary


@pytest.mark.parametrize(
    ("nuclei", "divided", "components", "binary"),
    [(1, 1, 5, True), (1, 1, 4, False), (2, 1, 9, False), (3, 2, 9, True), (100, 2, 102, False), (0, 0, 0, False)],
)
def test_most_labels_have_several_components_in_a_binary_mask(
    nuclei: int, divided: int, components: int, binary: bool
) -> None:
    assert Structure(nuclei, divided, components).looks_binary == binary


def test_the_error_says_what_was_found_and_what_to_do() -> None:
    said = str(Structure(1, 1, 22).error("masks/a.png"))
    assert "masks/a.png" in said and "1 label in 22 connected components" in said
    assert "-S prepare.binary_masks=components" in said and "-S prepare.binary_masks=instances" in said


@pytest.mark.parametrize(
    "data",
    [
        encoded((drawn() > 0).astype(np.uint8)),
        encoded(white()),
        encoded(drawn() > 0),
        encoded(white().astype(np.uint16) * 257),
        encoded(np.repeat(white()[..., None], 3, axis=2)),
        encoded(softened(white())),
        encoded(through_jpeg(white())),
        encoded(white(), "JPEG", quality=90),
        encoded(np.repeat(white()[..., None], 3, axis=2), "JPEG", quality=90),
    ],
    ids=["0/1", "0/255", "1 bit", "16 bit", "RGB", "resized", "from a JPEG", "JPEG", "colour JPEG"],
)
def test_a_binary_mask_is_its_nuclei_whatever_its_values(data: bytes) -> None:
    wrong = np.count_nonzero(read_binary(data, name="a", max_px=10**6) != (drawn() > 0))
    assert wrong <= 4  # pixels of 48 x 48 on the edges, of those that were resized


def test_an_empty_mask_is_no_nucleus() -> None:
    assert not read_binary(encoded(np.zeros((4, 5), np.uint8)), name="a", max_px=100).any()


@settings(max_examples=30, deadline=None)
@given(count=st.integers(2, 250), seed=st.integers(0, 99))
def test_a_label_map_is_not_taken_for_a_binary_mask(count: int, seed: int) -> None:
    labels = np.zeros((40, 40), np.uint8)
    labels[:, :20] = 1 + np.random.default_rng(seed).permutation(800).reshape(40, 20) % count
    with pytest.raises(InputError, match=r"not binary(.|\n)*labels\.png(.|\n)*binary_masks=error"):
        read_binary(encoded(labels), name="labels.png", max_px=10**6)


def test_a_mask_whose_background_is_white_is_an_error() -> None:
    with pytest.raises(InputError, match="background"):
        read_binary(encoded(255 - white()), name="a", max_px=10**6)
