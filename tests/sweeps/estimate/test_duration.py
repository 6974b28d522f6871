"""The time of a sweep on a machine with so many CPUs and GPUs, from given costs."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from sweeps.config import ConfigError, SweepConfig, load_config
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


def test_a_default_configuration_that_diverges_is_refused_with_the_remedy(configure: Configure, tmp_path: Path) -> None:
    space = tmp_path / "space.yaml"
    space.write_text(
        "description: x\nparameters:\n  lr: 1.0e+30\n  batch_size: 8\n  warmup_epochs: 0\n", encoding="utf-8"
    )
    with pytest.raises(ConfigError) as refusal:
        estimate(configure(space=str(space)))
    assert len(refusal.value.problems) == 2
    assert "the default configuration of Con, which is its first trial, diverges with lr 1e+30" in str(refusal.value)


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


class TestFinalistsAndSearches:
    COSTS = (
        *(Cost(name, 30.0, 60.0, confirmations=2, finalist=20.0, finalists=6) for name in ("Con", "Con~2")),
        *(Cost(name, 10.0, 20.0, confirmations=2, finalist=5.0, finalists=6) for name in ("Gen", "Gen~2")),
        Cost("raw_features", 0.0, 3.0, confirmations=4),
    )

    def test_finalists_add_their_time_to_every_kind_of_budget(
        self, configure: Configure, machine: Callable[[int, int], None]
    ) -> None:
        machine(4, 0)
        trials = configure(budget={"trials_per_subset": 8, "epochs": 4, "searches": 2})
        after = 2 * (2 * 60 + 6 * 20 + 2 * 20 + 6 * 5) + 4 * 3
        assert total_seconds(trials, self.COSTS) == pytest.approx((8 * 2 * 40 + after) / 4)
        hours = configure(budget={"hours": 1, "epochs": 4, "searches": 2})
        assert total_seconds(hours, self.COSTS) == pytest.approx(3600 + after / 4)
        assert trials_in_time(hours, self.COSTS)["Con~2"] == 3600 / 30

    def test_the_plan_shows_one_search_and_the_summary_counts_all(
        self, configure: Configure, machine: Callable[[int, int], None]
    ) -> None:
        machine(4, 0)
        config = configure(budget={"trials_per_subset": 8, "epochs": 4, "searches": 2}, search={"finalists": 3})
        console = Console(width=200)
        with console.capture() as capture:
            console.print(plan_table(config, self.COSTS))
        table = capture.get()
        assert "Plan of each of 2 searches of tiny" in table
        assert "~2" not in table
        rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in table.splitlines() if "│" in line]
        assert [row[:5] for row in rows] == [
            ["Con", "8", "4", "6", "2"], ["Gen", "8", "4", "6", "2"], ["raw_features", "", "", "", "2"],
        ]  # fmt: skip
        summary = cost_summary(config, self.COSTS)
        assert "32 search trials" in summary
        assert "then at most 24 runs of finalists, scored on validation; then 12 confirmation runs" in summary

    def test_a_finalist_costs_its_epochs_and_one_whole_probe_and_repeated_searches_are_not_measured_again(
        self, write_config: Callable[..., Path]
    ) -> None:
        measurements: list[str] = []

        def measured(action: Callable[..., object], *_: object, brief: bool = False, stage: str = "search") -> float:
            measurements.append(action.__name__)
            return 0.0 if action.__name__ == "run_epoch" else 1.0 if brief else 250.0 if stage == "confirm" else 100.0

        path = write_config(
            subsets=["Con"],
            search={"finalists": 3},
            budget={"epochs": 20, "trials_per_subset": 2, "searches": 3, "seeds": 4},
        )
        costs = {cost.name: cost for cost in estimate(load_config(path), measured)}
        assert list(costs) == ["Con", "Con~2", "Con~3", "raw_features", "random_head"]
        assert measurements.count("run_epoch") == 1
        for name in ("Con", "Con~2", "Con~3"):
            assert (costs[name].finalist, costs[name].finalists, costs[name].confirmations) == (100.0, 2 * 4, 4)
        assert costs["raw_features"].confirmations == 3 * 4

    def test_a_sweep_without_finalists_plans_none(self, write_config: Callable[..., Path]) -> None:
        config = load_config(write_config(subsets=["Con"], search={"finalists": 1}))
        assert [cost.finalists for cost in estimate(config, lambda *_, **__: 1.0)] == [0, 0, 0]
