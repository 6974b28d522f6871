"""The time of a sweep on a machine with so many CPUs and GPUs, from given costs."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from sweeps.config import SweepConfig, load_config
from sweeps.estimate.duration import Cost, estimate, lack_of_room, slots, total_seconds, trials_in_time
from sweeps.estimate.summary import cost_summary, plan_table

Configure = Callable[..., SweepConfig]


@pytest.fixture
def configure(write_config: Callable[..., Path]) -> Configure:
    """A sweep of two subsets and no baselines."""
    return lambda **settings: load_config(write_config(subsets=["Con", "Gen"], baselines=[], **settings))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    def pretend(cpus: int, gpus: int) -> None:
        monkeypatch.setattr(os, "cpu_count", lambda: cpus)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)

    return pretend


COSTS = [Cost("Con", 30.0, 60.0, confirmations=2), Cost("Gen", 10.0, 20.0, confirmations=2)]


@pytest.mark.parametrize(
    ("cpus", "gpus", "workers", "expected"),
    [
        (8, 0, {}, 8),
        (8, 0, {"per_trial": 2}, 4),
        (9, 0, {"per_trial": 4}, 2),
        (8, 0, {"per_trial": 2, "concurrent_trials": 3}, 3),
        (16, 4, {}, 4),
        (16, 4, {"per_trial": 2}, 2),
        (2, 4, {}, 2),
        (16, 4, {"gpus": 0, "per_trial": 4}, 4),
    ],
)
def test_as_many_trials_run_as_the_machine_has_room_for(
    configure: Configure, machine: Callable[[int, int], None], cpus: int, gpus: int, workers: Any, expected: int
) -> None:
    """A worker takes a CPU, and a GPU where GPUs are used, as `sweeps.estimate.room.allocate` grants them."""
    machine(cpus, gpus)
    config = configure(workers=workers)
    assert slots(config) == expected
    assert lack_of_room(config) is None


@pytest.mark.parametrize(
    ("cpus", "gpus", "workers", "reason"),
    [
        (
            2,
            0,
            {"per_trial": 4},
            "1 trial at a time of 4 workers would need a CPU for each worker, and this machine has",
        ),
        (2, 0, {"concurrent_trials": 3}, "3 trials at a time of 1 worker would need a CPU"),
        (8, 0, {"gpus": 1}, "1 trial at a time of 1 worker would need a GPU"),
        (8, 2, {"per_trial": 4}, "4 workers would need a GPU for each worker, and this machine has 8 CPUs and 2 GPUs"),
    ],
)
def test_nothing_is_estimated_where_the_machine_has_no_room(
    configure: Configure, machine: Callable[[int, int], None], cpus: int, gpus: int, workers: Any, reason: str
) -> None:
    machine(cpus, gpus)
    for budget in ({"trials_per_subset": 2}, {"hours": 1}):
        config = configure(workers=workers, budget={"epochs": 4, **budget})
        summary = cost_summary(config, COSTS)
        assert reason in summary.partition("Time and disk are not estimated: ")[2]
        assert "minutes" not in summary
        assert "Warning" not in summary
        console = Console(width=200)
        with console.capture() as capture:
            console.print(plan_table(config, COSTS))
        assert "30.0" not in capture.get()
        assert "about" not in capture.get()


@pytest.mark.parametrize("per_trial", [1, 2, 4])
def test_more_workers_per_trial_do_not_change_the_total_time(
    configure: Configure, machine: Callable[[int, int], None], per_trial: int
) -> None:
    """The CPUs do the same work: a trial is shorter, and fewer trials run at a time."""
    machine(8, 0)
    config = configure(workers={"per_trial": per_trial}, budget={"trials_per_subset": 16, "epochs": 4})
    costs = [Cost(c.name, c.trial / per_trial, c.confirmation / per_trial, c.confirmations) for c in COSTS]
    assert total_seconds(config, costs) == pytest.approx((16 * 40 + 2 * 80) / 8)


def test_time_is_shared_equally_by_the_arms(configure: Configure, machine: Callable[[int, int], None]) -> None:
    machine(8, 2)
    hours = configure(budget={"hours": 1, "epochs": 4})
    assert trials_in_time(hours, COSTS) == {"Con": 2 * 1800 / 30, "Gen": 2 * 1800 / 10}
    gpu_hours = configure(budget={"gpu_hours": 1, "epochs": 4}, workers={"per_trial": 2})
    assert trials_in_time(gpu_hours, COSTS) == {"Con": 1800 / 2 / 30, "Gen": 1800 / 2 / 10}
    assert total_seconds(gpu_hours, COSTS) == 2 * 80 + 1800


def test_a_trial_costs_its_epochs_its_brief_probes_and_a_whole_one(
    configure: Configure,
) -> None:
    """A confirmation's probes may cost more: it has all instruments, at each label budget."""
    seconds = {"run_epoch": 0.0, "search": 100.0, "confirm": 250.0, "brief": 1.0}

    def measured(action: Callable[..., object], *_: object, brief: bool = False, stage: str = "search") -> float:
        assert action.__name__ in ("run_epoch", "objective")
        return seconds["run_epoch" if action.__name__ == "run_epoch" else "brief" if brief else stage]

    probe = {"every": 5, "labels_per_class": [2]}
    config = configure(budget={"epochs": 20, "trials_per_subset": 1}, probe=probe)
    assert [(cost.trial, cost.confirmation) for cost in estimate(config, measured)] == [(103.0, 500.0), (103.0, 500.0)]
