"""The standard streams of a command, and where its output goes: messages to the terminal, all else to a log.

A stream can fail at any time. Its reader ends (``| head``), its disk is full, its terminal is closed, or it was closed
from the start. A short command ends there, as every Unix tool does. A long one goes on without the stream, because
hours of work are worth more than a message. Rejected: the default action of SIGPIPE, which would also end a process
whose child or network connection is gone.

A closed terminal also sends SIGHUP. Which of the two comes first is chance, so both interrupt a short command.
"""

import errno
import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from sweeps.interrupts import hang_up

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer
    from rich.console import Console

__all__ = ["OutputLostError", "log", "outlive_output", "output_to_log", "own_streams", "redrawable"]


class OutputLostError(Exception):
    """Standard output cannot be written. It is no OSError, because libraries have their own answers to those."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror)
        self.unread = error.errno == errno.EPIPE
        """Whether there is no reader any more; otherwise the disk is full, or broken."""


class _Output(io.FileIO):
    """A descriptor that is written. If that fails, an output that is needed raises, and any other drops the bytes."""

    def __init__(self, descriptor: int, *, needed: bool) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.needed = needed
        self._terminal = self.isatty()  # one that is closed does not tell any more

    def write(self, content: "ReadableBuffer", /) -> int:
        try:
            return super().write(content)
        except OSError as error:
            if self.needed:
                self.needed = False  # what is still buffered must not raise once more, at the exit of the process
                if self._terminal and error.errno == errno.EIO:  # it is closed
                    hang_up()
                raise OutputLostError(error) from None
            return memoryview(content).nbytes


def _text(output: _Output, like: TextIO | None) -> io.TextIOWrapper:
    """Return a text stream on ``output`` with the encoding of ``like``; it spells out letters that this lacks."""
    errors = getattr(like, "errors", None) or "strict"
    return io.TextIOWrapper(
        io.BufferedWriter(output),
        encoding=getattr(like, "encoding", None) or "utf-8",
        errors="backslashreplace" if errors in ("strict", "surrogateescape") else errors,
        line_buffering=output.isatty() or not output.needed,
        write_through=bool(getattr(like, "write_through", False)),
    )


def own_streams() -> None:
    """Give this process standard streams that exist, and that fail as this module says.

    A closed descriptor is opened on the null device. Otherwise the next file to be opened would take its number, and
    messages would go into that file.
    """
    for descriptor, mode in enumerate((os.O_RDONLY, os.O_WRONLY, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, mode), True)  # the lowest free number, which is this one
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False, encoding="utf-8")  # noqa: SIM115  # stays open
    sys.stdout = _text(_Output(1, needed=True), sys.stdout)
    sys.stderr = _text(_Output(2, needed=False), sys.stderr)


def outlive_output() -> None:
    """From now on, go on where standard output cannot be written: for commands that work for hours."""
    output = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if isinstance(output, _Output):
        output.needed = False


def redrawable(console: "Console") -> bool:
    """Whether lines that ``console`` has printed can be drawn over: on a terminal, and no other file or program.

    Variables such as FORCE_COLOR ask for colours in files; a file still has no lines to draw over.
    """
    return console.is_interactive and console.file.isatty()


def log(message: str) -> None:
    """Print ``message`` to standard error, which is the sweep's log in every process of a sweep."""
    print(message, file=sys.stderr, flush=True)  # noqa: T201


@contextmanager
def output_to_log(path: Path) -> Iterator["Console"]:
    """Send everything that this process and its children print to the file ``path``, Python's warnings included.

    Yields:
        A console on the former standard output. It drops what cannot be written.
    """
    from rich.console import Console  # workers only log, and need no console

    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    out = os.dup(1)
    err = os.dup(2)
    records = logging.StreamHandler(sys.stderr)
    records.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    try:
        with path.open("ab") as file, _text(_Output(out, needed=False), sys.stdout) as terminal:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            logging.getLogger().addHandler(records)
            try:
                yield Console(file=terminal)
            finally:
                logging.getLogger().removeHandler(records)
                sys.stdout.flush()
                sys.stderr.flush()
                os.dup2(out, 1)
                os.dup2(err, 2)
    finally:
        os.close(out)
        os.close(err)
