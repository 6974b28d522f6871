"""What a sweep will cost, from a few measured steps: for `sweep check`, before anything is launched.

Each subset's default configuration is trained for a few steps on the sweep's own features in this process. Other
configurations cost more or less, pruned trials cost less, and another machine is another machine: the answer is an
order of magnitude, and says which jobs dominate it.
"""

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from conclugen.hyperparameters import Hyperparameters
from sweeps.config import SweepConfig
from sweeps.plan import Job, SweepFolder
from sweeps.trial import TrialRunner

__all__ = ["Cost", "estimate", "total_seconds"]

_STEPS, _EPOCHS = 3, 2
_NOWHERE = SweepFolder(Path(os.devnull))  # no job that is measured saves anything


@dataclass(frozen=True)
class Cost:
    """Seconds on one worker: a search trial that runs its full budget, and a confirmation run."""

    method: str
    trial: float
    confirmation: float


def estimate(config: SweepConfig) -> list[Cost]:
    """Measure every method that is searched and extrapolate to its jobs; the other baselines come last."""
    device = torch.device("cuda" if _slots_on_gpus(config) else "cpu")
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // (_slots(config) * config.workers.per_trial)))
    try:
        return _estimate(config, device)
    finally:
        torch.set_num_threads(before)


def total_seconds(config: SweepConfig, costs: list[Cost]) -> float:
    """Wall seconds of the whole sweep on this machine."""
    budget = config.budget
    work = sum(
        cost.confirmation * budget.seeds * len(config.modality_choices(cost.method))
        + cost.trial * budget.trials_per_subset
        for cost in costs
    )
    return work / _slots(config)


def _slots_on_gpus(config: SweepConfig) -> bool:
    return torch.cuda.is_available() and config.workers.gpus != 0


def _slots(config: SweepConfig) -> int:
    if config.workers.concurrent_trials != "auto":
        return config.workers.concurrent_trials
    return torch.cuda.device_count() if _slots_on_gpus(config) else os.cpu_count() or 1


def _estimate(config: SweepConfig, device: torch.device) -> list[Cost]:
    runner = TrialRunner(config, _NOWHERE, device)
    space, costs = config.load_space(), []
    search_probe = confirm_probe = 0.0
    for method, losses in config.losses.items():
        values: dict[str, Any] = space.default_configuration(losses)
        hyperparameters = replace(Hyperparameters(), **values)
        job = Job(stage="search", method=method, number=0, seed=config.seed, hyperparameters=asdict(hyperparameters))
        if method == "supervised_head":
            costs.append(_cost_of_supervised(config, job, device))
            continue
        run = runner.pretraining(job)
        run.epoch = hyperparameters.kmeans_start_epoch  # where every loss is active
        run.run_epoch(max_steps=1)  # the first step allocates
        steps = min(_STEPS, run.steps_per_epoch)
        epoch = _seconds(run.run_epoch, steps) / steps * run.steps_per_epoch / config.workers.per_trial
        if not search_probe:  # it depends on the representation's width only
            runner.objective(run.head)
            search_probe = _seconds(runner.objective, run.head)
            confirm_probe = sum(_seconds(runner.objective, run.head, budget) for budget in config.probe.budgets)
        training = config.budget.epochs * epoch
        costs.append(Cost(method, training + len(config.probe_epochs) * search_probe, training + confirm_probe))
    others = [name for name in config.baselines if name not in config.losses]
    return [*costs, *(Cost(name, 0.0, confirm_probe) for name in others)]


def _cost_of_supervised(config: SweepConfig, job: Job, device: torch.device) -> Cost:
    """Trained anew for every draw and label budget; a confirmation's small budgets are the search's over again."""
    few = config.model_copy(update={"budget": config.budget.model_copy(update={"epochs": _EPOCHS})})
    runner = TrialRunner(few, _NOWHERE, device)
    trial = _seconds(runner.run, job, lambda _: True) * config.budget.epochs / _EPOCHS
    return Cost(job.method, trial, trial * len(config.probe.budgets))


def _seconds(action: Callable[..., object], *arguments: object) -> float:
    started = time.perf_counter()
    action(*arguments)
    return time.perf_counter() - started
