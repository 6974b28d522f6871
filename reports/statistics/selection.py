"""The winner's curse: how much of the best trial's objective remains if its configuration is trained again.

The best of many trials is partly the luckiest. Two steps lead from the objective of the search to the test score in
the table, and each has its own cause:

* Search optimism. The same configuration is scored again on the same validation data, with new seeds and label draws.
  The score drops by the luck of the selection. All trials of a search share their label draws. If labels are few, draws
  that favoured every trial add an optimism that all methods have in common.
* Shift. The same runs are scored on test instead of validation data. The scores differ because validation data chose
  the configuration and the probe's settings, and because one split may be harder than the other.
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

    ``objective`` is the objective of the search's best trial. ``confirmed`` is the same quantity (same sets, same label
    budget) for the same configuration, averaged over ``n_seeds`` confirmation seeds. ``search_optimism`` is
    ``objective`` minus ``confirmed``. ``val`` and ``test`` are the mean scores of these seeds in this column, in the
    objective's metric. ``shift`` is ``val`` minus ``test``.

    ``confirmed`` equals ``val`` in the column of the objective itself. In other columns, such as another label budget,
    the two are not comparable. ``confirmed`` is NaN if the confirmations were not scored at the objective's label
    budget.

    Args:
        ledgers: records of one or more sweeps.
    """
    return pd.DataFrame([row for records in ledgers for row in _rows(records)], columns=COLUMNS)


def _rows(records: Sequence[Record]) -> Iterator[tuple[object, ...]]:
    config = latest_config(records)
    objectives = {method: _objective(config, method, runs) for method, (_, runs) in confirmed_best(records).items()}
    for column, methods in confirmed_columns(records):
        for method in methods:
            if method.val:
                confirmed = objectives[method.recorded]
                val = fmean(method.val)
                test = fmean(method.test)
                differences = method.best - confirmed, val - test
                yield column, method.name, method.best, confirmed, val, test, *differences, len(method.test)


def _objective(config: Mapping[str, Any], method: str, runs: Sequence[Record]) -> float:
    """Return the objective averaged over confirmation runs: the mean over the sets that count."""
    objective = config["objective"]
    _, nested, budget = method.partition("@")
    labels = str(LabelBudget(per_class=objective.get("labels_per_class"), fraction=objective.get("label_fraction")))
    if nested:
        labels = "" if budget == "all" else budget
    sets = list(config["features"]["downstream"]) if objective["dataset"] is None else [objective["dataset"]]
    columns = [PlannedColumn(name, labels, "") for name in sets]
    values = [value for column in columns for value in scores(runs, "val", column, objective["metric"])]
    return fmean(values) if values else math.nan
