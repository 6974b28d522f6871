"""What the user sees while an extraction runs: how many clips are done, how fast, and how long the rest will take."""

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["ClipProgress"]

_SAY_SECONDS = 30.0  # between two lines where there is no terminal


class ClipProgress:
    """A bar with rate and time left on a terminal; elsewhere a line now and then. Use as a context manager.

    Args:
        console: where the user looks.
        clips: all clips of the list.
        done: those that an earlier run has finished.
    """

    def __init__(self, console: Console, clips: int, done: int) -> None:
        self._console, self.assembled_clips, self._done = console, clips, done
        self._began: float | None = None
        self._bar = Progress(
            TextColumn("extracting"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[failed]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=clips, completed=done, rate="", failed="")

    def __enter__(self) -> "ClipProgress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, made: int, failed: int) -> None:
        """Show that this run has made so many clips."""
        now = time.monotonic()
        if self._began is None:  # loading the models says nothing of the rate
            self._began = self._said = now
        rate = made / max(now - self._began, 1.0)
        done = self._done + made
        self._bar.update(self._task, completed=done, rate=f"{rate:.1f} clips/s", failed=f"{failed} failed")
        if not self._console.is_terminal and (now - self._said >= _SAY_SECONDS or done == self.assembled_clips):
            self._said = now
            left = round((self.assembled_clips - done) / rate)
            self._console.print(
                f"{done}/{self.assembled_clips} clips, {rate:.1f} a second, {failed} failed; {left} s left",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
