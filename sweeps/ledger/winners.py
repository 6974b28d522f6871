"""Which trial of a search wins: its best, or the best of its finalists once they were trained anew.

The best value of many trials is too high, because luck is part of what made it the best (the winner's curse).
Therefore the K best trials, the finalists, are trained anew with fresh seeds, and their mean decides. The default
configuration is always a finalist: a search has to beat what it began with. The sweep and its reports use the same
rule.
"""

import json
from collections.abc import Iterable
from math import fsum

from sweeps.ledger.records import Record

__all__ = ["choose_finalists", "finalist_mean", "run_number", "seed_index", "trial_of", "winner"]

_MOST_SEEDS = 10_000


def run_number(trial: int, seed: int) -> int:
    """Return the number of a finalist's run in its record.

    Args:
        trial: the number of the finalist's search trial.
        seed: index of the run's seed, below 10,000.
    """
    return trial * _MOST_SEEDS + seed


def trial_of(number: int) -> int:
    """Return the number of the search trial from the number of a finalist's run."""
    return number // _MOST_SEEDS


def seed_index(number: int) -> int:
    """Return the index of the seed from the number of a finalist's run."""
    return number % _MOST_SEEDS


def finalist_mean(trial: int, runs: Iterable[Record]) -> float | None:
    """Return the mean objective of a finalist's complete runs; None if it has none.

    Args:
        trial: the number of the finalist's search trial.
        runs: records of the runs of this arm's finalists.
    """
    values = [run.value for run in runs if trial_of(run.number) == trial and run.state == "complete"]
    known = [value for value in values if value is not None]
    return fsum(known) / len(known) if known else None


def choose_finalists(trials: Iterable[Record], finalists: int) -> list[Record]:
    """Return the search trials that are an arm's finalists, the best first.

    Only trials that ran their full budget count. Trials with the same hyperparameters are one configuration, and the
    best of them stands for it. Among equal trials, the one with the lowest number is the best. The default
    configuration takes the last place if it is not among the best.

    Args:
        trials: records of one arm's search trials, in any state.
        finalists: how many finalists there are at most; 1 for the best trial alone, whichever it is.
    """
    full = [record for record in trials if record.state == "complete" and record.value is not None]
    full.sort(key=lambda record: (-(record.value or 0.0), record.number))
    distinct: dict[str, Record] = {}
    for record in full:
        distinct.setdefault(_configuration(record), record)
    chosen = list(distinct)[:finalists]
    default = next((_configuration(record) for record in full if record.origin == "default"), None)
    if finalists > 1 and default is not None and default not in chosen:
        chosen[-1] = default
    return [distinct[configuration] for configuration in chosen]


def winner(trials: Iterable[Record], runs: Iterable[Record], finalists: int) -> Record | None:
    """Return the search trial whose configuration is confirmed; None if no trial ran its full budget.

    The finalist with the best mean objective over its complete runs wins; if several are equal, the better trial. A
    finalist without such a run is out. If all are out, the best trial of the search wins.

    Args:
        trials: records of one arm's search trials, in any state.
        runs: records of the runs of this arm's finalists; runs of other trials do not count.
        finalists: the sweep's ``search.finalists``.
    """
    chosen = choose_finalists(trials, finalists)
    if len(chosen) <= 1:
        return chosen[0] if chosen else None
    runs = list(runs)
    means = [finalist_mean(record.number, runs) for record in chosen]
    best = max((mean for mean in means if mean is not None), default=None)
    return chosen[0] if best is None else chosen[means.index(best)]


def _configuration(record: Record) -> str:
    return json.dumps(record.hyperparameters, sort_keys=True)
