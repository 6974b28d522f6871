"""Which classes are taken for which, from the predictions that confirmed runs left."""

from collections import Counter
from collections.abc import Iterator, Sequence

import pandas as pd

from sweeps.ledger import Predictions, Record

__all__ = ["COLUMNS", "confusion"]

COLUMNS = ("dataset", "method", "truth", "predicted", "count", "share")


def confusion(ledgers: Sequence[Sequence[Record]]) -> pd.DataFrame:
    """Return one row per (dataset, method, true class, predicted class) on test, classes in their order.

    ``count`` sums over confirmation seeds, folds and label draws; ``share`` is the count over the true class's total.
    Where samples have several labels, each class is a table of its own: ``joy`` and ``not joy``.
    """
    counts: dict[tuple[str, str], Counter[tuple[str, str]]] = {}
    cells: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for record in (record for records in ledgers for record in records if record.stage == "confirm"):
        for predictions in record.predictions:
            labels = f"@{predictions.labels}" if predictions.labels else ""
            table = (f"{predictions.dataset}{labels}", record.method)
            counts.setdefault(table, Counter()).update(_pairs(predictions))
            cells.setdefault(table, list(_cells(predictions)))
    rows = []
    for table, counted in counts.items():
        totals: Counter[str] = Counter()
        for (truth, _), count in counted.items():
            totals[truth] += count
        for truth, predicted in cells[table]:
            count = counted[truth, predicted]
            rows.append((*table, truth, predicted, count, count / totals[truth] if totals[truth] else float("nan")))
    return pd.DataFrame(rows, columns=COLUMNS)


def _cells(predictions: Predictions) -> Iterator[tuple[str, str]]:
    for truth in predictions.classes:
        if predictions.multi_label:
            names = (truth, f"not {truth}")
            yield from ((a, b) for a in names for b in names)
        else:
            yield from ((truth, predicted) for predicted in predictions.classes)


def _pairs(predictions: Predictions) -> Iterator[tuple[str, str]]:
    classes = predictions.classes
    for place, (truth, predicted) in enumerate(zip(predictions.truth, predictions.predicted, strict=True)):
        if predictions.multi_label:
            name = classes[place % len(classes)]
            yield (name if truth else f"not {name}", name if predicted else f"not {name}")
        else:
            yield classes[truth], classes[predicted]
