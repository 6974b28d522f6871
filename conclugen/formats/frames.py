"""Frames of pandas in a pickle, as dictionaries of columns; pandas itself is not called.

A frame is pickled as blocks of columns with a place each, and two axes. The stand-ins keep these parts, and
:meth:`FrameParts.plain` puts them together. The index becomes a column, too, if it is not just a count of the rows.
"""

from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np
import pyarrow as pa

__all__ = ["FRAME_STAND_INS", "FrameError", "FrameParts", "Places"]

_INDEX = "index"
"""Name of the column that an index without a name becomes."""


class FrameError(ValueError):
    """A frame of a kind that is not read; the message says which."""


class Places:
    """A slice, with which pandas places its blocks."""

    __slots__ = ("parts",)
    parts: tuple[Any, ...]

    def __new__(cls, *parts: object) -> Self:  # noqa: D102
        places = super().__new__(cls)
        if not all(part is None or (type(part) is int and abs(part) < 2**31) for part in parts) or len(parts) > 3:
            raise FrameError("a slice of something else than numbers")
        places.parts = parts
        return places

    def __setstate__(self, state: object) -> None:
        raise FrameError("a slice with a state")


class FrameParts:
    """A part of a frame as the pickle gives it: what it was made with, and its state."""

    __slots__ = ("arguments", "kind", "state")
    arguments: tuple[Any, ...]
    kind: str
    state: Any

    def __new__(cls, *arguments: object) -> Self:  # noqa: D102
        part = super().__new__(cls)
        part.arguments = arguments
        part.kind = cls.__name__
        part.state = None
        return part

    def __setstate__(self, state: object) -> None:
        self.state = state

    def plain(self, built: Callable[[object], Any]) -> Any:
        """Return the part as plain values: a frame or series as column -> values, anything else as its values.

        Args:
            built: returns the plain values of what a part holds.

        Raises:
            FrameError: pandas has stored something that is not read here.
        """
        try:
            return _PLAIN[self.kind](self, built)
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError, pa.ArrowException) as error:
            raise FrameError(f"a pandas {self.kind} that is not read ({error}); save it as Parquet instead") from None


def _frame(part: FrameParts, built: Callable[[object], Any]) -> dict[str, Any]:
    manager = _manager(part)
    blocks, axes = _blocks(manager)
    names, index = built(axes[0]), axes[1]
    columns: list[Any] = [None] * len(names)
    for values, places in blocks:
        rows = built(values)
        indices = range(*slice(*places.parts).indices(len(names))) if isinstance(places, Places) else built(places)
        for number, place in enumerate(indices):
            columns[int(place)] = rows[number] if isinstance(rows, np.ndarray) and rows.ndim > 1 else rows
    return {
        **_index_column(index, built),
        **{str(name): _list(column) for name, column in zip(names, columns, strict=True)},
    }


def _series(part: FrameParts, built: Callable[[object], Any]) -> dict[str, Any]:
    blocks, axes = _blocks(_manager(part))
    name = part.state.get("_name", part.state.get("name")) if isinstance(part.state, dict) else None
    return {**_index_column(axes[0], built), str(name or "values"): _list(built(blocks[0][0]))}


def _list(column: Any) -> Any:
    return list(column) if isinstance(column, np.ndarray) and column.dtype.kind == "O" else column


def _manager(part: FrameParts) -> Any:
    state = part.state
    return state["_mgr" if "_mgr" in state else "_data"] if isinstance(state, dict) else state


def _blocks(manager: Any) -> tuple[list[tuple[object, object]], Any]:
    """Return the values and places of the blocks, and the axes, in any of the ways in which pandas stores them."""
    if manager.arguments:
        blocks, axes = manager.arguments
        return [block.arguments[:2] for block in blocks], axes
    stored = manager.state[3]["0.14.1"]
    return [(block["values"], block["mgr_locs"]) for block in stored["blocks"]], stored["axes"]


def _index_column(index: Any, built: Callable[[object], Any]) -> dict[str, Any]:
    """Return the column that an index becomes; none for a count of the rows."""
    _, state = index.arguments
    if "data" not in state:
        return {}
    values = built(state["data"])
    if isinstance(values, np.ndarray) and values.dtype.kind in "iu" and (values == np.arange(len(values))).all():
        return {}
    return {str(state.get("name") or _INDEX): _list(values)}


def _axis(part: FrameParts, built: Callable[[object], Any]) -> Any:
    _, state = part.arguments
    if "data" in state:
        return _list(built(state["data"]))
    return list(range(*(int(state[name]) for name in ("start", "stop", "step"))))


