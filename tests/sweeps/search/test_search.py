"""Every rule of the search's protocol, in milliseconds: jobs are simulated, without Ray and without training."""

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import TrialState

from conclugen.subsets import SUBSETS
from sweeps.config import load_config
from sweeps.folder.layout import SweepFolder
from sweeps.jobs import MAX_ATTEMPTS, Job, Report
from sweeps.ledger import Ledger
from sweeps.search import Search
from tests.sweeps.simulation import Simulation, constant, open_search

BASELINES = ("raw_features", "random_head")


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    return SweepFolder(tmp_path / "sweep")


def test_every_planned_job_runs_once(write_config: Callable[..., Path], folder: SweepFolder) -> None:
    config, search = open_search(write_config(), folder)
    simulation = Simulation(config, search, constant)
    simulation.run()
    keys = Counter(job.key for job in simulation.jobs)
    planned = {f"search-{subset}-{n:05d}" for subset in SUBSETS for n in range(2)}
    planned |= {f"confirm-{method}-{n:05d}" for method in (*SUBSETS, *BASELINES) for n in range(2)}
    assert keys == Counter(planned)
    assert {record.key for record in Ledger(folder.ledger)} == planned
    assert not any(folder.running.iterdir())


@pytest.mark.parametrize("slots", [1, 3, 8])
def test_started_trials_never_differ_by_more_than_one(
    write_config: Callable[..., Path], folder: SweepFolder, slots: int
) -> None:
    config, search = open_search(write_config(), folder, "budget.trials_per_subset=4")
    simulation = Simulation(config, search, constant, slots=slots)

    def assert_fair() -> None:
        started = Counter(job.method for job in simulation.jobs if job.stage == "search")
        counts = [started[subset] for subset in SUBSETS]
        assert max(counts) - min(counts) <= 1

    simulation.run(assert_fair)


def test_first_trial_of_every_subset_is_the_default_configuration(
    write_config: Callable[..., Path], folder: SweepFolder
) -> None:
    config, search = open_search(write_config(), folder)
    simulation = Simulation(config, search, constant)
    simulation.run()
    for job in simulation.jobs:
        if job.stage == "search" and job.number == 0:
            defaults = config.load_space().default_configuration(SUBSETS[job.method])
            assert {name: job.hyperparameters[name] for name in defaults} == defaults


def test_trials_sample_what_their_losses_use_and_nothing_else(
    write_config: Callable[..., Path], folder: SweepFolder
) -> None:
    config, search = open_search(write_config(), folder)
    Simulation(config, search, constant).run()
    storage = JournalStorage(JournalFileBackend(str(folder.journal)))
    for summary in optuna.get_all_study_summaries(storage):
        study = optuna.load_study(study_name=summary.study_name, storage=storage)
        subset = summary.study_name.split("/")[1].split("@")[0]
        for trial in study.trials:
            assert ("temperature" in trial.params) == ("Con" in subset)
            assert ("num_clusters" in trial.params) == ("Clu" in subset)
            assert ("weight_gen" in trial.params) == ("Gen" in subset and subset != "Gen")


def test_confirmation_seeds_pair_across_methods_and_differ_from_trial_seeds(
    write_config: Callable[..., Path], folder: SweepFolder
) -> None:
    config, search = open_search(write_config(), folder, "budget.seeds=3")
    simulation = Simulation(config, search, constant)
    simulation.run()
    seeds = {method: [] for method in (*SUBSETS, *BASELINES)}
    for job in sorted(simulation.jobs, key=lambda job: job.key):
        if job.stage == "confirm":
            seeds[job.method].append(job.seed)
    assert len({tuple(values) for values in seeds.values()}) == 1
    trial_seeds = {job.seed for job in simulation.jobs if job.stage == "search"}
    assert not trial_seeds & set(seeds["Con"])
    assert len(set(seeds["Con"])) == 3


def test_best_full_budget_configuration_is_confirmed(write_config: Callable[..., Path], folder: SweepFolder) -> None:
    config, search = open_search(write_config(), folder, "budget.trials_per_subset=6", "subsets=[Con,Gen]")

    def by_rate(job: Job, epoch: int) -> float:
        return float(job.hyperparameters["lr"])

    simulation = Simulation(config, search, by_rate)
    simulation.run()
    records = {record.key: record for record in Ledger(folder.ledger)}
    for subset in ("Con", "Gen"):
        full = [r for r in records.values() if (r.stage, r.method, r.state) == ("search", subset, "complete")]
        best = max(full, key=lambda record: record.value)
        for number in range(2):
            assert records[f"confirm-{subset}-{number:05d}"].hyperparameters == best.hyperparameters


