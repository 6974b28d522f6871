import re
from collections.abc import Mapping

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.output.choice import choices_of
from reports.output.html_table import LONG, RecordLists, caption, html_table, with_terms
from reports.output.table import Cell, Table
from tests.parsed import Parsed
from tests.reports.output.test_markup import HOSTILE, ROWS, table_of, two_columns, visible

DEFAULT = {"dataset": "digits", "labels": "all", "metric": "weighted_f1"}


def parsed(table: Table, default: Mapping[str, str] = DEFAULT) -> Parsed:
    lists = RecordLists()
    return Parsed(html_table(table, lists, default) + lists.html())


def small() -> Table:
    shown = pd.DataFrame(
        {
            "method": ["raw_features", "Con[video-audio]", "Gen"],
            "score": [Cell("0.750 ± 0.020", "best", ("a", "b")), Cell("0.740", "tied", ("c",)), Cell("no result")],
            "trials": ["0", "8", "8"],
        }
    )
    return table_of(shown)


def by_choice() -> Table:
    """A table with a row for each of two data sets, of which digits has two budgets and two metrics."""
    columns = ["digits", "digits@5", "digits", "faces"]
    metrics = ["weighted_f1", "weighted_f1", "accuracy", "weighted_f1"]
    shown = pd.DataFrame({"dataset": columns, "method": ["all", "five", "accurate", "other"]})
    return table_of(shown, choices=choices_of(columns, metrics))


def test_headings_have_a_scope_and_cells_sort_by_value() -> None:
    page = parsed(small())
    assert [a["scope"] for tag, a in page.elements if tag == "th"] == ["col"] * 3 + ["row"] * 3
    keys = [a.get("data-sort", "text") for tag, a in page.elements if tag == "td"]
    assert keys == ["0.75", "text", "text", "text", "", "text"]
    assert page.texts["strong"] == ["0.750 ± 0.020"]
    assert page.texts["u"] == ["0.740"]
    assert page.texts["h3"] == ["Ablation"]


def test_every_number_opens_the_list_of_its_records_without_a_script() -> None:
    page = parsed(small())
    targets = [a["popovertarget"] for tag, a in page.elements if tag == "button" and a.get("title")]
    assert targets == [a["id"] for _, a in page.elements if "popover" in a]
    assert page.texts["code"] == ["a", "b", "c"]


def test_cells_of_all_tables_with_the_same_records_share_a_list() -> None:
    lists = RecordLists()
    table = table_of(pd.DataFrame({"m": ["a"], "x": [Cell("1", records=("k",))], "y": [Cell("2", records=("k",))]}))
    text = html_table(table, lists, {}) + html_table(table, lists, {})
    assert text.count("popovertarget=") == 4
    assert lists.html().count("<li>") == 1


def test_the_table_has_the_rows_of_the_default_choice_and_templates_have_the_others() -> None:
    text = html_table(by_choice(), RecordLists(), DEFAULT)
    bodies = dict(re.findall(r"<(tbody|template)[^>]*>(.*?)</\1>", text, re.DOTALL)[:1])
    assert re.findall(r">(\w+)</th>", bodies["tbody"]) == ["all"]
    templates = re.findall(r"<template([^>]*)>(.*?)</template>", text, re.DOTALL)
    assert [re.findall(r">(\w+)</th>", rows) for _, rows in templates] == [["five"], ["accurate"], ["other"]]
    assert templates[0][0] == ' data-dataset="digits" data-labels="5" data-metric="weighted_f1"'


def test_the_heading_names_the_data_set_instead_of_a_column() -> None:
    page = parsed(by_choice())
    assert page.texts["h3"] == ["Ablation digits, all labels, weighted F1"]
    assert page.texts["th"] == ["method", "all", "five", "accurate", "other"]


def test_a_table_without_rows_for_the_default_choice_is_hidden() -> None:
    def hidden(table: Table) -> bool:
        return "hidden" in next(a for _, a in parsed(table).elements if a.get("class") == "table")

    shown = pd.DataFrame({"method": ["Con"]})
    assert hidden(table_of(shown, choices=choices_of([""], ["accuracy"])))
    assert not hidden(table_of(shown, choices=choices_of([""], ["weighted_f1"])))
    assert not hidden(table_of(shown))


def test_only_a_long_table_is_folded() -> None:
    def summaries(rows: int) -> list[str]:
        return parsed(table_of(pd.DataFrame({"method": ["Con"] * rows, "a & b": ["1"] * rows}))).texts.get(
            "summary", []
        )

    assert summaries(LONG) == []
    assert summaries(LONG + 1) == ["13 rows: method, a & b"]


def test_a_table_without_rows_keeps_its_headings() -> None:
    assert parsed(table_of(pd.DataFrame({"method": [], "score": []}))).texts["th"] == ["method", "score"]


def test_a_long_caption_shows_its_first_sentence_and_the_others_on_demand() -> None:
    others = "Another sentence says more about it. " * 6
    assert Parsed(caption("Short. All of it.", set())).texts["p"] == ["Short. All of it."]
    assert Parsed(caption(f"First. {others}", set())).texts["p"] == ["First.", others.strip()]
    assert caption("", set()) == ""


def test_the_first_place_of_a_term_opens_its_explanation() -> None:
    text = with_terms("Holm's method & the weighted F1, weighted F1", set())
    assert text.count("<button") == 2
    assert 'popovertarget="term-weighted-f1">weighted F1</button>, weighted F1' in text
    assert 'popovertarget="term-holm"' in text


@given(ROWS, HOSTILE, HOSTILE, st.booleans())
@settings(deadline=None, max_examples=60)
def test_html_shows_any_text_unchanged(
    rows: list[tuple[str, Cell]], title: str, heading: str, with_choices: bool
) -> None:
    table = two_columns(rows, title, heading)
    if with_choices:
        table = table_of(
            table.shown, title=title, caption=title, choices=choices_of([""] * len(rows), ["weighted_f1"] * len(rows))
        )
    page = parsed(table)
    assert page.texts["h3"] == [visible(title) + (" weighted F1" if with_choices else "")]
    assert page.texts["th"] == ["m", visible(heading), *(visible(name) for name, _ in rows)]
    assert page.texts["td"] == [visible(cell.text) for _, cell in rows]
    lists = dict.fromkeys(cell.records for _, cell in rows if cell.records)
    assert page.texts.get("code", []) == [visible(key) for records in lists for key in records]
    tags = {"h3", "div", "table", "span", "thead", "tbody", "tr", "th", "td", "button", "strong", "u"}
    assert {tag for tag, _ in page.elements} <= tags | {"p", "ul", "li", "code"}
