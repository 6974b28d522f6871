"""What every layout is read as: tables of named columns, whose features stay in their files until they are asked for.

A layout knows how a file is arranged, and nothing else. It hands out tables; pooling, labels and joining are done once,
for all layouts.

Shapes: n rows of a table, b rows of a block, t true frames of a sequence, d features of a vector or frame.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = [
    "Block",
    "Column",
    "Content",
    "Kind",
    "Numbers",
    "Role",
    "Table",
    "numbers",
    "random_access",
    "shape_text",
    "sound_text",
    "value_column",
]

Kind = Literal["vector", "sequence", "value"]
Role = Literal["feature", "label", "split", "speaker", "group", "text"]
Numbers: TypeAlias = npt.NDArray[Any]
Content: TypeAlias = Numbers | Sequence[Numbers | str]
Block: TypeAlias = Mapping[str, Content]
"""Key -> b vectors (d,), or b sequences (t, d) of true frames; in place of a row that cannot be read, the reason."""
Read: TypeAlias = Callable[[int, int], Content]
"""Returns the rows from the first to the one before the second index."""

_BLOCK_BYTES = 32 * 2**20
_MOST_ROWS = 4096


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a table."""

    key: str
    kind: Kind
    shape: str
    """Shape and type as the file has them, for users."""
    width: int = 0
    """Features of a vector or of a frame; 0 for values."""
    role: Role | None = None
    """What the layout says that the column is; None if it does not say."""
    values: Sequence[object] = ()
    """The n values of a column of values; None where there is none."""
    missing: Mapping[int, str] = field(default_factory=dict)
    """Row -> why it has no features here."""
    lengths: str = ""
    """Where the true lengths of sequences come from, for users."""
    classes: Sequence[str] = ()
    """Names of the classes, if whole numbers count them."""
    fault: Callable[[], str | None] = lambda: None
    """Returns why the column cannot be used as it is, and what decides; it may read all of the column."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of one source, such as a file or a part of it."""

    name: str
    """Name of the source, by which users address its columns."""
    ids: Sequence[str]
    """The n identifiers. Those of an unnamed table hold its part and the row's number."""
    origin: str = ""
    """Name of the file or folder, for the manifest."""
    named: bool = True
    """Whether the source names its rows; otherwise they are matched by their order."""
    columns: Mapping[str, Column]
    blocks: Callable[[Sequence[str]], Iterator[Block]]
    """Yields the features of the given columns, in the order of the rows."""
    pattern: Callable[[str], Column | None] = lambda _: None
    """Returns the columns whose names match a pattern such as ``F0*`` as one, if the table has such."""

    def __len__(self) -> int:
        return len(self.ids)


def random_access(reads: Mapping[str, Read], rows: int, row_bytes: int) -> Callable[[Sequence[str]], Iterator[Block]]:
    """Return the ``blocks`` of a table whose rows can be read in any order.

    Args:
        reads: key -> function that reads rows.
        rows: number of rows of the table.
        row_bytes: bytes of a row of the widest column, which decide how many rows a block has.
    """
    step = min(_MOST_ROWS, max(1, _BLOCK_BYTES // max(1, row_bytes)))

    def blocks(keys: Sequence[str]) -> Iterator[Block]:
        for start in range(0, rows, step):
            stop = min(start + step, rows)
            yield {key: reads[key](start, stop) for key in keys}

    return blocks


def value_column(
    key: str, values: Sequence[object], *, role: Role | None = None, classes: Sequence[str] = ()
) -> Column:
    """Return a column of values."""
    return Column(key=key, kind="value", shape=f"{len(values):,} values", role=role, values=values, classes=classes)


def numbers(value: object) -> Numbers | None:
    """Return ``value``, an array or a nested list, as real numbers; None if it is something else, or ragged."""
    try:
        array = value if isinstance(value, np.ndarray) else np.asarray(value)
        if array.dtype.kind == "O":
            array = np.array(array.tolist())
    except (ValueError, TypeError, OverflowError):
        return None
    return array if array.dtype.kind in "fiub" else None


def sound_text(array: Numbers) -> Numbers:
    """Return an array after checking its text: Python fails later, and anywhere, at letters that are none.

    Raises:
        ValueError: the array holds such text.
    """
    if array.dtype.kind == "U" and array.nbytes:
        letters = np.dtype(np.uint32).newbyteorder(array.dtype.byteorder)
        if np.ascontiguousarray(array).view(letters).max() > sys.maxunicode:
            raise ValueError("text of letters that do not exist")
    return array


def shape_text(shape: Sequence[int], dtype: object = "") -> str:
    """Return a shape for users, such as ``(2,199, 50, 768) float32``."""
    inner = ", ".join(f"{size:,}" for size in shape) + ("," if len(shape) == 1 else "")
    return f"({inner}) {dtype}".rstrip()
