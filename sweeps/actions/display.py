"""The display of a running sweep: a live table on a terminal, or else one line for each finished job.

Ray and its processes print through the driver's file descriptors. During a sweep these descriptors lead to a log file,
for C++ libraries too. Only this module writes to the user's terminal.
"""

from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from sweeps.search.progress import Progress
from sweeps.tables import Fitted
from sweeps.terminal import redrawable

__all__ = ["Display", "failures", "progress_table"]


def progress_table(rows: Sequence[Progress], slots: int, title: str) -> Table:
    """Return the sweep's state as a table: a row for each arm, then one or two for finalists and confirmations.

    What the next trial may gain has a column if it is known for any arm.
    """
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for column in ("planned", "running", "done", "pruned", "failed", "best val", "time left"):
        table.add_column(column, justify="right")
    looks_ahead = any(row.improvement is not None for row in rows)
    if looks_ahead:
        table.add_column("next trial", justify="right")
    overall = _mean([row.seconds_per_job for row in rows])
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        table.add_row(
            row.name,
            _planned(row),
            str(row.running),
            str(row.complete),
            str(row.pruned),
            str(row.failed),
            "" if row.best is None else f"{row.best:.4f}",
            _duration(_seconds_left(row, overall, slots)),
            *([_next_trial(row)] if looks_ahead else []),
            end_section=following is not None and following.stage != row.stage == "search",
        )
    counts = [sum(getattr(row, name) for row in rows) for name in ("running", "complete", "pruned", "failed")]
    table.add_row("all", _total_planned(rows), *map(str, counts), "", _duration(_total_seconds_left(rows, slots)))
    return table


def failures(rows: Sequence[Progress]) -> str:
    """Return the classes of the reasons for which jobs failed, each with its count; empty if no job failed."""
    counts = sum((Counter(row.reasons) for row in rows), Counter[str]())
    return ", ".join(f"{count} {reason}" for reason, count in counts.most_common())


def _next_trial(row: Progress) -> str:
    """Return the expected gain of a search's next trial, and its 95 % interval."""
    if row.improvement is None or row.improvement_high is None:
        return "-" if row.stage == "search" else ""
    return f"+{row.improvement:.4f} (0 to {row.improvement_high:.4f})"


def _planned(row: Progress) -> str:
    """Return the row's number of jobs, or the used share of the budget if the budget is a time."""
    if row.planned is not None:
        return str(row.planned)
    return "" if row.share is None else f"{min(row.share, 1):.0%} used"


def _total_planned(rows: Sequence[Progress]) -> str:
    planned = [row.planned for row in rows if row.planned is not None]
    return str(sum(planned)) if len(planned) == len(rows) else ""


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _total_seconds_left(rows: Sequence[Progress], slots: int) -> float | None:
    """Return the time that all open jobs take; None if the time of any row is unknown."""
    overall = _mean([row.seconds_per_job for row in rows])
    total = 0.0
    for row in rows:
        if (seconds := _seconds_left(row, overall, slots)) is None:
            return None
        total += seconds
    return total


def _seconds_left(row: Progress, overall: float | None, slots: int) -> float | None:
    """Return the time that the row's open jobs take if they use all slots and cost as much as its finished jobs.

    In a row without a finished job, a job is taken to cost ``overall`` seconds.
    """
    if row.finished:
        return 0.0
    per_job = row.seconds_per_job or overall
    return None if row.planned is None or per_job is None else (row.planned - row.done) * per_job / slots


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    minutes, remainder = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{remainder:02d}"


class Display:
    """Shows a sweep's progress; use it as a context manager."""

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = title
        # Rich would send what Python prints to the terminal instead of the log.
        self._live = (
            Live(console=console, refresh_per_second=2, redirect_stdout=False, redirect_stderr=False)
            if redrawable(console)
            else None
        )
        self._last: Sequence[Progress] = ()
        self._started = False

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
            # A process that is stopped (Ctrl-Z) or killed cannot show the cursor again.
            self._console.show_cursor(True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, text: str) -> None:
        """Print one line, above the table if there is one."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def show(self, rows: Sequence[Progress], slots: int) -> None:
        """Show the sweep's state: redraw the table, or print a line for each row in which a job has ended."""
        if self._live is not None:
            self._live.update(Fitted(progress_table(rows, slots, self._title)))
        else:
            self._print_changes(rows, slots)
        self._last = rows

    def _print_changes(self, rows: Sequence[Progress], slots: int) -> None:
        earlier = {row.name: row.done for row in self._last}
        done = sum(row.done for row in rows)
        planned = _total_planned(rows) or "?"
        if not self._started and (running := [row.name for row in rows if row.running]):
            self._started = True
            self.say(f"[{done}/{planned}] {', '.join(running)}: started")
        time_left = _duration(_total_seconds_left(rows, slots))
        for row in rows:
            if row.done == earlier.get(row.name, 0):
                continue
            best = "" if row.best is None else f", best validation {row.best:.4f}"
            reasons = f" ({failures([row])})" if row.failed else ""
            self._console.print(
                f"[{done}/{planned}] {row.name}: {row.complete} done, {row.pruned} pruned, {row.failed} failed{reasons}"
                f" of {_planned(row)}{best}; time left {time_left}",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
