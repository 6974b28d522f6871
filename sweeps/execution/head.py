"""Watches the head of a cluster that the sweep has joined.

When the head is gone for a minute, Ray ends this process from within, and no code of ours runs any more. So the user is
told before that what has happened and how to go on.
"""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import ray

__all__ = ["address_of_head", "watched"]

_EVERY = 5.0  # seconds between two calls
_MISSES = 3  # calls without an answer before the user is told


def address_of_head() -> str:
    """Return HOST:PORT of the head of the cluster that this process has joined."""
    return str(ray.get_runtime_context().gcs_address)


@contextmanager
def watched(address: str, resume: str, say: Callable[[str], object], every: float = _EVERY) -> Iterator[None]:
    """Tell the user while the body runs if the head no longer takes connections, and if it does so again.

    Args:
        address: HOST:PORT of the head.
        resume: the command that goes on with the sweep.
        say: tells the user a sentence; it is called by another thread.
        every: seconds between two calls of the head.
    """
    ended = threading.Event()
    thread = threading.Thread(target=_watch, args=(address, resume, say, every, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _watch(address: str, resume: str, say: Callable[[str], object], every: float, ended: threading.Event) -> None:
    misses = 0
    while not ended.wait(every):
        if _answers(address, every):
            if misses >= _MISSES:
                say(f"The head of the cluster, {address}, answers again.")
            misses = 0
            continue
        misses += 1
        if misses == _MISSES:
            say(
                f"The head of the cluster, {address}, does not answer. If it stays away, Ray ends this process "
                f"in about a minute. What has finished is kept; then go on with: {resume}"
            )


def _answers(address: str, seconds: float) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=seconds):
            return True
    except OSError:
        return False
