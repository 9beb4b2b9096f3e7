"""The page of a batch: every number counted again, every name as text, one file, and a size that is bounded."""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_table import segmented

from browser import browse, in_browser
from nuclei.base import citation
from nuclei.base.errors import InputError
from nuclei.images.stacks import Reading
from nuclei.segment import page
from nuclei.segment.batch import Options
from nuclei.segment.manifest import Segmented, check_unchanged, opened
from nuclei.segment.size import Diameter

ODD = "<b>\"x\" & 'y' ü\udce9.tif"
GIVEN_NONE = Options()


class Page(HTMLParser):
    """A page's tags with their attributes, its text, and the rows of its tables."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.rows: list[list[str]] = []
        self.in_cell = False
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.in_cell = True

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.in_cell:
            self.rows[-1][-1] += data

    def handle_endtag(self, tag: str) -> None:
        self.in_cell &= tag not in ("td", "th")

    def all(self, tag: str, name: str) -> list[str]:
        return [attributes.get(name) or "" for found, attributes in self.tags if found == tag and name in attributes]

    def table(self, heading: str) -> list[list[str]]:
        start = next(number for number, row in enumerate(self.rows) if heading in row)
        return [row for row in self.rows[start + 1 :] if len(row) == len(self.rows[start])]


def written(out: Path, *images: Segmented, options: Options = GIVEN_NONE, **failed: InputError) -> Page:
    with opened(out) as manifest:
        for image in images:
            manifest.add(dataclasses.replace(image, thumbnail=image.thumbnail or b"JPEG"))
        page.write_page(manifest, out, failed, "models/nuclei", options)
    return Page(out / page.PAGE)


def scored(name: str, nuclei: int, certainty: float | None) -> Segmented:
    return dataclasses.replace(segmented(name, nuclei), certainty=certainty, seconds=0.5)


def test_the_header_has_the_model_the_options_the_version_and_the_totals_of_all_images(tmp_path: Path) -> None:
    options = Options(Diameter(12.5), Reading("DAPI", pixel_size_um=0.3), ("imagej",))
    found = written(tmp_path, *(scored(f"{n}.tif", n, None) for n in range(4)), options=options)
    said = re.sub(r"\s+", " ", found.text)
    for text in ("images4", "nuclei6", "seconds2.0", "failed0", "models/nuclei", "12.5 px", "DAPI", "0.3 µm", "imagej"):
        assert text in said
    assert f"Nuclei {citation.read(Path(__file__).parents[2] / 'CITATION.cff').version}" in said


def test_the_least_certain_images_come_first_and_those_without_nuclei_last(tmp_path: Path) -> None:
    found = written(tmp_path, scored("a.tif", 1, 0.9), scored("b.tif", 0, None), scored("c.tif", 2, 0.2))
    assert found.all("a", "href")[-3:] == ["c_overlay.png", "a_overlay.png", "b_overlay.png"]
    assert "least certain images come first" in found.text


def test_without_any_score_the_images_are_in_the_order_of_their_names_and_the_page_says_so(tmp_path: Path) -> None:
    found = written(tmp_path, scored("b.tif", 1, None), scored("a.tif", 3, None))
    assert [row[:2] for row in found.table("notes")] == [["a.tif", "3"], ["b.tif", "1"]]
    assert "order of their names" in found.text and "mean score" not in "".join(map(str, found.rows))


def test_a_name_or_note_is_text_and_never_markup_and_its_link_leads_to_the_bytes_of_its_overlay(tmp_path: Path) -> None:
    image = dataclasses.replace(segmented(ODD, 1), notes=("<i>dim</i>",))
    found = written(tmp_path, image, **{"<u>": InputError("no <image>", file="a&b.tif")})
    assert not {"b", "i", "u", "image"} & {tag for tag, _ in found.tags}
    assert ODD.replace("\udce9", "\\udce9") in found.text and "<i>dim</i>" in found.text
    assert unquote_to_bytes(found.all("a", "href")[-1]) == "<b>\"x\" & 'y' ü".encode() + b"\xe9_overlay.png"


def test_the_table_has_pixel_sizes_where_any_is_known_and_sorts_by_them(tmp_path: Path) -> None:
    unknown = segmented("b.tif", 1)
    found = written(tmp_path / "some", segmented("a.tif", 1, um=0.32512), unknown)
    assert "pixel size (µm)" in next(row for row in found.rows if "notes" in row)
    assert [row[5] for row in found.table("notes")] == ["0.325", "\N{EN DASH}"]
    assert {"0.32512"} <= set(found.all("td", "data-v"))
    assert "pixel size" not in written(tmp_path / "none", unknown).text


def test_what_failed_is_listed_with_its_reason_and_fix(tmp_path: Path) -> None:
    error = InputError("the image can not be read", file="bad.tif", fix="save it again")
    assert written(tmp_path, bad=error).table("reason") == [["bad", str(error)]]


def test_the_page_loads_nothing_and_forbids_to(tmp_path: Path) -> None:
    found = written(tmp_path, segmented("a.tif", 1))
    assert found.all("meta", "content")[2].startswith("default-src 'none'; img-src data:")
    assert found.all("script", "src") == []
    assert all(source.startswith("data:") for source in found.all("img", "src"))
    assert [href for href in found.all("link", "href") if href != "data:,"] == []


def test_the_page_is_known_as_ours_until_it_is_changed(tmp_path: Path) -> None:
    written(tmp_path, segmented("a.tif", 1))
    check_unchanged([tmp_path / page.PAGE], tmp_path)
    with (tmp_path / page.PAGE).open("a") as file:
        file.write("mine")
    with pytest.raises(InputError, match="not one that this program wrote"):
        check_unchanged([tmp_path / page.PAGE], tmp_path)


def test_beyond_the_limit_only_the_least_certain_images_are_shown_and_all_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "SHOWN", 3)
    found = written(tmp_path, *(scored(f"{n}.tif", n + 1, 1 - n / 10) for n in range(5)))
    assert [row[0] for row in found.table("notes")] == ["4.tif", "3.tif", "2.tif"]
    assert len(found.all("img", "src")) == 3
    assert "first 3 of 5" in re.sub(r"\s+", " ", found.text) and "15" in found.text


def test_each_image_adds_its_thumbnail_and_at_most_a_kilobyte(tmp_path: Path) -> None:
    sizes = []
    for count in (10, 20):
        images = [dataclasses.replace(scored(f"image {n:03}.tif", 2, 0.5), thumbnail=bytes(3000)) for n in range(count)]
        written(tmp_path / str(count), *images)
        sizes.append((tmp_path / str(count) / page.PAGE).stat().st_size)
    assert 4000 * 10 < sizes[1] - sizes[0] < 5000 * 10


def test_an_image_segmented_by_blocks_has_no_picture_but_counts(tmp_path: Path) -> None:
    large = dataclasses.replace(segmented("slide.tif", 5), nuclei={}, channels=())
    with opened(tmp_path) as manifest:
        manifest.add(large)
        page.write_page(manifest, tmp_path, {}, "m", Options())
    found = Page(tmp_path / page.PAGE)
    assert found.all("img", "src") == [] and "by blocks" in found.text
    assert found.table("notes")[0][:2] == ["slide.tif", "5"]


def test_the_diameters_are_those_of_circles_of_the_same_area(tmp_path: Path) -> None:
    areas_px = [1, 12, 13, 500, 501]
    image = dataclasses.replace(segmented("a.tif", 5), nuclei={"area_px": list(areas_px)})
    with opened(tmp_path) as manifest:
        manifest.add(image)
        totals = page.totals_of(manifest)
    assert totals.diameters == Counter(math.floor(math.sqrt(4 * area / 3.141592653589793)) for area in areas_px)
    assert totals.per_image == {5: 1}


@given(st.dictionaries(st.integers(0, 10**6), st.integers(1, 10**6), min_size=1, max_size=40), st.booleans())
def test_the_bars_of_a_histogram_count_everything_once_in_equal_widths_inside_the_plot(
    counts: dict[int, int], whole: bool
) -> None:
    drawn = page.histogram(counts, whole=whole)
    assert len(drawn.bars) <= page.BARS
    assert len({bar.high - bar.low for bar in drawn.bars}) == 1
    for bar in drawn.bars:
        assert bar.count == sum(count for value, count in counts.items() if bar.low <= value < bar.high)
        assert math.isclose(bar.y + bar.height, page.BOTTOM)
    assert sum(bar.count for bar in drawn.bars) == sum(counts.values())
    assert math.isclose(min(bar.y for bar in drawn.bars), page.TOP)
    assert math.isclose(drawn.bars[-1].x + drawn.bars[-1].width, page.RIGHT) and drawn.bars[0].x == page.LEFT
    assert len(drawn.x_ticks) <= page.X_LABELS and len(drawn.y_ticks) <= page.Y_LABELS + 1


@in_browser
def test_a_click_on_a_heading_sorts_the_table_and_another_reverses_it_with_empty_cells_last(tmp_path: Path) -> None:
    written(tmp_path, scored("a10.tif", 9, 0.5), scored("a9.tif", 10, 0.4), scored("b.tif", 0, None))
    script = """<script>
    const heads = [...document.querySelectorAll("#sortable button")], orders = [];
    for (const title of ["image", "nuclei", "mean score", "mean score"]) {
      const button = heads.find((it) => it.textContent === title);
      button.click();
      const rows = [...document.querySelectorAll("#sortable tbody th")].map((cell) => cell.textContent);
      orders.push([button.parentElement.getAttribute("aria-sort"), ...rows].join(" "));
    }
    document.body.innerHTML = "<p id=orders>" + orders.join("|") + "|" + heads.every((it) => it.tabIndex === 0);
    </script></body>"""
    html = (tmp_path / page.PAGE).read_text(encoding="utf-8").replace("</body>", script)
    (tmp_path / "used.html").write_text(html, encoding="utf-8")
    done = browse(tmp_path / "used.html", tmp_path / "profile", "--dump-dom")
    found = re.search(r'<p id="orders">(.*?)</p>', done.stdout)
    assert found, done.stderr[-2000:]
    assert "CONSOLE" not in done.stderr
    assert found[1].split("|") == [
        "ascending a9.tif a10.tif b.tif",
        "ascending b.tif a10.tif a9.tif",
        "ascending a9.tif a10.tif b.tif",
        "descending a10.tif a9.tif b.tif",
        "true",
    ]


def test_a_batch_without_nuclei_or_images_has_a_page_too(tmp_path: Path) -> None:
    assert "There is none." in written(tmp_path / "empty").text
    assert "There is none." in written(tmp_path / "blank", segmented("a.tif", 0)).text
