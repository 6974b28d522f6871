"""Tests of replays of recorded searches."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sweeps.config import Arm, SweepConfig, load_config
from sweeps.search.replay import Landscape, RecordedTrial, Strategy, replay

SPACE = """
description: d
parameters:
  batch_size: 16
  kmeans_queue_size: 0
  num_clusters: 4
  representation_dim: {choices: [8, 16, 32], default: 16}
  temperature: {low: 0.1, high: 1.0, log: true, default: 1.0}
  feature_dropout: {low: 0.0, high: 0.7, default: 0.5}
  lr: {low: 2.0e-4, high: 3.0e-3, log: true, default: 1.0e-3}
"""


@pytest.fixture
def config(write_config: Callable[..., Path], tmp_path: Path) -> SweepConfig:
    space = tmp_path / "space.yaml"
    space.write_text(SPACE, encoding="utf-8")
    budget = {"trials_per_subset": 1, "epochs": 6, "seeds": 1}
    return load_config(
        write_config(subsets=["Con", "Clu"], baselines=[], budget=budget, probe={"every": 2}, space=str(space))
    )


def recorded(config: SweepConfig, count: int) -> dict[Arm, list[RecordedTrial]]:
    """Random trials of which a learning rate of 0.002 is the best, and whose curves rise to their final score."""
    random = np.random.default_rng(0)
    rates = 10 ** random.uniform(np.log10(2e-4), np.log10(3e-3), count)
    trials = []
    for rate in rates.tolist():
        score = 0.9 - 0.1 * abs(math.log10(rate / 2e-3))
        curve = {epoch: score * epoch / 6 for epoch in config.probe_epochs}
        every = {name: p.start for name, p in config.load_space().parameters.items()}
        trials.append(RecordedTrial({**every, "lr": rate}, curve))
    return dict.fromkeys(config.arms.values(), trials)


def regret(landscape: Landscape, sampler: str, trials: int) -> float:
    return float(
        np.mean([r.regret for seed in range(4) for r in replay(landscape, Strategy(sampler), [trials], seed, 0.002)])
    )


def test_a_landscape_knows_scores_and_the_best(config: SweepConfig) -> None:
    landscape = Landscape(config, recorded(config, 60))
    arm = landscape.arms[0]
    every = {name: p.start for name, p in config.load_space().parameters.items()}
    good, bad = (landscape.curve(arm, {**every, "lr": rate}) for rate in (2e-3, 3e-4))
    assert good[-1] == pytest.approx(0.9, abs=0.01)
    assert bad[-1] == pytest.approx(0.9 - 0.1 * math.log10(2 / 0.3), abs=0.01)
    assert good.tolist() == sorted(good.tolist())
    assert landscape.best[arm] == pytest.approx(0.9, abs=0.005)


def test_regret_shrinks_with_trials_and_joint_beats_random(config: SweepConfig) -> None:
    landscape = Landscape(config, recorded(config, 60))
    joint = list(replay(landscape, Strategy("joint"), [4, 16], 0, 0.002))
    assert {(r.arm, r.trials) for r in joint} == {(arm, count) for arm in ("Con", "Clu") for count in (4, 16)}
    assert all(r.regret >= -1e-9 for r in joint)
    assert regret(landscape, "joint", 10) < regret(landscape, "random", 10)


def test_gp_learns_nothing_from_other_arms(config: SweepConfig) -> None:
    """Of other arms, only their scores differ; joint notices that, gp does not."""
    alike, changed = recorded(config, 30), recorded(config, 30)
    first, *others = changed
    for arm in others:
        changed[arm] = [replace(t, curve={e: 1 - s for e, s in t.curve.items()}) for t in changed[arm]]

    def regrets(trials: dict[Arm, list[RecordedTrial]], sampler: str) -> list[float]:
        results = replay(Landscape(config, trials), Strategy(sampler), [3, 6, 9], 0, 0.0)
        return [result.regret for result in results if result.arm == first.name]

    assert regrets(alike, "gp") == regrets(changed, "gp")
    assert regrets(alike, "joint") != regrets(changed, "joint")


def test_a_pruner_saves_epochs(config: SweepConfig) -> None:
    landscape = Landscape(config, recorded(config, 60))
    whole, pruned = (
        [r.epochs for r in replay(landscape, Strategy("random", pruner), [20], 0, 0.0)] for pruner in ("none", "median")
    )
    assert whole == [120, 120]
    assert all(epochs < 100 for epochs in pruned)


def test_replays_are_repeatable(config: SweepConfig) -> None:
    landscape = Landscape(config, recorded(config, 30))
    first, second = (list(replay(landscape, Strategy("joint"), [6], 1, 0.004)) for _ in range(2))
    assert first == second


def test_too_few_trials_are_refused(config: SweepConfig) -> None:
    with pytest.raises(ValueError, match="no arm has 10 trials"):
        Landscape(config, recorded(config, 9))
