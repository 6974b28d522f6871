"""Arrays by name, with a row for each sample: the commonest layout, and the parts of others.

``stack`` is a dictionary of such arrays (`.npz`, `.pt`, a pickle, HDF5). ``array`` is a file with a single one, whose
name says modality and part, as MFN's HDF5 files have it (``text_train.h5`` with the dataset ``d1``).
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from conclugen.formats.clips import clip_column
from conclugen.formats.content import Source, Tree, is_array
from conclugen.formats.options import Options
from conclugen.formats.pooling import length_problem, padded_zeros, true_frames
from conclugen.formats.roles import clip_ids, id_key, length_key, mask_key, part_of, role_of
from conclugen.formats.table import (
    Column,
    Content,
    Read,
    Table,
    numbers,
    random_access,
    shape_text,
    value_column,
)

__all__ = ["ARRAY", "STACK", "rows_of", "stack_table"]

_CLASS_NAMES = "class_names"
_TOKENS = "text_bert"
"""Input of BERT: (n, 3, T) of token, mask and segment numbers, which are no features."""
_FEWEST_ARRAYS = 2
_FRAMES_CHECKED = 64
"""Sequences that are read at a time when frames of zeros are counted."""


class _Stack:
    """A dictionary of arrays with a row for each sample."""

    name = "stack"
    meaning = "arrays by name, each with a row for each sample"

    def recognise(self, source: Source) -> str | None:
        """Return what shows the layout, or None."""
        tree = source.tree
        if not isinstance(tree, Mapping) or len(tree) < _FEWEST_ARRAYS or source.kind == "matlab":
            return None
        sizes = Counter(rows for key, value in tree.items() if (rows := rows_of(value)) is not None)
        if not sizes or not any(_is_feature(value) for value in tree.values()):
            return None
        rows, count = sizes.most_common(1)[0]
        needed = len(tree) if len(tree) < 3 else len(tree) / 2
        return f"{count:,} of {len(tree):,} entries have {rows:,} rows" if count >= needed and rows > 1 else None

    def read(self, source: Source, options: Options) -> list[Table]:
        """Return the table."""
        part, _ = part_of(source.name)
        return [stack_table(source.tree, source.name, part, options)]


class _Array:
    """A file with a single array."""

    name = "array"
    meaning = "a single array with a row for each sample, as MFN's HDF5 files"

    def recognise(self, source: Source) -> str | None:
        """Return what shows the layout, or None."""
        array = _single(source.tree)
        if array is None or source.kind == "matlab":
            return None
        part, key = part_of(source.name)
        shape = shape_text(array.shape, array.dtype) if hasattr(array, "shape") else f"{len(array):,} values"
        return f"{shape}; by its name it is {key or 'features'}" + (f" of {part}" if part else "")

    def read(self, source: Source, options: Options) -> list[Table]:
        """Return the table, whose only column is named after the file."""
        part, key = part_of(source.name)
        return [stack_table({key or "features": _single(source.tree)}, source.name, part, options)]


STACK, ARRAY = _Stack(), _Array()


def _single(tree: Tree) -> Any:
    if isinstance(tree, Mapping) and len(tree) == 1:
        (tree,) = tree.values()
    if isinstance(tree, list) and tree and all(isinstance(entry, str | int | float) for entry in tree):
        return tree
    if isinstance(tree, list):
        tree = numbers(tree)
    if not getattr(tree, "shape", ()) or isinstance(tree.reshape(-1)[0] if tree.dtype.kind == "O" else None, dict):
        return None
    return tree


def rows_of(value: object) -> int | None:
    """Return the number of rows of an array or list; None if it is neither."""
    shape = getattr(value, "shape", None)
    if shape is not None:
        return int(shape[0]) if shape else None
    return len(value) if isinstance(value, list | tuple) else None


def _is_feature(value: object) -> bool:
    if is_array(value):
        return value.ndim in (2, 3) and 0 not in value.shape  # type: ignore[attr-defined]
    first = value[0] if isinstance(value, list) and value else None
    return is_array(first) or (isinstance(first, list) and bool(first) and isinstance(first[0], int | float | list))


def stack_table(tree: Mapping[Any, Any], name: str, part: str | None, options: Options) -> Table:
    """Return the arrays of a dictionary as a table.

    Args:
        tree: name -> array or list.
        name: name of the source.
        part: the split of all rows; None if it is not known.
        options: what the user decided.
    """
    entries = {str(key): value for key, value in tree.items()}
    ids_key = options.ids if options.ids in entries else id_key(key for key in entries if not _is_feature(entries[key]))
    sizes = Counter(
        size for key, value in entries.items() if key != _CLASS_NAMES and (size := rows_of(value)) is not None
    )
    rows = rows_of(entries[ids_key]) if ids_key is not None else None
    rows = rows if rows else max(sizes, key=lambda size: (sizes[size], size), default=0)
    ids = None if ids_key is None else _identifiers(entries[ids_key])
    columns: dict[str, Column] = {}
    reads: dict[str, Read] = {}
    for key, value in entries.items():
        if key in (ids_key, _CLASS_NAMES) or rows_of(value) is None:
            continue
        column, read = _column(key, value, rows, ids_key, entries, options)
        columns[key] = column
        if read is not None:
            reads[key] = read
    if _CLASS_NAMES in entries:
        names = [str(each) for each in _flat(entries[_CLASS_NAMES])]
        columns = {
            key: replace(column, classes=names) if column.role == "label" else column for key, column in columns.items()
        }
    if part is not None and "split" not in columns:
        columns["split"] = value_column("split", [part] * rows, role="split")
    widest = max((_row_bytes(entries[key]) for key in reads), default=1)
    return Table(
        name=name,
        ids=ids or [f"{part or ''}{row:07d}" for row in range(rows)],
        named=ids is not None,
        columns=columns,
        blocks=random_access(reads, rows, widest),
    )


def _row_bytes(value: Any) -> int:
    if is_array(value):
        return int(np.prod(value.shape[1:], dtype=np.int64)) * int(value.dtype.itemsize)
    return 2**20


def _identifiers(value: Any) -> list[str]:
    """Return identifiers; several parts, such as MulT's video, start and end, are joined."""
    entries = value.tolist() if isinstance(value, np.ndarray) else [*value]
    return clip_ids(
        ["_".join(map(_text, entry)) if isinstance(entry, list | tuple) else _text(entry) for entry in entries]
    )


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _flat(value: Any) -> list[Any]:
    """Return the values of a column; those of a single one each are taken out of their lists."""
    array = value[()] if hasattr(value, "shape") and not isinstance(value, np.ndarray) else value
    entries = (
        array.reshape(len(array), -1)[:, 0].tolist() if isinstance(array, np.ndarray) and array.ndim > 1 else [*array]
    )
    return [
        _value(entry) for entry in (array.tolist() if isinstance(array, np.ndarray) and array.ndim == 1 else entries)
    ]


