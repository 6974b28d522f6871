"""Compares the files of two reports: tables cell by cell, other texts line by line, the rest as a whole.

CSV files have ten digits of each number. The same versions of all libraries on the same kind of processor compute the
same texts. Otherwise the order of additions may differ, and with it the last digits. Then two numbers are equal if they
differ by less than one unit of the tenth digit (1e-9 of the number), or by less than 1e-12: sums that cancel leave such
remainders in place of 0.
"""

import csv
import io
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

__all__ = ["ABSOLUTE", "RELATIVE", "Comparison", "Difference", "compare"]

RELATIVE = 1e-9
ABSOLUTE = 1e-12
ABSENT = "–"
"""Stands for a cell, a line or a file that one of the two reports lacks."""

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.ASCII | re.IGNORECASE)
_TEXTS = (".md", ".tex", ".txt", ".json")
_MOST_KEYS = 4  # texts of a row that tell it from others


@dataclass(frozen=True)
class Difference:
    """One place where two reports differ."""

    file: str
    row: str
    """Line of the file, and the texts in it; empty for a file as a whole."""
    column: str
    bundled: str
    computed: str


@dataclass(frozen=True)
class Comparison:
    """All differences of some files, and how much was compared."""

    tables: int
    numbers: int
    differences: Sequence[Difference]


def compare(bundled: Path, computed: Path, names: Sequence[str], *, exact: bool) -> Comparison:
    """Compare files of two folders.

    Args:
        bundled: folder of the first report.
        computed: folder of the second report.
        names: names of the files, which one of the folders may lack.
        exact: whether equal numbers have equal texts. If not, only tables are compared, up to the tolerance.
    """
    tables, numbers, differences = 0, 0, list[Difference]()
    for name in names:
        one, other = bundled / name, computed / name
        if other.suffix == ".csv" and one.exists() and other.exists():
            cells = list(_cells(one, other))
            tables += 1
            numbers += sum(_NUMBER.fullmatch(cell.computed) is not None for cell in cells)
            differences += [cell for cell in cells if not _equal(cell.bundled, cell.computed, exact=exact)]
        elif exact or other.suffix == ".csv":
            differences += _other(one, other)
    return Comparison(tables, numbers, differences)


def _equal(first: str, second: str, *, exact: bool) -> bool:
    if first == second or exact or not (_NUMBER.fullmatch(first) and _NUMBER.fullmatch(second)):
        return first == second
    return math.isclose(float(first), float(second), rel_tol=RELATIVE, abs_tol=ABSOLUTE)


def _cells(bundled: Path, computed: Path) -> Iterator[Difference]:
    """Yield every cell of two tables, side by side, equal or not."""
    first, second = (_table(path) for path in (bundled, computed))
    headings = zip_longest(first[0], second[0], fillvalue=ABSENT)
    names = [one if one == other else f"{one} / {other}" for one, other in headings]
    for line, (one, other) in enumerate(zip_longest(first, second, fillvalue=()), start=1):
        keys = [text for text in other or one if text and not _NUMBER.fullmatch(text)][:_MOST_KEYS]
        row = f"{line}: {', '.join(keys)}" if line > 1 else "headings"
        for column, left, right in zip_longest(names if one or other else (), one, other, fillvalue=ABSENT):
            yield Difference(computed.name, row, column, left, right)


def _table(path: Path) -> list[list[str]]:
    """Return the rows of a CSV file, the headings first; one empty row if it is empty."""
    return list(csv.reader(io.StringIO(_text(path), newline=""))) or [[]]


def _other(bundled: Path, computed: Path) -> Iterator[Difference]:
    name = computed.name
    if not (bundled.exists() and computed.exists()):
        states = ["there" if path.exists() else ABSENT for path in (bundled, computed)]
        yield Difference(name, "", "", states[0], states[1])
    elif computed.suffix in _TEXTS:
        lines = zip_longest(*(_text(path).split("\n") for path in (bundled, computed)), fillvalue=ABSENT)
        for number, (left, right) in enumerate(lines, start=1):
            if left != right:
                yield Difference(name, str(number), "", left, right)
    elif bundled.read_bytes() != computed.read_bytes():
        yield Difference(name, "", "", "other bytes", "other bytes")


def _text(path: Path) -> str:
    return path.read_bytes().decode(errors="replace")
