"""Tests of the proposals of the joint model."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from conclugen.subsets import SUBSETS
from search_spaces import Space, load_space
from sweeps.config import Arm
from sweeps.search.joint.encoding import Encoding
from sweeps.search.joint.observations import Observation
from sweeps.search.joint.proposals import JointModel

ARMS = [Arm(subset) for subset in SUBSETS]
SMALL = load_space("small")
WIDE = load_space("paper")
RATE = Space.model_validate(
    {"description": "d", "parameters": {"lr": {"low": 1e-4, "high": 1e-2, "log": True, "default": 1e-3}}}
)


def error(values: dict[str, Any]) -> float:
    return abs(math.log10(values["lr"]) - math.log10(5e-3))


def search(model: JointModel, arms: list[Arm], rounds: int) -> list[Observation]:
    """Search for a learning rate of 0.005, the best one of all arms."""
    trials = list[Observation]()
    for number in range(rounds):
        for level, arm in enumerate(arms):
            values, _ = model.propose(arm, trials, 100 * number + level)
            trials.append(Observation(arm, number, values, "complete", 0.1 * level - 0.1 * error(values)))
    return trials


def test_proposals_come_to_the_optimum() -> None:
    trials = search(JointModel(RATE, ARMS[:2]), ARMS[:2], 12)
    assert max(error(dict(trial.values)) for trial in trials[-6:]) < 0.15


def test_an_arm_learns_from_the_others() -> None:
    """The first informed proposal of an arm with two trials is near the optimum that six other arms have found."""
    trials = search(JointModel(RATE, ARMS[:-1]), ARMS[:-1], 6)
    own = [
        Observation(ARMS[-1], n, {"lr": lr}, "complete", 0.9 - 0.1 * error({"lr": lr}))
        for n, lr in enumerate((1e-4, 5e-4))
    ]
    errors = []
    for known in (own, [*trials, *own]):
        model = JointModel(RATE, ARMS)
        errors.append(sum(error(model.propose(ARMS[-1], known, seed)[0]) for seed in range(5)))
    assert errors[1] < 0.5 * errors[0]
    assert errors[1] / 5 < 0.2


def test_a_proposal_follows_from_the_trials_and_the_seed() -> None:
    trials = search(JointModel(SMALL.model_copy(update={"parameters": RATE.parameters}), ARMS[:2]), ARMS[:2], 5)
    used = JointModel(RATE, ARMS[:2])
    used.propose(ARMS[1], trials[:4], 3)
    assert used.propose(ARMS[0], trials, 7) == JointModel(RATE, ARMS[:2]).propose(ARMS[0], trials, 7)
    assert used.propose(ARMS[0], trials, 7) != used.propose(ARMS[0], trials, 8)


def test_no_configuration_is_tried_twice_while_another_is_left() -> None:
    parameters = {
        "representation_dim": {"choices": [64, 128, 256], "default": 64},
        "kmeans_loss_mode": {"choices": ["individual", "joint"], "default": "joint"},
    }
    space = Space.model_validate({"description": "d", "parameters": parameters})
    arm, model = Arm("Clu"), JointModel(space, [Arm("Clu")])
    trials = list[Observation]()
    for number in range(7):
        values, _ = model.propose(arm, trials, number)
        trials.append(Observation(arm, number, values, "complete", values["representation_dim"] / 1000))
    tried = [tuple(trial.values.values()) for trial in trials]
    assert len(set(tried[:6])) == 6  # the space has six configurations
    assert tried[6] in tried[:6]


def test_trials_that_run_at_once_are_apart() -> None:
    trials = search(JointModel(RATE, ARMS[:1]), ARMS[:1], 6)
    model, running = JointModel(RATE, ARMS[:1]), list[Observation]()
    for number in range(6, 9):
        values, _ = model.propose(ARMS[0], [*trials, *running], 1)
        running.append(Observation(ARMS[0], number, values, None))
    rates = sorted(math.log10(trial.values["lr"]) for trial in running)
    assert np.diff(rates).min() > 0.005


def test_a_region_that_fails_is_avoided() -> None:
    """Learning rates above 0.001 fail, and scores rise towards them."""
    arm, model, trials = ARMS[0], JointModel(RATE, ARMS[:1]), list[Observation]()
    for number in range(16):
        values, _ = model.propose(arm, trials, number)
        failed = values["lr"] > 1e-3
        score = None if failed else 0.5 + 0.1 * math.log10(values["lr"] / 1e-4)
        trials.append(Observation(arm, number, values, "failed" if failed else "complete", score))
    assert sum(trial.state == "failed" for trial in trials[8:]) <= 4


def test_the_forecast_of_gain_shrinks_as_a_search_levels_off() -> None:
    model = JointModel(RATE, ARMS[:1])
    trials = search(model, ARMS[:1], 20)
    (_, early), (_, late) = model.propose(ARMS[0], trials[:3], 0), model.propose(ARMS[0], trials, 0)
    assert early is not None
    assert late is not None
    assert 0 <= late.improvement < 0.2 * early.improvement
    assert late.improvement <= late.high


def test_a_flat_search_promises_little_beside_one_with_a_steep_objective() -> None:
    """Con has the same score everywhere; ConGen's is a hill, and nearly found."""
    arms, random = [Arm("Con"), Arm("ConGen")], np.random.default_rng(0)
    model, trials = JointModel(RATE, arms), list[Observation]()
    for number in range(12):
        for arm in arms:
            values = {"lr": float(10 ** random.uniform(-4, -2))}
            score = 0.5 if arm.method == "Con" else 0.5 - 0.1 * error(values) ** 2
            trials.append(Observation(arm, number, values, "complete", score))
    _, forecast = model.propose(arms[0], trials, 0)
    assert forecast is not None
    assert forecast.improvement < 0.004


