"""Warm starts: what a new search takes from earlier sweeps.

The joint sampler learns from all search trials of the earlier sweeps. Other samplers try the best configurations first.
The first proposal is then the best configuration of the arm itself. The second takes the hyperparameters that the arm
shares with the best other method: often only the width, the learning rate and the dropout matter.

Weights of losses are read as the new space has them: if they are relative there, the absolute weights of an earlier
sweep are divided by that of the first loss.

Only search trials are read, which have no test score.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from conclugen.labels import LabelBudget
from search_spaces import Space, weight_of
from sweeps.config import Arm, ConfigError, SweepConfig
from sweeps.folder.layout import SweepFolder
from sweeps.ledger import Ledger, LedgerError, Record, method_of, without_search
from sweeps.search.joint.observations import Observation, observation_of

__all__ = ["earlier_trials", "proposals", "warm_start_problems"]

Proposal = tuple[str, Mapping[str, Any]]


def proposals(folders: Iterable[Path], arms: Collection[Arm], space: Space) -> dict[Arm, list[Proposal]]:
    """Return what each arm tries first: (origin, values of hyperparameters), at most two from each folder.

    Args:
        folders: the folders of the earlier sweeps.
        arms: the arms of the new sweep.
        space: the space of the new sweep; decides which hyperparameters two arms share.

    Raises:
        ConfigError: an earlier sweep has no trial that ran its full budget.
        LedgerError: the ledger of an earlier sweep cannot be read.
    """
    proposed: dict[Arm, list[Proposal]] = {arm: [] for arm in arms}
    for folder in folders:
        best: dict[str, Record] = {}
        for record in _search_trials(folder):
            former = best.get(record.method)
            if record.state == "complete" and (former is None or (record.value or 0.0) > (former.value or 0.0)):
                best[record.method] = record
        for arm in arms:
            proposed[arm] += _proposals(arm, best, space, folder)
    return proposed


def earlier_trials(folders: Iterable[Path], space: Space) -> list[Observation]:
    """Return the ended search trials of earlier sweeps for the joint model, each folder a task of its own.

    Args:
        folders: the folders of the earlier sweeps.
        space: the space of the new sweep.

    Raises:
        ConfigError: an earlier sweep has no trial that ran its full budget.
        LedgerError: the ledger of an earlier sweep cannot be read.
    """
    trials = list[Observation]()
    for task, folder in enumerate(folders, 1):
        for record in _search_trials(folder):
            trial = observation_of(record, _arm(record.method), task)
            trials.append(replace(trial, values=_values(trial.values, trial.arm, space)))
    return trials


def warm_start_problems(config: SweepConfig) -> list[str]:
    """Return why the earlier sweeps that ``config`` names cannot warm-start it; empty if they can."""
    problems = list[str]()
    for folder in config.search.warm_start:
        try:
            _search_trials(folder)
        except ConfigError as error:
            problems += error.problems
        except LedgerError as error:
            problems.append(f"search.warm_start: {error}")
    return problems


def _search_trials(folder: Path) -> list[Record]:
    """Return the search trials of a sweep, at least one of which ran its full budget."""
    records = [record for record in Ledger(SweepFolder(folder).ledger) if record.stage == "search"]
    if not any(record.state == "complete" for record in records):
        raise ConfigError(
            [f"search.warm_start: {folder} has no finished search trial yet; choose another, or drop it."]
        )
    return sorted(records, key=lambda record: (record.number, record.method))


def _proposals(arm: Arm, best: Mapping[str, Record], space: Space, folder: Path) -> Iterator[Proposal]:
    same_method = best.get(arm.name) or best.get(arm.method)
    other_methods = [record for record in best.values() if method_of(record.method) != arm.method]
    best_other = max(other_methods, key=lambda record: record.value or 0.0, default=None)
    for record in (same_method, best_other):
        if record is not None:
            donor = _arm(record.method)
            shared = donor.parameters(space)
            comparable = _values(record.hyperparameters, donor, space)
            values = {name: value for name, value in comparable.items() if name in shared}
            yield f"warm_start: {folder}/{record.key}", values


def _arm(name: str) -> Arm:
    """Return the arm of a recorded name. Repeated searches of an arm are one, because their scores compare."""
    variant, _, labels = without_search(name).partition("@")
    modalities = tuple(variant.partition("[")[2].removesuffix("]").split("-")) if "[" in variant else ()
    return Arm(method_of(name), modalities, _label_budget(labels) if labels else None)


def _label_budget(name: str) -> LabelBudget:
    if name.endswith("%"):
        return LabelBudget(fraction=float(Decimal(name.removesuffix("%")).scaleb(-2)))
    return LabelBudget() if name == "all" else LabelBudget(per_class=int(name))


def _values(values: Mapping[str, Any], arm: Arm, space: Space) -> Mapping[str, Any]:
    """Return an earlier trial's hyperparameters with weights as ``space`` has them."""
    names = [weight_of(loss) for loss in arm.losses]
    if space.weights == "absolute" or not names or not values.get(names[0]):  # nothing has a ratio to 0
        return values
    return {**values, **{name: values[name] / values[names[0]] for name in names if name in values}}
