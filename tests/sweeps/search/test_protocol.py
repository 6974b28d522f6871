"""The options of the search: the origins of trials, budgets of time, and what is searched for each variant."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from conclugen.subsets import SUBSETS
from search_spaces import load_space
from sweeps.config import ConfigError
from sweeps.folder.layout import SweepFolder
from sweeps.jobs import Job, Report
from sweeps.ledger import Hardware, Ledger, Record
from sweeps.search import Search
from sweeps.search.warm_start import earlier_trials
from tests.sweeps.simulation import Clock, Simulation, constant, open_search

HARDWARE = Hardware(host="node-a", processor="EPYC", threads=2, workers=1, device="NVIDIA H200", gpus=1)


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    return SweepFolder(tmp_path / "sweep")


def by_rate(job: Job, epoch: int) -> float:
    """An objective that depends on the learning rate only, so that the best configuration is known."""
    return 1 - abs(float(job.hyperparameters["lr"]) - 0.007)


def searched(folder: SweepFolder, method: str) -> list[Record]:
    return [record for record in Ledger(folder.ledger) if (record.stage, record.method) == ("search", method)]


def best(folder: SweepFolder, *methods: str) -> Record:
    return max((record for m in methods for record in searched(folder, m)), key=lambda record: record.value or 0.0)


class TestOrigins:
    def test_every_trial_says_where_its_configuration_came_from(
        self, write_config: Callable[..., Path], folder: SweepFolder
    ) -> None:
        config, search = open_search(write_config(), folder, "subsets=[Con,Gen]", "budget.trials_per_subset=3")
        Simulation(config, search, constant).run()
        for subset in ("Con", "Gen"):
            assert [record.origin for record in searched(folder, subset)] == ["default", "joint", "joint"]

    def test_the_trials_of_a_grid_search_are_the_points_of_the_grid(
        self, write_config: Callable[..., Path], folder: SweepFolder
    ) -> None:
        space = folder.root.parent / "finite.yaml"
        space.write_text(
            "description: x\nparameters: {representation_dim: {choices: [8, 16], default: 16}, batch_size: 20,"
            " projection_dim: 8, warmup_epochs: 1}\n",
            encoding="utf-8",
        )
        path = write_config(space=str(space), subsets=["Con"], search={"sampler": "grid"})
        config, search = open_search(path, folder, "baselines=[]")
        Simulation(config, search, constant).run()
        assert [(r.origin, r.hyperparameters["representation_dim"]) for r in searched(folder, "Con")] == [
            ("default", 16),
            ("grid", 8),
        ]


class TestShareBest:
    def test_the_fifth_trial_takes_what_the_best_other_arm_shares(
        self, write_config: Callable[..., Path], folder: SweepFolder
    ) -> None:
        """With one slot, the other trials up to the fourth have ended. Con and Gen share no loss's parameters."""
        overrides = ("subsets=[Con,Gen]", "budget.trials_per_subset=6", "search.pruner=none", "baselines=[]")
        config, search = open_search(write_config(search={"share_best": True}), folder, *overrides)
        Simulation(config, search, by_rate, slots=1).run()
        fifth = searched(folder, "Con")[4]
        donor = max(searched(folder, "Gen")[:4], key=lambda record: record.value or 0.0)
        assert fifth.origin == f"share_best: Gen-{donor.number:05d}"
        for name in ("lr", "feature_dropout", "representation_dim"):
            assert fifth.hyperparameters[name] == donor.hyperparameters[name]
        assert fifth.hyperparameters["temperature"] == 1.0  # the default of Con: Gen has no temperature
        assert [record.origin for record in searched(folder, "Con")[5:]] == ["joint"]


