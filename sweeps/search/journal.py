"""The journal: a file of studies in which every line carries its checksum."""

import io
import json
import os
import zlib
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend

from conclugen.files.durable import set_aside, write_whole
from sweeps.folder.layout import SweepFolder

__all__ = ["CheckedJournal", "JournalError", "format_line", "mend_journal", "parse_line"]


_CHECKSUM, _END = b',"crc":', b"\n"


class JournalError(ValueError):
    """A line of a journal is not as it was written; the message names file and line."""


def mend_journal(folder: SweepFolder) -> list[str]:
    """Cut a sweep's journal at its first damaged line; the whole file is kept beside it as ``*.damaged-N``.

    The lines after a damaged one go too, because Optuna numbers trials by their place in the file. Only the process
    that holds the sweep's lock may call this, before it opens the journal.

    Returns:
        A message per damaged line; none where there is no damage or no journal.
    """
    journal = folder.journal
    if not journal.exists():
        return []
    content = journal.read_bytes()
    lines = io.BytesIO(content).readlines()
    damaged = {number: line for number, line in enumerate(lines, 1) if parse_line(line) is None}
    if not damaged:
        return []
    names = (journal.with_name(f"{journal.name}.damaged-{number}") for number in count(1))
    copy = set_aside(journal, names, copy=True)
    first = min(damaged)
    write_whole(journal, *lines[: first - 1])
    return [
        f"{journal}, line {number}: {'is damaged' if line.endswith(_END) else 'is cut short'}; "
        f"the lines before line {first} are kept; all {len(lines)} lines are in {copy.name}."
        for number, line in damaged.items()
    ]


class CheckedJournal(BaseJournalBackend):
    """A journal file whose lines are verified on reading; one process writes it, others may read meanwhile."""

    def __init__(self, path: Path) -> None:
        self._path = path
        if not path.exists():
            write_whole(path)
        self._position = 0, 0  # lines read, and their bytes

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Yield all logs after the first ``log_number_from``, except a last line that is still being written.

        Raises:
            JournalError: a line is damaged.
        """
        number, offset = self._position if self._position[0] <= log_number_from else (0, 0)
        with self._path.open("rb") as file:
            file.seek(offset)
            for line in file:
                if not line.endswith(_END):
                    return
                if (log := parse_line(line)) is None:
                    raise JournalError(f"{self._path}, line {number + 1}: is damaged.")
                number, offset = number + 1, offset + len(line)
                self._position = number, offset
                if number > log_number_from:
                    yield log

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append logs; they are on disk once this returns."""
        with self._path.open("ab") as file:
            file.writelines(map(format_line, logs))
            file.flush()
            os.fsync(file.fileno())


def format_line(log: dict[str, Any]) -> bytes:
    """Return a line of the journal: a JSON object whose last entry is the checksum of the object without it."""
    body = json.dumps(log, separators=(",", ":")).encode()
    return b"%b%b%d}\n" % (body.removesuffix(b"}"), _CHECKSUM, zlib.crc32(body))


def parse_line(line: bytes) -> dict[str, Any] | None:
    """Return the log in a line; None if the line is not as it was written."""
    start, _, rest = line.rpartition(_CHECKSUM)
    body = start + b"}"
    if rest != b"%d}\n" % zlib.crc32(body):
        return None
    log: dict[str, Any] = json.loads(body)
    return log
