"""Turns against simulated time: whom they go to, and when they end."""

import random
from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeps.ledger import Record
from sweeps.settings import Budget
from sweeps.turns import Turns

ARMS = ["Con", "Clu", "ConCluGen"]


def budget(**measure: float) -> Budget:
    return Budget.model_validate({"epochs": 10, **measure})


def simulate(turns: Turns, seconds: dict[str, float], slots: int, *, failing: str = "") -> tuple[Counter[str], float]:
    """Run trials of the given lengths on slots; return how many each arm had, and when the last one ended."""
    now, running, started = 0.0, [], Counter[str]()
    while True:
        while len(running) < slots and (arm := turns.next(now)) is not None:
            key = f"{arm}-{started[arm]}"
            turns.start(arm, key, now)
            started[arm] += 1
            running.append((now + seconds[arm], arm, key))
        if not running:
            return started, now
        running.sort()
        now, arm, key = running.pop(0)
        turns.end(arm, key, now, failed=arm == failing)


@settings(deadline=None, max_examples=30)
@given(lengths=st.lists(st.floats(1, 50), min_size=3, max_size=3), slots=st.integers(1, 7), trials=st.integers(1, 20))
def test_a_budget_of_trials_is_spent_exactly_and_evenly(lengths: list[float], slots: int, trials: int) -> None:
    turns = Turns(budget(trials_per_subset=trials), ARMS)
    started, _ = simulate(turns, dict(zip(ARMS, lengths, strict=True)), slots)
    assert started == dict.fromkeys(ARMS, trials)


def test_ties_go_to_the_first_and_the_fewest_started_are_next() -> None:
    turns = Turns(budget(trials_per_subset=2), ARMS)
    order = []
    while (arm := turns.next(0.0)) is not None:
        order.append(arm)
        turns.start(arm, f"{arm}-{len(order)}", 0.0)
    assert order == ARMS * 2
    assert not turns.over("Con", 0.0)
    turns.end("Con", "Con-1", 1.0)
    turns.end("Con", "Con-4", 1.0)
    assert turns.over("Con", 1.0)


@settings(deadline=None, max_examples=30)
@given(lengths=st.lists(st.floats(20, 100), min_size=3, max_size=3), slots=st.integers(1, 6))
def test_hours_end_together_and_are_shared_equally(lengths: list[float], slots: int) -> None:
    """Each arm gets a third of the slots' time, but for the trial that each slot may have begun last."""
    seconds = dict(zip(ARMS, lengths, strict=True))
    started, end = simulate(Turns(budget(hours=1), ARMS), seconds, slots)
    assert 3600 <= end < 3600 + max(lengths)
    for arm in ARMS:
        assert abs(started[arm] * seconds[arm] - 3600 * slots / 3) <= 2 * slots * max(lengths)


@settings(deadline=None, max_examples=30)
@given(lengths=st.lists(st.floats(20, 100), min_size=3, max_size=3), slots=st.integers(1, 6), workers=st.integers(1, 4))
def test_gpu_hours_are_spent_by_every_arm_alone(lengths: list[float], slots: int, workers: int) -> None:
    seconds = dict(zip(ARMS, lengths, strict=True))
    started, _ = simulate(Turns(budget(gpu_hours=3), ARMS, workers), seconds, slots)
    for arm in ARMS:
        used = started[arm] * seconds[arm] * workers
        assert used + 1e-6 >= 3600
        assert used < 3600 + 2 * slots * workers * max(lengths)


def test_trials_that_fail_at_once_do_not_take_turns_for_ever() -> None:
    started, _ = simulate(Turns(budget(hours=1), ARMS), dict.fromkeys(ARMS, 60.0) | {"Clu": 1e-3}, 1, failing="Clu")
    assert started["Clu"] == 20
    assert started["Con"] + started["ConCluGen"] == 60


def test_waiting_is_no_search_time() -> None:
    turns = Turns(budget(hours=1), ARMS)
    turns.start("Con", "a", 1000.0)
    turns.end("Con", "a", 1000.0 + 1800)
    assert turns.share("Con", 1e6) == pytest.approx(0.5)
    turns.start("Clu", "b", 2e6)
    assert turns.share("Con", 2e6 + 900) == pytest.approx(0.75)


def test_an_earlier_session_counts_by_what_ran_not_by_what_passed() -> None:
    def record(method: str, start: float, end: float, stage: str = "search") -> Record:
        times = {
            name: datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
            for name, at in (("started", start), ("ended", end))
        }
        return Record(sweep="s", stage=stage, method=method, number=0, seed=0, state="complete", **times)

    records = [
        record("Con", 100, 700), record("Clu", 400, 1000), record("Con", 5000, 5900),
        record("ConCluGen", 6000, 9000, stage="confirm"), record("dropped", 0, 9000),
    ]  # fmt: skip
    random.Random(0).shuffle(records)
    by_clock, by_gpu, by_trials = (
        Turns(budget(**{name: 1}), ARMS) for name in ("hours", "gpu_hours", "trials_per_subset")
    )
    for turns in (by_clock, by_gpu, by_trials):
        turns.restore(records)
    assert by_clock.share("Con", 1e6) == pytest.approx((900 + 900) / 3600)
    assert by_gpu.share("Con", 1e6) == pytest.approx(3 * 1500 / 3600)
    assert by_trials.share("Con", 1e6) == 2
    assert by_trials.share("ConCluGen", 1e6) == 0
