"""Files that are there whole or not at all, also after a crash of the machine."""

import os
import uuid
from pathlib import Path

__all__ = ["sync_folder", "write_atomically"]


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` into ``path``, replacing what is there.

    Raises:
        OSError: it cannot be written; what was there is unharmed.
    """
    # A name of its own: a process that a killed driver left behind may still be writing the same file.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have the names in ``folder`` survive a crash of the machine."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
