"""``.mat`` files of multi-view learning: a cell of views, or a matrix for each view, and the classes beside them.

Published files disagree about nearly everything: the cell is ``X``, ``data`` or ``fea``, the classes are ``gt``, ``Y``,
``gnd`` or ``truth``, and samples are the rows of a view or its columns. The number of classes' values tells which. A
square view says neither; then the other views of the file decide, and users are asked if none does.

Shapes: n samples, d_v features of view v; a view is (n, d_v) or (d_v, n).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from conclugen.features.manifest import FeatureSetError
from conclugen.formats.content import Source
from conclugen.formats.options import Options, Samples
from conclugen.formats.roles import part_of
from conclugen.formats.table import Column, Content, Read, Table, random_access, shape_text, value_column

__all__ = ["VIEWS"]

_CLASSES = (
    "gt",
    "y",
    "gnd",
    "label",
    "labels",
    "truth",
    "truelabel",
    "true_label",
    "class",
    "classid",
    "groundtruth",
    "s",
)
"""Names of the classes, in lower case."""


class _Views:
    """Matrices of views in a .mat file."""

    name = "views"
    meaning = "a .mat file of views, in a cell or a matrix each, with classes such as gt or Y"

    def recognise(self, source: Source) -> str | None:
        """Return what shows the layout, or None."""
        if source.kind != "matlab" or not (views := _views(source.tree)):
            return None
        return f"{len(views)} views: {', '.join(f'{name} {shape_text(view.shape)}' for name, view in views.items())}"

    def read(self, source: Source, options: Options) -> list[Table]:
        """Return the table of all views.

        Raises:
            FeatureSetError: samples may be rows or columns, or views have no number of samples in common.
        """
        views = _views(source.tree)
        classes = {key: values for key, value in source.tree.items() if (values := _classes(key, value)) is not None}
        lengths = {len(values) for values in classes.values()}
        where, rows = _orientation(source, views, lengths, options)
        columns: dict[str, Column] = {}
        reads: dict[str, Read] = {}
        for name, view in views.items():
            matrix = view.T if where == "columns" else view
            matrix = matrix.tocsr() if hasattr(matrix, "tocsr") else matrix
            shape = f"{shape_text(view.shape, view.dtype)}, samples in {where}"
            columns[name] = Column(key=name, kind="vector", shape=shape, width=int(matrix.shape[1]), role="feature")
            reads[name] = _reader(matrix)
        for key, values in classes.items():
            columns[key] = value_column(key, values, role="label")
        part, _ = part_of(source.name)
        widest = max(column.width for column in columns.values()) * 8
        ids = [f"{part or ''}{row:07d}" for row in range(rows)]
        return [
            Table(name=source.name, ids=ids, named=False, columns=columns, blocks=random_access(reads, rows, widest))
        ]


VIEWS = _Views()


def _reader(matrix: Any) -> Read:
    def read(start: int, stop: int) -> Content:
        rows = matrix[start:stop]
        return np.asarray(rows.toarray() if hasattr(rows, "toarray") else rows)

    return read


def _is_matrix(value: Any) -> bool:
    """Return whether a value is a matrix of numbers, sparse or not, with more than one row and column."""
    shape = getattr(value, "shape", ())
    return len(shape) == 2 and min(shape) > 1 and getattr(value.dtype, "kind", "") in "fiub"


def _views(tree: Any) -> dict[str, Any]:
    """Return view -> matrix: the cells of the only array of cells, or the matrices that are not the classes."""
    if not isinstance(tree, Mapping):
        return {}
    cells = [
        [*value.reshape(-1)] for key, value in tree.items()
        if getattr(getattr(value, "dtype", None), "kind", "") == "O" and value.size and key.lower() not in _CLASSES
        and all(_is_matrix(cell) for cell in value.reshape(-1))
    ]  # fmt: skip
    if len(cells) == 1:
        return {f"view{number}": view for number, view in enumerate(cells[0], 1)}
    return {key: value for key, value in tree.items() if _is_matrix(value) and key.lower() not in _CLASSES}


def _classes(key: str, value: Any) -> list[Any] | None:
    """Return the classes of all samples; None if the variable holds something else.

    A matrix with a single 1 in each row (or column) numbers the classes from 1, as MATLAB does. A cell of one array for
    each view holds the same classes again.
    """
    if key.lower() not in _CLASSES:
        return None
    if getattr(getattr(value, "dtype", None), "kind", "") == "O":
        cells = [*value.reshape(-1)]
        if cells and all(getattr(cell, "dtype", np.dtype("O")).kind == "U" and cell.size == 1 for cell in cells):
            return [str(cell.reshape(-1)[0]) for cell in cells]
        several = [_classes(key, cell) for cell in cells]
        return (
            several[0] if several and several[0] is not None and all(each == several[0] for each in several) else None
        )
    array = value.toarray() if hasattr(value, "toarray") else np.asarray(value)
    if array.ndim == 2 and min(array.shape) > 1 and np.isin(array, (0, 1)).all():
        for matrix in (array, array.T):
            if (matrix.sum(axis=1) == 1).all():
                return [int(place) + 1 for place in matrix.argmax(axis=1)]
        return None
    if array.ndim != 2 or min(array.shape) != 1 or array.dtype.kind not in "fiubU":
        return None
    return list(array.reshape(-1).tolist())


def _orientation(source: Source, views: Mapping[str, Any], lengths: set[int], options: Options) -> tuple[Samples, int]:
    """Return where the samples are, and their number.

    Raises:
        FeatureSetError: it cannot be told, or views do not fit.
    """
    by_rows = {int(view.shape[0]) for view in views.values()}
    by_columns = {int(view.shape[1]) for view in views.values()}
    readings: dict[Samples, int] = {}
    for where, sizes in (("rows", by_rows), ("columns", by_columns)):
        if len(sizes) == 1 and (not lengths or sizes == lengths):
            readings[where] = next(iter(sizes))  # type: ignore[index]
    shown = ", ".join(f"{name} {shape_text(view.shape)}" for name, view in views.items())
    if options.samples is not None:
        readings = {where: size for where, size in readings.items() if where == options.samples}
    if len(readings) > 1:
        raise FeatureSetError(
            f"{source.path}: samples may be the rows or the columns of {shown}; give --samples rows or --samples "
            "columns."
        )
    if not readings:
        of = f"{', '.join(map(str, sorted(lengths)))} classes" if lengths else "any number of samples"
        raise FeatureSetError(
            f"{source.path}: views {shown} do not have {of} in all rows, or in all columns; mend the file."
        )
    return next(iter(readings.items()))
