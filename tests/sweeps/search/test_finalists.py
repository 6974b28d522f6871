"""Finalists: the best of each search are trained anew, and the best mean is confirmed."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweeps.config import load_config
from sweeps.folder.layout import SweepFolder
from sweeps.jobs import MAX_ATTEMPTS, Job, Report
from sweeps.ledger import Ledger, Record, seed_index, trial_of
from sweeps.search import Search
from sweeps.search.progress import Progress, from_records
from tests.conftest import config_writer
from tests.sweeps.simulation import Clock, Simulation, constant, open_search

SETTINGS = ("subsets=[Con]", "baselines=[]", "search.finalists=3", "search.pruner=none", "budget.trials_per_subset=5")


def changed(*overrides: str) -> list[str]:
    """Return SETTINGS with changes."""
    return list({override.partition("=")[0]: override for override in (*SETTINGS, *overrides)}.values())


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    return SweepFolder(tmp_path / "sweep")


def by_number(job: Job, epoch: int) -> float:
    """The later a trial, the better it seems; but the earlier it was, the better it is when trained anew."""
    return 0.3 + job.number / 100 if job.stage == "search" else 0.9 - trial_of(job.number) / 100


def run(
    path: Path, folder: SweepFolder, *overrides: str, evaluate: Callable[[Job, int], float] = by_number
) -> list[Job]:
    """Run a simulated sweep with SETTINGS and changes to its end, or go on with it; return the jobs that ran."""
    simulation = Simulation(*open_search(path, folder, *changed(*overrides)), evaluate, slots=1)
    simulation.run()
    return simulation.jobs


def records(folder: SweepFolder, stage: str) -> list[Record]:
    return [record for record in Ledger(folder.ledger) if record.stage == stage]


def confirmed(folder: SweepFolder, method: str = "Con") -> Mapping[str, Any]:
    """Return the hyperparameters of a method's confirmation runs, which are the same in all."""
    first, *others = [record.hyperparameters for record in records(folder, "confirm") if record.method == method]
    assert all(other == first for other in others)
    return first


def trial(folder: SweepFolder, number: int, method: str = "Con") -> Mapping[str, Any]:
    (found,) = [r for r in records(folder, "search") if (r.method, r.number) == (method, number)]
    return found.hyperparameters


class TestRuns:
    def test_the_best_trials_and_the_default_run_again_between_search_and_confirmation(
        self, write_config: Callable[..., Path], folder: SweepFolder
    ) -> None:
        jobs = run(write_config(), folder)
        assert [job.stage for job in jobs] == ["search"] * 5 + ["finalist"] * 6 + ["confirm"] * 2
        finalists = [job for job in jobs if job.stage == "finalist"]
        assert [trial_of(job.number) for job in finalists] == [4, 3, 0, 4, 3, 0]
        assert [seed_index(job.number) for job in finalists] == [0, 0, 0, 1, 1, 1]
        for job in finalists:
            assert job.hyperparameters == trial(folder, trial_of(job.number))
            assert job.origin == f"trial {trial_of(job.number)}"

    def test_the_best_mean_is_confirmed_and_given_to_the_random_head(
        self, write_config: Callable[..., Path], folder: SweepFolder
    ) -> None:
        run(write_config(), folder, "baselines=[random_head]")
        assert confirmed(folder) == confirmed(folder, "random_head") == trial(folder, 0)

    def test_the_random_head_takes_the_subset_whose_finalist_did_best(
        self, write_config: Callable[..., Path], folder: SweepFolder
    ) -> None:
        def evaluate(job: Job, epoch: int) -> float:
            better = "Gen" if job.stage == "search" else "Con"
            return 0.5 + 0.2 * (job.method == better)

        run(write_config(), folder, "subsets=[Con,Gen]", "baselines=[random_head]", evaluate=evaluate)
        assert confirmed(folder, "random_head") == trial(folder, 0, "Con") != trial(folder, 0, "Gen")

    def test_seeds_are_the_same_for_all_finalists_and_those_of_no_other_job(
        self, write_config: Callable[..., Path], folder: SweepFolder
    ) -> None:
        jobs = run(write_config(), folder, "subsets=[Con,Gen]")
        seeds = {stage: {job.seed for job in jobs if job.stage == stage} for stage in ("search", "finalist", "confirm")}
        assert len(seeds["finalist"]) == len(seeds["confirm"]) == 2
        assert not seeds["finalist"] & (seeds["search"] | seeds["confirm"])
        assert Counter(job.seed for job in jobs if job.stage == "finalist") == dict.fromkeys(seeds["finalist"], 2 * 3)

    def test_one_finalist_is_not_trained_anew(self, write_config: Callable[..., Path], folder: SweepFolder) -> None:
        jobs = run(write_config(), folder, "search.finalists=1")
        assert {job.stage for job in jobs} == {"search", "confirm"}
        assert confirmed(folder) == trial(folder, 4)

    def test_there_are_no_more_finalists_than_configurations(
        self, write_config: Callable[..., Path], folder: SweepFolder
    ) -> None:
        jobs = run(write_config(), folder, "search.finalists=9", "budget.trials_per_subset=2")
        assert Counter(job.stage for job in jobs) == {"search": 2, "finalist": 4, "confirm": 2}
        jobs = run(write_config(), SweepFolder(folder.root / "one"), "budget.trials_per_subset=1")
        assert Counter(job.stage for job in jobs) == {"search": 1, "confirm": 2}

    def test_finalists_cost_no_arm_a_part_of_its_budget(
        self, write_config: Callable[..., Path], folder: SweepFolder
    ) -> None:
        clock = Clock()
        path = write_config(budget={"gpu_hours": 0.1, "epochs": 4, "seeds": 2}, search={"finalists": 3})
        config, search = open_search(path, folder, "subsets=[Con]", "baselines=[]", clock=clock)
        simulation = Simulation(config, search, by_number, slots=1, clock=clock)
        shares: list[float | None] = []
        simulation.run(lambda: shares.append(search.progress()[0].share))
        first = next(place for place, job in enumerate(simulation.jobs) if job.stage == "finalist")
        assert sum(job.stage == "finalist" for job in simulation.jobs) == 6
        searched = sum(record.seconds["total"] for record in records(folder, "search"))
        assert search.progress()[0].share == pytest.approx(searched / 360)
        assert all(job.stage != "search" for job in simulation.jobs[first:])
        assert Search(config, folder, clock=clock).finished


