"""Write files that are whole or absent after a crash, and check that they still hold what was written.

Whole or absent: a file is written under a temporary name, synchronised to disk and renamed; then its folder is
synchronised, too. Unchanged: a file may carry a seal, the SHA-256 of all its bytes. The seal stands in the file's own
metadata, whatever the format, where the writer put :data:`SEAL`. Reading compares it before any parser sees a byte.

A checksum of the parsed content was rejected: pyarrow took seconds to refuse a record with one flipped bit, or returned
another record. A checksum in a second file was rejected because two files cannot be replaced at once.
"""

import errno
import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

__all__ = [
    "SEAL", "DamagedError", "checked", "read_sealed", "set_aside", "sync_folder", "whole_file", "write_sealed",
    "write_whole",
]  # fmt: skip

_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)  # FUSE, exFAT and SMB have no hard links
_MARK = b"seal-sha256:"
_BLANK = b"0" * 64
SEAL = (_MARK + _BLANK).decode()
"""Placeholder that a writer puts where the seal will stand."""


class DamagedError(ValueError):
    """A file that no longer holds what was written; the message names it."""


def write_whole(path: Path, *parts: bytes | memoryview, replace: bool = True) -> None:
    """Write ``parts`` as one file, which is on disk once this returns, and absent until it is complete.

    Args:
        path: the file.
        parts: its content.
        replace: whether to replace an existing file.

    Raises:
        FileExistsError: the file exists and ``replace`` is false.
        OSError: the file cannot be written; nothing is left.
    """
    with whole_file(path, replace=replace) as file:
        file.writelines(parts)


@contextmanager
def whole_file(path: Path, *, replace: bool = True) -> Iterator[BinaryIO]:
    """Yield a file to write, which then is ``path`` and on disk; if writing fails, ``path`` is as it was before.

    Args:
        path: the file.
        replace: whether to replace an existing file.

    Raises:
        FileExistsError: the file exists and ``replace`` is false.
        OSError: the file cannot be written; nothing is left.
    """
    # The temporary name is unique: the orphan of a killed process may still be writing the same file.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if replace:
            temporary.replace(path)
        else:
            _name(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def _name(temporary: Path, path: Path) -> None:
    """Rename ``temporary`` to ``path``, and raise FileExistsError if ``path`` exists."""
    try:
        os.link(temporary, path)  # unlike a rename, a link never replaces
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if path.exists():  # with a single writer this check is as safe as a link
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        temporary.replace(path)


def sync_folder(folder: Path) -> None:
    """Synchronise the names of the files in ``folder`` to disk, if its file system supports that."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def set_aside(path: Path, names: Iterable[Path], *, copy: bool = False) -> Path:
    """Move a file, such as a damaged one, to the first free path in ``names``; if none is free, replace the last.

    Args:
        path: the file.
        names: paths to try, in this order; a missing folder is made.
        copy: copy the file instead.

    Returns:
        The new path.

    Raises:
        FileNotFoundError: ``path`` does not exist.
    """
    for target in names:
        if not target.exists():
            break
    target.parent.mkdir(exist_ok=True)
    if copy:
        write_whole(target, path.read_bytes())
        return target
    path.replace(target)
    sync_folder(target.parent)
    sync_folder(path.parent)
    return target


def write_sealed(path: Path, content: bytes, *, replace: bool = True) -> None:
    """Write ``content`` like :func:`write_whole`, with the seal in the place of :data:`SEAL`.

    Raises:
        ValueError: the content has no :data:`SEAL`, or something that looks like a seal before it.
    """
    start = content.find(_MARK) + len(_MARK)
    view = memoryview(content)
    if view[start : start + len(_BLANK)] != _BLANK:
        raise ValueError(f"{path}: what is to be sealed has no place for the seal, or two.")
    digest = hashlib.sha256(content).hexdigest().encode()
    write_whole(path, view[:start], digest, view[start + len(digest) :], replace=replace)


def read_sealed(path: Path) -> bytes:
    """Return the content of a sealed file, the seal included.

    Raises:
        DamagedError: the content is not what was written.
        OSError: the file cannot be read.
    """
    return checked(path.read_bytes(), path)


def checked(content: bytes, source: Path | str) -> bytes:
    """Return ``content``, read from a sealed file, once its seal has been checked.

    Raises:
        DamagedError: the content is not what was written; the message names ``source``.
    """
    start = content.find(_MARK) + len(_MARK)
    view = memoryview(content)
    digest = hashlib.sha256(view[:start])
    digest.update(_BLANK)
    digest.update(view[start + len(_BLANK) :])
    if view[start : start + len(_BLANK)] != digest.hexdigest().encode():
        raise DamagedError(f"{source} is damaged: its {len(content):,} bytes are not those that were written.")
    return content
