"""Which classes are taken for which, from the predictions that confirmed runs left."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import confusion_matrix, multilabel_confusion_matrix

from sweeps.ledger import Predictions, Record

__all__ = ["COLUMNS", "confusion"]

COLUMNS = ("dataset", "method", "truth", "predicted", "count", "share")


def confusion(ledgers: Sequence[Sequence[Record]]) -> pd.DataFrame:
    """Return one row per (dataset, method, true class, predicted class) on test, classes in their order.

    ``count`` sums over confirmation seeds, folds and label draws; ``share`` is the count over the true class's total.
    Where samples have several labels, each class is a table of its own: ``joy`` and ``not joy``.
    """
    rows = [
        (dataset, record.method.partition("@")[0], truth, predicted, count)  # what is searched for a label budget, too
        for records in ledgers
        for record in records
        if record.stage == "confirm"
        for predictions in record.predictions
        for dataset in [f"{predictions.dataset}@{predictions.labels}" if predictions.labels else predictions.dataset]
        for names, matrix in _matrices(predictions)
        for truth, counts in zip(names, matrix.tolist(), strict=True)
        for predicted, count in zip(names, counts, strict=True)
    ]
    frame = pd.DataFrame(rows, columns=COLUMNS[:-1])
    frame = frame.groupby(list(COLUMNS[:-2]), sort=False)["count"].sum().reset_index()
    totals = frame.groupby(list(COLUMNS[:-3]), sort=False)["count"].transform("sum")
    return frame.assign(share=frame["count"] / totals.where(totals > 0))


def _matrices(predictions: Predictions) -> Iterator[tuple[list[str], npt.NDArray[np.int64]]]:
    """Names, and counts with the true name as row; one such pair, or one for each of several labels."""
    classes = list(predictions.classes)
    if not predictions.multi_label:
        yield classes, confusion_matrix(predictions.truth, predictions.predicted, labels=range(len(classes)))
        return
    truth, predicted = (np.reshape(x, (-1, len(classes))) for x in (predictions.truth, predictions.predicted))
    for name, matrix in zip(classes, multilabel_confusion_matrix(truth, predicted), strict=True):
        yield [f"not {name}", name], matrix
