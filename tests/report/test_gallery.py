"""The choice of the images, and their panels."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nuclei.report import gallery


def table(scores: list[float], part: str = "test", modality: str | list[str] = "tissue") -> pd.DataFrame:
    """Rows of per_image.csv: images a, b, ... with these mAP."""
    ids = [chr(ord("a") + number) for number in range(len(scores))]
    return pd.DataFrame({"id": ids, "part": part, "modality": modality, "map": scores, "dice": scores})


def test_the_worst_the_median_and_the_best_are_ranked_by_map():
    part, chosen = gallery.choose(table([0.9, 0.1, 0.5, 0.4, 0.8, 0.2, 0.6]), 1)
    assert part == "test"
    assert (chosen["worst"], chosen["median"], chosen["best"]) == (["b"], ["c"], ["a"])


def test_equal_scores_are_ranked_by_id():
    chosen = gallery.choose(table([0.5] * 5), 2)[1]
    assert (chosen["worst"], chosen["best"]) == (["a", "b"], ["e", "d"])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.integers(1, 5))
def test_no_image_is_in_two_of_the_three_and_all_are_shown_if_they_are_few(scores, count):
    chosen = gallery.choose(table(scores), count)[1]
    shown = chosen["worst"] + chosen["median"] + chosen["best"]
    assert len(shown) == len(set(shown)) == min(len(scores), 3 * count)


def test_an_image_with_an_undefined_score_is_not_shown():
    chosen = gallery.choose(table([np.nan, 0.5]), 3)[1]
    assert chosen == {"worst": ["b"], "median": [], "best": [], "modalities": ["b"]}


def test_each_modality_is_shown_by_an_image_that_is_not_shown_above():
    rows = table([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], modality=["tissue", "tissue", "brightfield"] * 2)
    chosen = gallery.choose(rows, 1)[1]
    assert chosen["worst"] + chosen["median"] + chosen["best"] == ["a", "c", "f"]
    assert chosen["modalities"] == ["f", "d"]  # both bright-field images are above: one of them again


def test_a_modality_is_represented_by_another_image_if_its_median_is_shown_already():
    chosen = gallery.choose(table([0.1, 0.2, 0.3, 0.4, 0.5]), 1)[1]
    assert chosen["median"] == ["c"]
    assert chosen["modalities"] == ["d"]


def test_val_stands_in_where_no_test_image_has_a_score():
    rows = pd.concat([table([np.nan], "test"), table([0.4, 0.6], "val")])
    assert gallery.choose(rows, 1)[0] == "val"


def load(_: str, side: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    labels = np.zeros((side, side), np.uint16)
    labels[5:15, 5:15], labels[25:30, 25:30] = 1, 2
    gray = np.full((side, side, 3), 40, np.uint8)
    gray[labels > 0] = 200
    return gray, labels, np.where(labels == 1, 1, 0)


@pytest.fixture
def case() -> gallery.Case:
    row = {"id": "x", "part": "test", "modality": "tissue", "nuclei": 2.0, "nuclei_predicted": 1.0}
    return gallery.cases(pd.DataFrame([row]), ["x"], load)[0]


def test_a_case_has_image_truth_prediction_and_errors_of_one_size(case):
    assert [panel.title for panel in case.panels] == ["image", "ground truth", "prediction", "errors"]
    for panel in case.panels:
        assert Image.open(io.BytesIO(panel.layer)).size == (case.width_px, case.height_px) == (480, 480)


def test_the_texts_of_a_case_say_what_its_pictures_show(case):
    alt = [panel.alt for panel in case.panels]
    assert alt[0] == "The tissue image x."
    assert "2 true nuclei" in alt[1]
    assert "1 predicted nuclei" in alt[2]
    assert "1 found, 1 missed, 0 split, 0 merged with others; 0 predicted where none is" in alt[3]


def test_the_first_layer_hides_nothing_and_the_others_only_what_they_draw(case):
    opacity = [np.asarray(Image.open(io.BytesIO(panel.layer)).convert("RGBA"))[..., 3] for panel in case.panels]
    assert not opacity[0].any()
    for layer in opacity[1:]:
        assert layer.max() == 255
        assert (layer == 0).mean() > 0.8


def test_colours_survive_the_palette_of_a_layer(case):
    pixels = np.asarray(Image.open(io.BytesIO(case.panels[3].layer)).convert("RGBA"))
    assert tuple(pixels[60, 60]) == (0x12, 0xC9, 0x94, 255)


def test_a_large_image_is_stored_at_the_size_shown():
    row = {"id": "x", "part": "test", "modality": "tissue", "nuclei": 2.0, "nuclei_predicted": 1.0}
    case = gallery.cases(pd.DataFrame([row]), ["x"], lambda id: load(id, side=700))[0]
    assert Image.open(io.BytesIO(case.image)).size == (512, 512)


def test_a_sheet_shows_every_image_with_its_scores():
    rows = pd.DataFrame({"id": ["x", "y"], "dice": [0.5, np.nan], "map": [0.25, 0.75]})
    picture = gallery.sheet(["x", "y"], rows, load)
    assert picture.shape == (8 + 320 + 2 * 18 + 8, 8 + 2 * 328, 3)
