import re
from collections import Counter
from urllib.parse import unquote_to_bytes

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.output.page import PageFigure, Provenance, Section, page
from reports.output.table import Cell, Table
from reports.statistics.findings import Finding
from tests.parsed import Parsed

TABLE = 'x,"a ""b"" #1 & <5 %>"\n1,é\n'.encode()
CHART = {"mark": "point", "title": "</script><script>"}


def table(name: str = "ablation", text: str = "0.5") -> Table:
    shown = pd.DataFrame({"method": ["Con"], "f1": [Cell(text, "best", ("confirm-Con-00000",))]})
    return Table(name, "Ablation", "Scores.", pd.DataFrame({"f1": [0.5]}), shown)


def test_the_page_needs_no_other_file_and_its_ids_are_unique() -> None:
    figures = [PageFigure("best", "Expected best", CHART), PageFigure("again", 'say "a" <b>', CHART)]
    text = page(
        "Report",
        [Section("One", "First.\n\nSecond.", [table()], figures)],
        Provenance([("command", "conclugen report s")], {"s": "name: s\n"}),
        {"ablation.csv": b"f1\n0.5\n", "confusion.csv": "tables/confusion.csv"},
    )
    parsed = Parsed(text)
    for tag, attributes in parsed.elements:
        for name in ("src", "href", "xlink:href", "srcset", "action", "data"):
            address = attributes.get(name) or ""
            assert not re.match(r"(https?:)?//", address), (tag, address)
    assert not re.search(r"url\(|@import", re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL))
    assert "default-src 'none'" in text
    ids = Counter(attributes["id"] for _, attributes in parsed.elements if "id" in attributes)
    assert max(ids.values()) == 1
    for _, attributes in parsed.elements:
        for name in ("href", "xlink:href"):
            if (target := attributes.get(name) or "").startswith("#"):
                assert target[1:] in ids
        for label in (attributes.get("aria-labelledby") or "").split():
            assert label in ids
    assert parsed.texts["h1"] == ["Report"]
    assert [t.strip() for t in parsed.texts["p"]][:2] == ["First.", "Second."]
    assert "name: s" in "".join(parsed.texts["pre"])
    pictures = [attributes["aria-label"] for _, attributes in parsed.elements if attributes.get("role") == "img"]
    assert pictures == ["Expected best", 'say "a" <b>']


def test_the_page_contains_downloads_given_as_content_and_links_to_others() -> None:
    text = page("Report", [], Provenance(), {"a.csv": TABLE, "b.csv": "tables/b.csv"})
    links = {a["download"]: a["href"] for tag, a in Parsed(text).elements if tag == "a" and "download" in a}
    kind, _, content = (links["a.csv"] or "").partition(",")
    assert kind == "data:text/csv"
    assert unquote_to_bytes(content) == TABLE
    assert links["b.csv"] == "tables/b.csv"


def test_a_finding_leads_to_its_table_and_its_records() -> None:
    found = [
        Finding("best", "Con is best.", {}, "ablation", ("s: a", "s: b")),
        Finding("doubt", "A <trial> failed.", {}, "no-table", ()),
    ]
    text = page("Report", [Section("One", tables=[table()])], Provenance(), {}, found)
    items = re.findall(r"<li>\n<span class=\"topic\">(.*?)</span>\n<p>(.*?)</p>", text, re.DOTALL)
    assert [topic for topic, _ in items] == ["Best method", "Doubts"]
    assert '<a href="#ablation">Ablation</a>' in items[0][1]
    assert 'title="Computed from 2 ledger records">2 records</button>' in items[0][1]
    assert "&lt;" in items[1][1]
    assert "<a" not in items[1][1]


def test_vega_is_part_of_a_page_with_a_chart_only() -> None:
    chart = PageFigure("f", "Scores.", CHART)
    text = page("Report", [Section("One", figures=[chart])], Provenance(), {})
    assert "window.vegaEmbed" in text
    assert "window.vegaEmbed" not in page("Report", [], Provenance(), {})
    assert len(Parsed(text).texts["script"]) == 4
    assert len(text) < 1_100_000


def test_two_tables_of_the_same_name_are_refused() -> None:
    with pytest.raises(ValueError, match=r"used twice: ablation\."):
        page("Report", [Section("One", tables=[table()]), Section("Two", tables=[table()])], Provenance(), {})


def linear(channel: int) -> float:
    """Return a channel of a colour (0 to 255) in linear light."""
    share = channel / 255
    return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4


def contrast(first: str, second: str) -> float:
    """Return the contrast ratio of WCAG 2.2."""
    darker, lighter = sorted(
        sum(weight * linear(int(colour[i : i + 2], 16)) for weight, i in ((0.2126, 1), (0.7152, 3), (0.0722, 5)))
        for colour in (first, second)
    )
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_has_a_contrast_of_at_least_4_5_in_both_themes(theme: int) -> None:
    text = page("Report", [], Provenance(), {})
    colours = {name: pair[theme] for name, *pair in re.findall(r"--(\w+): light-dark\((#\w+), (#\w+)\)", text)}
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    for ground in ("paper", "raised", "best"):
        for ink in ("ink", "quiet", "link"):
            assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)


@given(st.text(max_size=20))
@settings(deadline=None, max_examples=30)
def test_the_page_shows_any_text_unchanged(text: str) -> None:
    html = page(
        text,
        [Section(text, text, [table(text=text)])],
        Provenance([(text, text)], {text: text}),
        {text: b"x"},
    )
    parsed = Parsed(html.replace("\r", "\n"))
    expected = text.replace("\r", "\n")
    assert parsed.texts["h1"] == [expected]
    assert parsed.texts["dd"][0] == expected
    assert parsed.texts["code"][0] == expected
    assert [a.get("type") for tag, a in parsed.elements if tag == "script"] == ["application/json", "module"]
