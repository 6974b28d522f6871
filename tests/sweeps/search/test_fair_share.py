"""Fair shares in simulated time: which arm is next, and when an arm is spent."""

import random
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeps.config.sections import Budget
from sweeps.ledger import Record
from sweeps.search.fair_share import FairShare

ARMS = ["Con", "Clu", "ConCluGen"]


def budget(**measure: float) -> Budget:
    return Budget.model_validate({"epochs": 10, **measure})


def simulate(
    fair_share: FairShare, seconds: dict[str, float], slots: int, *, failing: str = ""
) -> tuple[Counter[str], float]:
    """Run trials of the given lengths in slots; return how many each arm had, and when the last one ended."""
    now, running, started = 0.0, [], Counter[str]()
    while True:
        while len(running) < slots and (arm := fair_share.next()) is not None:
            key = f"{arm}-{started[arm]}"
            fair_share.start(arm, key)
            started[arm] += 1
            running.append((now + seconds[arm], arm, key))
        if not running:
            return started, now
        running.sort()
        now, arm, key = running.pop(0)
        fair_share.work(arm, key, seconds[arm], now)
        fair_share.end(arm, key, failed=arm == failing)


@settings(deadline=None, max_examples=30)
@given(lengths=st.lists(st.floats(1, 50), min_size=3, max_size=3), slots=st.integers(1, 7), trials=st.integers(1, 20))
def test_a_budget_of_trials_is_spent_exactly_and_evenly(lengths: list[float], slots: int, trials: int) -> None:
    fair_share = FairShare(budget(trials_per_subset=trials), ARMS)
    started, _ = simulate(fair_share, dict(zip(ARMS, lengths, strict=True)), slots)
    assert started == dict.fromkeys(ARMS, trials)


def test_the_arm_with_the_fewest_started_trials_is_next_and_the_first_of_equals() -> None:
    fair_share = FairShare(budget(trials_per_subset=2), ARMS)
    order = []
    while (arm := fair_share.next()) is not None:
        order.append(arm)
        fair_share.start(arm, f"{arm}-{len(order)}")
    assert order == ARMS * 2
    assert not fair_share.over("Con")
    fair_share.end("Con", "Con-1")
    fair_share.end("Con", "Con-4")
    assert fair_share.over("Con")


@settings(deadline=None, max_examples=30)
@given(lengths=st.lists(st.floats(20, 100), min_size=3, max_size=3), slots=st.integers(1, 6))
def test_hours_end_together_and_are_shared_equally(lengths: list[float], slots: int) -> None:
    """Each arm gets a third of the slots' time, but for the last trial of each slot."""
    seconds = dict(zip(ARMS, lengths, strict=True))
    started, end = simulate(FairShare(budget(hours=1), ARMS), seconds, slots)
    assert 3600 <= end < 3600 + max(lengths)
    for arm in ARMS:
        assert abs(started[arm] * seconds[arm] - 3600 * slots / 3) <= 2 * slots * max(lengths)


@settings(deadline=None, max_examples=30)
@given(lengths=st.lists(st.floats(20, 100), min_size=3, max_size=3), slots=st.integers(1, 6), workers=st.integers(1, 4))
def test_each_arm_spends_its_own_share_of_gpu_hours(lengths: list[float], slots: int, workers: int) -> None:
    seconds = dict(zip(ARMS, lengths, strict=True))
    started, _ = simulate(FairShare(budget(gpu_hours=3), ARMS, workers), seconds, slots)
    for arm in ARMS:
        used = started[arm] * seconds[arm] * workers
        assert used + 1e-6 >= 3600
        assert used < 3600 + 2 * slots * workers * max(lengths)


def test_trials_that_fail_at_once_do_not_take_turns_for_ever() -> None:
    started, _ = simulate(FairShare(budget(hours=1), ARMS), dict.fromkeys(ARMS, 60.0) | {"Clu": 1e-3}, 1, failing="Clu")
    assert started["Clu"] == 20
    assert started["Con"] + started["ConCluGen"] == 60


def test_only_work_is_charged() -> None:
    """The numbers are from a busy machine, where slots took minutes to start and each first trial took seconds."""
    by_clock, by_gpu = FairShare(budget(hours=0.01), ARMS[:2]), FairShare(budget(gpu_hours=0.01), ARMS[:2])
    for fair_share in (by_clock, by_gpu):
        fair_share.start("Con", "a")
        fair_share.start("Clu", "b")
        fair_share.work("Con", "a", 7.4, now=136.0)
        fair_share.work("Clu", "b", 9.1, now=138.0)  # at work since 128.9
    assert by_clock.share("Con") == by_clock.share("Clu") == pytest.approx((138.0 - 128.6) / 36)
    assert by_gpu.share("Con") == pytest.approx(7.4 / 18)
    assert by_gpu.share("Clu") == pytest.approx(9.1 / 18)
    assert (by_clock.next(), by_gpu.next()) == ("Con", "Con")


def test_a_lost_trial_is_charged_neither_for_the_wait_nor_for_what_it_repeats() -> None:
    by_clock, by_gpu = FairShare(budget(hours=1), ARMS), FairShare(budget(gpu_hours=3), ARMS)
    for fair_share in (by_clock, by_gpu):
        fair_share.start("Con", "a")
        fair_share.work("Con", "a", 600, now=1000)
        fair_share.work("Con", "a", 900, now=1300)  # then the node is lost, and another joins an hour later
        fair_share.work("Con", "a", 850, now=4900)  # the trial went back to a checkpoint
        fair_share.work("Con", "a", 1200, now=5250)
        assert fair_share.share("Con") == pytest.approx(1200 / 3600)
        fair_share.end("Con", "a")
        assert fair_share.share("Con") == pytest.approx(1200 / 3600)


