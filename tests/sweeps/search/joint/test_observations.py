"""Tests of what trials teach the joint model."""

from typing import Any

import pytest

from sweeps.config import Arm
from sweeps.search.joint.observations import Observation, targets


def trial(arm: str, number: int, value: float | None, **fields: Any) -> Observation:
    return Observation(Arm(arm), number, {}, **{"state": "complete", "value": value, **fields})


def test_arms_are_centred_and_their_scales_lean_on_the_common_one() -> None:
    trials = [trial("Con", 0, 0.90), trial("Con", 1, 0.92), trial("Gen", 0, 0.50), trial("Gen", 1, 0.54)]
    results, levels = targets(trials)
    con, gen = levels[Arm("Con")], levels[Arm("Gen")]
    common = (2 * 0.01**2 + 2 * 0.02**2) / 2
    assert con.scale == pytest.approx(((2 * 0.01**2 + 4 * common) / 5) ** 0.5)
    assert gen.scale == pytest.approx(((2 * 0.02**2 + 4 * common) / 5) ** 0.5)
    assert (gen.mean, gen.trials) == (pytest.approx(0.52), 2)
    scores = [target.score * levels[target.observation.arm].scale for target in results]
    assert scores == pytest.approx([-0.01, 0.01, -0.02, 0.02])


def test_a_pruned_trial_counts_by_its_last_report_beside_those_of_its_arm() -> None:
    trials = [
        trial("Con", 0, 0.9, reports=[(5, 0.80)]),
        trial("Con", 1, 0.8, reports=[(5, 0.70)]),
        trial("Con", 2, None, state="pruned", reports=[(5, 0.60)]),
        trial("Con", 3, None, state="pruned", reports=[(5, 0.75)]),
    ]
    by_number = {target.observation.number: target for target in targets(trials)[0]}
    assert by_number[2].score < by_number[1].score < by_number[3].score < by_number[0].score
    assert by_number[2].variance > by_number[1].variance == 0


def test_a_failed_trial_counts_as_the_worst_of_its_arm() -> None:
    trials = [trial("Con", 0, 0.9), trial("Con", 1, 0.8), trial("Con", 2, None, state="failed")]
    results, _ = targets(trials)
    assert results[2].score == results[1].score
    assert results[2].variance > 0


def test_one_disaster_does_not_hide_the_differences_of_the_others() -> None:
    good = [trial("Con", number, 0.9 + number / 100) for number in range(10)]
    results, _ = targets([*good, trial("Con", 10, 0.0), trial("Gen", 0, 0.5), trial("Gen", 1, 0.51)])
    assert min(target.score for target in results) >= -2.5


def test_running_trials_and_arms_without_a_score_teach_nothing() -> None:
    trials = [trial("Con", 0, None, state=None), trial("Gen", 0, None, state="failed")]
    assert targets(trials) == ([], {})
