"""Interrupts: Ctrl-C, and SIGTERM, by which schedulers end jobs.

While a sweep changes its state, the first interrupt waits. It ends the sweep as soon as the state is consistent. The
second interrupt does not wait. It loses no more than a crash does, and a sweep survives crashes.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

__all__ = ["Interrupts"]

_EXIT_CODE = 130


class Interrupts:
    """A handler of both signals, installed when it is made.

    Args:
        farewell: the message for the user before an immediate exit; it goes to what standard error is now.
    """

    def __init__(self, farewell: str) -> None:
        self._farewell = farewell
        self._stderr = os.dup(sys.stderr.fileno())
        self._interrupted = False
        self._deferred = False
        # A process that a script starts in the background ignores SIGINT by inheritance.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)

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
            yield lambda: self._interrupted
        finally:
            self._deferred = False
        if self._interrupted:
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._interrupted:
            show_cursor = "\x1b[?25h" if os.isatty(self._stderr) else ""  # the live table hides it
            with suppress(OSError):  # standard error may be closed
                os.write(self._stderr, f"{show_cursor}\n{self._farewell}\n".encode())
            os._exit(_EXIT_CODE)
        self._interrupted = True
        if not self._deferred:
            raise KeyboardInterrupt
