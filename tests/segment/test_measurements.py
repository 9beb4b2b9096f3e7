"""Measurements of nuclei against scikit-image on the raw values, and against shapes whose measures are known."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.measure import regionprops

from conftest import ROOT
from nuclei.segment.measurements import INTENSITY, channels_of, columns, measure
from nuclei.segment.table import IMAGE_COLUMNS

LABELS = hnp.arrays(np.uint16, (9, 11), elements=st.sampled_from([0, 1, 2, 3, 70]))


def disc(radius: float, row: float = 40.3, col: float = 50.6, shape: tuple[int, int] = (90, 110)) -> np.ndarray:
    rows, cols = np.indices(shape)
    return ((rows - row) ** 2 + (cols - col) ** 2 <= radius**2).astype(np.uint16)


def numbered(values: np.ndarray) -> list[str]:
    return [f"ch{number}" for number in range(1, values.shape[2] + 1)]


def first(labels: np.ndarray, values: np.ndarray | None = None) -> dict[str, float]:
    """The measurements of the first nucleus."""
    values = np.zeros((*labels.shape, 1)) if values is None else values
    return {name: column[0].item() for name, column in measure(labels, values, numbered(values)).items()}


@settings(max_examples=50)
@given(LABELS, st.sampled_from([np.uint8, np.uint16, np.int16, np.uint32, np.float32, np.float64]), st.data())
def test_intensities_are_those_of_the_raw_values_in_every_type(
    labels: np.ndarray, kind: type, data: st.DataObject
) -> None:
    elements = st.floats(-1e6, 1e6, width=32) if np.dtype(kind).kind == "f" else st.integers(0, np.iinfo(kind).max)
    values = data.draw(hnp.arrays(kind, (*labels.shape, 2), elements=elements))
    measured = measure(labels, values, numbered(values))
    assert list(measured) == columns(["ch1", "ch2"])
    nuclei = regionprops(labels, values.astype(np.float64))
    assert measured["label"].tolist() == [nucleus.label for nucleus in nuclei]
    for channel in (1, 2):
        inside = [nucleus.image_intensity[nucleus.image][:, channel - 1] for nucleus in nuclei]
        outside = values[labels == 0][:, channel - 1].astype(np.float64)
        background = np.median(outside) if outside.size else np.nan
        expected = [[v.mean(), v.std(), v.min(), v.max(), v.sum(), background] for v in inside]
        found = np.stack([measured[f"{name}_ch{channel}"] for name in INTENSITY], axis=1)
        scale = max(1.0, float(np.abs(values).max()))
        np.testing.assert_allclose(found, np.reshape(expected, found.shape), rtol=1e-9, atol=1e-7 * scale)


@settings(max_examples=50)
@given(LABELS)
def test_shapes_are_those_of_scikit_image(labels: np.ndarray) -> None:
    measured = measure(labels, np.zeros((*labels.shape, 1)), ["ch1"])
    nuclei = regionprops(labels)
    of_skimage = {
        "area_px": [n.area for n in nuclei],
        "perimeter_px": [n.perimeter_crofton for n in nuclei],
        "major_axis_px": [n.axis_major_length for n in nuclei],
        "minor_axis_px": [n.axis_minor_length for n in nuclei],
        "eccentricity": [n.eccentricity for n in nuclei],
        "solidity": [n.solidity for n in nuclei],
    }
    for name, expected in of_skimage.items():
        np.testing.assert_allclose(measured[name], expected, err_msg=name)
    for index, nucleus in enumerate(nuclei):
        rows, cols = np.nonzero(labels == nucleus.label)
        box = [rows.min(), cols.min(), np.ptp(rows) + 1, np.ptp(cols) + 1]
        assert [measured[f"{side}_px"][index] for side in ("top", "left", "height", "width")] == box
        assert (measured["row_px"][index], measured["col_px"][index]) == pytest.approx((rows.mean(), cols.mean()))
        assert measured["touches_border"][index] == (rows.min() == 0 or rows.max() == 8 or 0 in cols or 10 in cols)


@pytest.mark.parametrize("radius", [8, 15, 30])
def test_a_disc_has_the_measures_of_a_circle(radius: int) -> None:
    found = first(disc(radius))
    assert (found["row_px"], found["col_px"]) == pytest.approx((40.3, 50.6), abs=0.2)
    assert found["area_px"] == pytest.approx(np.pi * radius**2, rel=0.02)
    assert found["perimeter_px"] == pytest.approx(2 * np.pi * radius, rel=0.02)
    assert found["major_axis_px"] == pytest.approx(2 * radius, rel=0.02)
    assert found["minor_axis_px"] == pytest.approx(2 * radius, rel=0.02)
    assert found["eccentricity"] < 0.2
    assert found["solidity"] > 0.94
    assert found["touches_border"] == 0


@pytest.mark.parametrize(
    ("pixels", "angle"),
    [([(5, 5), (5, 9)], 0), ([(5, 5), (9, 5)], 90), ([(9, 5), (5, 9)], 45), ([(5, 5), (9, 9)], 135)],
)
def test_the_angle_of_the_major_axis_is_counted_counter_clockwise_from_horizontal(
    pixels: list[tuple[int, int]], angle: float
) -> None:
    labels = np.zeros((15, 15), np.uint16)
    (top, left), (bottom, right) = pixels
    for step in np.linspace(0, 1, 5):
        labels[round(top + step * (bottom - top)), round(left + step * (right - left))] = 1
    assert first(labels)["angle_deg"] == pytest.approx(angle)


def test_the_nearest_neighbour_is_that_of_the_centroids() -> None:
    labels = np.zeros((20, 30), np.uint16)
    labels[5, 5], labels[5, 9], labels[8, 9] = 1, 2, 3
    assert measure(labels, np.zeros((20, 30, 1)), ["ch1"])["nearest_px"].tolist() == [4, 3, 3]
    assert np.isnan(first(disc(8))["nearest_px"])


@pytest.mark.parametrize("exposure", [1, 2, 4])
def test_intensity_is_proportional_to_the_exposure(exposure: int) -> None:
    labels = disc(15)
    counts = np.where(labels, 1200, 80).astype(np.uint16)[..., None]
    found = first(labels, counts * np.uint16(exposure))
    assert found["intensity_mean_ch1"] == 1200 * exposure
    assert found["background_median_ch1"] == 80 * exposure
    assert found["intensity_sum_ch1"] == 1200 * exposure * labels.sum()


def test_values_that_are_not_finite_do_not_count() -> None:
    labels = np.array([[1, 1, 2, 0, 0]], np.uint16)
    values = np.array([[3, np.nan, np.inf, 5, np.nan]], np.float32)[..., None]
    measured = measure(labels, values, numbered(values))
    np.testing.assert_array_equal(measured["intensity_mean_ch1"], [3, np.nan])
    np.testing.assert_array_equal(measured["intensity_max_ch1"], [3, np.nan])
    np.testing.assert_array_equal(measured["intensity_sum_ch1"], [3, np.nan])
    assert measured["background_median_ch1"].tolist() == [5, 5]
    assert measured["area_px"].tolist() == [2, 1]
    nothing = measure(labels, np.full((1, 5, 1), np.nan), ["ch1"])
    assert np.isnan([nothing[name] for name in columns(["ch1"]) if name.startswith("intensity")]).all()


def test_an_image_without_nuclei_has_empty_columns() -> None:
    measured = measure(np.zeros((5, 6), np.uint16), np.zeros((5, 6, 3), np.uint8), ["a", "b", "c"])
    assert list(measured) == columns(["a", "b", "c"])
    assert {len(column) for column in measured.values()} == {0}


def test_equal_channels_are_one_and_different_ones_stay() -> None:
    gray = np.arange(12, dtype=np.uint8).reshape(3, 4)
    colour = np.stack([gray, gray, gray + 1], axis=2)
    for stored, expected in (
        (gray, gray[..., None]),
        (np.stack([gray] * 3, axis=2), gray[..., None]),
        (colour, colour),
    ):
        values, names = channels_of(stored)
        np.testing.assert_array_equal(values, expected)
        assert names == tuple(numbered(expected))


def test_channels_keep_the_names_of_the_file_and_no_two_have_the_same() -> None:
    stored = np.zeros((2, 2, 4), np.uint8)
    values, names = channels_of(stored, ["DAPI", "", "GFP", "GFP"])
    assert values.shape == stored.shape
    assert names == ("DAPI", "ch2", "GFP_ch3", "GFP_ch4")


def test_lengths_and_areas_in_micrometres_are_those_in_pixels_times_the_size_of_a_pixel() -> None:
    labels = disc(8) + 2 * disc(5, 20, 20)
    values = np.zeros((*labels.shape, 1))
    found = measure(labels, values, ["DAPI"], 0.5)
    assert list(found) == columns(["DAPI"], micrometres=True)
    np.testing.assert_allclose(found["area_um2"], found["area_px"] / 4)
    for name in ("perimeter", "major_axis", "minor_axis", "nearest"):
        np.testing.assert_allclose(found[f"{name}_um"], found[f"{name}_px"] / 2)


@pytest.mark.parametrize(("table", "expected"), [("nuclei.csv", columns(["ch1"])), ("images.csv", IMAGE_COLUMNS[1:])])
def test_the_documentation_lists_the_columns_in_their_order(table: str, expected: list[str]) -> None:
    page = (ROOT / "docs/segment.md").read_text().split(f"## The columns of `{table}`")[1].split("\n## ")[0]
    first_cells = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    assert re.findall(r"`(\w+)`", "".join(first_cells)) == ["image", *expected]
