import json
from io import StringIO
from pathlib import Path

from rich.console import Console

from reports.output.findings import document, latex_findings, markdown_findings, terminal_findings
from reports.statistics.findings import Finding

KEYS = tuple(f"a_sweep: confirm-Con-0000{n}" for n in range(5))
FOUND = Finding(
    "best", "On a_b & c, Con has 0.810 (95 % interval −0.010 to +0.020).", {"a_b score": 0.81}, "pairs", KEYS
)
NOTE = Finding("doubt", "Few trials ran.", {"trials": 2}, "tuning", ())


def test_markdown_numbers_sentences_and_links_tables_and_records() -> None:
    assert markdown_findings([FOUND, NOTE], [FOUND]).splitlines() == [
        "## What was found",
        "",
        r"1. On a_b \& c, Con has 0.810 (95 % interval −0.010 to +0.020). ([pairs](pairs.md), `a_sweep: "
        "confirm-Con-00000`, `a_sweep: confirm-Con-00001`, `a_sweep: confirm-Con-00002`, 2 more records)",
        "2. Few trials ran. ([tuning](tuning.md))",
        "",
        "## Further findings",
        "",
        r"1. On a_b \& c, Con has 0.810 (95 % interval −0.010 to +0.020). ([pairs](pairs.md), `a_sweep: "
        "confirm-Con-00000`, `a_sweep: confirm-Con-00001`, `a_sweep: confirm-Con-00002`, 2 more records)",
    ]


def test_without_findings_every_form_says_so_or_is_empty() -> None:
    assert markdown_findings([], []).splitlines()[-1] == "Nothing: no method has a test score yet."
    assert latex_findings([]) == "% No method has a test score yet.\n"
    assert terminal_findings([], 0).row_count == 0


def test_latex_escapes_sentences_and_refers_to_the_labels_of_tables() -> None:
    assert latex_findings([FOUND]) == (
        "\\begin{itemize}\n"
        "  \\item On a\\_b \\& c, Con has 0.810 (95 \\% interval $-$0.010 to +0.020). (Table~\\ref{tab:pairs})\n"
        "\\end{itemize}\n"
    )


def test_a_terminal_wraps_sentences_to_its_width() -> None:
    printed = StringIO()
    Console(file=printed, width=40).print(terminal_findings([FOUND, NOTE], 2))
    lines = [line.rstrip() for line in printed.getvalue().splitlines()]
    assert lines == [
        "1. On a_b & c, Con has 0.810 (95 %",
        "   interval −0.010 to +0.020).",
        "2. Few trials ran.",
        "   findings.md has 2 more findings.",
    ]


def test_the_json_document_has_findings_with_all_their_records_and_the_files() -> None:
    printed = document([FOUND], [NOTE], Path("out"), [Path("out/index.html")], complete=False)
    read = json.loads(json.dumps(printed, allow_nan=False))
    assert read["findings"] == [
        {"topic": "best", "text": FOUND.text, "numbers": {"a_b score": 0.81}, "table": "pairs", "records": list(KEYS)}
    ]
    assert [finding["text"] for finding in read["further"]] == [NOTE.text]
    assert (read["complete"], read["folder"], read["files"]) == (False, "out", ["index.html"])
