"""How long a sweep will take, from a few measured steps: for `sweep check`, before anything is launched.

This process trains each arm's default configuration for a few steps on the sweep's own features. Other configurations
cost more or less, pruned trials cost less, and another machine is faster or slower. So the answer is an order of
magnitude. It also shows which jobs dominate the cost.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from conclugen.counts import counted
from conclugen.heads import RepresentationHeads
from conclugen.hyperparameters import Hyperparameters
from conclugen.labels import LabelBudget
from conclugen.training.pretrain import DivergedError
from sweeps.config import Arm, ConfigError, SweepConfig
from sweeps.estimate.room import Node, trials_that_fit
from sweeps.folder.layout import SweepFolder
from sweeps.jobs import Job
from sweeps.ledger import without_search
from sweeps.trial import TrialRunner
from sweeps.trial.hardware import computing, on_gpus

__all__ = ["Cost", "Measure", "estimate", "lack_of_room", "seconds_of", "slots", "total_seconds", "trials_in_time"]

Measure = Callable[..., float]
"""Calls a function with the arguments that follow it; returns the seconds that the call took."""

_STEPS = 3  # measured steps of pretraining, of one epoch
_EPOCHS = 2  # measured epochs of the supervised head
_NOWHERE = SweepFolder(Path(os.devnull))  # no measured job saves anything


@dataclass(frozen=True)
class Cost:
    """The cost of an arm's default configuration, or of a baseline, in one slot."""

    name: str
    trial: float
    """Seconds of a search trial that runs its full budget; 0 for a baseline that is not searched."""
    confirmation: float
    """Seconds of a confirmation run."""
    confirmations: int
    """Number of confirmation runs."""
    finalist: float = 0.0
    """Seconds of a finalist's run."""
    finalists: int = 0
    """Number of finalists' runs, if every finalist is another configuration."""


def seconds_of(action: Callable[..., object], *arguments: object, **options: object) -> float:
    """Call ``action`` and return the seconds that it took."""
    started = time.perf_counter()
    action(*arguments, **options)
    return time.perf_counter() - started


