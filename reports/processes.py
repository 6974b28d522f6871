"""Work that is divided among processes: figures, resamples and forests do not wait for each other.

Threads were rejected, as matplotlib and pandas hold the interpreter's lock. So was forking this process: the threads of
BLAS and Arrow do not live on in a child, which may then wait for ever for a lock that one of them held. A process that
is started afresh takes seconds to load its modules; therefore they are started before they are needed, and load while
this process reads the ledger. This process takes its share of the work, too, from the other end of the list, and all of
it where a helper is killed (for memory, say): that costs time, never a report.
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from importlib import import_module
from typing import Self, TypeVar

__all__ = ["ALONE", "Processes", "processors"]

_MOST = 4  # more of them need more memory, some 200 MB each, than they save time

Item = TypeVar("Item")
Result = TypeVar("Result")


def processors() -> int:
    """How many processors this process may use, 4 at most."""
    return min(_MOST, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


class Processes:
    """This process and its helpers; as a context manager, it ends them."""

    def __init__(self, number: int = 1, modules: Iterable[str] = ()) -> None:
        """Start ``number - 1`` helpers, which load ``modules`` at once; returns before they have."""
        self._pool: ProcessPoolExecutor | None = None
        # One that a helper does and one that waits for it. More are not handed out: what is, cannot be taken back (a
        # cancelled item stops the executor's own thread when a helper is killed; Python 3.11).
        self._room = 2 * (number - 1)
        if number > 1:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(number - 1, mp_context=context, initializer=_begin)
            for _ in range(number - 1):
                self._pool.submit(_load, tuple(modules))  # a process is started for each

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """Return ``function`` of each of ``items``, in their order; the first ones are begun first.

        Args:
            function: of a module's own, or a partial of such a one; may run in another process, as its argument and its
                result may have to be copied there.
            items: what takes longest had better stand first.

        Raises:
            Exception: what ``function`` raises.
        """
        given = list(items)
        waiting, found = deque(range(len(given))), dict[int, Result]()
        futures: dict[int, Future[Result] | None] = {}
        while waiting:
            while waiting and sum(1 for future in futures.values() if future and not future.done()) < self._room:
                place = waiting.popleft()
                futures[place] = self._submit(function, given[place])
            if waiting:
                place = waiting.pop()
                found[place] = function(given[place])
        for place, future in futures.items():
            found[place] = self._result(future, function, given[place])
        return [found[place] for place in range(len(given))]

    def _submit(self, function: Callable[[Item], Result], item: Item) -> Future[Result] | None:
        """None where no helper is left to take it."""
        try:
            return None if self._pool is None else self._pool.submit(function, item)
        except BrokenProcessPool:
            self._room = 0
            return None

    def _result(self, future: Future[Result] | None, function: Callable[[Item], Result], item: Item) -> Result:
        if future is not None:
            with suppress(BrokenProcessPool):
                return future.result()
        return function(item)


ALONE = Processes()
"""This process without helpers."""


def _begin() -> None:
    """In a helper: end with the process that it helps, which alone answers to Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _load(modules: Iterable[str]) -> None:
    for module in modules:
        import_module(module)
