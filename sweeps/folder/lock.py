"""The lock of a sweep's folder: one process runs a sweep at a time."""

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from sweeps.config import ConfigError
from sweeps.folder.layout import SweepFolder

__all__ = ["held", "running"]


_TAKE_OVER_SECONDS = 2.0  # `sweep status` holds the lock for a moment, to see whether somebody else does


@contextmanager
def held(folder: SweepFolder) -> Iterator[None]:
    """Hold a sweep's folder: nobody else runs the sweep meanwhile. The system lets go of it when the process dies.

    Where the file system has no such locks (Lustre mounted without flock), the lock is a file that names its owner
    (filelock's soft lock), and whoever comes next on the same machine finds out that the owner is dead.

    Raises:
        ConfigError: another process holds it.
    """
    lock = FileLock(folder.lock, timeout=_TAKE_OVER_SECONDS)
    try:
        lock.acquire()
    except Timeout:
        raise ConfigError([_taken(folder)]) from None
    try:
        folder.owner.write_text(f"process {os.getpid()} on {socket.gethostname()}")
        yield
    finally:
        lock.release()


def _taken(folder: SweepFolder) -> str:
    who = _content(folder.owner) or "another process"
    message = f"{folder.root}: {who} runs this sweep; wait for it, or end it first."
    if _content(folder.lock):  # a soft lock, whose owner's death only its own machine can tell
        message += f" If its machine has died, delete {folder.lock}: its file system ends no lock by itself."
    return message


def _content(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def running(folder: SweepFolder) -> bool:
    """Whether some process runs the sweep."""
    try:
        with FileLock(folder.lock, blocking=False):
            return False
    except Timeout:
        return True
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        return _held_by_another(folder.lock)


def _held_by_another(lock: Path) -> bool:
    """Whether a lock is held that this process may not take, but look at: another user's, or on a read-only mount."""
    try:
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        return bool(_content(lock))  # a soft lock, which is there while it is held
    return False
