"""The lock of a sweep folder: one process runs a sweep at a time."""

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
    """Hold the lock of a sweep folder, so that no other process runs the sweep.

    The system frees the lock if this process dies. Some file systems have no such locks (Lustre mounted without flock).
    There, the lock is a file that names its owner (filelock's soft lock). The next process on the same machine notices
    that the owner is dead.

    Raises:
        ConfigError: another process holds the lock.
    """
    lock = FileLock(folder.lock, timeout=_TAKE_OVER_SECONDS)
    try:
        lock.acquire()
    except Timeout:
        raise ConfigError([_refusal(folder)]) from None
    try:
        folder.owner.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
        yield
    finally:
        lock.release()


def _refusal(folder: SweepFolder) -> str:
    owner = _content(folder.owner) or "another process"
    message = f"{folder.root}: {owner} runs this sweep; wait for it, or end it first."
    if _content(folder.lock):  # a soft lock; only the owner's machine can tell that the owner is dead
        message += f" If its machine has died, delete {folder.lock}: its file system ends no lock by itself."
    return message


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
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
        return _is_held(folder.lock)


def _is_held(lock: Path) -> bool:
    """Whether another process holds a lock that we may inspect but not acquire.

    Such a lock belongs to another user, or lies on a read-only mount.
    """
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        return bool(_content(lock))  # a soft lock exists while it is held
    return False