class TestWarmStart:
    @pytest.fixture
    def earlier(self, write_config: Callable[..., Path], tmp_path: Path) -> SweepFolder:
        earlier = SweepFolder(tmp_path / "earlier")
        overrides = ("subsets=[Con,Gen]", "budget.trials_per_subset=6", "search.pruner=none")
        config, search = open_search(write_config(), earlier, *overrides)
        Simulation(config, search, by_rate).run()
        return earlier

    def test_the_first_proposals_are_the_earlier_best_of_the_subset_and_of_the_best_other_subset(
        self, write_config: Callable[..., Path], folder: SweepFolder, earlier: SweepFolder
    ) -> None:
        path = write_config(search={"warm_start": str(earlier.root), "sampler": "tpe"})
        config, search = open_search(path, folder, "subsets=[Con,ConClu]", "budget.trials_per_subset=4")
        Simulation(config, search, constant).run()
        best_con, best_gen = best(earlier, "Con"), best(earlier, "Gen")
        trials = searched(folder, "Con")
        assert [record.origin for record in trials] == [
            "default",
            f"warm_start: {earlier.root}/{best_con.key}",
            f"warm_start: {earlier.root}/{best_gen.key}",
            "tpe",
        ]
        assert trials[1].hyperparameters == best_con.hyperparameters
        assert trials[2].hyperparameters["lr"] == best_gen.hyperparameters["lr"]
        assert trials[2].hyperparameters["temperature"] == 1.0
        # The earlier sweep had no ConClu: ConClu takes what it shares with the best method.
        donor = best(earlier, "Con", "Gen")
        conclu = searched(folder, "ConClu")
        assert [record.origin for record in conclu[1:3]] == [f"warm_start: {earlier.root}/{donor.key}", "tpe"]
        assert conclu[1].hyperparameters["lr"] == donor.hyperparameters["lr"]

    def test_the_joint_sampler_learns_from_every_earlier_trial_instead(
        self, write_config: Callable[..., Path], folder: SweepFolder, earlier: SweepFolder
    ) -> None:
        search = {"warm_start": [str(earlier.root)], "sampler": "joint"}
        config, opened = open_search(write_config(search=search), folder, "budget.trials_per_subset=3")
        Simulation(config, opened, constant).run()
        assert [record.origin for record in searched(folder, "Con")] == ["default", "joint", "joint"]
        informed = [searched(folder, subset)[1].hyperparameters["lr"] for subset in SUBSETS]
        assert min(informed) > 0.004, "the space begins at 0.001, and the best of the earlier sweep is at 0.007"

    def test_absolute_weights_of_an_earlier_sweep_are_read_as_ratios(
        self, write_config: Callable[..., Path], folder: SweepFolder, tmp_path: Path
    ) -> None:
        weights = "weight_con: {low: 2.0, high: 4.0, default: 4.0}, weight_gen: {low: 8.0, high: 9.0, default: 8.0}"
        old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
        rest = "warmup_epochs: 1, batch_size: 20, representation_dim: 8"
        old.write_text(f"description: x\nparameters: {{{weights}, {rest}}}\n", encoding="utf-8")
        ratio = "weight_gen: {low: 0.1, high: 10.0, log: true, default: 1.0}"
        new.write_text(f"description: x\nweights: relative\nparameters: {{{ratio}, {rest}}}\n", encoding="utf-8")
        earlier, settings = SweepFolder(tmp_path / "absolute"), {"subsets": ["ConGen"], "baselines": []}
        budget = {"trials_per_subset": 2, "epochs": 4, "seeds": 1}
        config, search = open_search(write_config(space=str(old), budget=budget, **settings), earlier)
        Simulation(config, search, constant).run()
        trials = earlier_trials([earlier.root], load_space(str(new)))
        recorded = [record.hyperparameters for record in searched(earlier, "ConGen")]
        assert [t.values["weight_gen"] for t in trials] == [r["weight_gen"] / r["weight_con"] for r in recorded]
        assert trials[0].values["weight_gen"] == 2.0
        same = earlier_trials([earlier.root], load_space(str(old)))
        assert same[0].values["weight_gen"] == 8.0
        options = {"warm_start": str(earlier.root), "sampler": "tpe", "pruner": "none"}
        config, search = open_search(write_config(space=str(new), budget=budget, search=options, **settings), folder)
        Simulation(config, search, constant).run()
        assert searched(folder, "ConGen")[1].hyperparameters["weight_gen"] == 2.0

    def test_nested_searches_of_an_earlier_sweep_are_told_apart(
        self, write_config: Callable[..., Path], tmp_path: Path
    ) -> None:
        """Their scores have other levels. Repeated searches of an arm are one."""
        earlier = SweepFolder(tmp_path / "nested")
        path = write_config(
            subsets=["Con"], baselines=[], modality_subsets=[["video", "audio"]],
            search={"nested": ["modalities", "labels"], "pruner": "none", "sampler": "random"},
            probe={"labels_per_class": [2], "label_fraction": [0.07], "label_draws": 2},
            budget={"trials_per_subset": 1, "epochs": 4, "seeds": 1, "searches": 2},
        )  # fmt: skip
        config, search = open_search(path, earlier)
        Simulation(config, search, constant).run()
        trials = earlier_trials([earlier.root], config.load_space())
        assert {trial.arm for trial in trials} == {arm for arm in config.arms.values() if arm.search == 1}
        assert len(trials) == len(config.arms)

    def test_values_outside_the_new_space_become_its_nearest_values(
        self, write_config: Callable[..., Path], folder: SweepFolder, earlier: SweepFolder
    ) -> None:
        path = write_config(search={"warm_start": str(earlier.root), "sampler": "tpe"})
        space = folder.root.parent / "other.yaml"
        space.write_text(
            "description: x\nparameters: {lr: {low: 0.1, high: 0.2, log: true, default: 0.2}, batch_size: 20,"
            " representation_dim: {choices: [4], default: 4}, warmup_epochs: 1}\n",
            encoding="utf-8",
        )
        config, search = open_search(path, folder, f"space={space}", "subsets=[Con]")
        Simulation(config, search, constant).run()
        values = searched(folder, "Con")[1].hyperparameters
        assert (values["lr"], values["representation_dim"]) == (0.1, 4)

    def test_an_empty_ledger_is_refused(
        self, write_config: Callable[..., Path], folder: SweepFolder, tmp_path: Path
    ) -> None:
        empty = SweepFolder(tmp_path / "empty")
        open_search(write_config(), empty)
        with pytest.raises(ConfigError, match="has no finished search trial yet; choose another, or drop it"):
            open_search(write_config(search={"warm_start": str(empty.root)}), folder)


