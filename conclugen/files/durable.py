"""Files that are there whole or not at all, survive a crash, and are known to be as they were written.

Whole: a file is written under a name of its own, synchronised to disk and renamed, and so is the name. As written: a
file may carry a seal, the SHA-256 of all its bytes, which stands inside the file's own metadata (whatever the format)
where :data:`SEAL` was put. Reading compares it before any parser sees a byte: pyarrow, given a record with one bit
flipped, took seconds to refuse it, or returned another record. A checksum of the parsed content was rejected for that,
one in a second file because two files cannot be replaced at once.
"""

import errno
import hashlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

__all__ = ["SEAL", "DamagedError", "checked", "read_sealed", "set_aside", "sync_folder", "write_sealed", "write_whole"]

_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)  # as FUSE, exFAT and SMB have none
_MARK = b"seal-sha256:"
_BLANK = b"0" * 64
SEAL = (_MARK + _BLANK).decode()
"""What a writer puts where the seal is to stand."""


class DamagedError(ValueError):
    """A file is not as it was written; the message names it."""


def write_whole(path: Path, *parts: bytes | memoryview, replace: bool = True) -> None:
    """Write ``parts`` as one file, which is there, on disk, once this returns, and not at all before.

    Args:
        path: the file.
        parts: its content.
        replace: whether a file of this name gives way.

    Raises:
        FileExistsError: there is such a file, and it does not give way.
        OSError: it cannot be written; nothing is left.
    """
    # A name of its own: the orphan of a killed process may still be writing the same file.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
    try:
        with temporary.open("wb") as file:
            file.writelines(parts)
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
    """Give a file its name, which must not be taken."""
    try:
        os.link(temporary, path)  # unlike a rename, refuses to replace
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if path.exists():  # for a single writer that is as good
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        temporary.replace(path)


def sync_folder(folder: Path) -> None:
    """Bring the names of the files in ``folder`` to disk, where its file system can be asked to."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def set_aside(path: Path, names: Iterable[Path], *, copy: bool = False) -> Path:
    """Move a file, such as a damaged one, to the first free one of ``names``; if all are taken, the last gives way.

    Args:
        path: the file.
        names: where it may go, in this order; a missing folder is made.
        copy: leave the file where it is as well.

    Returns:
        The path that the file got.

    Raises:
        FileNotFoundError: there is no such file.
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
    """Write ``content``, in which :data:`SEAL` stands, with the seal in its place; else as :func:`write_whole`.

    Raises:
        ValueError: the content has no place for a seal, or something before it that looks like one.
    """
    start = content.find(_MARK) + len(_MARK)
    view = memoryview(content)
    if view[start : start + len(_BLANK)] != _BLANK:
        raise ValueError(f"{path}: what is to be sealed has no place for the seal, or two.")
    digest = hashlib.sha256(content).hexdigest().encode()
    write_whole(path, view[:start], digest, view[start + len(digest) :], replace=replace)


def read_sealed(path: Path) -> bytes:
    """Return what is in the file, with the seal in it.

    Raises:
        DamagedError: it is not what was written.
        OSError: it cannot be read.
    """
    return checked(path.read_bytes(), path)


def checked(content: bytes, source: Path | str) -> bytes:
    """Return what was in a sealed file, wherever it was read from.

    Raises:
        DamagedError: it is not what was written; ``source`` says where.
    """
    start = content.find(_MARK) + len(_MARK)
    view = memoryview(content)
    digest = hashlib.sha256(view[:start])
    digest.update(_BLANK)
    digest.update(view[start + len(_BLANK) :])
    if view[start : start + len(_BLANK)] != digest.hexdigest().encode():
        raise DamagedError(f"{source} is damaged: its {len(content):,} bytes are not those that were written.")
    return content
