"""Tables of cells: which columns are features, and whether a row is a clip or a frame.

CSV and Arrow files differ only in how their cells are read; this module does the rest for both. Columns of numbers that
have no other role are the features of the table, together. Columns of lists are vectors or sequences by themselves.

A name that comes back in later rows means one row per frame, if a column of times shows it. Otherwise it may as well be
an error, so users are asked.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from conclugen.counts import counted
from conclugen.features.manifest import FeatureSetError
from conclugen.formats.options import Options
from conclugen.formats.roles import clip_ids, id_key, role_of
from conclugen.formats.table import Block, Column, Content, Numbers, Table, value_column

__all__ = ["SUCCESS", "TIMES", "Cells", "flat_table", "frames_of"]

TIMES = (
    "frame",
    "frametime",
    "frame_id",
    "frameindex",
    "timestamp",
    "time",
    "start",
    "end",
    "face_id",
    "confidence",
    "success",
)
"""Columns, in lower case, that say when a frame was or how it was found; they are no features."""
SUCCESS = "success"
"""OpenFace's column of 0 for frames in which it found no face; the other columns hold no measurement there."""
_UNNAMED = ("", "unnamed: 0", "index", "__index_level_0__")
"""Columns, in lower case, in which pandas writes the count of the rows."""
_NUMBER_OF = re.compile(r"(.+[_ ])?(id|segment|folds?|(sr|serial)[_. ]*no)\.?", re.IGNORECASE)
"""Columns that number something, such as MELD's Utterance_ID and ``Sr No.``; they are no features."""
_ODD_ROWS = 3
_ODD_SHARE = 0.01
"""Share of rows that may have another width; more than these mean that the column holds something else."""

_Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Cells:
    """Columns of a table, and how their cells are read."""

    source: str
    """Path of the table, for messages."""
    kinds: Mapping[str, str]
    """Column -> number, text, list (of numbers), lists (of lists of numbers), or other."""
    batches: Callable[[Sequence[str]], Iterator[pa.RecordBatch]]
    """Yields the rows of the given columns."""
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Column -> names of the classes that its whole numbers count."""
    as_written: Callable[[Sequence[str]], Iterator[pa.RecordBatch]] | None = None
    """Yields the rows of the given columns as text, if the file is text: identifiers such as 007 are no numbers."""


def flat_table(cells: Cells, name: str, part: str | None, options: Options) -> Table:
    """Return a table of cells.

    Args:
        cells: the columns.
        name: name of the source.
        part: the split of all rows; None if it is not known.
        options: what the user decided.

    Raises:
        FeatureSetError: rows may be clips or frames, and the user has to say which; or they cannot be read.
    """
    ids_key = _id_column(cells, options)
    chosen = {options.labels, options.split, options.folds, *options.groups.values()}
    numeric = [
        key
        for key, kind in cells.kinds.items()
        if kind == "number"
        and key not in chosen
        and key != ids_key
        and key.lower() not in (*TIMES, *_UNNAMED)
        and role_of(key) not in ("label", "split", "speaker", "group")
        and not _NUMBER_OF.fullmatch(key)
    ]
    values = [
        key for key, kind in cells.kinds.items() if kind in ("number", "text") and key not in numeric and key != ids_key
    ]
    stored = _values(cells, [*([ids_key] if ids_key else []), *values])
    if ids_key is not None and cells.kinds[ids_key] == "number" and cells.as_written is not None:
        stored[ids_key] = [text for batch in cells.as_written([ids_key]) for text in batch.column(ids_key).to_pylist()]
    rows = len(next(iter(stored.values()))) if stored else sum(batch.num_rows for batch in cells.batches(numeric[:1]))
    given = None if ids_key is None else _names(stored[ids_key], ids_key, cells.source)
    runs = _runs(given, cells, options)
    kept = _successful(stored, cells) if runs is not None else None
    starts = range(rows + 1) if runs is None else runs
    ids = (
        [f"{part or ''}{row:07d}" for row in range(rows)] if given is None else [given[start] for start in starts[:-1]]
    )
    columns: dict[str, Column] = {}
    for key in values:
        firsts = [stored[key][start] for start in starts[:-1]]
        if runs is not None and (key.lower() in TIMES or any(
            len(set(stored[key][first:last])) > 1 for first, last in pairwise(starts)
        )):  # fmt: skip
            if options.rows is None and role_of(key) == "label":
                raise FeatureSetError(
                    f"{cells.source}: rows of the same name have several values of {key}. Either each row is a frame, "
                    f"and {key} is no label of clips: give --rows frames. Or each row is a clip, and names have to "
                    "differ: give --ids COLUMN."
                )
            continue  # it differs between the frames of a clip, so it says nothing about the clip
        columns[key] = value_column(key, firsts, role=role_of(key), classes=cells.classes.get(key, ()))
    if part is not None and not any(column.role == "split" for column in columns.values()):
        columns["split"] = value_column("split", [part] * len(ids), role="split")

    def numbers_column(key: str, members: Sequence[str]) -> Column:
        shape = f"{rows:,} rows of {len(members):,} columns"
        if runs is None:
            return Column(key=key, kind="vector", shape=shape, width=len(members), role="feature")
        lengths = "rows with the same name" + (", without those in which no face was found" if kept is not None else "")
        return Column(key=key, kind="sequence", shape=shape, width=len(members), role="feature", lengths=lengths)

    members_of: dict[str, list[str]] = {}
    if numeric:
        together = f"{name}_features" if name in cells.kinds else name  # emotion.csv may have a column emotion
        members_of[together] = numeric
        columns[together] = numbers_column(together, numeric)
    for key, kind in cells.kinds.items():
        if kind in ("list", "lists") and runs is None:
            columns[key] = _list_column(cells, key, kind)

    def pattern(text: str) -> Column | None:
        """Return the columns whose names match a pattern such as F0*, as features."""
        members = [key for key, kind in cells.kinds.items() if kind == "number" and fnmatchcase(key, text)]
        if not members or not set("*?[") & set(text):
            return None
        members_of[text] = members
        return numbers_column(text, members)

    def blocks(keys: Sequence[str]) -> Iterator[Block]:
        needed = [member for key in keys for member in members_of.get(key, [key])]
        if runs is None:
            for batch in cells.batches(list(dict.fromkeys(needed))):
                yield {key: _rows(batch, members_of.get(key), key) for key in keys}
            return
        for first in _frames(cells, list(dict.fromkeys(needed)), runs, kept):
            yield {key: [np.column_stack([first[member] for member in members_of[key]])] for key in keys}

    return Table(name=name, ids=ids, named=given is not None, columns=columns, blocks=blocks, pattern=pattern)


def _id_column(cells: Cells, options: Options) -> str | None:
    if options.ids in cells.kinds:
        return options.ids
    texts = [key for key, kind in cells.kinds.items() if kind == "text"]
    named = id_key(key for key in cells.kinds if cells.kinds[key] == "text")
    if named is not None:
        return named
    free = [
        key
        for key in texts
        if role_of(key) is None and key not in (options.labels, options.split, *options.groups.values())
    ]
    if len(free) > 1:
        raise FeatureSetError(
            f"{cells.source}: names of clips may be in column {', '.join(map(repr, free))}; give --ids COLUMN."
        )
    numbered = id_key(key for key in cells.kinds if cells.kinds[key] == "number" and key.lower() not in _UNNAMED)
    return free[0] if free else numbered


def _names(texts: Sequence[Any], key: str, source: str) -> list[str]:
    """Return the identifiers of the rows.

    Raises:
        FeatureSetError: some rows have none.
    """
    nameless = [row for row, text in enumerate(texts, 1) if text is None or str(text).strip() == ""]
    if nameless:
        raise FeatureSetError(
            f"{source}: {counted(len(nameless), 'row has', 'rows have')} no {key}, such as row {nameless[0]:,}; fill "
            "the column, or remove these rows."
        )
    return clip_ids([_whole(text) for text in texts])


def _whole(value: Any) -> str:
    """Return an identifier as text, whole numbers without a point."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _values(cells: Cells, keys: Sequence[str]) -> dict[str, list[Any]]:
    """Return the cells of columns."""
    values: dict[str, list[Any]] = {key: [] for key in keys}
    for batch in cells.batches(keys) if keys else ():
        for key in keys:
            values[key] += batch.column(key).to_pylist()
    return values


def _runs(ids: Sequence[str] | None, cells: Cells, options: Options) -> list[int] | None:
    """Return where each clip's frames begin, and the number of rows; None if each row is a clip.

    Raises:
        FeatureSetError: rows may be clips or frames, or a clip's rows are not together.
    """
    if ids is None or options.rows == "clips":
        return None
    repeated = len(ids) - len(set(ids))
    timed = [key for key in cells.kinds if key.lower() in TIMES]
    if not repeated and options.rows is None:
        return None
    if options.rows is None and not timed:
        name, count = Counter(ids).most_common(1)[0]
        raise FeatureSetError(
            f"{cells.source}: names come back, such as {name!r} in {count:,} rows, and no column says when. Either "
            "each row is a frame: give --rows frames. Or each is a clip, and names have to differ: give --ids COLUMN."
        )
    if options.rows is None and len(set(ids)) == 1:  # openSMILE without -instname
        raise FeatureSetError(
            f"{cells.source}: all {len(ids):,} rows have the name {ids[0]!r}. Either they are the frames of one clip: "
            "give --rows frames. Or each is a clip, and names have to differ: give --ids COLUMN."
        )
    starts = [row for row in range(len(ids)) if row == 0 or ids[row] != ids[row - 1]]
    scattered = [name for name, count in Counter(ids[start] for start in starts).items() if count > 1]
    if scattered:
        raise FeatureSetError(
            f"{cells.source}: rows of {scattered[0]!r} are not together ({len(scattered):,} such clips); sort the "
            "table by name."
        )
    return [*starts, len(ids)]


