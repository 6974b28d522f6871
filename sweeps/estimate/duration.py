"""What a sweep will cost, from a few measured steps: for `sweep check`, before anything is launched.

Each arm's default configuration is trained for a few steps on the sweep's own features in this process. Other
configurations cost more or less, pruned trials cost less, and another machine is another machine: the answer is an
order of magnitude, and says which jobs dominate it.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from conclugen.hyperparameters import Hyperparameters
from sweeps.config import Arm, SweepConfig
from sweeps.estimate.room import Node, trials_that_fit
from sweeps.folder.layout import SweepFolder
from sweeps.jobs import Job
from sweeps.trial import TrialRunner
from sweeps.trial.hardware import computing, on_gpus

__all__ = ["Cost", "estimate", "lack_of_room", "slots", "total_seconds", "trials_in_time"]

_STEPS, _EPOCHS = 3, 2
_NOWHERE = SweepFolder(Path(os.devnull))  # no job that is measured saves anything


@dataclass(frozen=True)
class Cost:
    """What an arm's default configuration, or a baseline, costs on one worker."""

    name: str
    trial: float
    """Seconds of a search trial that runs its full budget; 0 for what is not searched."""
    confirmation: float
    """Seconds of a confirmation run."""
    confirmations: int
    """How many of those there are."""


def estimate(config: SweepConfig) -> list[Cost]:
    """Measure every arm and extrapolate to its jobs; the baselines that are not searched come last."""
    device = torch.device("cuda" if on_gpus(config) else "cpu")
    with computing(max(1, (os.cpu_count() or 1) // (slots(config) * config.workers.per_trial))):
        return _estimate(config, device)


def total_seconds(config: SweepConfig, costs: Sequence[Cost]) -> float:
    """Wall seconds of the whole sweep on this machine; a budget of time takes what it is given."""
    confirmations = sum(cost.confirmation * cost.confirmations for cost in costs) / slots(config)
    budget = config.budget
    if budget.trials_per_subset is not None:
        return confirmations + sum(cost.trial for cost in costs) * budget.trials_per_subset / slots(config)
    if budget.hours is not None:
        return confirmations + budget.hours * 3600
    gpus = slots(config) * config.workers.per_trial
    return confirmations + (budget.gpu_hours or 0.0) * 3600 / gpus


def trials_in_time(config: SweepConfig, costs: Sequence[Cost]) -> dict[str, int]:
    """Arm -> about how many full trials its share of a budget of time allows; empty for a budget of trials."""
    budget, at_a_time = config.budget, slots(config)
    searched = [cost for cost in costs if cost.name in config.arms]
    if budget.hours is not None:
        share = budget.hours * 3600 * at_a_time / len(searched)
    elif budget.gpu_hours is not None:
        share = budget.gpu_hours * 3600 / config.workers.per_trial / len(searched)
    else:
        return {}
    return {cost.name: int(share / cost.trial) for cost in searched}


def slots(config: SweepConfig) -> int:
    """How many trials run at a time: what the configuration asks for, or else what this machine has room for."""
    asked = config.workers.concurrent_trials
    return max(1, _room(config)) if asked == "auto" else asked


def lack_of_room(config: SweepConfig) -> str | None:
    """Why the sweep would not run on this machine alone; None if it would."""
    asked, workers = config.workers.concurrent_trials, config.workers.per_trial
    trials = 1 if asked == "auto" else asked
    if trials <= _room(config):
        return None
    unit = "GPU" if config.workers.gpus == 1 or on_gpus(config) else "CPU"
    return (
        f"{trials} trials at a time of {workers} workers need a {unit} for each worker, and this machine has "
        f"{os.cpu_count() or 1} CPUs and {torch.cuda.device_count()} GPUs"
    )


def _room(config: SweepConfig) -> int:
    """How many trials fit this machine: each worker takes a CPU and, where there are GPUs to use, one of them."""
    gpus = int(config.workers.gpus == 1 or on_gpus(config))
    this_machine = Node("", "", cpus=os.cpu_count() or 1, gpus=torch.cuda.device_count())
    return trials_that_fit([this_machine], config.workers.per_trial, cpus=1, gpus=gpus)


def _estimate(config: SweepConfig, device: torch.device) -> list[Cost]:
    runner = TrialRunner(config, _NOWHERE, device)
    space, costs = config.load_space(), []
    scoring: dict[Any, tuple[float, float]] = {}  # what is probed -> seconds in a whole search trial, in confirmation
    for arm in config.arms.values():
        values: dict[str, Any] = space.default_configuration(arm.losses)
        hyperparameters = replace(Hyperparameters(), **values)
        job = Job(
            stage="search",
            method=arm.method,
            number=0,
            seed=config.seed,
            hyperparameters=asdict(hyperparameters),
            modalities=arm.modalities,
            labels=arm.labels,
        )
        if arm.method == "supervised_head":
            costs.append(_cost_of_supervised(config, arm, job, device))
            continue
        run = runner.pretraining(job)
        run.epoch = hyperparameters.kmeans_start_epoch  # where every loss is active
        run.run_epoch(max_steps=1)  # the first step allocates
        steps = min(_STEPS, run.steps_per_epoch)
        epoch = _seconds(run.run_epoch, steps) / steps * run.steps_per_epoch / config.workers.per_trial
        probed = (arm.modalities, arm.labels)
        if probed not in scoring:  # it depends on the representation's width only
            runner.objective(run.head, arm.labels)
            budgets = config.probe.budgets if arm.labels is None else (arm.labels,)
            brief = _seconds(runner.objective, run.head, arm.labels, brief=True)
            scoring[probed] = (
                brief * (len(config.probe_epochs) - 1) + _seconds(runner.objective, run.head, arm.labels),
                sum(_seconds(runner.objective, run.head, budget, stage="confirm") for budget in budgets),
            )
        search, confirmation = scoring[probed]
        training = config.budget.epochs * epoch
        costs.append(
            Cost(
                arm.name,
                training + search,
                training + confirmation,
                config.budget.seeds * len(config.confirmed_on(arm)),
            )
        )
    searched = {arm.method for arm in config.arms.values()}
    probing = next(iter(scoring.values()), (0.0, 0.0))[1]
    return [
        *costs,
        *(
            Cost(name, 0.0, probing, config.budget.seeds * len(config.modality_choices(name)))
            for name in config.baselines
            if name not in searched
        ),
    ]


def _cost_of_supervised(config: SweepConfig, arm: Arm, job: Job, device: torch.device) -> Cost:
    """Trained anew for every draw and label budget; a confirmation's small budgets are the search's over again."""
    few = config.model_copy(update={"budget": config.budget.model_copy(update={"epochs": _EPOCHS})})
    runner = TrialRunner(few, _NOWHERE, device)
    trial = _seconds(runner.run, job, lambda _: True) * config.budget.epochs / _EPOCHS
    budgets = len(config.probe.budgets) if arm.labels is None else 1
    return Cost(arm.name, trial, trial * budgets, config.budget.seeds * len(config.confirmed_on(arm)))


def _seconds(action: Callable[..., object], *arguments: object, **options: object) -> float:
    started = time.perf_counter()
    action(*arguments, **options)
    return time.perf_counter() - started
