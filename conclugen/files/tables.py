"""Text tables (CSV): the one place where a user's tables are read.

A table is in UTF-8, or in UTF-16 or UTF-32 with a byte order mark. Any other encoding has to be named. Guessing was
rejected: almost every file is valid Windows-1252, and its letters come out wrong. Cells are separated by commas,
semicolons or tabs; the header tells which. Lines are counted from 1 with the header, as an editor shows them.
"""

import codecs
import csv
import io
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten

from conclugen.names import tidy

__all__ = ["TableError", "TextTable", "decimal_number", "read_table", "whole_number"]

_SPACE = " \t\r\n"
"""Characters stripped off cells; Python's own strip would also take a Windows-1252 ellipsis (0x85)."""
_SEPARATORS = (",", ";", "\t")
_LINE_END = re.compile(r"\r\n|\r|\n")
_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",  # before that of UTF-16, with which it begins
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_OTHER_KINDS = {
    b"PK\x03\x04": "a spreadsheet or another archive",
    b"\xd0\xcf\x11\xe0": "a spreadsheet or another document of an Office program",
    b"PAR1": "a Parquet file",
    b"%PDF": "a PDF file",
}
"""First bytes of files that users give for a text table."""
_WHOLE_NUMBER = re.compile(r"([+-]?[0-9]{1,18})(?:\.0*)?")
_DECIMAL_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_REMEDY = "save the file as UTF-8, or name its encoding, such as --encoding cp1252, gb18030 or utf-16-le"


class TableError(ValueError):
    """A text table cannot be read; the message has a line for each of its ``problems``."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(problems))


@dataclass(frozen=True, kw_only=True)
class TextTable:
    """A text table; iterating yields the number of each row's first line, and its cells by column."""

    file: Path
    encoding: str
    """The encoding that the file was read in, such as ``utf-8``."""
    columns: tuple[str, ...]
    rows: Sequence[tuple[int, list[str]]]
    """First line and stripped cells of each row that is not blank."""

    def __iter__(self) -> Iterator[tuple[int, dict[str, str]]]:
        for line, cells in self.rows:
            yield line, dict(zip(self.columns, cells, strict=True))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def note(self) -> str:
        """A sentence for the user that says how the file was read."""
        return f"{self.file} was read as {self.encoding.upper()}."


def whole_number(text: str) -> int | None:
    """Return the whole number in a cell, as spreadsheets and pandas may write it (7, 007 or 7.0), or None."""
    match = _WHOLE_NUMBER.fullmatch(text)
    return int(match[1]) if match else None


def decimal_number(text: str) -> float | None:
    """Return the number in a cell, or None. Python's own float would also take 1_000, nan and infinity."""
    return float(text) if _DECIMAL_NUMBER.fullmatch(text) else None


