"""Which classes are taken for which, from the predictions that confirmed runs left.

Counted with numpy: scikit-learn, which is the oracle of the tests, takes seconds for the thousands of small matrices
that a large sweep's seeds, folds and label draws are.
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
    """Return one row per (dataset, method, true class, predicted class) on test, as the ablation table orders them.

    ``count`` sums over confirmation seeds, folds and label draws; ``share`` is the count over the true class's total.
    Where samples have several labels, each class is a table of its own: ``joy`` and ``not joy``.

    Args:
        ledgers: of one or more sweeps.
    """
    rows = [row for records in ledgers for row in _rows(records)]
    frame = pd.DataFrame(rows, columns=COLUMNS[:-1]).astype({"count": "int64"})
    totals = frame.groupby(list(COLUMNS[:-3]), sort=False)["count"].transform("sum")
    return frame.assign(share=frame["count"] / totals.where(totals > 0))


def _rows(records: Sequence[Record]) -> Iterator[tuple[object, ...]]:
    saved: dict[tuple[PlannedColumn, str], list[Predictions]] = {}
    for record in records:
        if record.stage == "confirm":
            for predictions in record.predictions:
                saved.setdefault((PlannedColumn.of(predictions), record.method), []).append(predictions)
    config = latest_config(records)
    for name, column in planned_columns(records).items():
        for method, recorded in planned_methods(config, column).items():
            for names, matrix in _matrices(saved.get((column, recorded), [])).items():
                for truth, counts in zip(names, matrix.tolist(), strict=True):
                    for predicted, count in zip(names, counts, strict=True):
                        yield name, method, truth, predicted, count


def _matrices(runs: Sequence[Predictions]) -> dict[tuple[str, ...], _Integers]:
    """Names -> counts with the true name as row; of each label by itself where samples have several."""
    found: dict[tuple[str, ...], _Integers] = {}
    for predictions in runs:
        classes = list(predictions.classes)
        truth, predicted = (np.asarray(values, np.int64) for values in (predictions.truth, predictions.predicted))
        tables: list[tuple[tuple[str, ...], _Integers]]
        if predictions.multi_label:
            pairs = zip(truth.reshape(-1, len(classes)).T, predicted.reshape(-1, len(classes)).T, strict=True)
            tables = [((f"not {name}", name), _counted(*pair, 2)) for name, pair in zip(classes, pairs, strict=True)]
        else:
            tables = [(tuple(classes), _counted(truth, predicted, len(classes)))]
        for names, counts in tables:
            found[names] = found[names] + counts if names in found else counts
    return found


def _counted(truth: _Integers, predicted: _Integers, classes: int) -> _Integers:
    """(C, C): how often each class was taken for each."""
    return np.bincount(truth * classes + predicted, minlength=classes**2).reshape(classes, classes)
