"""The report: everything stored is on the page, everything on the page is escaped, nothing is loaded from elsewhere."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import xarray as xr
from PIL import Image

import brainlens
from brainlens.report import score_rows, write_report

VOID = {"meta", "rect", "line", "br", "img"}


class Balanced(HTMLParser):
    """Collects visible text and tags, and fails on a tag that is not closed in turn."""

    def __init__(self):
        super().__init__()
        self.open, self.text, self.seen, self.broken = [], [], [], False

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        self.broken = tag == "wbr"
        if self.broken:
            return
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        # A name that may be broken is one text.
        if self.broken:
            self.text[-1] += data
        else:
            self.text.append(data)
        self.broken = False


def parsed(page):
    reader = Balanced()
    reader.feed(page.read_text("utf-8"))
    assert reader.open == []
    return reader


@pytest.fixture
def registry(tmp_path):
    registry = brainlens.open(tmp_path / "study.zarr")
    rng = np.random.default_rng(0)
    response = xr.Dataset(
        {
            "response": (("trial", "voxel"), rng.standard_normal((6, 4))),
            "roi_mask": (("roi", "voxel"), np.eye(2, 4) > 0),
        },
        {"trial": range(6), "voxel": range(4), "roi": ["V1", "V2"], "stimulus_id": ("trial", list("abcdef"))},
        {"subject": "s<1>", "units": "z"},
    )
    registry.put("s1/response", response, schema="response")
    values = {"score": [0.75, 3.0], "chance": [0.1, 5.5], "n": [80, 80], "ci_low": [0.6, 2.0], "ci_high": [0.9, 4.0]}
    scores = xr.Dataset({name: ("metric", each) for name, each in values.items()}, {"metric": ["top_1", "<median>"]})
    registry.put("s1/score", scores, schema="score")
    return registry


def test_scores_stand_beside_chance_interval_and_count(registry, tmp_path):
    text = " ".join(parsed(write_report(registry, tmp_path / "report.html")).text)
    for expected in (
        "top_1",
        "0.750",
        "0.600 to 0.900",
        "0.100",
        "80",
        "s1/score",
        "s1/response",
        "V1\u00a01, V2\u00a01",
    ):
        assert expected in text


def test_names_and_attributes_are_escaped(registry, tmp_path):
    page = write_report(registry, tmp_path / "report.html", title="<b>bold</b>", notes=["a < b"]).read_text("utf-8")
    assert "<median>" not in page
    assert "<b>" not in page
    assert "s&lt;1&gt;" in page
    assert "a &lt; b" in page


def test_the_page_needs_nothing_from_elsewhere(registry, tmp_path):
    page = write_report(registry, tmp_path / "report.html")
    assert not re.search(r"(src|href)\s*=|@import|url\(", page.read_text("utf-8"))


def test_only_scores_between_0_and_1_are_drawn(registry, tmp_path):
    reader = parsed(write_report(registry, tmp_path / "report.html"))
    bars = [attrs for tag, attrs in reader.seen if tag == "rect"]
    assert [float(bar["width"]) for bar in bars] == [pytest.approx(0.75 * 520)]


def test_score_rows_keep_the_labels_of_every_dim():
    scores = xr.Dataset(
        {"score": (("roi", "metric"), [[0.5], [0.25]]), "chance": ("metric", [0.1]), "n": ("metric", [8])},
        {"roi": ["V1", "V2"], "metric": ["top_1"]},
    )
    rows = score_rows(scores)
    assert [(row["label"], row["score"], row["chance"], row["n"]) for row in rows] == [
        ("V1 · top_1", 0.5, 0.1, 8),
        ("V2 · top_1", 0.25, 0.1, 8),
    ]


def test_an_empty_registry_has_a_report_too(tmp_path):
    text = " ".join(parsed(write_report(brainlens.open(tmp_path / "new.zarr"), tmp_path / "report.html")).text)
    assert "0 datasets and models" in text
    assert not (tmp_path / "new.zarr").exists()


def test_a_missing_folder_is_named(registry, tmp_path):
    with pytest.raises(brainlens.RegistryError, match="expected the folder .*nowhere.*, found none. Make it first."):
        write_report(registry, tmp_path / "nowhere" / "report.html")


def test_images_are_shown_below_what_was_seen(registry, tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (6, 64, 64, 3), dtype=np.uint8)
    seen = xr.Dataset({"image": (("stimulus", "y", "x", "rgb"), pixels)}, {"stimulus": list("fedcba")})
    registry.put("stimuli", seen, schema="stimulus_image")
    labels = {"trial": list(range(3)), "stimulus_id": ("trial", list("abc"))}
    made = xr.Dataset({"image": (("trial", "y", "x", "rgb"), pixels[:3])}, labels)
    registry.put("s1/painted", made, schema="image")
    page = write_report(registry, tmp_path / "report.html")
    (picture,) = [attrs for tag, attrs in parsed(page).seen if tag == "img"]
    assert picture["alt"] == "seen, s1/painted"
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture["src"].partition(",")[2]))))
    # The first trial saw stimulus a, which is stored last.
    top = 22  # A line with the stimuli.
    np.testing.assert_array_equal(sheet[top : top + 128 : 2, 150 : 150 + 128 : 2], pixels[5])
    np.testing.assert_array_equal(sheet[top + 132 : top + 260 : 2, 150 : 150 + 128 : 2], pixels[0])


def test_named_candidates_have_a_row_each(registry, tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (3, 4, 64, 64, 3), dtype=np.uint8)
    labels = {"trial": list(range(3)), "stimulus_id": ("trial", list("abc"))}
    image = ("trial", "candidate", "y", "x", "rgb"), pixels
    named = xr.Dataset({"image": image}, {**labels, "candidate": ["seen", "made", "hit 1", "hit 2"]})
    registry.put("s1/hits", named, schema="image")
    tries = ("trial", "candidate", "y", "x", "rgb"), 255 - pixels
    registry.put("s1/tries", xr.Dataset({"image": tries}, labels), schema="image")
    page = write_report(registry, tmp_path / "report.html")
    (picture,) = [attrs for tag, attrs in parsed(page).seen if tag == "img"]
    rows = ("s1/hits/seen", "s1/hits/made", "s1/hits/hit 1", "s1/hits/hit 2", "s1/tries (first of 4)")
    assert picture["alt"] == ", ".join(rows)


def of_trials(pixels, **coords):
    """Images of the first stimuli."""
    dims = ("trial", "candidate", "y", "x", "rgb") if pixels.ndim == 5 else ("trial", "y", "x", "rgb")
    labels = {"trial": list(range(len(pixels))), "stimulus_id": ("trial", list("abcdef"[: len(pixels)]))}
    return xr.Dataset({"image": (dims, pixels)}, {**labels, **coords})


def pictures(page):
    return [attrs["alt"] for tag, attrs in parsed(page).seen if tag == "img"]


def test_the_same_images_are_shown_once_by_the_name_that_was_given(registry, tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    registry.put("stimuli", xr.Dataset({"image": (("stimulus", "y", "x", "rgb"), pixels)}, {"stimulus": list("abc")}),
                 schema="stimulus_image")  # fmt: skip
    both = of_trials(np.stack([pixels, 255 - pixels], axis=1), candidate=["seen", "reconstruction"])
    registry.put("results/diffusion.pictures/3", both, schema="image")
    registry.put("zz/recon", of_trials(255 - pixels), schema="image")
    page = write_report(registry, tmp_path / "report.html")
    assert pictures(page) == ["seen, zz/recon"]
    said = "The same images are shown once: results/diffusion.pictures/3/reconstruction is zz/recon."
    assert said in parsed(page).text


def test_images_of_another_size_have_a_sheet_of_their_own(registry, tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    registry.put("large", of_trials(pixels.repeat(8, axis=1).repeat(8, axis=2)), schema="image")
    registry.put("small", of_trials(pixels), schema="image")
    registry.put("wide", of_trials(pixels.repeat(2, axis=2)), schema="image")
    page = write_report(registry, tmp_path / "report.html")
    assert pictures(page) == ["large", "small", "wide"]
    # What is large is made smaller: 3 images of 128 pixels.
    (source, *_) = [attrs["src"] for tag, attrs in parsed(page).seen if tag == "img"]
    assert Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))).width == 150 + 3 * 132


def painted(rng, n_rois=3, n_candidates=2, side=32):
    values = rng.integers(0, 256, (n_rois, n_candidates, side, side, 3), dtype=np.uint8)
    return xr.Dataset(
        {"image": (("roi", "candidate", "y", "x", "rgb"), values)}, {"roi": [f"R{number}" for number in range(n_rois)]}
    )


def test_images_of_regions_are_shown_with_what_is_left_out(registry, tmp_path):
    made = painted(np.random.default_rng(1))
    registry.put("roi/painted", made, schema="image")
    registry.put("roi/many", painted(np.random.default_rng(2), n_rois=60), schema="image")
    page = write_report(registry, tmp_path / "report.html")
    assert pictures(page) == ["roi/many", "roi/painted"]
    assert {"roi/many: roi 1 to 24 of 60, 36 left out.", "roi/painted"} <= set(parsed(page).text)
    source = [attrs["src"] for tag, attrs in parsed(page).seen if tag == "img"][1]
    assert base64.b64decode(source.partition(",")[2]) == brainlens.image_sheet(made, max_side=128)[0]


@pytest.mark.parametrize(("limit", "value"), [("_SHEETS", 2), ("_SHEET_BYTES", 5000)])
def test_a_report_holds_so_many_sheets_and_names_the_others(registry, tmp_path, monkeypatch, limit, value):
    monkeypatch.setattr(f"brainlens.report.{limit}", value)
    for number in range(4):
        registry.put(f"roi/{number}", painted(np.random.default_rng(number), side=24), schema="image")
    page = write_report(registry, tmp_path / "report.html")
    assert pictures(page) == [f"roi/{number}" for number in range(value if value < 4 else 1)]
    left = [f"roi/{number}" for number in range(value if value < 4 else 1, 4)]
    said = f"{len(left)} more are left out: {', '.join(left)}. Export them as contact sheets (.png)."
    assert said in parsed(page).text


def test_names_break_after_their_separators_only(registry, tmp_path):
    registry.put("crossed/1embedding", registry["s1/score"].load(), schema="score")
    text = write_report(registry, tmp_path / "report.html").read_text("utf-8")
    assert "overflow-wrap: anywhere" not in text
    assert "crossed/1embedding" in re.sub("<wbr>", "", text)
    assert not re.search(r"crossed/1\w*<wbr>\w*ing", text)


def test_parts_of_a_score_have_a_row_each_in_the_table_of_all(registry, tmp_path):
    one = registry["s1/score"].load()
    both = xr.concat([one, one], xr.DataArray(["V1", "FFA"], dims="roi", name="roi"), combine_attrs="override")
    for number in range(4):
        registry.put(f"more/{number}", both, schema="score")
    reader = parsed(write_report(registry, tmp_path / "report.html"))
    assert {"more/0 · V1", "more/0 · FFA", "more/3 · FFA"} <= set(reader.text)
    # A column for each metric, none for each pair of ROI and metric.
    before = " ".join(reader.text).partition("Bar: score.")[0]
    assert "V1 · " not in before.replace(" · V1", "")


def test_scores_with_the_same_metrics_share_a_table_of_few_columns(registry, tmp_path):
    """No table has empty columns, nor so many that it leaves the page."""
    for number in range(5):
        metrics = [f"concept {number}" for number in range(7)]
        values = {"score": ("metric", np.arange(7) / 8), "chance": ("metric", np.zeros(7)), "n": ("metric", [9] * 7)}
        registry.put(f"concepts/{number}", xr.Dataset(values, {"metric": metrics}), schema="score")
    page = write_report(registry, tmp_path / "report.html").read_text("utf-8")
    tables = re.findall("<table>.*?</table>", page.partition("Bar: score.")[0])
    assert [len(re.findall("<th ", table)) for table in tables] == [6, 3, 3]
    assert "<td class='number'></td>" not in "".join(tables)
    assert ["concepts<wbr>" in re.sub("/<wbr>", "<wbr>", table) or "concepts/" in table for table in tables] == [
        True, True, False,
    ]  # fmt: skip


def test_nothing_is_less_than_nothing_by_rounding(registry, tmp_path):
    values = {"score": ("metric", [-1e-5, -0.25]), "chance": ("metric", [-0.0, 0.0]), "n": ("metric", [9, 9])}
    registry.put("tiny", xr.Dataset(values, {"metric": ["r", "r2"]}), schema="score")
    text = write_report(registry, tmp_path / "report.html").read_text("utf-8")
    assert "-0.000" not in text
    assert "-0.250" in text


def test_many_scores_are_in_one_table_and_folded(registry, tmp_path):
    for number in range(5):
        registry.put(f"more/{number}", registry["s1/score"].load(), schema="score")
    reader = parsed(write_report(registry, tmp_path / "report.html"))
    text = " ".join(reader.text)
    assert "0.750 (0.100)" in text
    assert sum(tag == "summary" for tag, _ in reader.seen) >= 6
    assert text.index("more/4") < text.index("0.600 to 0.900")


def test_pictures_and_pages_go_in_as_they_are(registry, tmp_path):
    picture, page = tmp_path / "glass <1>.png", tmp_path / "surface.html"
    Image.new("RGB", (7, 5), "red").save(picture)
    page.write_text('<html><body class="x">it\'s <b>alive</b><script>let a = 1 && 2</script></body></html>', "utf-8")
    target = write_report(registry, tmp_path / "report.html", figures=[picture, page])
    reader = parsed(target)
    (frame,) = (attrs for tag, attrs in reader.seen if tag == "iframe")
    assert frame["srcdoc"] == page.read_text("utf-8")
    (shown,) = (attrs for tag, attrs in reader.seen if tag == "img")
    decoded = base64.b64decode(shown["src"].removeprefix("data:image/png;base64,"))
    assert decoded == picture.read_bytes()
    assert {"glass <1>.png", "surface.html"} <= set(reader.text)


def test_a_figure_that_is_none_is_refused_and_no_page_is_written(registry, tmp_path):
    target = tmp_path / "report.html"
    (tmp_path / "map.nii").write_bytes(b"")
    (tmp_path / "false.png").write_bytes(b"GIF89a")
    for name, text in (
        ("map.nii", "expected a picture (.png) or page (.html), found '.nii'."),
        ("gone.png", "expected a picture (.png) or page (.html), found nothing there."),
        ("false.png", "expected a PNG, found something else. Draw it again."),
    ):
        with pytest.raises(brainlens.RegistryError) as caught:
            write_report(registry, target, figures=[tmp_path / name])
        assert str(caught.value).startswith(f"figure {str(tmp_path / name)!r}: {text}")
    assert not target.exists()