class TestBudgetsOfTime:
    def test_hours_are_shared_equally_and_every_subset_is_confirmed(
        self, write_config: Callable[..., Path], folder: SweepFolder
    ) -> None:
        clock = Clock()
        path = write_config(budget={"hours": 0.5, "epochs": 4, "seeds": 2}, search={"pruner": "none"})
        config, search = open_search(path, folder, clock=clock)
        start = clock.now
        simulation = Simulation(config, search, constant, clock=clock)
        ends: list[float] = []

        def watch() -> None:
            if not ends and any(job.stage == "confirm" for job in simulation.jobs):
                ends.append(clock.now)

        simulation.run(watch)
        seconds = {subset: [record.seconds["total"] for record in searched(folder, subset)] for subset in SUBSETS}
        longest = max(max(times) for times in seconds.values())
        totals = [sum(times) for times in seconds.values()]
        assert max(totals) - min(totals) <= longest
        assert 1800 <= ends[0] - start < 1800 + 200
        confirmations = Counter(job.method for job in simulation.jobs if job.stage == "confirm")
        assert confirmations == Counter(dict.fromkeys([*SUBSETS, "raw_features", "random_head"], 2))

    def test_progress_shows_the_used_share_of_the_time(
        self, write_config: Callable[..., Path], folder: SweepFolder
    ) -> None:
        clock = Clock()
        path = write_config(budget={"gpu_hours": 1, "epochs": 4, "seeds": 2}, subsets=["Con", "Gen"])
        _, search = open_search(path, folder, clock=clock)
        job = search.next_job()
        clock.now += 3600
        search.report(job.key, Report(epochs=2, value=0.5, seconds={"total": 900.0}))
        con, gen, confirm = search.progress()
        assert (con.planned, con.share, gen.share) == (None, 0.5, 0.0)
        assert confirm.planned == 8

    @pytest.mark.parametrize("measure", ["hours", "gpu_hours"])
    def test_neither_the_start_of_a_slot_nor_waiting_for_one_is_charged(
        self, write_config: Callable[..., Path], folder: SweepFolder, measure: str
    ) -> None:
        """A slot takes minutes to start and is then lost for an hour; a lost worker does not say how long it worked."""
        clock = Clock()
        path = write_config(budget={measure: 0.01, "epochs": 4, "seeds": 2}, subsets=["Con"], baselines=[])
        config, search = open_search(path, folder, clock=clock)
        job = search.next_job()
        clock.now += 136
        search.report(job.key, Report(epochs=2, value=0.5, seconds={"total": 7.4}, hardware=HARDWARE))
        search.lose(job.key)
        clock.now += 3600
        assert search.next_job() == job
        clock.now += 1
        search.report(job.key, Report(epochs=2, state="failed", reason="worker_lost: it died"))
        assert search.progress()[0].share == pytest.approx(7.4 / 36)
        (record,) = searched(folder, "Con")
        assert record.seconds == {"total": 7.4}
        assert record.hardware == HARDWARE
        assert Search(config, folder, clock=clock).progress()[0].share == pytest.approx(7.4 / 36)
        assert search.next_job() is not None


