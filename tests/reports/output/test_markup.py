import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from reports.output.markup import latex, markdown, write_table
from reports.output.table import Cell, Table
from tests.parsed import Parsed


def table_of(shown: pd.DataFrame, **changes: object) -> Table:
    """Return a table with these cells."""
    fields = {"name": "ablation", "title": "Ablation", "caption": "Test scores.", "numbers": pd.DataFrame({"a": [0.5]})}
    return Table(**{**fields, "shown": shown, **changes})


@pytest.fixture
def table() -> Table:
    return table_of(
        pd.DataFrame(
            {
                "method": ["raw_features", "Con[video-audio]", "Gen"],
                "weighted_f1": [
                    Cell("0.750 ± 0.020", "best", ("confirm-raw_features-00000", "confirm-raw_features-00001")),
                    Cell("0.740 ± 0.010", "tied", ("confirm-Con-00000",)),
                    Cell("no result"),
                ],
                "trials": ["0", "8", "8"],
            }
        )
    )


def test_markdown_of_a_small_table(table: Table) -> None:
    assert markdown(table).splitlines() == [
        "## Ablation",
        "",
        "Test scores.",
        "",
        "| method           |              weighted_f1 | trials |",
        "| ---------------- | -----------------------: | -----: |",
        "| raw_features     |        **0.750 ± 0.020** |      0 |",
        "| Con[video-audio] | <ins>0.740 ± 0.010</ins> |      8 |",
        "| Gen              |                no result |      8 |",
    ]


def test_latex_of_a_small_table(table: Table) -> None:
    text = latex(table)
    assert text.startswith(r"% Needs \usepackage{booktabs,graphicx}.")
    assert r"    raw\_features & \textbf{0.750 $\pm$ 0.020} & 0 \\" in text
    assert r"    Con[video-audio] & \underline{0.740 $\pm$ 0.010} & 8 \\" in text
    assert r"\begin{tabular}{lrr}" in text
    assert r"\label{tab:ablation}" in text
    assert r"\caption[{Ablation}]{\textbf{Ablation.} Test scores.}" in text


def test_latex_reads_no_row_as_an_argument_of_the_line_before() -> None:
    text = latex(table_of(pd.DataFrame({"[x]": ["[0, 1]", "*"]})))
    assert re.findall(r"^    (\{.*) \\\\$", text, re.MULTILINE) == ["{[}x]", "{[}0, 1]", "{*}"]


def test_a_long_latex_table_continues_in_another_float_of_the_same_number() -> None:
    text = latex(table_of(pd.DataFrame({"row": [f"r{n}" for n in range(85)]})))
    assert text.count(r"\begin{table}") == 3
    assert text.count(r"\label{") == 1
    assert text.count(r"\addtocounter{table}{-1}") == 2
    assert re.findall(r"^    (r\d+) ", text, re.MULTILINE) == [f"r{n}" for n in range(85)]


def test_a_column_of_numbers_is_aligned_right_even_if_most_are_missing() -> None:
    shown = pd.DataFrame(
        {"method": ["Con", "Clu", "Gen"], "weight_con": ["0.5", "–", "–"], "mode": ["joint", "–", "–"]}
    )
    assert r"\begin{tabular}{lrl}" in latex(table_of(shown))


def test_a_wide_latex_table_continues_in_another_float_with_the_columns_that_identify_rows() -> None:
    shown = pd.DataFrame(
        {"sweep": ["s"] * 2, "method": ["Con", "Gen"], **{f"class {n}": ["0.5 ± 0.1"] * 2 for n in range(14)}}
    )
    floats = latex(table_of(shown)).split(r"\begin{table}")[1:]
    headings = [re.findall(r"class \d+|method|sweep", body) for body in floats]
    assert len(floats) == 2
    assert headings == [["sweep", "method", *(f"class {n}" for n in part)] for part in (range(7), range(7, 14))]


def test_latex_has_a_fallback_for_letters_that_pdflatex_lacks() -> None:
    text = latex(table_of(pd.DataFrame({"class": ["e\N{COMBINING ACUTE ACCENT}té", "Łódź", "ス怒り!", "ế"]})))
    cells = re.findall(r"^    (.*) \\\\$", text, re.MULTILINE)[1:]
    assert cells == [
        r"\'{e}t\'{e}",
        r"\L{}\'{o}d\'{z}",
        r"\ifdefined\Umathchar ス怒り\else [U+30B9 U+6012 U+308A]\fi{}!",
        r"\ifdefined\Umathchar ế\else [U+1EBF]\fi{}",
    ]


