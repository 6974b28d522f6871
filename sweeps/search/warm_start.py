"""Warm starts: what an earlier sweep's ledger says a new search should try first.

Only search trials are read, which know no test score. What was best for a subset itself is proposed, then what its best
fellow shares with it: often the width, the learning rate and the dropout are all that matters.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from search_spaces import Space
from sweeps.config import Arm, ConfigError
from sweeps.folder.layout import SweepFolder
from sweeps.ledger import Ledger, Record, method_of

__all__ = ["proposals"]

Proposal = tuple[str, Mapping[str, Any]]


def proposals(folder: Path, arms: Collection[Arm], space: Space) -> dict[Arm, list[Proposal]]:
    """Return what each arm is to try first: (origin, values of hyperparameters), at most two.

    Args:
        folder: of the earlier sweep.
        arms: of the new one.
        space: the new search space, which decides which hyperparameters two arms share.

    Raises:
        ConfigError: the earlier sweep has no trial that ran its full budget.
        LedgerError: its ledger cannot be read.
    """
    best: dict[str, Record] = {}
    for record in Ledger(SweepFolder(folder).ledger):
        if record.stage == "search" and record.state == "complete" and record.value is not None:
            known = best.get(record.method)
            if known is None or known.value is None or record.value > known.value:
                best[record.method] = record
    if not best:
        raise ConfigError(
            [f"search.warm_start: {folder} has no finished search trial yet; choose another, or drop it."]
        )
    return {arm: list(_of(arm, best, space, folder)) for arm in arms}


def _of(arm: Arm, best: Mapping[str, Record], space: Space, folder: Path) -> list[Proposal]:
    own = best.get(arm.name) or best.get(arm.method)
    others = [record for record in best.values() if method_of(record.method) != arm.method]
    fellow = max(others, key=lambda record: record.value or 0.0, default=None)
    found: list[Proposal] = []
    for record in (own, fellow):
        if record is not None:
            shared = Arm(method_of(record.method)).parameters(space)
            values = {name: value for name, value in record.hyperparameters.items() if name in shared}
            found.append((f"warm_start: {folder}/{record.key}", values))
    return found
