"""Progress of an extraction: how many clips are done, how fast, and how long the rest will take."""

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sweeps.terminal import redrawable

__all__ = ["ClipProgress"]

_LINE_SECONDS = 30.0  # between two lines where there is no terminal


class ClipProgress:
    """A bar with rate and time left on a terminal, or a line now and then elsewhere; use it as a context manager.

    Args:
        console: where to print.
        clips: clips of the whole list.
        done: clips that earlier runs have finished.
    """

    def __init__(self, console: Console, clips: int, done: int) -> None:
        self._console = console
        self._clips = clips
        self._done = done
        self._began: float | None = None
        self._bar = Progress(
            TextColumn("extracting"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[failed]}"),
            console=console,
            redirect_stdout=False,  # both go to the log, where Rich would take Python's output away from
            redirect_stderr=False,
            disable=not redrawable(console),
        )
        self._task = self._bar.add_task("", total=clips, completed=done, rate="", failed="")

    def __enter__(self) -> "ClipProgress":
        self._bar.start()
        if not self._bar.disable:
            self._console.show_cursor(True)  # a stopped or killed process could not show it again
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, extracted: int, failed: int, incomplete: int = 0) -> None:
        """Show the number of clips that this run has extracted, of those without features, and of those with gaps."""
        flaws = f"{failed} failed" + (f", {incomplete} with gaps" if incomplete else "")
        now = time.monotonic()
        if self._began is None:  # the clock starts at the first clip: loading the models says nothing of the rate
            self._began = self._last_line = now
        rate = extracted / max(now - self._began, 1.0)
        done = self._done + extracted
        self._bar.update(self._task, completed=done, rate=f"{rate:.1f} clips/s", failed=flaws)
        if self._bar.disable and (now - self._last_line >= _LINE_SECONDS or done == self._clips):
            self._last_line = now
            seconds = round((self._clips - done) / rate)
            self._console.print(
                f"{done}/{self._clips} clips, {rate:.1f} a second, {flaws}; {seconds} s left",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
