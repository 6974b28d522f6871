"""What `sweep check` shows of a sweep before it runs: the plan, the space of each arm, the cost."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from conclugen.counts import counted
from search_spaces import Parameter
from sweeps.config import SweepConfig
from sweeps.estimate.duration import Cost, lack_of_room, total_seconds, trials_in_time
from sweeps.estimate.footprint import disk_bytes
from sweeps.ledger import search_of

__all__ = ["cost_document", "cost_summary", "plan_table", "space_table"]


def plan_table(config: SweepConfig, costs: Sequence[Cost]) -> Table:
    """Return a table of arms and baselines: their runs, and the cost of a run if the sweep fits this machine."""
    trials = config.budget.trials_per_subset
    in_time = trials_in_time(config, costs)
    timed = not lack_of_room(config)
    searches = config.budget.searches
    title = f"Plan of sweep {config.name}" if searches == 1 else f"Plan of each of {searches} searches of {config.name}"
    table = Table(title=title, title_justify="left")
    for column in ("method", "trials", "epochs", "finalists", "confirmations", "s per trial", "s per confirmation"):
        table.add_column(column, justify="left" if column == "method" else "right")
    for cost in (cost for cost in costs if search_of(cost.name) == 1):
        searched = cost.name in config.arms
        confirmations = cost.confirmations if searched else cost.confirmations // searches
        planned = str(trials) if trials is not None else f"about {in_time.get(cost.name)}" if timed else "?"
        table.add_row(
            cost.name,
            planned if searched else "",
            str(config.budget.epochs) if searched else "",
            str(cost.finalists) if searched else "",
            str(confirmations),
            f"{cost.trial:.1f}" if searched and timed else "",
            f"{cost.confirmation:.1f}" if timed else "",
        )
    return table


def space_table(config: SweepConfig) -> Table:
    """Return a table of the space's hyperparameters, with the methods that search each."""
    space = config.load_space()
    arms = {arm.method: arm.parameters(space) for arm in config.arms.values()}
    name = config.space if space.adapted is None else f"{space.adapted.space} (adapted)"
    table = Table(title=f"Space {name}: + searched, = fixed", title_justify="left")
    table.add_column("hyperparameter")
    table.add_column("values")
    table.add_column("first trial", justify="right")
    priors = space.priors
    if priors:
        table.add_column("prior")
    for method in arms:
        table.add_column(method, justify="center")
    for name, parameter in space.parameters.items():
        mark = "=" if parameter.fixed is not None else "+"
        marks = [mark if name in parameters else "" for parameters in arms.values()]
        prior = [priors[name].text if name in priors else ""] if priors else []
        table.add_row(name, _values(parameter), str(parameter.start), *prior, *marks)
    return table


def _values(parameter: Parameter) -> str:
    if parameter.low is not None:
        scale = " log" if parameter.log else "" if parameter.step is None else f" step {parameter.step}"
        return f"{parameter.low} .. {parameter.high}{scale}"
    return ", ".join(map(str, parameter.extremes()))


def cost_document(config: SweepConfig, costs: Sequence[Cost]) -> dict[str, Any]:
    """Return the plan and its cost for programs; seconds and bytes are None if they were not estimated."""
    estimated = bool(costs) and lack_of_room(config) is None
    return {
        "name": config.name,
        "trials_per_method": config.budget.trials_per_subset,
        "epochs": config.budget.epochs,
        "space": config.load_space().document(),
        "methods": [asdict(cost) for cost in costs],
        "seconds": total_seconds(config, costs) if estimated else None,
        "disk_bytes": disk_bytes(config, costs) if estimated else None,
    }


def cost_summary(config: SweepConfig, costs: Sequence[Cost]) -> str:
    """Return sentences on the order of runs, the time and disk of the sweep, and a warning if time is too short."""
    budget = config.budget
    arms = len(config.arms)
    finalists = sum(cost.finalists for cost in costs)
    if budget.trials_per_subset is not None:
        search = counted(budget.trials_per_subset * arms, "search trial")
    elif budget.hours is not None:
        search = f"{budget.hours:g} hours of search, {budget.hours / arms:.3g} for each of {arms}; trials"
    else:
        hours = budget.gpu_hours or 0.0
        search = f"{hours:g} GPU hours of search, {hours / arms:.3g} for each of {arms}; trials"
    lines = [
        f"{search} of at most {counted(budget.epochs, 'epoch')}, probed on validation after epochs "
        f"{', '.join(map(str, config.probe_epochs))}, the last time at full length; then "
        + (f"at most {counted(finalists, 'run')} of finalists, scored on validation; then " if finalists else "")
        + f"{counted(sum(cost.confirmations for cost in costs), 'confirmation run')}, scored on test."
    ]
    if (lack := lack_of_room(config)) is not None:
        return "\n".join(
            [*lines, f"Time and disk are not estimated: {lack}; run this check on a machine like those of the sweep."]
        )
    measured = arms // config.budget.searches
    lines.append(
        f"Estimated on this machine, from {measured} short measurements, without pruning: "
        f"{total_seconds(config, costs) / 60:.1f} minutes, {disk_bytes(config, costs) / 2**20:.0f} MiB of disk."
    )
    short_of_time = [name for name, trials in trials_in_time(config, costs).items() if trials < 1]
    if short_of_time:
        lines.append(f"Warning: the time is not enough for one full trial of {', '.join(short_of_time)}; give more.")
    return "\n".join(lines)
