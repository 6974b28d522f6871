"""Interrupts: Ctrl-C, SIGTERM, by which schedulers end jobs, and SIGHUP, by which a closed terminal ends them.

While a sweep changes its state, the first interrupt waits. It ends the sweep as soon as the state is consistent. The
second interrupt does not wait. It loses no more than a crash does, and a sweep survives crashes. A second SIGHUP does
wait: a closed terminal sends several, and nobody is impatient.

A process that ignores SIGHUP from its start, as under nohup, goes on ignoring it. SIGQUIT and SIGTSTP keep what they do
by default: they end and stop the processes of a sweep all together.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from sweeps.exit_codes import INTERRUPTED

__all__ = ["Interrupts", "end_at_once", "end_like_ctrl_c", "hang_up", "hangups_blocked"]


def _signals() -> list[signal.Signals]:
    """Return the signals that ask a process to end."""
    hangup = [] if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [signal.SIGHUP]
    return [signal.SIGINT, signal.SIGTERM, *hangup]


def end_like_ctrl_c() -> None:
    """Have SIGTERM and SIGHUP raise KeyboardInterrupt, so that they leave no process and no temporary file behind.

    Only the first SIGHUP does: the second would interrupt what the first one has begun to tidy up.
    """
    for number in _signals()[1:]:
        signal.signal(number, hang_up if number == signal.SIGHUP else signal.default_int_handler)


def hang_up(*_: object) -> NoReturn:
    """Interrupt this process, because its terminal is closed; no later SIGHUP does it again.

    Raises:
        KeyboardInterrupt: always.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    raise KeyboardInterrupt


def end_at_once() -> None:
    """Have SIGINT and SIGTERM end this process at once, and SIGHUP no more: for Python's own exit.

    There, a KeyboardInterrupt would be answered with a traceback.
    """
    for number in _signals():
        signal.signal(number, signal.SIG_IGN if number == signal.SIGHUP else signal.SIG_DFL)


@contextmanager
def hangups_blocked() -> Iterator[None]:
    """Let processes that the body starts never receive SIGHUP; this process receives it after the body.

    A closed terminal sends SIGHUP to all processes of a command. Ray has to live until the sweep has ended.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Interrupts:
    """A handler of the signals, installed when it is made.

    Args:
        advice: how to go on, for the user of whom the second interrupt takes the process.
    """

    def __init__(self, advice: str) -> None:
        self.advice = advice
        self._stderr = os.dup(2)  # which may lead to a log later
        self._first: signal.Signals | None = None
        self._deferred = False
        self.install()

    def install(self) -> None:
        """Install the handler, again after a library has installed one of its own."""
        # A process that a script starts in the background ignores SIGINT by inheritance.
        for number in _signals():
            signal.signal(number, self._handle)

    @property
    def cause(self) -> str:
        """What ended the process, in words."""
        return "interrupted" if self._first in (None, signal.SIGINT) else f"interrupted by {self._first.name}"

    @contextmanager
    def deferred(self) -> Iterator[Callable[[], bool]]:
        """Defer an interrupt to the end of the block.

        Yields:
            A function that returns whether there was an interrupt.

        Raises:
            KeyboardInterrupt: there was an interrupt.
        """
        self._deferred = True
        try:
            yield lambda: self._first is not None
        finally:
            self._deferred = False
        if self._first is not None:
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._first is None:
            self._first = signal.Signals(number)
            if not self._deferred:
                raise KeyboardInterrupt
        elif number != signal.SIGHUP:
            with suppress(OSError):  # standard error may be closed
                os.write(self._stderr, f"\n{self.cause}; {self.advice}\n".encode())
            os._exit(INTERRUPTED)