def test_one_complete_trial_foretells_no_gain() -> None:
    """The scale of scores is not known yet, so that a gain would be a guess without units."""
    trials = [Observation(arm, 0, {"lr": 1e-3}, "complete", 0.5) for arm in ARMS[:2]]
    trials.append(Observation(ARMS[0], 1, {"lr": 2e-3}, "failed"))
    assert JointModel(RATE, ARMS[:2]).propose(ARMS[0], trials, 0)[1] is None


@pytest.mark.parametrize("subset", SUBSETS)
def test_without_any_trial_a_proposal_is_random(subset: str) -> None:
    values, forecast = JointModel(SMALL, ARMS).propose(Arm(subset), [], 0)
    assert forecast is None
    assert values.keys() == {name for name, p in SMALL.for_losses(SUBSETS[subset]).items() if p.fixed is None}


def with_prior(centre: float) -> Space:
    return RATE.model_copy(update={"prior": {"lr": [centre, 0.3]}})


def test_a_prior_is_tried_first_and_a_wrong_one_is_given_up() -> None:
    for seed in range(3):
        first, _ = JointModel(with_prior(5e-3), ARMS[:1]).propose(ARMS[0], [], seed)
        assert error(first) < 0.35
    wrong = search(JointModel(with_prior(2e-4), ARMS[:1]), ARMS[:1], 14)
    assert min(error(dict(trial.values)) for trial in wrong[:2]) > 0.7
    assert min(error(dict(trial.values)) for trial in wrong) < 0.15


def test_an_earlier_sweep_that_is_alike_spares_trials() -> None:
    """With one trial of its own, a search proposes near the optimum of the earlier sweep."""
    earlier = [replace(trial, task=1) for trial in search(JointModel(RATE, ARMS[:3]), ARMS[:3], 8)]
    own = [Observation(ARMS[0], 0, {"lr": 1e-3}, "complete", 0.3 - 0.1 * error({"lr": 1e-3}))]
    model = JointModel(RATE, ARMS[:3], earlier=1)
    assert max(error(model.propose(ARMS[0], [*earlier, *own], seed)[0]) for seed in range(4)) < 0.2


def test_the_best_configuration_of_an_earlier_sweep_is_a_candidate() -> None:
    """In many dimensions no random candidate comes near it."""
    arm, random = Arm("ConCluGen"), np.random.default_rng(3)
    encoding = Encoding(WIDE, [arm])
    rows = random.random((12, len(encoding.axes(arm))))
    earlier = [
        Observation(arm, number, encoding.values(arm, row), "complete", 0.9 if number == 5 else 0.5, task=1)
        for number, row in enumerate(rows)
    ]
    own = [Observation(arm, 0, WIDE.default_configuration(SUBSETS["ConCluGen"]), "complete", 0.5)]
    proposed, _ = JointModel(WIDE, [arm], earlier=1).propose(arm, [*earlier, *own], 0)
    row = encoding.row(arm, proposed)
    assert row is not None
    assert np.abs(encoding.points(arm, row[None]) - encoding.points(arm, rows[5:6])).sum() < 0.6


def test_an_earlier_sweep_that_is_unlike_is_found_out() -> None:
    """The earlier sweep had its optimum at the other end."""
    earlier = [
        Observation(ARMS[0], number, {"lr": rate}, "complete", 0.1 * abs(math.log10(rate / 5e-3)), task=1)
        for number, rate in enumerate(np.logspace(-4, -2, 12).tolist())
    ]
    model, trials = JointModel(RATE, ARMS[:1], earlier=1), list[Observation]()
    for number in range(14):
        values, _ = model.propose(ARMS[0], [*earlier, *trials], number)
        trials.append(Observation(ARMS[0], number, values, "complete", -0.1 * error(values)))
    assert min(error(dict(trial.values)) for trial in trials) < 0.15


def test_thousands_of_trials_are_thinned_and_the_best_are_kept() -> None:
    """Of 3,000 trials the model sees a thousand, with the few that are near the optimum."""
    random, trials = np.random.default_rng(0), list[Observation]()
    for number in range(1500):
        for level, arm in enumerate(ARMS[:2]):
            rate = {"lr": float(10 ** random.uniform(-4, -2))}
            trials.append(Observation(arm, number, rate, "complete", level - 0.1 * error(rate)))
    values, forecast = JointModel(RATE, ARMS[:2]).propose(ARMS[0], trials, 0)
    assert error(values) < 0.1
    assert forecast is not None
    assert forecast.improvement < 1e-3
