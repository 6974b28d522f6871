"""Confusion matrices of confirmed methods, from the predictions in the records of their runs.

numpy does the counting. A large sweep has thousands of small matrices, over seeds, folds and label draws. scikit-learn
takes seconds for these; it is the oracle of the tests.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from reports.statistics.ablation import PlannedColumn, latest_config, planned_columns, planned_methods
from sweeps.ledger import Predictions, Record

__all__ = ["COLUMNS", "confusion"]

COLUMNS = ("dataset", "method", "truth", "predicted", "count", "share")
_Integers = npt.NDArray[np.int64]


def confusion(ledgers: Sequence[Sequence[Record]]) -> pd.DataFrame:
    """Return one row per (dataset, method, true class, predicted class) on test, in the order of the ablation table.

    ``count`` is summed over searches, confirmation seeds, folds and label draws. ``share`` is the count divided by the
    total of the true class, NaN for a class without samples. If samples have several labels, each label has a matrix of
    its own, with the classes ``not joy`` and ``joy``.

    Args:
        ledgers: records of one or more sweeps.
    """
    rows = [row for records in ledgers for row in _rows(records)]
    frame = pd.DataFrame(rows, columns=COLUMNS[:-1]).astype({"count": "int64"})
    totals = frame.groupby(list(COLUMNS[:-3]), sort=False)["count"].transform("sum")
    return frame.assign(share=frame["count"] / totals.where(totals > 0))


def _rows(records: Sequence[Record]) -> Iterator[tuple[object, ...]]:
    by_column: dict[tuple[PlannedColumn, str], list[Predictions]] = {}
    for record in records:
        if record.stage == "confirm":
            for predictions in record.predictions:
                by_column.setdefault((PlannedColumn.of(predictions), record.method), []).append(predictions)
    config = latest_config(records)
    for name, column in planned_columns(records).items():
        for method, searches in planned_methods(config, column).items():
            runs = [predictions for recorded in searches for predictions in by_column.get((column, recorded), ())]
            for names, matrix in _matrices(runs).items():
                for truth, counts in zip(names, matrix.tolist(), strict=True):
                    for predicted, count in zip(names, counts, strict=True):
                        yield name, method, truth, predicted, count


def _matrices(runs: Sequence[Predictions]) -> dict[tuple[str, ...], _Integers]:
    """Map the names of the classes to a matrix (C, C) of counts, true classes in rows.

    If samples have several labels, there is one matrix for each label.
    """
    matrices: dict[tuple[str, ...], _Integers] = {}
    for predictions in runs:
        classes = list(predictions.classes)
        truth, predicted = (np.asarray(values, np.int64) for values in (predictions.truth, predictions.predicted))
        tables: list[tuple[tuple[str, ...], _Integers]]
        if predictions.multi_label:
            pairs = zip(truth.reshape(-1, len(classes)).T, predicted.reshape(-1, len(classes)).T, strict=True)
            tables = [((f"not {name}", name), _counts(*pair, 2)) for name, pair in zip(classes, pairs, strict=True)]
        else:
            tables = [(tuple(classes), _counts(truth, predicted, len(classes)))]
        for names, counts in tables:
            matrices[names] = matrices[names] + counts if names in matrices else counts
    return matrices


def _counts(truth: _Integers, predicted: _Integers, classes: int) -> _Integers:
    """Count, as a matrix (C, C), how often each true class was predicted as each class."""
    return np.bincount(truth * classes + predicted, minlength=classes**2).reshape(classes, classes)
