"""What holds for every figure: valid, deterministic, readable, small."""

import json
import re
import struct
import xml.etree.ElementTree as ET
from pathlib import Path

import altair as alt
import pandas as pd
import pytest

from reports.figures import style
from reports.figures.methods import method_scores
from reports.figures.style import Drawing, packed, write_figure
from tests.reports.figures.frames import METRIC, empty_figures, every_figure, scores, some_scores

FIGURES = every_figure()
EMPTY = empty_figures()


@pytest.mark.parametrize("name", FIGURES)
def test_both_specifications_are_valid_vega_lite(name: str) -> None:
    for specification in (FIGURES[name].static, FIGURES[name].interactive):
        if specification is not None:
            alt.Chart.from_dict(json.loads(json.dumps(specification, allow_nan=False)), validate=True)


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_written_as_svg_pdf_and_png_at_200_dots_per_inch(name: str, tmp_path: Path) -> None:
    svg, pdf, png = write_figure(FIGURES[name], "x", tmp_path / "new")
    assert (svg.name, pdf.name, png.name) == ("x.svg", "x.pdf", "x.png")
    root = ET.fromstring(svg.read_text(encoding="utf-8"))  # noqa: S314 - our own
    assert pdf.read_bytes().startswith(b"%PDF-")
    width, height = struct.unpack(">II", png.read_bytes()[16:24])
    points = float(root.attrib["width"]), float(root.attrib["height"])
    assert (width, height) == pytest.approx([side * 200 / 72 for side in points], abs=1)
    assert any(element.tag.endswith("text") for element in root.iter())


def test_the_same_frames_give_the_same_bytes(tmp_path: Path) -> None:
    again = every_figure()
    for name, figure in FIGURES.items():
        files = [write_figure(drawing, name, tmp_path / str(n)) for n, drawing in enumerate((figure, again[name]))]
        for first, second in zip(*files, strict=True):
            assert first.read_bytes() == second.read_bytes(), first.name
        assert figure.interactive == again[name].interactive


@pytest.mark.parametrize("name", FIGURES)
def test_an_interactive_figure_is_as_wide_as_the_page_and_has_tooltips(name: str) -> None:
    interactive = FIGURES[name].interactive
    if interactive is not None:
        assert interactive["width"] == "container"
        assert '"tooltip"' in json.dumps(interactive)
        assert "background" not in interactive


@pytest.mark.parametrize("name", FIGURES)
def test_no_part_of_a_figure_is_without_data(name: str) -> None:
    for specification in (FIGURES[name].static, FIGURES[name].interactive):
        assert '"empty"' not in json.dumps(specification)


@pytest.mark.parametrize("name", ["methods", "pairs", "effects", "instruments", "variance"])
def test_figures_follow_the_set_the_labels_and_the_metric_that_the_reader_chooses(name: str) -> None:
    interactive = FIGURES[name].interactive
    assert interactive is not None
    parameters = {each["name"]: each["value"] for each in interactive["params"]}
    assert {"dataset": "faces", "labels": "all", "metric": METRIC}.items() <= parameters.items()
    assert all(word in interactive["transform"][0]["filter"] for word in ("dataset", "labels", "metric"))


@pytest.mark.parametrize("name", EMPTY)
def test_a_figure_without_rows_says_no_result(name: str) -> None:
    assert ">× no result</text>" in style.svg(EMPTY[name])


@pytest.mark.parametrize("set_name", [r"$x_1^2$ & <b>50%</b> \frac", 'it\'s "so": радость, 愤怒'])
def test_names_read_in_every_figure_as_users_wrote_them(set_name: str) -> None:
    drawn = every_figure(set_name)
    for name in ("methods", "pairs", "effects", "instruments", "labels", "variance"):
        svg = style.svg(drawn[name])
        texts = [element.text for element in ET.fromstring(svg).iter() if element.tag.endswith("text")]  # noqa: S314
        assert set_name in texts, name


def test_control_characters_in_names_make_no_broken_svg() -> None:
    rows = scores(("a\x01b", "Con", METRIC, 0.5, 0.4, 0.6, 0.01, 0.02, 3))
    svg = style.svg(method_scores(rows, METRIC))
    texts = [element.text for element in ET.fromstring(svg).iter()]  # noqa: S314 - our own
    assert "a\N{REPLACEMENT CHARACTER}b" in texts


def test_numbers_have_six_significant_digits_and_missing_ones_are_null() -> None:
    interactive = method_scores(some_scores(), METRIC).interactive
    assert interactive is not None
    rows = interactive["datasets"]["rows"]
    assert rows[0]["mean"] == 0.512346
    assert rows[3]["mean"] is None


def test_nothing_is_loaded_from_the_network() -> None:
    remote = Drawing(None, {"data": {"url": "http://localhost:1/x.json"}, "mark": "point"})
    with pytest.raises(ValueError, match="not allowed"):
        write_figure(remote, "x", Path("/nowhere"))
    for figure in FIGURES.values():
        for specification in (figure.static, figure.interactive or {}):
            addresses = re.findall(r"https?://[^\"]*", json.dumps({**specification, "$schema": ""}))
            assert addresses == []


def test_packed_rows_hold_all_values_in_their_order() -> None:
    frame = pd.DataFrame({"a": ["x", "y", "x"], "n": [1, 2, 3]})
    assert packed(frame, ["a"]).to_dict("records") == [{"a": "x", "n": [1, 3]}, {"a": "y", "n": [2]}]
