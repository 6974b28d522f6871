import io

import pandas as pd
from rich.console import Console

from reports.output.table import Cell, Table
from reports.output.terminal import terminal_table
from sweeps.tables import Fitted


def table(*scores: Cell | str) -> Table:
    shown = pd.DataFrame(
        {
            "method": ["raw_features", "Con[video-audio]", "Gen"],
            **{f"digits@{n}": pd.Series(scores, dtype=object) for n in range(1, 6)},
            "failed": ["0", "1", "8"],
        }
    )
    return Table("ablation", "Ablation", "Captions end here.", pd.DataFrame(), shown)


def printed(width: int, **options: bool) -> str:
    """Return what a terminal of this width shows."""
    console = Console(file=io.StringIO(), width=width, **options)
    scores = (Cell("0.500 ± 0.010", "tied"), Cell("0.750 ± 0.020", "best", ("s: confirm-Con-00000",)), "no result")
    console.print(Fitted(terminal_table(table(*scores))))
    return console.file.getvalue()


def test_each_method_has_a_line_with_every_cell() -> None:
    lines = [line for line in printed(160).splitlines() if line.startswith("│")]
    assert [line.split("│")[1].strip() for line in lines] == ["raw_features", "Con[video-audio]", "Gen"]
    assert [line.count("±") for line in lines] == [5, 5, 0]
    assert lines[2].count("no result") == 5


def test_a_narrow_terminal_cuts_no_cell() -> None:
    text = printed(80)
    assert "…" not in text
    assert text.count("0.020") == 5


def test_words_are_at_the_left_and_numbers_at_the_right() -> None:
    shown = pd.DataFrame({"dataset": ["ok", "handwritten"], "n": ["1", "10"], "difference": ["+0.1", "−0.125"]})
    console = Console(file=io.StringIO(), width=80)
    console.print(Fitted(terminal_table(Table("t", "Table", "", pd.DataFrame(), shown))))
    rows = [line for line in console.file.getvalue().splitlines() if line.startswith("│")]
    assert rows == ["│ ok          │  1 │       +0.1 │", "│ handwritten │ 10 │     −0.125 │"]


def test_the_best_is_bold_and_ties_are_underlined() -> None:
    text = printed(160, force_terminal=True, no_color=True)
    assert text.count("\x1b[1m0.750") == 5
    assert text.count("\x1b[4m0.500") == 5
