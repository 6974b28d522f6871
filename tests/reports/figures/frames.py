"""Frames of a small sweep, and every figure of them, for the tests of figures."""

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import pandas as pd
from altair.utils.schemapi import debug_mode

from reports.figures.confusion import confusion_matrices
from reports.figures.effects import effect_forest, instrument_forest
from reports.figures.embedding import embedding
from reports.figures.hyperparameters import parallel_coordinates
from reports.figures.labels import label_efficiency
from reports.figures.methods import method_scores
from reports.figures.pairs import pair_matrix
from reports.figures.search import expected_best, search_history
from reports.figures.style import Drawing
from reports.figures.variance import variance_parts
from reports.statistics.confusion import COLUMNS as CONFUSION

NAN = math.nan
METRIC = "weighted_f1"


def scores(*rows: tuple[object, ...]) -> pd.DataFrame:
    names = ["dataset", "method", "metric", "mean", "low", "high", "seed_error", "sample_error", "n_seeds"]
    return pd.DataFrame(rows, columns=names)


def some_scores() -> pd.DataFrame:
    return scores(
        ("faces", "raw_features", METRIC, 0.51234567, 0.4, 0.6, 0.01, 0.02, 3),
        ("faces", "random_head", METRIC, 0.4, 0.35, 0.45, 0.02, 0.01, 3),
        ("faces", "Con", METRIC, 0.75, NAN, NAN, NAN, NAN, 1),
        ("faces", "Gen", METRIC, NAN, NAN, NAN, NAN, NAN, NAN),
        ("faces", "Con", "accuracy", 0.9, 0.8, 1.0, 0.01, 0.02, 3),
        ("faces@5", "Con", METRIC, 0.3, 0.2, 0.4, 0.01, 0.02, 3),
        ("faces (knn)", "Con", METRIC, 0.6, 0.5, 0.7, 0.01, 0.02, 3),
        ("voices", "Con", METRIC, 0.25, 0.2, 0.3, 0.01, 0.02, 3),
    )


def some_pairs() -> pd.DataFrame:
    names = ["dataset", "metric", "first", "second", "difference", "low", "high", "p_holm", "improvement", "verdict"]
    rows = [
        ("faces", METRIC, "raw_features", "random_head", 0.1123, 0.05, 0.17, 0.01, 0.9, "settled", 0.0),
        ("faces", METRIC, "raw_features", "Con", -0.2377, -0.3, 0.01, 0.08, 0.2, "open", 4.0),
        ("faces", METRIC, "random_head", "Con", -0.35, -0.4, 0.01, 0.08, 0.2, "open", math.inf),
    ]
    return pd.DataFrame(rows, columns=[*names, "more_seeds"])


def some_effects(instruments: Sequence[str] = ()) -> pd.DataFrame:
    values = [
        ("Con", "main", 0.2, 0.1, 0.3), ("Con x Clu", "interaction", 0.7, 0.6, 0.8),
        ("Con", "shapley", 0.3, 0.2, 0.4), ("Clu", "shapley", -0.05, NAN, NAN),
        ("ConCluGen - random_head", "total", 0.25, 0.2, 0.3),
    ]  # fmt: skip
    names = ["dataset", "metric", "quantity", "kind", "value", "low", "high", "n_seeds"]
    frame = pd.DataFrame(
        [("faces", METRIC, quantity, kind, *numbers, 3) for quantity, kind, *numbers in values], columns=names
    )
    return pd.concat([frame.assign(instrument=name, same_sign=True) for name in instruments]) if instruments else frame


def matrices(*classes: str, methods: Sequence[str] = ("raw_features", "Con"), dataset: str = "faces") -> pd.DataFrame:
    rows = [
        (dataset, method, truth, predicted, 10 * (truth == predicted) + number, share)
        for number, method in enumerate(methods)
        for truth in classes
        for predicted in classes
        for share in [(0.8 if truth == predicted else 0.2 / max(1, len(classes) - 1)) - 0.1 * number]
    ]
    return pd.DataFrame(rows, columns=CONFUSION)