def estimate(config: SweepConfig, measure: Measure = seconds_of) -> list[Cost]:
    """Measure every arm and extrapolate to its jobs; the baselines that are not searched come last.

    Repeated searches cost what the first does.


    Args:
        config: the sweep.
        measure: times a step or a probe.

    Raises:
        ConfigError: the default configuration of some arm diverges at once.
    """
    with computing(max(1, (os.cpu_count() or 1) // (slots(config) * config.workers.per_trial))):
        arm_costs = _ArmCosts(config, measure)
        costs, diverging = dict[str, Cost](), list[str]()
        for arm in config.arms.values():
            try:
                costs |= {arm.name: arm_costs.of(arm)} if arm.search == 1 else {}
            except DivergedError as error:
                diverging.append(_diverging(config, arm, error))
        if diverging:
            raise ConfigError(diverging)
        repeated = [replace(costs[without_search(name)], name=name) for name in config.arms]
        searched = {arm.method for arm in config.arms.values()}
        baselines = [name for name in config.baselines if name not in searched]
        return [*repeated, *map(arm_costs.of_baseline, baselines)]


def _diverging(config: SweepConfig, arm: Arm, error: DivergedError) -> str:
    lr = config.load_space().default_configuration(arm.losses).get("lr", Hyperparameters().lr)
    return (
        f"space: {config.space}: the default configuration of {arm.name}, which is its first trial, diverges with lr "
        f"{lr:g}: {error}; lower the default of lr, or widen the range downwards."
    )


def total_seconds(config: SweepConfig, costs: Sequence[Cost]) -> float:
    """Return the wall seconds of the whole sweep on this machine; a search with a budget of time uses all of it."""
    runs = sum(cost.confirmation * cost.confirmations + cost.finalist * cost.finalists for cost in costs)
    after = runs / slots(config)
    budget = config.budget
    if budget.trials_per_subset is not None:
        return after + sum(cost.trial for cost in costs) * budget.trials_per_subset / slots(config)
    if budget.hours is not None:
        return after + budget.hours * 3600
    gpus = slots(config) * config.workers.per_trial
    return after + (budget.gpu_hours or 0.0) * 3600 / gpus


def trials_in_time(config: SweepConfig, costs: Sequence[Cost]) -> dict[str, int]:
    """Return arm -> number of full trials in its share of a budget of time; empty for a budget of trials."""
    budget = config.budget
    searched = [cost for cost in costs if cost.name in config.arms]
    if budget.hours is not None:
        share = budget.hours * 3600 * slots(config) / len(searched)
    elif budget.gpu_hours is not None:
        share = budget.gpu_hours * 3600 / config.workers.per_trial / len(searched)
    else:
        return {}
    return {cost.name: int(share / cost.trial) for cost in searched}


def slots(config: SweepConfig) -> int:
    """Return how many trials run at a time: the configured number, or as many as fit this machine."""
    configured = config.workers.concurrent_trials
    return max(1, _room(config)) if configured == "auto" else configured


def lack_of_room(config: SweepConfig) -> str | None:
    """Return why the sweep would not run on this machine alone; None if it would."""
    configured = config.workers.concurrent_trials
    workers = config.workers.per_trial
    trials = 1 if configured == "auto" else configured
    if trials <= _room(config):
        return None
    unit = "GPU" if config.workers.gpus == 1 or on_gpus(config) else "CPU"
    return (
        f"{counted(trials, 'trial')} at a time of {counted(workers, 'worker')} would need a {unit} for each worker, "
        f"and this machine has {os.cpu_count() or 1} CPUs and {torch.cuda.device_count()} GPUs"
    )


def _room(config: SweepConfig) -> int:
    """Return how many trials fit this machine: a worker takes a CPU, and a GPU where there are GPUs to use."""
    gpus = int(config.workers.gpus == 1 or on_gpus(config))
    this_machine = Node("", "", cpus=os.cpu_count() or 1, gpus=torch.cuda.device_count())
    return trials_that_fit([this_machine], config.workers.per_trial, cpus=1, gpus=gpus)


class _ArmCosts:
    """Measures the arms of a sweep, and each kind of probe once."""

    def __init__(self, config: SweepConfig, measure: Measure) -> None:
        self._config = config
        self._measure = measure
        self._space = config.load_space()
        self._device = torch.device("cuda" if on_gpus(config) else "cpu")
        self._runner = TrialRunner(config, _NOWHERE, self._device)
        # (modalities, labels) -> seconds of all probes of a search trial, of a finalist's run, of a confirmation run.
        # They are the same for all methods, because they depend on the width of the representation only.
        self._probes: dict[tuple[tuple[str, ...], LabelBudget | None], tuple[float, float, float]] = {}

    def of(self, arm: Arm) -> Cost:
        """Measure an arm."""
        config = self._config
        values: dict[str, Any] = self._space.default_configuration(arm.losses)
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
            return self._of_supervised(arm, job)
        run = self._runner.pretraining(job)
        run.epoch = hyperparameters.kmeans_start_epoch  # where every loss is active
        run.run_epoch(max_steps=1)  # the first step allocates
        steps = min(_STEPS, run.steps_per_epoch)
        epoch = self._measure(run.run_epoch, steps) / steps * run.steps_per_epoch / config.workers.per_trial
        training = config.budget.epochs * epoch
        search, finalist, confirmation = self._seconds_of_probes(arm, run.head)
        return Cost(
            arm.name,
            training + search,
            training + confirmation,
            config.budget.seeds * len(config.confirmed_on(arm)),
            training + finalist,
            self._finalists(),
        )

    def of_baseline(self, name: str) -> Cost:
        """Return the cost of a baseline that is not searched, in all searches: the cost of an arm's probes."""
        confirmation = next(iter(self._probes.values()), (0.0, 0.0, 0.0))[2]
        budget = self._config.budget
        runs = budget.seeds * budget.searches * len(self._config.modality_choices(name))
        return Cost(name, 0.0, confirmation, runs)

    def _finalists(self) -> int:
        """Return how many finalists' runs an arm has at most."""
        budget = self._config.budget
        most = min(self._config.search.finalists, budget.trials_per_subset or self._config.search.finalists)
        return most * budget.seeds if most > 1 else 0

    def _of_supervised(self, arm: Arm, job: Job) -> Cost:
        """Measure the supervised head, which is trained anew for every draw and label budget.

        A confirmation run trains the head for each label budget of the probe. Each budget is taken to cost as much as
        in the search.
        """
        config = self._config
        short = config.model_copy(update={"budget": config.budget.model_copy(update={"epochs": _EPOCHS})})
        runner = TrialRunner(short, _NOWHERE, self._device)
        trial = self._measure(runner.run, job, lambda _: True) * config.budget.epochs / _EPOCHS
        budgets = len(config.probe.budgets) if arm.labels is None else 1
        runs = config.budget.seeds * len(config.confirmed_on(arm))
        return Cost(arm.name, trial, trial * budgets, runs, trial, self._finalists())

    def _seconds_of_probes(self, arm: Arm, head: RepresentationHeads) -> tuple[float, float, float]:
        kind = (arm.modalities, arm.labels)
        if kind not in self._probes:
            objective = self._runner.objective
            objective(head, arm.labels)  # the first probe allocates
            brief = self._measure(objective, head, arm.labels, brief=True)
            whole = self._measure(objective, head, arm.labels)
            budgets = self._config.probe.budgets if arm.labels is None else (arm.labels,)
            confirmation = sum(self._measure(objective, head, budget, stage="confirm") for budget in budgets)
            self._probes[kind] = brief * (len(self._config.probe_epochs) - 1) + whole, whole, confirmation
        return self._probes[kind]
