"""The winner's curse: how much of the best trial's objective remains if its configuration is trained again.

The best of many trials is partly the luckiest. Three steps lead from the objective of the search to the test score in
the table, and each has its own cause:

* Search optimism. The same configuration is scored again on the same validation data, with new seeds and label draws.
  The score drops by the luck of the selection. All trials of a search share their label draws. If labels are few, draws
  that favoured every trial add an optimism that all methods have in common.
* Gain from finalists. If the best trials of a search are trained anew (``search.finalists``), another one may win. The
  gain is optimistic itself: the winner is the best of a few means.
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
from reports.statistics.searches import Outcome, confirmed_columns, confirmed_winners, scores
from sweeps.ledger import Record, finalist_mean, without_search

__all__ = ["selection"]

COLUMNS = (
    "dataset",
    "method",
    "search",
    "objective",
    "retrained",
    "winner",
    "gain",
    "confirmed",
    "val",
    "test",
    "search_optimism",
    "shift",
    "n_seeds",
)


def selection(ledgers: Sequence[Sequence[Record]]) -> pd.DataFrame:
    """Return one row per column of the ablation table, and search of a method whose winner was confirmed.

    ``objective`` is the objective of the search's best trial. ``retrained`` is the mean objective of the same
    configuration as a finalist, ``winner`` that of the finalist that won, and ``gain`` is ``winner`` minus
    ``retrained``. They are NaN if no finalist was trained anew. ``confirmed`` is the same quantity (same sets, same
    label budget) for the winner's configuration, averaged over ``n_seeds`` confirmation seeds. ``search_optimism`` is
    ``objective`` minus the score of the same configuration after it was trained again: ``retrained``, or ``confirmed``
    without finalists. ``val`` and ``test`` are the mean scores of the confirmation seeds in this column, in the
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
    steps = {arm: _steps(config, arm, *ended) for arm, ended in confirmed_winners(records).items()}
    for column, searches in confirmed_columns(records):
        for arm in searches:
            if arm.val:
                objective, retrained, won, confirmed, optimism = steps[arm.recorded]
                val, test = fmean(arm.val), fmean(arm.test)
                chosen = (objective, retrained, won, won - retrained, confirmed)
                yield column, arm.method, arm.search, *chosen, val, test, optimism, val - test, len(arm.test)


def _steps(
    config: Mapping[str, Any], arm: str, outcome: Outcome, runs: Sequence[Record]
) -> tuple[float, float, float, float, float]:
    """Return the columns objective, retrained, winner, confirmed and search_optimism of an arm."""
    objective = math.nan if outcome.best.value is None else outcome.best.value
    retrained, won = (
        math.nan if mean is None else mean
        for trial in (outcome.best, outcome.winner)
        for mean in [finalist_mean(trial.number, outcome.finalist_runs)]
    )
    confirmed = _objective(config, arm, runs)
    again = retrained
    if math.isnan(retrained) and outcome.winner is outcome.best:
        again = confirmed
    return objective, retrained, won, confirmed, objective - again


def _objective(config: Mapping[str, Any], arm: str, runs: Sequence[Record]) -> float:
    """Return the objective averaged over confirmation runs: the mean over the sets that count."""
    objective = config["objective"]
    _, nested, budget = without_search(arm).partition("@")
    labels = str(LabelBudget(per_class=objective.get("labels_per_class"), fraction=objective.get("label_fraction")))
    if nested:
        labels = "" if budget == "all" else budget
    sets = list(config["features"]["downstream"]) if objective["dataset"] is None else [objective["dataset"]]
    columns = [PlannedColumn(name, labels, "") for name in sets]
    values = [value for column in columns for value in scores(runs, "val", column, objective["metric"])]
    return fmean(values) if values else math.nan