def _value(entry: object) -> object:
    while isinstance(entry, list | tuple | np.ndarray) and len(entry) == 1:
        entry = entry[0]
    if isinstance(entry, np.generic):
        entry = entry.item()
    return _text(entry) if isinstance(entry, bytes) else entry


def _column(
    key: str, value: Any, rows: int, ids_key: str | None, entries: Mapping[str, Any], options: Options
) -> tuple[Column, Read | None]:
    """Return a column, and how its features are read; None for a column of values."""
    if isinstance(value, tuple):
        value = list(value)
    role = role_of(key)
    if isinstance(value, list) and _is_feature(value):
        same = numbers(value)
        value = same if same is not None else value
    shape = shape_text(value.shape, value.dtype) if hasattr(value, "shape") else f"{len(value):,} values"
    if (size := rows_of(value)) != rows:
        problem = (
            f"{key}: has {size:,} rows, {f'{ids_key} has' if ids_key else 'the others have'} {rows:,}; rows cannot be "
            "matched, so mend the file, or name the modalities that fit by --modalities."
        )
        role = _feature_role(role) if _is_feature(value) and key != _TOKENS else role
        return Column(key=key, kind="value", shape=shape, role=role, fault=lambda: problem), None
    is_value = not is_array(value) or int(np.prod(value.shape[1:], dtype=np.int64)) == 1
    if isinstance(value, list | np.ndarray) and not is_array(value) and _holds_arrays(value):
        return clip_column(key, [None if each is None else np.asarray(each) for each in value], role="feature")
    if is_value and (role is not None or not is_array(value) or value.ndim == 1):
        return replace(value_column(key, _flat(value), role=role), shape=shape), None
    if value.ndim == 2:
        return Column(key=key, kind="vector", shape=shape, width=int(value.shape[1]), role=_feature_role(role)), (
            lambda start, stop: np.asarray(value[start:stop])
        )
    if value.ndim == 3 and key != _TOKENS:
        return _sequences(key, value, entries, options)
    reason = f"is {shape}, neither a vector nor a sequence for each row"
    reason = "holds the numbers of tokens, which are no features" if key == _TOKENS else reason
    return Column(key=key, kind="value", shape=shape, fault=lambda: f"{key}: {reason}; name another column."), None