def _successful(stored: Mapping[str, Sequence[Any]], cells: Cells) -> _Flags | None:
    key = next((key for key in stored if key.lower() == SUCCESS), None)
    return None if key is None else np.array([bool(value) for value in stored[key]])


def _frames(
    cells: Cells, keys: Sequence[str], runs: Sequence[int], kept: _Flags | None
) -> Iterator[dict[str, Numbers]]:
    """Yield the columns of one clip's frames after the other; a clip may go on in the next batch."""
    held: dict[str, list[Numbers]] = {key: [] for key in keys}
    row, clip = 0, 0
    for batch in cells.batches(keys):
        arrays = {key: _floats(batch.column(key)) for key in keys}
        start = 0
        while start < batch.num_rows:
            stop = min(batch.num_rows, start + runs[clip + 1] - row)
            inside = slice(start, stop) if kept is None else start + np.flatnonzero(kept[row : row + stop - start])
            for key in keys:
                held[key].append(arrays[key][inside])
            row, start = row + stop - start, stop
            if row == runs[clip + 1]:
                yield {key: np.concatenate(parts) for key, parts in held.items()}
                held, clip = {key: [] for key in keys}, clip + 1


def frames_of(batches: Iterator[pa.RecordBatch], keys: Sequence[str]) -> Numbers:
    """Return all rows of the given columns (rows, keys)."""
    parts = [np.column_stack([_floats(batch.column(key)) for key in keys]) for batch in batches]
    return np.concatenate(parts) if parts else np.empty((0, len(keys)))


def _floats(column: pa.Array) -> Numbers:
    return np.asarray(pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False))


def _rows(batch: pa.RecordBatch, members: Sequence[str] | None, key: str) -> Content:
    """Return the features of a batch's rows; those that the column says to be missing are without meaning."""
    if members is not None:
        return np.column_stack([_floats(batch.column(member)) for member in members])
    outer = _Lists(_storage(batch.column(key)))
    inner = _storage(outer.content)
    if not _is_list(inner.type):
        flat = _floats(inner)
        return [flat[start:stop] for start, stop in pairwise(outer.offsets)]
    frames = _Lists(inner)
    flat = _floats(_storage(frames.content))
    return [
        flat[frames.offsets[start] : frames.offsets[stop]].reshape(stop - start, -1)
        if start < stop and len(set(frames.sizes[start:stop])) == 1
        else np.empty((0, 1))
        for start, stop in pairwise(outer.offsets)
    ]


def _storage(column: pa.Array) -> pa.Array:
    return column.storage if isinstance(column, pa.ExtensionArray) else column


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


class _Lists:
    """A column of lists as their content, one after the other, with the place of each; an absent list is empty."""

    def __init__(self, column: pa.Array) -> None:
        self.content = pc.list_flatten(column)
        self.sizes: list[int] = pc.fill_null(pc.list_value_length(column), 0).to_pylist()
        self.offsets: list[int] = np.concatenate([[0], np.cumsum(self.sizes)]).astype(int).tolist()


def _widths(column: pa.Array) -> list[int | None]:
    """Return the width of the vectors or frames of each row; None where there are none, or of several widths."""
    outer = _Lists(_storage(column))
    inner = _storage(outer.content)
    if not _is_list(inner.type):
        return [size or None for size in outer.sizes]
    sizes = _Lists(inner).sizes
    of_rows = (set(sizes[start:stop]) for start, stop in pairwise(outer.offsets))
    return [each.pop() or None if len(each) == 1 else None for each in of_rows]


def _list_column(cells: Cells, key: str, kind: str) -> Column:
    """Return a column of lists, whose width is that of most; other rows are left out."""
    of_row = [width for batch in cells.batches([key]) for width in _widths(batch.column(key))]
    widths = Counter(width for width in of_row if width is not None)
    width, count = widths.most_common(1)[0] if widths else (0, 0)
    missing = {
        row: "there is none" if own is None else f"it has {own:,} features, the others {width:,}"
        for row, own in enumerate(of_row)
        if own != width
    }
    other = sum(widths.values()) - count

    def fault() -> str | None:
        if not width:
            return f"{key}: holds no numbers; name another column."
        if other > max(_ODD_ROWS, _ODD_SHARE * len(of_row)):
            shown = ", ".join(f"{size:,} ({times:,} rows)" for size, times in widths.most_common(4))
            return f"{key}: lists have several widths, {shown}; name a column of vectors of one width."
        return None

    what = "sequences of frames" if kind == "lists" else "vectors"
    return Column(
        key=key, kind="sequence" if kind == "lists" else "vector", width=width, role="feature", missing=missing,
        shape=f"{len(of_row) - len(missing):,} {what} of width {width:,}", fault=fault,
        lengths="each list's own" if kind == "lists" else "",
    )  # fmt: skip
