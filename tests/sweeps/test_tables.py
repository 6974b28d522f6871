import io

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sweeps.tables import Fitted


def printed(table: Table, width: int, **options: bool) -> str:
    """Return what a terminal of this width shows."""
    console = Console(file=io.StringIO(), width=width, **options)
    console.print(Fitted(table))
    return console.file.getvalue()


def table_of(*rows: tuple[str, ...], headings: tuple[str, ...], caption: str | None = None) -> Table:
    table = Table(title="Numbers", caption=caption)
    for heading in headings:
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(*row)
    return table


SPACE = table_of(
    ("lr", "0.0001 .. 0.1 log", "0.0003", *"+" * 7),
    ("lr_of_the_probe", "0.001 .. 0.05 log", "0.00967", *"+" * 7),
    headings=(
        "hyperparameter", "values", "first trial", "Con", "Clu", "Gen", "ConClu", "ConGen", "CluGen", "ConCluGen",
    ),
)  # fmt: skip


@pytest.mark.parametrize("width", [160, 100, 80, 60, 40])
def test_no_number_is_cut_at_any_width(width: int) -> None:
    text = printed(SPACE, width)
    words = text.replace("│", " ").split()
    assert {"0.0003", "0.00967", "0.0001", "0.001", "0.05", "0.1"} <= set(words)
    assert words.count("+") == 14
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width


def test_blocks_of_a_wide_table_repeat_the_columns_that_identify_the_rows() -> None:
    table = table_of(
        *[(dataset, method, *("0.123",) * 9) for dataset in ("meld", "mosei") for method in ("Con", "Gen")],
        headings=("dataset", "method", *(f"score{n}" for n in range(9))),
        caption="The end.",
    )
    text = printed(table, 60)
    blocks = text.count("dataset")
    assert blocks > 1
    assert text.count("meld") == text.count("mosei") == text.count("Con") == 2 * blocks
    assert text.count("0.123") == 36
    assert text.count("Numbers") == text.count("The end.") == 1


def test_a_table_that_fits_is_one_table() -> None:
    assert printed(SPACE, 160).count("hyperparameter") == 1


def test_a_long_name_takes_several_lines() -> None:
    name = "features/" + "0123456789" * 9
    text = printed(table_of((name, "0.5"), headings=("set", "score")), 60)
    assert "".join(line.split("│")[1].strip() for line in text.splitlines() if line.startswith("│")) == name


def test_a_terminal_of_twenty_columns_keeps_every_digit() -> None:
    text = printed(table_of(("a_long_method_name", "0.123456789012"), headings=("method", "score")), 20)
    assert "".join(line.split("│")[2].strip() for line in text.splitlines() if line.startswith("│")) == "0.123456789012"


def test_brackets_in_names_are_shown() -> None:
    table = table_of(("Con[video-audio]", "[bold]x[/bold]"), headings=("method", "[red]"))
    table.title = "Sweep [b]"
    text = printed(table, 80)
    assert {"Con[video-audio]", "[bold]x[/bold]", "[red]"} <= set(text.replace("│", " ").replace("┃", " ").split())
    assert "Sweep [b]" in text


def test_letters_of_double_width_fit() -> None:
    text = printed(table_of(*[(f"愤怒{n}", "0.5", "0.25") for n in range(3)], headings=("类", "分数", "第二分数")), 24)
    assert text.count("0.25") == 3
    assert max(Text(line).cell_len for line in text.splitlines()) <= 24