def _feature_role(role: Any) -> Any:
    return role if role == "label" else "feature"


def _holds_arrays(values: Any) -> bool:
    first = next((value for value in values if value is not None), None)
    return is_array(first) or (isinstance(first, list) and len(first) > 1 and isinstance(first[0], int | float | list))


def _sequences(key: str, array: Any, entries: Mapping[str, Any], options: Options) -> tuple[Column, Read]:
    """Return the column of padded sequences (n, T, d), by their lengths, by a mask, or by what the user decided."""
    rows, steps, width = array.shape
    padding = options.padding
    own = length_key(key, entries)
    mask = None
    lengths = None
    problem: str | None = None
    if padding in (None, "clip"):
        mask, described = _mask(key, steps, entries)
        if own is not None:
            mask, described = None, own
            given = np.asarray(numbers(entries[own]) if numbers(entries[own]) is not None else [])
            problem = length_problem(own, given.reshape(-1), rows, steps, padding)
            lengths = np.minimum(given.reshape(-1), steps).astype(int) if problem is None else None
    if padding == "zeros":
        described = "frames of zeros at both ends are padding"
    elif padding == "none" or (mask is None and own is None):
        described = f"all {steps:,} frames"

    def read(start: int, stop: int) -> Content:
        block = np.asarray(array[start:stop])
        return [
            true_frames(
                sequence,
                length=None if lengths is None else int(lengths[start + row]),
                mask=None if mask is None else mask[start + row],
                zeros=padding == "zeros",
            )
            for row, sequence in enumerate(block)
        ]

    def fault() -> str | None:
        if problem is not None or mask is not None or lengths is not None or padding in ("zeros", "none"):
            return problem
        bounds = [*range(0, rows, _FRAMES_CHECKED), rows]
        if not (count := sum(padded_zeros(np.asarray(array[start:stop])) for start, stop in pairwise(bounds))):
            return None
        return (
            f"{key}: {count:,} of {rows:,} sequences begin or end with frames of zeros, and nothing in the file says "
            "how long they are. Give --padding zeros if these frames are padding, or --padding none if they count."
        )

    missing = {} if lengths is None else dict.fromkeys(np.flatnonzero(lengths == 0).tolist(), "its length is 0")
    if mask is not None:
        missing = dict.fromkeys(
            np.flatnonzero(~np.asarray(mask).astype(bool).any(axis=1)).tolist(), "its mask is empty"
        )
    column = Column(
        key=key, kind="sequence", shape=shape_text(array.shape, array.dtype), width=width, role="feature",
        missing=missing, lengths=described, fault=fault,
    )  # fmt: skip
    return column, read


def _mask(key: str, steps: int, entries: Mapping[str, Any]) -> tuple[Any, str]:
    """Return the mask (n, T) of a column and what it is, for users."""
    if (own := mask_key(key, entries)) is not None and getattr(entries[own], "shape", ())[1:] == (steps,):
        return entries[own][()] if hasattr(entries[own], "dtype") else entries[own], own
    tokens = entries.get(_TOKENS)
    if getattr(tokens, "ndim", 0) == 3 and tokens.shape[1:] == (3, steps):  # type: ignore[union-attr]
        return np.asarray(tokens[:, 1, :]), f"the mask in {_TOKENS}"  # type: ignore[index]
    return None, ""
