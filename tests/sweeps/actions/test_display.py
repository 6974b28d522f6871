"""The table and the lines that a user sees while a sweep runs."""

import io
import sys

import pytest
from rich.console import Console

from sweeps.actions.display import Display, progress_table
from sweeps.search.progress import Progress


def row(name: str = "Con", **changes: object) -> Progress:
    values = {
        "stage": "search",
        "planned": 4,
        "running": 1,
        "complete": 1,
        "pruned": 1,
        "failed": 0,
        "best": 0.51234,
        "seconds_per_job": 10.0,
    }
    return Progress(name=name, **{**values, **changes})


def text_of(rows: list[Progress], slots: int = 1) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(progress_table(rows, slots, "sweep x"))
    return console.file.getvalue()


def cells(text: str, name: str) -> list[str]:
    line = next(line for line in text.splitlines() if name in line)
    return [cell.strip() for cell in line.strip("│ ").split("│")]


def test_each_row_shows_counts_best_value_and_time_left() -> None:
    """Con has 2 of 4 jobs open, 10 s each on one slot. Gen has finished none, so its jobs count as long as Con's."""
    text = text_of([row(), row("Gen", complete=0, pruned=0, best=None, seconds_per_job=None)])
    assert cells(text, "Con") == ["Con", "4", "1", "1", "1", "0", "0.5123", "0:00:20"]
    assert cells(text, "Gen") == ["Gen", "4", "1", "0", "0", "0", "", "0:00:40"]
    assert cells(text, "all") == ["all", "8", "2", "1", "1", "0", "", "0:01:00"]


def test_finalists_and_confirmations_are_set_apart_from_the_searches() -> None:
    rows = [row(), row("Gen"), row("finalist", stage="finalist"), row("confirm", stage="confirm")]
    lines = text_of(rows).splitlines()
    rules = [place for place, line in enumerate(lines) if "─┼─" in line]
    assert rules == [next(place for place, line in enumerate(lines) if " Gen " in line) + 1]


def test_time_left_is_divided_among_slots_and_unknown_before_the_first_job_ends() -> None:
    assert cells(text_of([row(), row("Gen")], slots=4), "Con")[-1] == "0:00:05"
    unknown = text_of([row(complete=0, pruned=0, seconds_per_job=None), row("Gen", seconds_per_job=None)])
    assert cells(unknown, "all")[-1] == "?"


def test_without_a_terminal_each_finished_job_prints_a_line() -> None:
    out = io.StringIO()
    with Display(Console(file=out, width=40), "sweep x") as display:
        display.show([row(complete=0, pruned=0), row("Gen", complete=0, pruned=0)], slots=1)
        display.show([row(complete=1, pruned=0), row("Gen", complete=0, pruned=0)], slots=1)
        display.show([row(complete=1, pruned=0), row("Gen", complete=0, pruned=0, running=2)], slots=1)
        display.show([row(complete=1, pruned=1), row("Gen", complete=0, pruned=0)], slots=1)
    assert out.getvalue().splitlines() == [
        "[0/8] Con, Gen: started",
        "[1/8] Con: 1 done, 0 pruned, 0 failed of 4, best validation 0.5123; time left 0:01:10",
        "[2/8] Con: 1 done, 1 pruned, 0 failed of 4, best validation 0.5123; time left 0:01:00",
    ]


def test_a_line_says_why_jobs_failed() -> None:
    out = io.StringIO()
    reasons = {"nan_loss": 2, "out_of_memory": 1}
    with Display(Console(file=out), "sweep x") as display:
        display.show([row(pruned=0, failed=3, reasons=reasons)], slots=1)
    assert "[4/4] Con: 1 done, 0 pruned, 3 failed (2 nan_loss, 1 out_of_memory) of 4" in out.getvalue()


class Terminal(io.StringIO):
    """What is written to a terminal."""

    def isatty(self) -> bool:
        return True


def test_on_a_terminal_the_table_is_drawn_in_place(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What Python prints meanwhile goes where it went before: in a sweep, into the log."""
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    with Display(Console(file=out, width=120), "sweep x") as display:
        display.show([row(), row("Gen")], slots=1)
        sys.stdout.write("chatter\n")
        sys.stderr.write("more chatter\n")
    assert "sweep x" in out.getvalue()
    assert "\x1b[" in out.getvalue()
    assert "chatter" not in out.getvalue()
    assert capsys.readouterr() == ("chatter\n", "more chatter\n")


def test_a_killed_or_stopped_sweep_leaves_the_cursor_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    with Display(Console(file=out, width=120), "sweep x") as display:
        display.show([row(), row("Gen")], slots=1)
        assert out.getvalue().rindex("\x1b[?25h") > out.getvalue().rindex("\x1b[?25l")


@pytest.mark.parametrize(
    ("terminal", "variables"),
    [(io.StringIO, {"TERM": "xterm", "FORCE_COLOR": "1"}), (Terminal, {"TERM": "dumb"})],
)
def test_where_nothing_can_be_drawn_over_each_finished_job_prints_a_line(
    monkeypatch: pytest.MonkeyPatch, terminal: type[io.StringIO], variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    out = terminal()
    with Display(Console(file=out), "sweep x") as display:
        display.show([row(complete=0, pruned=0), row("Gen", complete=0, pruned=0)], slots=1)
        display.show([row(complete=1, pruned=0), row("Gen", complete=0, pruned=0)], slots=1)
    assert out.getvalue().startswith("[0/8] Con, Gen: started\n[1/8] Con: 1 done")
    assert "\x1b" not in out.getvalue()
