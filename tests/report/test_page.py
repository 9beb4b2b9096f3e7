"""The page: self-contained, accessible, reproducible, and working in a browser."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

import made_up
from browser import browse, in_browser
from committed import run_here
from nuclei.base import files, params
from nuclei.base.errors import InputError
from nuclei.fetch import sources
from nuclei.report import page
from nuclei.train import provenance


class Elements(HTMLParser):
    """All start tags of a page with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def html(run_folder: Path) -> str:
    return (run_folder / "reports/index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def elements(html: str) -> Elements:
    return Elements(html)


# --- what it holds ----------------------------------------------------------------------------------------------------


def test_the_page_asks_for_nothing_from_outside(html, elements):
    for _, attributes in elements.tags:
        for name in ("src", "srcset", "href", "poster", "data"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")) or value == "run.js", value
    assert not re.search(r"url\((?!data:)|@import|https?://", html)
    policy = [tag["content"] for tag in elements.all("meta") if tag.get("http-equiv")]
    assert policy[0].startswith("default-src 'none'; img-src data:;")


def test_every_picture_has_a_text_and_a_size(elements):
    pictures = elements.all("img")
    assert len(pictures) > 12 + 4 * 9
    for picture in pictures:
        assert len(picture["alt"] or "") > 10
        assert int(picture["width"]) > 0 < int(picture["height"])


def test_every_link_inside_the_page_leads_somewhere(elements):
    ids = {attributes["id"] for _, attributes in elements.tags if "id" in attributes}
    for link in elements.all("a"):
        assert link["href"][1:] in ids


def test_no_two_elements_share_an_id(elements):
    ids = [attributes["id"] for _, attributes in elements.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_every_control_has_a_name(elements):
    assert len(elements.all("label")) == len(elements.all("input")) + len(elements.all("select"))


def test_the_page_says_that_the_sample_is_synthetic(elements):
    assert "These numbers are on synthetic data." in elements.text


def test_the_page_names_the_version_of_the_project(elements):
    version = re.search(r"^version: (\S+)$", (made_up.ROOT / "CITATION.cff").read_text(), re.MULTILINE)[1]
    assert f"Nuclei {version}." in elements.text


def test_the_page_holds_metrics_with_intervals_for_both_parts(html):
    row = re.search(r'<th scope="row">Dice</th>(.*?)</tr>', html, re.DOTALL)[1]
    assert row.count("0.930") == 2
    assert row.count("[0.890, 0.935]") == 2


def test_an_undefined_interval_is_left_out_and_counted(html):
    row = re.search(r'<th scope="row">AJI</th>(.*?)</tr>', html, re.DOTALL)[1]
    assert "[" not in row
    assert "undefined for 7 validation and 7 test images" in row


def test_strata_show_images_groups_undefined_scores_and_intervals_and_hide_empty_columns(html):
    modality, own_size = (
        html.split(f"<h3>By {title}")[1].split("</table>")[0] for title in ("modality", "the area of the nucleus")
    )
    assert '<td class="n">4</td><td class="n">3</td><td class="n">1</td><td class="n">120</td>' in modality
    assert '<td class="n">0.810<span class="interval">[0.790, 0.830]</span></td>' in modality
    assert "merges per 100 nuclei" in modality
    assert ">2.50<span" in modality
    assert '<td class="n">4</td><td class="n">3</td><td class="n">120</td>' in own_size
    assert "merges" not in own_size


def test_the_page_says_what_was_trained_on_what(elements):
    text = " ".join(elements.text.split())
    assert re.search(r"trained for \d+ epochs on 6 images", text)
    assert "scored on 6 validation images" in text
    assert "12 groups of near-duplicate images, each kept within one part" in text
    assert "overlapping masks" in text
    assert re.search(r"train\.learning_rate\s*0\.\d+", elements.text)
    assert re.search(r"torch\s*2\.\d+\.\d+", elements.text)


def test_the_page_contains_no_path_and_no_date(html, run_folder):
    assert str(run_folder) not in html
    assert str(made_up.ROOT) not in html
    assert not re.search(r"\b20[2-9]\d-\d\d-\d\d\b", re.sub(r"base64,[\w+/=]+", "", html))


def test_the_page_has_styles_for_the_dark_the_phone_and_paper(html):
    for query in ("prefers-color-scheme: dark", "max-width: 44rem", "@media print", "prefers-reduced-motion"):
        assert query in html


def render(folder: Path, **changes: object) -> str:
    """The page of a run without figures and gallery, with some facts changed."""
    from nuclei.images import records
    from nuclei.report import tables

    facts = page.Facts(
        version="1.0.0",
        source={"kind": "sample"},
        records=records.read_index(folder / "data/prepared"),
        split=files.read_rows(folder / "data/split.csv", ["id", "part", "group"], ""),
        defects=[],
        versions={},
        params=params.load(folder / "params.yaml"),
        history_sha256="0",
    )
    reports = changes.pop("reports", None) or tables.read(folder / "reports")
    return page.render(reports, [], [], [], dataclasses.replace(facts, **changes))


def test_real_data_is_not_called_synthetic(run_folder):
    html = render(run_folder, source={"kind": "path"})
    assert "synthetic data" not in html


def test_the_fingerprint_of_the_users_data_is_shown(run_folder, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images/a.png").write_bytes(b"a")
    source = sources.describe(str(tmp_path / "images"), tmp_path)
    text = Elements(render(run_folder, source=source)).text
    assert f"stage1_train.zip.sha256: {source['stage1_train.zip']['sha256']}" in text
    assert "stage1_train.zip.files: 1" in text


def test_the_addresses_of_a_download_are_left_out(run_folder):
    assert "broadinstitute.org" not in render(run_folder, source=sources.describe("bbbc038", run_folder))


def test_groups_that_a_list_divides_are_said_to_be_divided(run_folder):
    rows = [("a", "train", "1"), ("b", "val", "1"), ("c", "test", "2"), ("d", "test", "2"), ("e", "val", "3")]
    html = render(run_folder, split=[dict(zip(("id", "part", "group"), row, strict=True)) for row in rows])
    text = " ".join(Elements(html).text.split())
    assert "2 groups of near-duplicate images, 1 of them divided among the parts by the list" in text
    assert "kept within one part" not in text


def test_names_from_the_data_are_text_and_never_markup(run_folder):
    from nuclei.report import tables

    reports = tables.read(run_folder / "reports")
    reports.tables["per_image"].loc[0, "id"] = evil = '"><script>alert(1)</script>'
    html = render(run_folder, reports=reports)
    assert evil not in html
    assert "&lt;script&gt;alert(1)" in html
    assert len(Elements(html).all("script")) == len(Elements(render(run_folder)).all("script"))


@pytest.mark.parametrize("path", ["/home/someone/data/set.zip", "~/data/set.zip", r"C:\Users\someone\data\set.zip"])
def test_of_an_absolute_path_only_the_name_is_shown(run_folder, path):
    run = dataclasses.replace(params.load(run_folder / "params.yaml"), data=path)
    html = render(run_folder, params=run)
    assert "set.zip" in html
    assert path not in html
    assert "someone" not in html


def test_parameters_are_written_as_yaml_writes_them(run_folder):
    rows = dict(re.findall(r"<div><dt>([\w.]+)</dt><dd>(.*?)</dd></div>", render(run_folder)))
    assert rows["seed"] == "0"
    assert rows["train.flips"] == "false"
    assert rows["train.encoder_weights"] == "null"
    assert rows["train.normalise_low"] == "1.0"
    areas = params.load(run_folder / "params.yaml").train.search_min_area_px
    assert rows["train.search_min_area_px"] == ", ".join(map(str, areas))


def test_a_metric_that_this_page_does_not_know_is_shown_by_its_name(run_folder):
    from nuclei.report import tables

    reports = tables.read(run_folder / "reports")
    reports.metrics["test"]["boundary_f1"] = 0.123
    assert re.search(r"boundary_f1</th>.*?0\.123", render(run_folder, reports=reports), re.DOTALL)


def test_the_pins_are_those_of_the_packages_asked_for(tmp_path):
    (tmp_path / "in").write_text("# comment\nnumpy\ntorch==2.1  # why\nopencv<5\n")
    (tmp_path / "txt").write_text(
        "numpy==2.0 \\\n    --hash=x\nopencv==4.1 ; python_version > '3'\ntorch==2.1\nsix==1\n"
    )
    assert page.pins(tmp_path / "in", tmp_path / "txt") == {"numpy": "2.0", "opencv": "4.1", "torch": "2.1"}


def test_a_package_without_a_pin_is_an_error(tmp_path):
    (tmp_path / "in").write_text("numpy\nscipy\n")
    (tmp_path / "txt").write_text("numpy==2.0\n")
    with pytest.raises(InputError, match=r"(?s)packages have no pin.*got: +scipy"):
        page.pins(tmp_path / "in", tmp_path / "txt")


def test_missing_requirements_are_an_error(tmp_path):
    with pytest.raises(InputError, match="a list of requirements is missing"):
        page.pins(tmp_path / "in", tmp_path / "txt")


# --- in a browser -----------------------------------------------------------------------------------------------------

CHECKS = """
<script>
addEventListener("load", () => {
  const $ = (id) => document.getElementById(id), table = $("images"), out = {};
  const heads = [...table.tHead.rows[0].cells].map((cell) => cell.innerText.trim());
  const column = (name) => heads.indexOf(name);
  const values = (name) => [...table.tBodies[0].rows].filter((row) => !row.hidden)
    .map((row) => row.cells[column(name)].dataset.v);
  const click = (name) => table.tHead.rows[0].cells[column(name)].querySelector("button").click();
  const set = (id, value) => { $(id).value = value; $(id).dispatchEvent(new Event("input", { bubbles: true })); };
  const state = () => [...table.tHead.rows[0].cells].map((cell) => cell.ariaSort);
  out.heads = heads;
  out.first = values("mAP");
  click("Dice"); out.up = values("Dice"); out.upState = state()[column("Dice")];
  click("Dice"); out.down = values("Dice"); out.downState = state()[column("Dice")];
  out.sorted = state().filter(Boolean).length;
  click("image"); out.names = values("image");
  set("part", "val"); out.val = values("part"); out.said = $("shown").textContent;
  set("modality", "tissue"); out.tissue = values("modality"); out.tissueParts = values("part");
  $("reset").click(); out.all = values("part").length;
  set("text", " IMAGE0001 "); out.text = values("image");
  $("reset").click(); set("below", "0.9"); out.below = values("Dice");
  set("text", "nothing like it"); out.none = values("image").length; out.saidNone = $("shown").textContent;
  $("reset").click();
  const button = table.tHead.querySelector("button"); button.focus();
  out.focused = document.activeElement === button;
  $("plain").click(); out.plain = $("plain").getAttribute("aria-pressed");
  out.hidden = getComputedStyle(document.querySelector(".panel img")).objectPosition;
  $("plain").click(); $("large").click();
  out.columns = getComputedStyle(document.querySelector(".panels")).gridTemplateColumns.split(" ").length;
  out.broken = [...document.images].filter((image) => !image.complete || !image.naturalWidth).length;
  out.background = getComputedStyle(document.querySelector(".panel img")).backgroundImage.slice(0, 15);
  out.wide = document.documentElement.scrollWidth - innerWidth;
  const result = document.createElement("pre"); result.id = "result"; result.textContent = JSON.stringify(out);
  document.body.append(result);
});
</script></body>
"""


def write_run(folder: Path, history_sha256: str, **changes: object) -> None:
    """A run.js as training writes it."""
    facts = {
        "history_sha256": history_sha256, "started": "2031-02-03T04:05:06Z", "seconds": 3000.4, "resumed": False,
        "revision": "0123456789abcdef", "changed": True, "platform": "Linux x86_64", "cpu": "Some <b>CPU</b>",
        "cores": 2, "threads": 2, "device": "cpu", "versions": {"torch": "2.15.0+cpu"},
        "promise": "the same bits", "weights_sha256": "77aa", "precision": "32-true",
    }  # fmt: skip
    text = json.dumps({**facts, **changes}).replace("<", "\\u003c")
    (folder / "run.js").write_text(f"window.{provenance.VARIABLE} = {text};\n")


def shown(html: str, folder: Path) -> Elements:
    """The page after its scripts have run, in a folder that may hold a run.js."""
    (folder / "index.html").write_text(html, encoding="utf-8")
    return Elements(browse(folder / "index.html", folder / "profile", "--dump-dom").stdout)


@pytest.fixture(scope="module")
def checked(html: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What the table, the filters and the buttons did when used; and what the browser's console said."""
    folder = tmp_path_factory.mktemp("browser")
    (folder / "page.html").write_text(html.replace("</body>", CHECKS), encoding="utf-8")
    write_run(folder, "of another training")
    done = browse(folder / "page.html", folder / "profile", "--dump-dom", "--window-size=1280,900")
    result = re.search(r'<pre id="result">(.*?)</pre>', done.stdout, re.DOTALL)
    assert result, done.stderr[-2000:]
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return {**json.loads(result[1].replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&")), "console": console}


@in_browser
def test_the_page_shows_when_and_where_the_model_was_trained(html, run_folder, tmp_path):
    history = hashlib.sha256((run_folder / "reports/history.csv").read_bytes()).hexdigest()
    write_run(tmp_path, history)
    page = shown(html, tmp_path)
    said = (
        "Trained on 2031-02-03 at 04:05 UTC, from revision 012345678 with uncommitted changes, in 50 min, on Some <b>"
    )
    assert said in page.text
    assert "Training it again gives the same bits." in page.text
    assert "2.15.0+cpu" in page.text
    assert "77aa" in page.text
    assert not page.all("b")
    assert "is not known" not in page.text
    write_run(tmp_path, history, revision=None, changed=None, seconds=90, resumed=True, device="H100")
    said = "04:05 UTC, outside git, in 90 s after an interruption, on H100, with Some"
    assert said in shown(html, tmp_path).text


@in_browser
def test_a_run_js_of_another_training_is_not_shown(html, tmp_path):
    write_run(tmp_path, "0" * 64)
    page = shown(html, tmp_path)
    assert "is not known" in page.text
    assert "2031" not in page.text


@in_browser
def test_the_page_works_without_run_js(html, tmp_path):
    page = shown(html, tmp_path)
    assert "is not known" in page.text
    assert "of 18 images" in page.text


def test_the_page_does_not_depend_on_run_js(html, run_folder, tmp_path):
    shutil.copytree(run_folder, tmp_path / "run")
    write_run(tmp_path / "run/reports", "0" * 64)
    (tmp_path / "run/reports/index.html").unlink()
    assert run_here("page", tmp_path / "run").returncode == 0
    assert (tmp_path / "run/reports/index.html").read_text(encoding="utf-8") == html


def defined(values: list[str]) -> list[float]:
    return [float(value) for value in values if value != "nan"]


@in_browser
def test_the_page_loads_every_picture_and_logs_nothing_to_the_console(checked):
    assert checked["console"] == []
    assert checked["broken"] == 0
    assert checked["background"] == 'url("data:image'


@in_browser
def test_the_table_starts_with_the_worst_image(checked):
    assert defined(checked["first"]) == sorted(defined(checked["first"]))


@in_browser
def test_a_click_sorts_and_another_reverses_with_undefined_scores_last_both_times(checked):
    assert defined(checked["up"]) == sorted(defined(checked["up"]))
    assert defined(checked["down"]) == sorted(defined(checked["down"]), reverse=True)
    assert (checked["upState"], checked["downState"], checked["sorted"]) == ("ascending", "descending", 1)
    assert checked["up"].count("nan") > 0
    for order in (checked["up"], checked["down"]):
        assert order[len(defined(order)) :] == ["nan"] * order.count("nan")


@in_browser
def test_names_are_sorted_as_text(checked):
    assert checked["names"] == sorted(checked["names"])


@in_browser
def test_filters_narrow_together_and_say_how_many_are_left(checked):
    assert set(checked["val"]) == {"val"}
    assert checked["said"] == f"{len(checked['val'])} of {checked['all']} images"
    assert set(checked["tissue"]) == {"tissue"}
    assert set(checked["tissueParts"]) == {"val"}
    assert checked["text"] == ["image0001"]
    assert checked["below"] == [value for value in checked["below"] if float(value) < 0.9] != []
    assert (checked["none"], checked["saidNone"]) == (0, f"0 of {checked['all']} images")


@in_browser
def test_column_headings_can_be_focused_from_the_keyboard(checked):
    assert checked["focused"] is True


@in_browser
def test_overlays_can_be_hidden_and_images_enlarged(checked):
    assert checked["plain"] == "true"
    assert checked["hidden"].startswith("-")
    assert checked["columns"] == 2


@in_browser
def test_the_page_is_no_wider_than_the_window(checked):
    assert checked["wide"] <= 0


@in_browser
def test_the_page_is_no_wider_than_a_phone(run_folder, tmp_path):
    address = (run_folder / "reports/index.html").resolve().as_uri()  # in a frame: a window can not be so narrow
    frame = f'<iframe src="{address}" style="width:390px;height:800px"></iframe>'
    probe = "onload = () => { const page = frames[0].document.documentElement;"
    probe += " document.body.append(`over by ${page.scrollWidth - page.clientWidth}`); }"
    (tmp_path / "phone.html").write_text(f"{frame}<script>{probe}</script>", encoding="utf-8")
    done = browse(tmp_path / "phone.html", tmp_path / "profile", "--dump-dom", "--allow-file-access-from-files")
    assert "over by 0" in done.stdout, done.stdout[-300:]
