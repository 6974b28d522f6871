"""Winner's curse: what is left of the best trial's objective once its configuration is trained again.

The best of many trials is partly the luckiest. Two steps lead from what the search saw to what the table shows, and
each loses something for a reason of its own. The same configuration scored again on the same validation data, with
fresh seeds and label draws, does worse by what was luck in choosing: the optimism of the search. All trials of a search
share its label draws, so where labels are few, draws that happened to be kind to every trial are in it, too, and show
as an optimism that all methods have in common. The same runs scored on test do worse (or better) by what differs
between the splits: the shift, of which choosing by validation, early stopping of probes included, is one cause and how
hard each split is another.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

import pandas as pd

from conclugen.labels import LabelBudget
from reports.statistics.ablation import PlannedColumn, latest_config
from reports.statistics.searches import confirmed_best, confirmed_columns, scores
from sweeps.ledger import Record

__all__ = ["selection"]

COLUMNS = (
    "dataset",
    "method",
    "objective",
    "confirmed",
    "val",
    "test",
    "search_optimism",
    "shift",
    "n_seeds",
)


def selection(ledgers: Sequence[Sequence[Record]]) -> pd.DataFrame:
    """Return one row per column of the ablation table and method that was searched and confirmed.

    ``objective`` is that of the search's best trial, ``confirmed`` the mean over ``n_seeds`` confirmation seeds of the
    same quantity (over the same sets, at the same label budget) for the same configuration, and ``search_optimism`` the
    first minus the second. ``val`` and ``test`` are those seeds' mean scores in this column, in the objective's metric,
    and ``shift`` is ``val`` minus ``test``. In the column that the objective is about, ``confirmed`` is ``val``; in
    others, such as at another label budget, the objective has nothing to say about ``val``. ``confirmed`` is NaN where
    confirmations were not scored at the objective's label budget.

    Args:
        ledgers: of one or more sweeps.
    """
    return pd.DataFrame([row for records in ledgers for row in _rows(records)], columns=COLUMNS)


def _rows(records: Sequence[Record]) -> Iterator[tuple[object, ...]]:
    config = latest_config(records)
    again = {method: _confirmed(config, method, runs) for method, (_, runs) in confirmed_best(records).items()}
    for column, methods in confirmed_columns(records):
        for one in methods:
            if one.val:
                val, test, confirmed = fmean(one.val), fmean(one.test), again[one.method]
                differences = one.best - confirmed, val - test
                yield column, one.shown, one.best, confirmed, val, test, *differences, len(one.test)


def _confirmed(config: Mapping[str, Any], method: str, runs: Sequence[Record]) -> float:
    """The objective, averaged over confirmation runs: the mean over the sets that count."""
    objective, (_, nested, budget) = config["objective"], method.partition("@")
    labels = str(LabelBudget(per_class=objective.get("labels_per_class"), fraction=objective.get("label_fraction")))
    if nested:
        labels = "" if budget == "all" else budget
    sets = list(config["features"]["downstream"]) if objective["dataset"] is None else [objective["dataset"]]
    columns = [PlannedColumn(name, labels, "") for name in sets]
    values = [value for column in columns for value in scores(runs, "val", column, objective["metric"])]
    return fmean(values) if values else math.nan