def _strings(part: FrameParts, built: Callable[[object], Any]) -> list[str | None]:
    array = part.state["_pa_array"].plain(built)
    texts: list[str | None] = array
    return texts


def _objects(part: FrameParts, built: Callable[[object], Any]) -> Any:
    state: Any = part.state
    return _list(built(state["_ndarray"] if isinstance(state, dict) else state[1]))


def _arrow(part: FrameParts, built: Callable[[object], Any]) -> list[str | None]:
    """Return the strings of an Arrow array, or of its parts, after checking all of it."""
    (state,) = part.arguments if len(part.arguments) == 1 else (part.arguments,)
    kind, length, nulls, offset, buffers, children, dictionary = state
    if children or dictionary is not None:
        raise FrameError("an Arrow array of other arrays")
    (name,) = kind.arguments
    arrow_type = {"large_string": pa.large_string(), "string": pa.string()}[name]
    content = [None if buffer is None else pa.py_buffer(bytes(buffer.arguments[0])) for buffer in buffers]
    array = pa.Array.from_buffers(arrow_type, length, content, nulls, offset)
    array.validate(full=True)
    texts: list[str | None] = array.to_pylist()
    return texts


def _chunks(part: FrameParts, built: Callable[[object], Any]) -> list[str | None]:
    chunks, *_ = part.arguments
    return [text for chunk in chunks for text in chunk.plain(built)]


def _categories(part: FrameParts, built: Callable[[object], Any]) -> list[Any]:
    dtype, codes, *_ = part.state if isinstance(part.state, tuple) else (part.state["_dtype"], part.state["_codes"])
    names = built(dtype.state["categories"])
    return [names[code] if code >= 0 else None for code in built(codes).reshape(-1).tolist()]


_PLAIN: dict[str, Callable[[FrameParts, Callable[[object], Any]], Any]] = {
    "DataFrame": _frame,
    "Series": _series,
    "_new_Index": _axis,
    "ArrowStringArray": _strings,
    "StringArray": _objects,
    "_restore_array": _arrow,
    "chunked_array": _chunks,
    "__pyx_unpickle_NDArrayBacked": _categories,
}
_KINDS = (
    "DataFrame", "Series", "BlockManager", "SingleBlockManager", "_unpickle_block", "ArrowStringArray", "StringArray",
    "_restore_array", "type_for_alias", "py_buffer", "chunked_array", "__pyx_unpickle_NDArrayBacked", "_new_Index",
    "Index", "RangeIndex", "Int64Index", "Float64Index", "CategoricalIndex", "Categorical", "CategoricalDtype",
    "StringDtype",
)  # fmt: skip
_PARTS = {name: type(name, (FrameParts,), {"__slots__": ()}) for name in _KINDS}
_MODULES: Mapping[str, tuple[str, ...]] = {
    "DataFrame": ("pandas", "pandas.core.frame"),
    "Series": ("pandas", "pandas.core.series"),
    "BlockManager": ("pandas.core.internals.managers", "pandas.core.internals"),
    "SingleBlockManager": ("pandas.core.internals.managers", "pandas.core.internals"),
    "_unpickle_block": ("pandas._libs.internals", "pandas.core.internals.blocks"),
    "ArrowStringArray": ("pandas.arrays", "pandas.core.arrays.string_arrow"),
    "StringArray": ("pandas.arrays", "pandas.core.arrays.string_"),
    "_restore_array": ("pyarrow.lib",),
    "type_for_alias": ("pyarrow.lib",),
    "py_buffer": ("pyarrow.lib",),
    "chunked_array": ("pyarrow.lib",),
    "__pyx_unpickle_NDArrayBacked": ("pandas._libs.arrays",),
    "_new_Index": ("pandas.core.indexes.base", "pandas.core.index"),
    "Index": ("pandas", "pandas.core.indexes.base", "pandas.core.index"),
    "RangeIndex": ("pandas", "pandas.core.indexes.range"),
    "Int64Index": ("pandas.core.indexes.numeric", "pandas.core.index"),
    "Float64Index": ("pandas.core.indexes.numeric", "pandas.core.index"),
    "CategoricalIndex": ("pandas", "pandas.core.indexes.category"),
    "Categorical": ("pandas", "pandas.core.arrays.categorical"),
    "CategoricalDtype": ("pandas", "pandas.core.dtypes.dtypes"),
    "StringDtype": ("pandas", "pandas.core.arrays.string_"),
}
FRAME_STAND_INS: Mapping[str, type[FrameParts]] = {
    f"{module}.{name}": _PARTS[name] for name, modules in _MODULES.items() for module in modules
}
"""Name that a pickled frame asks for -> stand-in that it gets."""