class TestFailures:
    @pytest.mark.parametrize(("out", "winner"), [({0}, 3), ({0, 3}, 4), ({0, 3, 4}, 4)])
    def test_a_finalist_without_a_complete_run_is_out_and_if_all_are_the_best_trial_wins(
        self, write_config: Callable[..., Path], folder: SweepFolder, out: set[int], winner: int
    ) -> None:
        _, search = open_search(write_config(), folder, *SETTINGS)
        while (job := search.next_job()) is not None:
            if job.stage == "finalist" and trial_of(job.number) in out:
                search.report(job.key, Report(epochs=1, state="failed", reason="nan_loss: in epoch 1"))
            else:
                search.report(job.key, Report(epochs=4, value=by_number(job, 4), state="complete"))
        assert search.finished
        assert confirmed(folder) == trial(folder, winner)
        row = next(row for row in search.progress() if row.name == "finalist")
        assert (row.planned, row.failed, row.complete, row.finished) == (6, 2 * len(out), 6 - 2 * len(out), True)

    def test_failed_finalists_run_again_if_asked_unless_they_count_no_more(
        self, write_config: Callable[..., Path], folder: SweepFolder
    ) -> None:
        _, search = open_search(write_config(), folder, *SETTINGS)
        while (job := search.next_job()) is not None:
            failed = job.stage == "finalist" and trial_of(job.number) in (0, 3)
            state, reason = ("failed", "disk_full: x") if failed else ("complete", "")
            search.report(job.key, Report(epochs=4, value=by_number(job, 4), state=state, reason=reason))
        assert confirmed(folder) == trial(folder, 4)
        config = load_config(folder.config, ["search.finalists=2"], written=True)
        again = Simulation(config, Search(config, folder, retry_failed=True), by_number, slots=1)
        again.run()
        assert [job.key for job in again.jobs] == [
            *("finalist-Con-00000", "finalist-Con-00001"), *("confirm-Con-00000", "confirm-Con-00001"),
        ]  # fmt: skip
        assert confirmed(folder) == trial(folder, 0)
        states = {trial_of(record.number): record.state for record in records(folder, "finalist")}
        assert states == {0: "complete", 3: "failed", 4: "complete"}

    def test_a_finalist_that_loses_its_slot_starts_again_and_fails_at_last(
        self, write_config: Callable[..., Path], folder: SweepFolder
    ) -> None:
        _, search = open_search(write_config(), folder, *SETTINGS)
        while (job := search.next_job()) is not None and job.stage == "search":
            search.report(job.key, Report(epochs=4, value=0.5, state="complete"))
        for _ in range(MAX_ATTEMPTS - 1):
            search.lose(job.key)
            assert search.next_job() == job
        search.lose(job.key)
        (record,) = records(folder, "finalist")
        assert (record.key, record.state) == (job.key, "failed")
        assert record.reason.startswith("slot_lost:")

    def test_a_finalist_reports_nothing_but_its_end(
        self, write_config: Callable[..., Path], folder: SweepFolder
    ) -> None:
        _, search = open_search(write_config(), folder, *SETTINGS)
        while (job := search.next_job()) is not None and job.stage == "search":
            search.report(job.key, Report(epochs=4, value=0.5, state="complete"))
        with pytest.raises(ValueError, match=f"{job.key}: only a search trial reports more than its end"):
            search.report(job.key, Report(epochs=2, value=0.5))