class TestNested:
    SUBSETS = (["video", "audio"], ["video", "text"])

    def test_modality_subsets_are_confirmed_with_the_same_best_configuration_by_default(
        self, write_config: Callable[..., Path], folder: SweepFolder
    ) -> None:
        path = write_config(modality_subsets=self.SUBSETS, subsets=["Con"], baselines=[])
        config, search = open_search(path, folder)
        simulation = Simulation(config, search, by_rate)
        simulation.run()
        assert {job.name for job in simulation.jobs if job.stage == "search"} == {"Con"}
        confirmations = {job.name: job.hyperparameters for job in simulation.jobs if job.stage == "confirm"}
        assert set(confirmations) == {"Con", "Con[video-audio]", "Con[video-text]"}
        assert all(values == best(folder, "Con").hyperparameters for values in confirmations.values())

    def test_each_modality_subset_is_searched_where_configured(
        self, write_config: Callable[..., Path], folder: SweepFolder
    ) -> None:
        path = write_config(
            modality_subsets=self.SUBSETS,
            subsets=["Con"],
            baselines=["raw_features"],
            search={"nested": ["modalities"]},
        )
        config, search = open_search(path, folder, "budget.trials_per_subset=3")
        simulation = Simulation(config, search, by_rate)
        simulation.run()
        names = ("Con", "Con[video-audio]", "Con[video-text]")
        assert Counter(job.name for job in simulation.jobs if job.stage == "search") == dict.fromkeys(names, 3)
        for job in simulation.jobs:
            if job.stage == "confirm" and job.method == "Con":
                assert job.hyperparameters == best(folder, job.name).hyperparameters
        planned = sum(row.planned or 0 for row in search.progress())
        assert planned == len(simulation.jobs) == 3 * 3 + 2 * 3 + 2 * 3

    def test_each_label_budget_is_searched_where_configured(
        self, write_config: Callable[..., Path], folder: SweepFolder
    ) -> None:
        path = write_config(subsets=["Con"], search={"nested": ["labels"]})
        config, search = open_search(path, folder)
        simulation = Simulation(config, search, by_rate)
        simulation.run()
        assert Counter(job.name for job in simulation.jobs if job.stage == "search") == {"Con@all": 2, "Con@2": 2}
        labels = {job.name: str(job.labels) for job in simulation.jobs if job.method == "Con"}
        assert labels == {"Con@all": "", "Con@2": "2"}
        assert {job.name for job in simulation.jobs if job.stage == "confirm"} == {
            "Con@all", "Con@2", "raw_features", "random_head",
        }  # fmt: skip
