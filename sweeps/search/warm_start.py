"""Warm starts: which configurations of an earlier sweep a new search tries first.

Only search trials are read, which have no test score. The first proposal is the best configuration of the arm itself.
The second takes the hyperparameters that the arm shares with the best other method: often only the width, the learning
rate and the dropout matter.
"""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from search_spaces import Space
from sweeps.config import Arm, ConfigError, SweepConfig
from sweeps.folder.layout import SweepFolder
from sweeps.ledger import Ledger, LedgerError, Record, method_of

__all__ = ["proposals", "warm_start_problems"]

Proposal = tuple[str, Mapping[str, Any]]


def proposals(folder: Path, arms: Collection[Arm], space: Space) -> dict[Arm, list[Proposal]]:
    """Return what each arm tries first: (origin, values of hyperparameters), at most two.

    Args:
        folder: the folder of the earlier sweep.
        arms: the arms of the new sweep.
        space: the space of the new sweep; decides which hyperparameters two arms share.

    Raises:
        ConfigError: the earlier sweep has no trial that ran its full budget.
        LedgerError: the ledger of the earlier sweep cannot be read.
    """
    best: dict[str, Record] = {}
    for record in Ledger(SweepFolder(folder).ledger):
        if record.stage == "search" and record.state == "complete" and record.value is not None:
            former = best.get(record.method)
            if former is None or former.value is None or record.value > former.value:
                best[record.method] = record
    if not best:
        raise ConfigError(
            [f"search.warm_start: {folder} has no finished search trial yet; choose another, or drop it."]
        )
    return {arm: list(_proposals(arm, best, space, folder)) for arm in arms}


def warm_start_problems(config: SweepConfig) -> list[str]:
    """Return why the earlier sweep that ``config`` names cannot warm-start it; empty if it can, or none is named."""
    if config.search.warm_start is None:
        return []
    try:
        proposals(config.search.warm_start, config.arms.values(), config.load_space())
    except ConfigError as error:
        return error.problems
    except LedgerError as error:
        return [f"search.warm_start: {error}"]
    return []


def _proposals(arm: Arm, best: Mapping[str, Record], space: Space, folder: Path) -> Iterator[Proposal]:
    same_method = best.get(arm.name) or best.get(arm.method)
    other_methods = [record for record in best.values() if method_of(record.method) != arm.method]
    best_other = max(other_methods, key=lambda record: record.value or 0.0, default=None)
    for record in (same_method, best_other):
        if record is not None:
            shared = Arm(method_of(record.method)).parameters(space)
            values = {name: value for name, value in record.hyperparameters.items() if name in shared}
            yield f"warm_start: {folder}/{record.key}", values