class TestExtension:
    def test_nothing_runs_again_if_nothing_has_changed(
        self, write_config: Callable[..., Path], folder: SweepFolder
    ) -> None:
        run(write_config(), folder)
        assert run(write_config(), folder) == []

    def test_more_seeds_run_for_every_finalist_and_for_the_confirmation(
        self, write_config: Callable[..., Path], folder: SweepFolder
    ) -> None:
        run(write_config(), folder)
        jobs = run(write_config(), folder, "budget.seeds=3")
        assert [job.key for job in jobs] == [
            "finalist-Con-40002", "finalist-Con-30002", "finalist-Con-00002", "confirm-Con-00002",
        ]  # fmt: skip

    def test_more_finalists_run_alone_and_a_new_winner_supersedes_the_confirmations(
        self, write_config: Callable[..., Path], folder: SweepFolder
    ) -> None:
        def evaluate(job: Job, epoch: int) -> float:
            return 0.3 + job.number / 100 if job.stage == "search" else 0.5 + 0.1 * (trial_of(job.number) == 3)

        run(write_config(), folder, "search.finalists=2", evaluate=evaluate)
        assert confirmed(folder) == trial(folder, 4)
        jobs = run(write_config(), folder, "search.finalists=4", evaluate=evaluate)
        assert [job.key for job in jobs] == [
            *(f"finalist-Con-{number}000{seed}" for seed in (0, 1) for number in (3, 2)),
            *("confirm-Con-00000", "confirm-Con-00001"),
        ]
        assert confirmed(folder) == trial(folder, 3)
        assert len(list((folder.ledger / "superseded").iterdir())) == 2
        assert run(write_config(), folder, "search.finalists=1", evaluate=evaluate)[0].stage == "confirm"
        assert confirmed(folder) == trial(folder, 4)
        assert len(records(folder, "finalist")) == 8

    def test_finalists_that_count_no_more_stay_in_the_ledger_and_decide_nothing(
        self, write_config: Callable[..., Path], folder: SweepFolder
    ) -> None:
        def evaluate(job: Job, epoch: int) -> float:
            return 0.3 + job.number / 100 if job.stage == "search" else 0.5 + 0.1 * (trial_of(job.number) == 3)

        run(write_config(), folder, evaluate=evaluate)
        assert confirmed(folder) == trial(folder, 3)
        config, search = open_search(write_config(), folder, *changed("budget.trials_per_subset=7"))
        simulation = Simulation(config, search, evaluate, slots=1)
        simulation.run()
        jobs = Counter((job.stage, trial_of(job.number)) for job in simulation.jobs if job.stage == "finalist")
        assert jobs == {("finalist", 6): 2, ("finalist", 5): 2}
        assert confirmed(folder) == trial(folder, 6)
        assert len(records(folder, "finalist")) == 10
        row = next(row for row in search.progress() if row.name == "finalist")
        assert (row.planned, row.done) == (10, 10)

    def test_a_change_of_the_objectives_probe_runs_the_finalists_again(
        self, write_config: Callable[..., Path], folder: SweepFolder
    ) -> None:
        run(write_config(), folder)
        jobs = run(write_config(), folder, "probe.class_weights=balanced")
        assert Counter(job.stage for job in jobs) == {"finalist": 6, "confirm": 2}
        assert len(records(folder, "finalist")) == 6
        jobs = run(write_config(), folder, "probe.class_weights=balanced", "probe.also=[knn]")
        assert Counter(job.stage for job in jobs) == {"confirm": 2}  # finalists are scored by the objective alone

    def test_a_sweep_without_finalists_gets_them_later(
        self, write_config: Callable[..., Path], folder: SweepFolder
    ) -> None:
        run(write_config(), folder, "search.finalists=1")
        jobs = run(write_config(), folder)
        assert Counter(job.stage for job in jobs) == {"finalist": 6, "confirm": 2}
        assert confirmed(folder) == trial(folder, 0)

    def test_an_unfinished_run_of_a_former_finalist_is_forgotten(
        self, write_config: Callable[..., Path], folder: SweepFolder
    ) -> None:
        _, search = open_search(write_config(), folder, *SETTINGS)
        while (job := search.next_job()) is not None and job.stage == "search":
            search.report(job.key, Report(epochs=4, value=by_number(job, 4), state="complete"))
        assert folder.running_keys() == ["finalist-Con-40000"]
        open_search(write_config(), folder, *SETTINGS)
        assert folder.running_keys() == ["finalist-Con-40000"]
        open_search(write_config(), folder, *changed("budget.trials_per_subset=9"))
        assert folder.running_keys() == []


