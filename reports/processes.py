"""Divides the work of a report among processes: figures, resamples and forests are independent of each other.

Threads were rejected because Altair and pandas hold the interpreter's lock. A fork of this process was rejected,
too: the threads of BLAS and Arrow do not exist in the child. If such a thread held a lock, the child may wait for the
lock forever. A new process takes seconds to load its modules. So the children start before they are needed, and load
while this process reads the ledger.

This process works, too, from the other end of the list of items. If a child is killed (for memory, say), this process
does the child's work. That costs time, but never a report.
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Self, TypeVar

__all__ = ["ALONE", "Processes", "processors"]

_MAX_PROCESSORS = 4  # each process takes some 200 MB; more processes save too little time to be worth it

Item = TypeVar("Item")
Result = TypeVar("Result")


def processors() -> int:
    """Return the number of processors that this process may use, at most 4."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(_MAX_PROCESSORS, available)


class Processes:
    """This process and its child processes; as a context manager, it ends the children."""

    def __init__(self, number: int = 1, modules: Iterable[str] = ()) -> None:
        """Start ``number - 1`` children, and return while they still load ``modules``."""
        self._pool: ProcessPoolExecutor | None = None
        # Each child has one item at work and one that waits. More are not submitted, because submitted items cannot be
        # taken back: a cancelled item stops the executor's own thread if a child is killed (Python 3.11).
        self._room = 2 * (number - 1)
        if number > 1:
            context = multiprocessing.get_context("spawn")
            with _safe_path():
                self._pool = ProcessPoolExecutor(number - 1, mp_context=context, initializer=_begin)
                for _ in range(number - 1):
                    self._pool.submit(_load, tuple(modules))  # each submission starts a process

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """Return ``function(item)`` for each item, in the order of the items.

        Args:
            function: a function of a module, or a partial of one. It may run in another process, so pickle must be able
                to copy it, its argument and its result.
            items: the items; those that take longest should come first.

        Raises:
            Exception: any error of ``function``, once the children have ended what they were given.
        """
        work = list(items)
        waiting = deque(range(len(work)))
        results: dict[int, Result] = {}
        futures: dict[int, Future[Result] | None] = {}
        try:
            while waiting:
                while waiting and sum(1 for future in futures.values() if future and not future.done()) < self._room:
                    index = waiting.popleft()
                    futures[index] = self._submit(function, work[index])
                if waiting:
                    index = waiting.pop()
                    results[index] = function(work[index])
            for index, future in futures.items():
                results[index] = self._result(future, function, work[index])
        except BaseException:
            wait([future for future in futures.values() if future])  # so that no child works on after the error
            raise
        return [results[index] for index in range(len(work))]

    def _submit(self, function: Callable[[Item], Result], item: Item) -> Future[Result] | None:
        """Hand an item to a child; return None if no child is left."""
        try:
            return None if self._pool is None else self._pool.submit(function, item)
        except BrokenProcessPool:
            self._room = 0
            return None

    def _result(self, future: Future[Result] | None, function: Callable[[Item], Result], item: Item) -> Result:
        """Wait for the result of an item; compute it here if its child was killed."""
        if future is not None:
            with suppress(BrokenProcessPool):
                return future.result()
        return function(item)


ALONE = Processes()
"""This process without children."""


@contextmanager
def _safe_path() -> Iterator[None]:
    """Keep processes that the body starts from importing files of the working directory, before they get our path."""
    former = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        if former is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = former


def _begin() -> None:
    """Prepare a child: it ends with its parent, and leaves Ctrl-C to the parent."""
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
