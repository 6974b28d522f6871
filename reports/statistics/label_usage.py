"""How many labels each column of the ablation table was trained with, from the predictions in the records.

A label budget is a wish: a class with fewer samples gives all that it has, and a fraction is rounded for each class.
"""

from collections.abc import Iterator, Sequence

import pandas as pd

from conclugen.labels import LabelBudget
from reports.statistics.ablation import planned_columns
from sweeps.ledger import Predictions, Record

__all__ = ["COLUMNS", "class_gaps", "label_usage", "labels_per_class", "unmet_budgets"]

COLUMNS = ("dataset", "labels used", "share", "per class, fewest", "per class, most", "validation labels")
_TOLERANCE = 0.1  # of a fraction; a larger difference between asked and used is said in captions


def label_usage(ledgers: Sequence[Sequence[Record]]) -> pd.DataFrame:
    """Return one row per column of the sweeps' own probes; empty without label budgets, or without their numbers.

    ``labels used`` and ``validation labels`` count samples: the mean over seeds, folds and draws. ``share`` is that of
    all training samples. ``per class`` are the fewest and the most samples of a class in any draw.

    Args:
        ledgers: records of one or more sweeps.
    """
    rows = [row for records in ledgers for row in _rows(records)]
    frame = pd.DataFrame(rows, columns=COLUMNS)
    return frame if frame["dataset"].str.contains("@", regex=False).any() else frame.iloc[:0]


def _rows(records: Sequence[Record]) -> Iterator[tuple[object, ...]]:
    drawn: dict[tuple[str, str], list[Predictions]] = {}
    for predictions in _predictions(records):
        if predictions.train_samples:
            drawn.setdefault((predictions.dataset, predictions.labels), []).append(predictions)
    for name, column in planned_columns(records).items():
        if column.instrument or (draws := drawn.get((column.dataset, column.labels))) is None:
            continue
        used = _mean([draw.train_samples for draw in draws])
        whole = _mean([draw.train_samples for draw in drawn.get((column.dataset, ""), [])])
        by_class = [number for draw in draws for number in draw.train_labels]
        selected = _mean([draw.selection_samples for draw in draws])
        yield name, used, used / whole, min(by_class), max(by_class), selected


def labels_per_class(ledgers: Sequence[Sequence[Record]]) -> dict[str, float]:
    """Map each column of the ablation table to the mean number of labelled training samples per class.

    Columns whose records lack the numbers, as those of earlier versions do, are left out.

    Args:
        ledgers: records of one or more sweeps.
    """
    means = {}
    for records in ledgers:
        drawn: dict[tuple[str, str], list[int]] = {}
        for predictions in _predictions(records):
            drawn.setdefault((predictions.dataset, predictions.labels), []).extend(predictions.train_labels)
        for name, column in planned_columns(records).items():
            if numbers := drawn.get((column.dataset, column.labels)):
                means[name] = _mean(numbers)
    return means


def _predictions(records: Sequence[Record]) -> Iterator[Predictions]:
    for record in records:
        if record.stage == "confirm":
            yield from record.predictions


def _mean(numbers: Sequence[int]) -> float:
    return sum(numbers) / len(numbers) if numbers else float("nan")


def unmet_budgets(usage: pd.DataFrame) -> list[str]:
    """Return a phrase for each column whose budget was not met, such as ``ok@1000: 72 labels, 24 per class``.

    Args:
        usage: from :func:`label_usage`.
    """
    phrases = []
    for name, used, share, fewest, most, _ in usage.itertuples(index=False, name=None):
        asked = str(name).partition("@")[2]
        if not asked:
            continue
        if asked.endswith("%"):
            wanted = float(asked.removesuffix("%")) / 100
            unmet = abs(share - wanted) > _TOLERANCE * wanted
        else:
            unmet = fewest < LabelBudget(per_class=int(asked)).per_class
        if unmet:
            per_class = f"{fewest}" if fewest == most else f"{fewest} to {most}"
            phrases.append(f"{name}: {used:.10g} labels, {share:.1%} of all, {per_class} per class")
    return phrases


def class_gaps(ledgers: Sequence[Sequence[Record]]) -> list[str]:
    """Return a phrase for each data set with classes that lack samples in train, or in test.

    Args:
        ledgers: records of one or more sweeps.
    """
    untrained: dict[tuple[str, str], None] = {}
    untested: dict[tuple[str, str], None] = {}
    seen = set()
    for records in ledgers:
        for predictions in _predictions(records):
            if (key := (predictions.dataset, predictions.fold, predictions.labels)) in seen or predictions.labels:
                continue
            seen.add(key)
            for c, label in enumerate(predictions.classes):
                if predictions.train_labels and not predictions.train_labels[c]:
                    untrained[predictions.dataset, label] = None
                truth = predictions.truth
                if not (any(truth[c :: len(predictions.classes)]) if predictions.multi_label else c in truth):
                    untested[predictions.dataset, label] = None
    return [*_phrases(untrained, "train"), *_phrases(untested, "test")]


def _phrases(gaps: dict[tuple[str, str], None], part: str) -> Iterator[str]:
    for dataset in dict.fromkeys(dataset for dataset, _ in gaps):
        names = ", ".join(label for of, label in gaps if of == dataset)
        yield f"{dataset}: no sample in {part} of {names}"