class TestProgress:
    def test_the_rows_say_how_many_runs_are_planned_at_most_and_then_exactly(
        self, write_config: Callable[..., Path], folder: SweepFolder
    ) -> None:
        overrides = changed("budget.trials_per_subset=2", "subsets=[Con,Gen]")
        config, search = open_search(write_config(), folder, *overrides)
        simulation = Simulation(config, search, by_number)

        def row() -> Progress:
            return next(row for row in search.progress() if row.name == "finalist")

        assert [each.name for each in search.progress()] == ["Con", "Gen", "finalist", "confirm"]
        assert (row().stage, row().planned, row().finished) == ("finalist", 2 * 2 * 2, False)
        simulation.run()
        assert (row().planned, row().complete, row().finished) == (8, 8, True)
        assert from_records(config, list(Ledger(folder.ledger)), (), {}, {}) == search.progress()

    def test_an_arm_without_a_full_trial_has_no_runs_to_wait_for(
        self, write_config: Callable[..., Path], folder: SweepFolder
    ) -> None:
        _, search = open_search(write_config(), folder, *SETTINGS)
        while (job := search.next_job()) is not None:
            search.report(job.key, Report(epochs=0, state="failed", reason="out_of_memory: x"))
        row = next(row for row in search.progress() if row.name == "finalist")
        assert (row.planned, row.finished) == (0, True)


INTERRUPTED = changed(
    "budget.searches=2", "budget.trials_per_subset=3", "search.finalists=2", "baselines=[random_head]"
)


def outcome(folder: SweepFolder) -> dict[str, Record]:
    """Return what the jobs of a sweep gave, without their times."""
    unstable: dict[str, Any] = {"started": "", "ended": "", "config": {}, "seconds": {}}
    return {record.key: replace(record, **unstable) for record in Ledger(folder.ledger)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, planted: Path) -> tuple[Path, Path, dict[str, Record]]:
    """Return a folder to work in, a configuration with two searches, and what its sweep gives without interruption."""
    root = tmp_path_factory.mktemp("finalists")
    path = config_writer(root, planted)()
    folder = SweepFolder(root / "whole")
    run(path, folder, *INTERRUPTED)
    return root, path, outcome(folder)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kills=st.lists(st.integers(1, 12), min_size=1, max_size=3))
def test_a_sweep_gives_the_same_records_after_any_interruptions(
    whole: tuple[Path, Path, dict[str, Record]], kills: list[int]
) -> None:
    """A kill loses the process after so many reports; the last job may have a report, a record or neither."""
    root, path, expected = whole
    folder = SweepFolder(root / f"killed {len(list(root.iterdir()))}")
    for reports in kills:
        config, search = open_search(path, folder, *INTERRUPTED)
        for _ in range(reports):
            if (job := search.next_job()) is None:
                break
            for epoch in config.probe_epochs if job.stage == "search" else config.probe_epochs[-1:]:
                state = "complete" if epoch == 4 else "running"
                value = None if job.stage == "confirm" else by_number(job, epoch)  # as in Simulation
                search.report(job.key, Report(epochs=epoch, value=value, state=state))
        search.next_job()  # this job has started, and not ended
    config, search = open_search(path, folder, *INTERRUPTED)
    simulation = Simulation(config, search, by_number, slots=1)
    simulation.run()
    assert outcome(folder).keys() == expected.keys()
    for key, record in outcome(folder).items():
        assert record.hyperparameters == expected[key].hyperparameters
        assert (record.seed, record.origin, record.state) == (expected[key].seed, expected[key].origin, "complete")
        assert record.value == expected[key].value
    assert folder.running_keys() == []


def test_the_rule_of_the_reports_names_the_configuration_that_was_confirmed(
    write_config: Callable[..., Path], folder: SweepFolder
) -> None:
    from sweeps.ledger import winner

    run(write_config(), folder)
    won = winner(records(folder, "search"), records(folder, "finalist"), 3)
    assert won is not None
    assert won.hyperparameters == confirmed(folder)


def test_equal_means_leave_the_best_trial_of_the_search(write_config: Callable[..., Path], folder: SweepFolder) -> None:
    run(write_config(), folder, evaluate=constant)
    assert confirmed(folder) == trial(folder, 0)
