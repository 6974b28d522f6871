"""Interrupts: Ctrl-C, and SIGTERM, by which schedulers end jobs.

The first asks: where a sweep is busy with its state it ends at the next point where all of that is consistent. The
second does not wait. What is lost by that is no more than by a crash, which a sweep survives as well.
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
    """Handles both signals from when it is made.

    Args:
        farewell: what to tell the user, on standard error as it is now, before an exit at once.
    """

    def __init__(self, farewell: str) -> None:
        self._farewell, self._error = farewell, os.dup(sys.stderr.fileno())
        self._asked = self._deferred = False
        # Who was started in the background by a script has inherited to ignore SIGINT.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._take)

    @contextmanager
    def deferred(self) -> Iterator[Callable[[], bool]]:
        """Within, an interrupt does not break in; yields what tells whether there was one, and raises it at the end.

        Raises:
            KeyboardInterrupt: there was one.
        """
        self._deferred = True
        try:
            yield lambda: self._asked
        finally:
            self._deferred = False
        if self._asked:
            raise KeyboardInterrupt

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            show_cursor = "\x1b[?25h" if os.isatty(self._error) else ""  # the live table hides it
            with suppress(OSError):  # nobody may be there to read it
                os.write(self._error, f"{show_cursor}\n{self._farewell}\n".encode())
            os._exit(_EXIT_CODE)
        self._asked = True
        if not self._deferred:
            raise KeyboardInterrupt