def test_a_pruned_trial_is_never_the_best_however_high_its_value(
    write_config: Callable[..., Path], folder: SweepFolder
) -> None:
    """Every objective falls from about 0.8 to 0.3. Trial 5 is pruned at 0.7 after one epoch: the highest last value."""
    _, search = config_and_search = open_search(
        write_config(), folder,
        "budget.trials_per_subset=6", "subsets=[Con]", "search.pruner=median", "search.grace_period=0",
    )  # fmt: skip

    def falling(job: Job, epoch: int) -> float:
        return 0.7 if job.number == 5 else {1: 0.8, 2: 0.5, 3: 0.4, 4: 0.3}[epoch] + job.number / 100

    Simulation(*config_and_search, falling, slots=1).run()
    records = {record.key: record for record in Ledger(folder.ledger)}
    pruned = records["search-Con-00005"]
    assert (pruned.state, pruned.epochs, pruned.value) == ("pruned", 1, 0.7)
    assert pruned.reason.startswith("median:")
    assert records["confirm-Con-00000"].hyperparameters == records["search-Con-00004"].hyperparameters
    assert next(row for row in search.progress() if row.name == "Con").best == pytest.approx(0.34)


def test_without_a_pruner_every_trial_runs_its_full_budget(
    write_config: Callable[..., Path], folder: SweepFolder
) -> None:
    config_and_search = open_search(
        write_config(), folder, "budget.trials_per_subset=6", "subsets=[Con]", "search.pruner=none"
    )
    Simulation(*config_and_search, lambda job, epoch: 0.5 - job.number / 100, slots=1).run()
    assert {record.epochs for record in Ledger(folder.ledger)} == {4}


def test_studies_prune_by_their_own_medians(write_config: Callable[..., Path], folder: SweepFolder) -> None:
    """Con always scores far above Gen, and no trial of Gen may be pruned for that."""
    config, search = open_search(write_config(), folder, "budget.trials_per_subset=8", "subsets=[Con,Gen]")

    def scaled(job: Job, epoch: int) -> float:
        return (0.9 if job.method == "Con" else 0.1) + job.number / 1000

    Simulation(config, search, scaled).run()
    assert {record.state for record in Ledger(folder.ledger)} == {"complete"}


