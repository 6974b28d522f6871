"""The result of every dataset reader, and tools that readers share for folders and CSV files.

A clip whose file is absent is left out, and the file is listed as missing. So a clip list holds only clips that can be
extracted. Keeping such clips was rejected: extraction would find each of them missing, after hours.
"""

import csv
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from conclugen.datasets.clips import Clip, ClipListError
from conclugen.features.manifest import Labels

__all__ = ["Listing", "find_folder", "folders", "read_csv", "visible"]

_SPACE = " \t\r\n"
"""Characters stripped off cells; Python's own strip would also take a Windows-1252 ellipsis (0x85)."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The clips of a dataset."""

    clips: Sequence[Clip]
    labels: Labels | None
    missing: Sequence[str] = ()
    """Files that the dataset should have, relative to its root."""
    notes: Sequence[str] = ()
    """Other facts that a user should know, a sentence each."""


def find_folder(root: Path, *candidates: str, holds: str) -> Path:
    """Return the first of ``candidates``, paths relative to ``root``, that is a folder.

    Raises:
        ClipListError: no candidate is a folder; the message says what the folder ``holds``.
    """
    for candidate in candidates:
        if (root / candidate).is_dir():
            return root / candidate
    raise ClipListError(
        [f"--root {root}: has no folder {' or '.join(candidates)}, which holds {holds}; give the dataset's own folder."]
    )


def visible(folder: Path, pattern: str) -> list[Path]:
    """Return the paths in ``folder`` that match ``pattern``, sorted by name, without hidden files (``.DS_Store``)."""
    return sorted(path for path in folder.glob(pattern) if not path.name.startswith("."))


def folders(folder: Path) -> list[Path]:
    """Return the folders in ``folder``, sorted by name."""
    return [path for path in visible(folder, "*") if path.is_dir()]


def read_csv(
    file: Path, needed: Collection[str], aliases: Mapping[str, str] | None = None
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the line number and the stripped cells of each row of a CSV file with a header.

    Args:
        file: in UTF-8, with or without a byte order mark, or in Windows-1252.
        needed: columns that the file must have.
        aliases: name of a column in the file -> name in ``needed``.

    Raises:
        ClipListError: the file cannot be read, lacks columns, or has a row longer or shorter than its header.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ClipListError([f"{file}: cannot be read: {error.strerror}; give a CSV file."]) from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")
    # str.splitlines would also split at control characters, such as those of a mistaken encoding.
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        header = [(aliases or {}).get(name.strip(), name.strip()) for name in next(reader, [])]
        if absent := [name for name in needed if name not in header]:
            raise ClipListError([f"{file}: has no column {', '.join(absent)}; it has {', '.join(header) or 'none'}."])
        for cells in reader:
            if len(cells) == len(header):
                yield reader.line_num, {name: cell.strip(_SPACE) for name, cell in zip(header, cells, strict=True)}
            elif cells:
                problem = f"{len(cells)} cells, its header {len(header)}; quote cells that hold commas."
                raise ClipListError([f"{file}: line {reader.line_num} has {problem}"])
    except csv.Error as error:
        raise ClipListError([f"{file}: line {reader.line_num} cannot be read: {error}."]) from None