def test_files_hold_the_same_table(table: Table, tmp_path: Path) -> None:
    numbers = pd.DataFrame({"name": ["lr", "mode"], "value": [1e-9, "log"], "score": [0.1, float("nan")]})
    paths = write_table(table_of(table.shown, numbers=numbers), tmp_path / "new")
    assert [path.name for path in paths] == [f"ablation.{suffix}" for suffix in ("csv", "parquet", "md", "tex")]
    assert paths[0].read_text(encoding="utf-8") == "name,value,score\nlr,1e-09,0.1\nmode,log,\n"
    read = pd.read_parquet(paths[1])
    assert read["value"].tolist() == ["1e-09", "log"]
    assert read["score"].isna().tolist() == [False, True]
    assert paths[2].read_text(encoding="utf-8") == markdown(table_of(table.shown))
    assert paths[3].read_text(encoding="utf-8") == latex(table_of(table.shown))


def test_a_table_without_rows_keeps_its_headings() -> None:
    empty = table_of(pd.DataFrame({"method": [], "score": []}))
    assert markdown(empty).splitlines()[-1] == "| ------ | ----- |"
    assert r"method & score \\" in latex(empty)


ANY = st.text(max_size=20)
HOSTILE = st.one_of(ANY, st.text(alphabet="\\`*_[]<>&|~#$!(){}^%-\"' \na1±", max_size=12))
CELLS = st.builds(Cell, HOSTILE, st.sampled_from(["plain", "best", "tied"]), st.lists(HOSTILE, max_size=2).map(tuple))
ROWS = st.lists(st.tuples(HOSTILE, CELLS), min_size=1, max_size=3)


def two_columns(rows: Sequence[tuple[str, Cell]], title: str, heading: str) -> Table:
    shown = pd.DataFrame(rows, columns=["m", heading + " "]).astype(object)
    return table_of(shown, title=title, caption=title)


def visible(text: str) -> str:
    """Return a text as a table shows it: in one line, without control characters."""
    line = re.sub(r"[ \t\n\r\u2028\u2029]+", " ", text).strip(" ")
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", "\N{REPLACEMENT CHARACTER}", line)


@given(ROWS, HOSTILE, HOSTILE)
@settings(deadline=None, max_examples=60)
def test_markdown_shows_any_text_unchanged(rows: list[tuple[str, Cell]], title: str, heading: str) -> None:
    # The renderer strips all kinds of spaces, not only " ".
    renderer = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    parsed = Parsed(renderer.render(markdown(two_columns(rows, title, heading))))
    assert [text.strip() for text in parsed.texts["th"]] == ["m", visible(heading).strip()]
    texts = [text for name, cell in rows for text in (visible(name).strip(), visible(cell.text).strip())]
    assert [text.strip() for text in parsed.texts["td"]] == texts
    assert [text.strip() for text in parsed.texts["h2"]] == [visible(title).strip()]
    assert {tag for tag, _ in parsed.elements} <= {
        "h2",
        "p",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "strong",
        "ins",
    }


@given(ROWS, HOSTILE, HOSTILE)
@example([("", Cell("", "plain", ()))], "", "\u2028")
@settings(deadline=None, max_examples=60)
def test_no_text_breaks_latex(rows: list[tuple[str, Cell]], title: str, heading: str) -> None:
    text = latex(two_columns(rows, title, heading))
    text = text[text.index("\n") :]  # without the comment in the first line
    bare = re.sub(r"\\[\\{}$&%#_^~'`=.\"]", "", text)
    assert bare.count("$") % 2 == 0
    bare = re.sub(r"\$[^$]*\$", "", bare)
    assert not set("^%#") & set(bare.replace("{!}{%", ""))
    depth = 0
    for brace in re.findall(r"[{}]", bare):
        depth += 1 if brace == "{" else -1
        assert depth >= 0
    assert depth == 0
    assert re.findall(r"\\begin\{(\w+)\}", text) == re.findall(r"\\end\{(\w+)\}", text)[::-1]
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    lines = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert len(lines) == 1 + len(rows)
    assert {re.sub(r"\\.", "", line).count("&") for line in lines} == {1}