def read_table(
    file: Path,
    needed: Collection[str],
    problems: list[str],
    *,
    aliases: Mapping[str, str] | None = None,
    encoding: str | None = None,
) -> TextTable:
    """Read a table with a header.

    Empty cells after the last column, and rows without any text, are skipped.

    Args:
        file: the table.
        needed: columns that it must have.
        problems: list to which a message is appended for every row that is longer or shorter than the header, or cannot
            be read; such rows are left out.
        aliases: name of a column in the file -> name in ``needed``.
        encoding: the file's encoding; None for UTF-8, or what its byte order mark says.

    Raises:
        TableError: the file cannot be read or decoded, lacks columns, or has a column twice.
    """
    text, encoding = _decoded(file, encoding)
    header_line = next((line for line in io.StringIO(text, newline="") if line.strip('," ;\t\r\n')), "")
    aliases = aliases or {}
    names: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    separator = ","
    for candidate in _SEPARATORS:
        found = _columns(header_line, candidate)
        renamed = tuple(aliases.get(name, name) for name in found)
        if set(needed) <= set(renamed):
            names, columns, separator = found, renamed, candidate
            break
        names, columns = names or found, columns or renamed
    published = {name: own for own, name in aliases.items()}
    absent = [published.get(name, name) for name in needed if name not in columns]
    if header_problems := _header_problems(file, names, columns, absent):
        raise TableError(header_problems)
    rows = []
    # io.StringIO knows the line ends of csv; str.splitlines would also split at control characters.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
    line = 0
    header_seen = False
    try:
        while True:
            line = reader.line_num + 1
            cells = [cell.strip(_SPACE) for cell in next(reader)]
            if not any(cells):
                continue
            if not header_seen:
                header_seen = True
            elif len(cells) < len(columns):
                problems.append(
                    f"{file}: line {line}: has {len(cells)} cells, its header {len(columns)}; leave cells empty."
                )
            elif any(cells[len(columns) :]):
                separated = {",": "commas", ";": "semicolons", "\t": "tabs"}[separator]
                problems.append(
                    f"{file}: line {line}: has {len(cells)} cells, its header {len(columns)}; "
                    f"quote cells that hold {separated}."
                )
            else:
                rows.append((line, cells[: len(columns)]))
    except StopIteration:
        pass
    except csv.Error as error:
        problems.append(
            f"{file}: line {line}: cannot be read: {error}; close each quotation mark, and double those within a cell."
        )
    return TextTable(file=file, encoding=encoding, columns=columns, rows=rows)


def _decoded(file: Path, encoding: str | None) -> tuple[str, str]:
    """Return the text of a file without a byte order mark, and its encoding."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise TableError([f"{file}: cannot be read: {error.strerror}; give a CSV file."]) from None
    if kind := _OTHER_KINDS.get(content[:4]):
        raise TableError([f"{file}: is {kind}; export it as CSV in UTF-8."])
    if encoding is None:
        encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding).removeprefix("\ufeff")
    except LookupError:
        raise TableError(
            [f"--encoding {encoding}: there is no such encoding; such are utf-8, cp1252, gb18030."]
        ) from None
    except UnicodeError as error:
        raise TableError([f"{file}: {_undecodable(content, encoding, error)}; {_REMEDY}."]) from None
    if (place := text.find("\0")) >= 0:
        line = len(_LINE_END.findall(text, 0, place)) + 1
        raise TableError(
            [f"{file}: line {line}: holds a zero byte, so it is no text in {encoding.upper()}; {_REMEDY}."]
        )
    return text, encoding


def _undecodable(content: bytes, encoding: str, error: UnicodeError) -> str:
    """Return where, and why, a file cannot be decoded."""
    if isinstance(error, UnicodeDecodeError):
        with suppress(UnicodeError):  # a few codecs, such as idna, replace no bytes
            before = content[: error.start].decode(encoding, errors="replace")
            line = len(_LINE_END.findall(before)) + 1
            return f"line {line}: byte 0x{content[error.start]:02x} is not {encoding.upper()}"
    return f"is not {encoding.upper()}: {error}"


def _columns(line: str, separator: str) -> tuple[str, ...]:
    """Return the names of the columns, without those without a name at the end."""
    try:
        names = next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])
    except csv.Error:  # longer than any name
        return ()
    columns = [tidy(name) for name in names]
    while columns and not columns[-1]:
        columns.pop()
    return tuple(columns)


def _header_problems(file: Path, names: Sequence[str], columns: Sequence[str], absent: Sequence[str]) -> list[str]:
    """Return what is wrong with a header of ``names``, which mean ``columns`` and lack ``absent``."""
    problems = []
    if absent:
        has = f"it has {shorten(', '.join(names), 300) or 'none'}"
        remedy = "name it so in the first line, and separate cells by commas, semicolons or tabs"
        problems.append(f"{file}: has no column {', '.join(absent)}; {has}; {remedy}.")
    if "" in columns:
        problems.append(f"{file}: column {columns.index('') + 1} has no name; name it, or leave it out.")
    problems += [
        f"{file}: column {name!r} is there {columns.count(name)} times; leave all but one out."
        for name in dict.fromkeys(columns)
        if name and columns.count(name) > 1
    ]
    return problems