def history(methods: Sequence[str] = ("Con", "Gen")) -> pd.DataFrame:
    values = [(0.5, "complete"), (0.9, "pruned"), (NAN, "failed"), (0.7, "complete"), (0.6, "complete")]
    rows = [("s", method, 1, n, *value) for method in methods for n, value in enumerate(values)]
    return pd.DataFrame(rows, columns=["sweep", "method", "search", "number", "value", "state"])


def curve() -> pd.DataFrame:
    rows = [("s", "Con", 1, 0.5), ("s", "Con", 2, 0.6), ("s", "Gen", 1, NAN), ("t", "Con", 1, 0.4)]
    return pd.DataFrame(rows, columns=["sweep", "method", "n_trials", "expected"]).assign(search=1)


def trials() -> pd.DataFrame:
    rows = [(0.5, 1e-5, 8, "mean", 1.0, NAN), (0.7, 1e-1, 16, "sum", 1.0, 2.0), (NAN, 1e-3, 32, "mean", 1.0, 3.0)]
    return pd.DataFrame(rows, columns=["value", "lr", "width", "mode", "margin", "queue"])


def points() -> pd.DataFrame:
    rows = [("Con", 0.5, 1.0, "joy"), ("Con", 1.5, 2.0, "fear"), ("Gen", NAN, NAN, "joy")]
    return pd.DataFrame(rows, columns=["method", "x", "y", "label"])


@debug_mode(False)  # as a report draws them
def every_figure(name: str = "faces") -> dict[str, Drawing]:
    """Every figure; ``name`` is that of the first data set."""

    def named(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(dataset=frame["dataset"].str.replace("faces", name, regex=False))

    table = named(some_scores())
    return {
        "methods": method_scores(table, METRIC),
        "pairs": pair_matrix(named(some_pairs()), table, METRIC),
        "effects": effect_forest(named(some_effects()), [name, "voices"], METRIC, 0.01),
        "instruments": instrument_forest(named(some_effects(["logistic", "knn"])), METRIC, 0.01),
        "labels": label_efficiency(table, {name: 80.0}, METRIC),
        "variance": variance_parts(table, METRIC),
        "confusion": confusion_matrices(named(matrices("joy", "fear")), name, ["raw_features", "Con"], False, True),
        "differences": confusion_matrices(named(matrices("joy", "fear")), name, ["raw_features", "Con"], True, False),
        "history": search_history(history()),
        "expected": expected_best(curve()),
        "parallel": parallel_coordinates({"Con": trials(), "Gen": trials()}, True),
        "embedding": embedding(points()),
    }


@debug_mode(False)
def empty_figures() -> dict[str, Drawing]:
    """Every figure of frames without rows."""
    none = some_scores()[:0]
    return {
        "methods": method_scores(none, METRIC),
        "pairs": pair_matrix(some_pairs()[:0], none, METRIC),
        "effects": effect_forest(some_effects()[:0], [], METRIC, 0.01),
        "instruments": instrument_forest(some_effects(["knn"])[:0], METRIC, 0.01),
        "labels": label_efficiency(none, {}, METRIC),
        "variance": variance_parts(none, METRIC),
        "confusion": confusion_matrices(matrices("joy")[:0], "faces", [], False, True),
        "history": search_history(history()[:0]),
        "expected": expected_best(curve()[:0]),
        "embedding": embedding(points()[:0]),
    }


def flat(specification: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a specification, one for each entry of lists."""
    rows = []
    for row in specification["datasets"]["rows"]:
        lists = {name: value for name, value in row.items() if isinstance(value, list)}
        number = max(map(len, lists.values()), default=1)
        rows += [{**row, **{name: values[k] for name, values in lists.items()}} for k in range(number)]
    return rows


def many_pairs(methods: Sequence[str]) -> pd.DataFrame:
    """Pairs of many methods of one data set, all open."""
    rows = [("faces", METRIC, *pair, 0.1, -0.1, 0.3, 0.5, 0.6, "open", 3.0) for pair in combinations(methods, 2)]
    return pd.DataFrame(rows, columns=some_pairs().columns)
