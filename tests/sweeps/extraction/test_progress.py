"""Progress of an extraction: a bar on a terminal; elsewhere a line now and then, and one at the end."""

import io
import re

import pytest
from rich.console import Console

from sweeps.extraction import progress as clip_progress
from sweeps.extraction.progress import ClipProgress


def test_lines_say_count_rate_failures_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(clip_progress.time, "monotonic", lambda: now)
    out = io.StringIO()
    with ClipProgress(Console(file=out), clips=1000, done=200) as progress:
        for extracted, now in ((1, 150.0), (100, 160.0), (400, 190.0), (800, 200.0)):  # noqa: B007  # read by the clock
            progress.show(extracted, 7)
    assert out.getvalue().splitlines() == [
        "600/1000 clips, 10.0 a second, 7 failed; 40 s left",
        "1000/1000 clips, 16.0 a second, 7 failed; 0 s left",
    ]


class Terminal(io.StringIO):
    """What is written to a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_a_bar_with_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    with ClipProgress(Console(file=out, width=120), clips=4, done=0) as progress:
        progress.show(3, 1)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    assert "3/4" in text
    assert "clips/s" in text
    assert "1 failed" in text