def test_trials_that_work_at_the_same_time_are_charged_to_the_hours_once() -> None:
    fair_share = FairShare(budget(hours=1), ARMS)
    for arm, key, seconds, now in (
        ("Con", "a", 100, 100), ("Clu", "b", 100, 300), ("Con", "c", 250, 320), ("Clu", "d", 10, 400),
    ):  # fmt: skip
        fair_share.start(arm, key)
        fair_share.work(arm, key, seconds, now)
    assert fair_share.share("Con") == pytest.approx((320 + 10) / 3600)  # c spans the gap between a and b


def record(method: str, number: int, ended: float, seconds: float, stage: str = "search") -> Record:
    return Record(
        sweep="s",
        stage=stage,
        method=method,
        number=number,
        seed=0,
        state="complete",
        seconds={"total": seconds},
        ended=datetime.fromtimestamp(ended, UTC).isoformat(timespec="milliseconds"),
    )


def test_an_earlier_session_is_charged_for_work_not_for_time_that_passed() -> None:
    records = [
        record("Con", 0, ended=700, seconds=600), record("Clu", 0, ended=1000, seconds=600),
        record("Con", 1, ended=5900, seconds=900),
        record("ConCluGen", 0, ended=9000, seconds=3000, stage="confirm"), record("dropped", 0, 9000, 9000),
    ]  # fmt: skip
    records.append(
        replace(record("Con", 2, ended=0, seconds=0), state="failed", seconds={}, ended="")
    )  # without any time
    random.Random(0).shuffle(records)
    by_clock, by_gpu, by_trials = (
        FairShare(budget(**{name: 1}), ARMS) for name in ("hours", "gpu_hours", "trials_per_subset")
    )
    for fair_share in (by_clock, by_gpu, by_trials):
        fair_share.restore(records)
    assert by_clock.share("Con") == pytest.approx((900 + 900) / 3600)
    assert by_gpu.share("Con") == pytest.approx(3 * 1500 / 3600)
    assert by_trials.share("Con") == 3
    assert by_trials.share("ConCluGen") == 0


@settings(deadline=None, max_examples=30)
@given(
    trials=st.lists(
        st.tuples(st.sampled_from(ARMS), st.integers(0, 500), st.integers(1, 100), st.integers(1, 5)),
        min_size=1,
        max_size=20,
    ),
    measure=st.sampled_from(["hours", "gpu_hours"]),
)
def test_a_resumed_search_has_used_as_much_budget_as_before(
    trials: list[tuple[str, int, int, int]], measure: str
) -> None:
    """Trials begin at any time and report any number of times; the ledger knows when each ended."""
    live, restored = FairShare(budget(**{measure: 1}), ARMS), FairShare(budget(**{measure: 1}), ARMS)
    reports, records = [], []
    for number, (arm, begin, seconds, parts) in enumerate(trials):
        live.start(arm, str(number))
        reports += [(begin + seconds * part / parts, arm, str(number), begin) for part in range(1, parts + 1)]
        records.append(record(arm, number, begin + seconds, seconds))
    for now, arm, key, begin in sorted(reports):
        live.work(arm, key, now - begin, now)
    restored.restore(records)
    assert [restored.share(arm) for arm in ARMS] == pytest.approx([live.share(arm) for arm in ARMS])


@settings(deadline=None, max_examples=30)
@given(
    lengths=st.lists(st.floats(1, 20), min_size=3, max_size=3),
    slots=st.integers(1, 7),
    measure=st.sampled_from(["trials_per_subset", "hours", "gpu_hours"]),
)
def test_an_arm_that_ends_early_leaves_the_others_their_own_budgets(
    lengths: list[float], slots: int, measure: str
) -> None:
    amount = {"trials_per_subset": 60, "hours": 1.0 / slots, "gpu_hours": 1.0}[measure]
    seconds = dict(zip(ARMS, lengths, strict=True))
    whole, _ = simulate(FairShare(budget(**{measure: amount}), ARMS), seconds, slots)
    ending = FairShare(budget(**{measure: amount}), ARMS)
    ending.end_early("Clu", 10)
    started, _ = simulate(ending, seconds, slots)
    assert started["Clu"] == 10
    for arm in ("Con", "ConCluGen"):
        # An arm has 1200 seconds of a budget of time; trials that run when the time is used are finished.
        most = 0 if measure == "trials_per_subset" else (slots + 1) * max(lengths)
        assert abs(started[arm] - whole[arm]) * seconds[arm] <= most


def test_a_trial_of_an_arm_that_ended_early_starts_again_if_it_is_gone() -> None:
    fair_share = FairShare(budget(trials_per_subset=9), ["Con"])
    fair_share.end_early("Con", 2)
    fair_share.start("Con", "a")
    assert not fair_share.spent("Con")
    fair_share.start("Con", "b")
    assert fair_share.spent("Con")
    assert not fair_share.over("Con")
    for key in ("a", "b"):
        fair_share.end("Con", key)
    assert fair_share.over("Con")
    assert fair_share.share("Con") == pytest.approx(2 / 9)