def test_failed_trials_are_recorded_and_told_to_the_study_and_count(
    write_config: Callable[..., Path], folder: SweepFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    config, search = open_search(write_config(), folder, "subsets=[Con]", "budget.trials_per_subset=3")
    first = search.next_job()
    search.report(first.key, Report(epochs=1, value=0.9))
    search.report(first.key, Report(epochs=1, value=0.9, state="failed", reason="nan_loss: in epoch 1"))
    assert f"{first.key} failed: nan_loss: in epoch 1\n" in capsys.readouterr().err  # which is logs/ray.log
    second = search.next_job()
    for _ in range(MAX_ATTEMPTS - 1):
        search.lose(second.key)
        assert search.next_job() == second
    search.lose(second.key)
    Simulation(config, search, constant).run()
    records = {record.key: record for record in Ledger(folder.ledger)}
    assert [records[f"search-Con-0000{n}"].state for n in range(3)] == ["failed", "failed", "complete"]
    assert records[first.key].reason == "nan_loss: in epoch 1"
    assert records[second.key].reason.startswith("slot_lost:")
    assert records["confirm-Con-00000"].hyperparameters == records["search-Con-00002"].hyperparameters
    storage = JournalStorage(JournalFileBackend(str(folder.journal)))
    (summary,) = optuna.get_all_study_summaries(storage)
    trials = optuna.load_study(study_name=summary.study_name, storage=storage).trials
    assert [trial.state for trial in trials] == [TrialState.FAIL, TrialState.FAIL, TrialState.COMPLETE]
    assert trials[0].user_attrs["reason"] == "nan_loss: in epoch 1"


def test_a_lost_job_is_the_next_to_start_and_counts_once(
    write_config: Callable[..., Path], folder: SweepFolder
) -> None:
    _, search = open_search(write_config(), folder, "subsets=[Con,Gen]")
    first, second = search.next_job(), search.next_job()
    search.report(first.key, Report(epochs=1, value=0.4))
    search.lose(first.key)
    assert not search.finished
    assert search.next_job() == first
    for epochs, state in ((1, "running"), (2, "running"), (4, "complete")):
        search.report(first.key, Report(epochs=epochs, value=0.4, state=state))
    (record,) = Ledger(folder.ledger)
    assert record.history == [(1, 0.4), (2, 0.4), (4, 0.4)]
    assert search.next_job().key not in (first.key, second.key)


def test_a_slot_that_dies_after_its_job_has_ended_changes_nothing(
    write_config: Callable[..., Path], folder: SweepFolder
) -> None:
    _, search = open_search(write_config(), folder, "subsets=[Con]")
    job = search.next_job()
    search.report(job.key, Report(epochs=4, value=0.5, state="complete"))
    search.lose(job.key)
    assert search.next_job().key != job.key
    assert [record.state for record in Ledger(folder.ledger)] == ["complete"]


def test_a_subset_whose_trials_all_failed_is_not_confirmed(
    write_config: Callable[..., Path], folder: SweepFolder
) -> None:
    _, search = open_search(write_config(), folder, "subsets=[Con,Gen]")
    while (job := search.next_job()) is not None:
        if job.stage == "search" and job.method == "Con":
            search.report(job.key, Report(epochs=0, state="failed", reason="out_of_memory: x"))
        else:
            search.report(job.key, Report(epochs=4, value=0.5, state="complete"))
    assert search.finished
    keys = {record.key for record in Ledger(folder.ledger)}
    assert not any(key.startswith("confirm-Con-") for key in keys)
    assert "confirm-random_head-00001" in keys
    assert "confirm-Gen-00001" in keys


def test_a_repeated_report_counts_once(write_config: Callable[..., Path], folder: SweepFolder) -> None:
    _, search = open_search(write_config(), folder, "subsets=[Con]")
    job = search.next_job()
    for value in (0.4, 0.6):
        assert not search.report(job.key, Report(epochs=1, value=value))
    search.report(job.key, Report(epochs=4, value=0.7, state="complete"))
    (record,) = Ledger(folder.ledger)
    assert record.history == [(1, 0.4), (4, 0.7)]


def test_the_same_configuration_proposes_the_same_trials(write_config: Callable[..., Path], tmp_path: Path) -> None:
    def proposals(name: str) -> list[tuple[str, int, dict[str, object]]]:
        config, search = open_search(write_config(), SweepFolder(tmp_path / name), "budget.trials_per_subset=7")
        simulation = Simulation(config, search, lambda job, _: float(job.hyperparameters["lr"]), slots=1)
        simulation.run()
        return [(job.key, job.seed, dict(job.hyperparameters)) for job in simulation.jobs]

    first = proposals("a")
    assert first == proposals("b")
    configurations = [tuple(h.items()) for key, _, h in first if key.startswith("search-Con-")]
    assert len(set(configurations)) == len(configurations)


def test_records_carry_configuration_fingerprints_and_versions(
    write_config: Callable[..., Path], folder: SweepFolder
) -> None:
    config, search = open_search(write_config(), folder, "subsets=[Gen]", "budget.trials_per_subset=1")
    Simulation(config, search, constant).run()
    for record in Ledger(folder.ledger):
        assert record.config == config.model_dump(mode="json")
        assert set(record.features) == {"pretrain", "downstream.planted"}
        assert {"conclugen-sweeps", "torch", "ray", "optuna", "python"} <= set(record.versions)
        assert record.started.endswith("+00:00")


def test_progress_counts_what_happened(write_config: Callable[..., Path], folder: SweepFolder) -> None:
    _, search = open_search(write_config(), folder, "subsets=[Con,Gen]")
    search.next_job()
    job = search.next_job()
    search.report(job.key, Report(epochs=4, value=0.7, state="complete", seconds={"total": 2.0}))
    con, gen, confirm = search.progress()
    assert (con.planned, con.running, con.done, con.best) == (2, 1, 0, None)
    assert (gen.running, gen.complete, gen.best, gen.seconds_per_job) == (0, 1, 0.7, 2.0)
    assert (confirm.planned, confirm.done) == (2 * 4, 0)


def test_database_passwords_come_from_the_environment(
    write_config: Callable[..., Path], folder: SweepFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sweeps.config import ConfigError

    config = load_config(write_config(storage=f"sqlite:///{tmp_path}/${{DB_NAME}}.db"))
    folder.prepare(config)
    with pytest.raises(ConfigError, match="DB_NAME"):
        Search(config, folder)
    monkeypatch.setenv("DB_NAME", "studies")
    Search(config, folder)
    assert (tmp_path / "studies.db").exists()
    assert "studies" not in folder.config.read_text(encoding="utf-8")


def test_a_new_sweep_in_a_former_folder_starts_anew_in_a_shared_database(
    write_config: Callable[..., Path], folder: SweepFolder, tmp_path: Path
) -> None:
    storage = f"storage=sqlite:///{tmp_path / 'studies.db'}"
    for trials in (2, 3):
        shutil.rmtree(folder.root, ignore_errors=True)
        config, search = open_search(
            write_config(), folder, "subsets=[Con]", f"budget.trials_per_subset={trials}", storage
        )
        Simulation(config, search, constant).run()
        searched = [record.number for record in Ledger(folder.ledger) if record.stage == "search"]
        assert searched == list(range(trials))


@pytest.mark.parametrize(("kept", "numbers"), [(1, [1]), (2, [1, 2]), (9, [0, 1, 2])])
def test_the_best_heads_of_confirmations_stay(
    write_config: Callable[..., Path], folder: SweepFolder, kept: int, numbers: list[int]
) -> None:
    settings = ("subsets=[Con]", "baselines=[]", "budget.seeds=4", f"checkpoint.heads={kept}")
    _, search = open_search(write_config(), folder, *settings)
    values = iter([0.5, 0.9, 0.7, None])
    while (job := search.next_job()) is not None:
        if job.stage == "search":
            search.report(job.key, Report(epochs=4, value=0.5, state="complete"))
            continue
        folder.head(job.key).touch()
        value = next(values)
        search.report(job.key, Report(epochs=4, value=value, state="failed" if value is None else "complete"))
    assert {head.name for head in folder.heads.iterdir()} == {f"confirm-Con-{n:05d}.safetensors" for n in numbers}
