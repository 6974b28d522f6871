"""Repeated searches: each is an arm of its own, with other seeds, and learns nothing from the others."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.folder.layout import SweepFolder
from sweeps.jobs import Job
from sweeps.ledger import Ledger, Record, search_of
from tests.sweeps.simulation import Simulation, constant, open_search

SETTINGS = ("subsets=[Con,Gen]", "search.pruner=none", "budget.trials_per_subset=4", "search.finalists=2")


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    return SweepFolder(tmp_path / "sweep")


def by_rate(job: Job, epoch: int) -> float:
    return float(job.hyperparameters.get("lr", 0.0))


def run(path: Path, folder: SweepFolder, *overrides: str) -> list[Job]:
    """Run a simulated sweep with SETTINGS and changes to its end, or go on with it; return the jobs that ran."""
    settings = {override.partition("=")[0]: override for override in (*SETTINGS, *overrides)}
    simulation = Simulation(*open_search(path, folder, *settings.values()), by_rate, slots=1)
    simulation.run()
    return simulation.jobs


def records(folder: SweepFolder, stage: str, method: str) -> list[Record]:
    return [record for record in Ledger(folder.ledger) if (record.stage, record.method) == (stage, method)]


def test_every_method_exists_once_per_search(write_config: Callable[..., Path], folder: SweepFolder) -> None:
    jobs = run(write_config(), folder, "budget.searches=2")
    searched = ["Con", "Gen", "Con~2", "Gen~2"]
    counts = Counter((job.stage, job.name) for job in jobs)
    assert counts == {
        **{("search", name): 4 for name in searched},
        **{("finalist", name): 4 for name in searched},
        **{("confirm", name): 2 for name in searched},
        **{("confirm", name): 2 for name in ("raw_features", "random_head", "raw_features~2", "random_head~2")},
    }


def test_the_first_search_is_that_of_a_sweep_with_one_search(
    write_config: Callable[..., Path], folder: SweepFolder
) -> None:
    one = run(write_config(), folder)
    two = run(write_config(), SweepFolder(folder.root / "two"), "budget.searches=2")
    jobs = {job.key: job for job in two if job.search == 1}
    assert jobs == {job.key: job for job in one}


def test_seeds_and_proposals_of_searches_differ(write_config: Callable[..., Path], folder: SweepFolder) -> None:
    jobs = run(write_config(), folder, "budget.searches=3", "search.sampler=tpe")
    for stage in ("search", "finalist", "confirm"):
        seeds = {number: {j.seed for j in jobs if (j.stage, j.search) == (stage, number)} for number in (1, 2, 3)}
        assert len(set.union(*seeds.values())) == sum(map(len, seeds.values()))
    rates = {
        name: [record.hyperparameters["lr"] for record in records(folder, "search", name)]
        for name in ("Con", "Con~2", "Con~3")
    }
    assert len({values[0] for values in rates.values()}) == 1  # the default configuration
    assert len({rate for values in rates.values() for rate in values[1:]}) == 3 * 3


def test_methods_of_a_search_are_paired_by_their_confirmation_seeds(
    write_config: Callable[..., Path], folder: SweepFolder
) -> None:
    jobs = [job for job in run(write_config(), folder, "budget.searches=2") if job.stage == "confirm"]
    for number in (1, 2):
        seeds = {job.name: [] for job in jobs if job.search == number}
        for job in jobs:
            if job.search == number:
                seeds[job.name].append(job.seed)
        assert len(seeds) == 4
        assert len({tuple(values) for values in seeds.values()}) == 1


def test_each_search_confirms_its_own_winner_and_gives_it_to_its_random_head(
    write_config: Callable[..., Path], folder: SweepFolder
) -> None:
    run(write_config(), folder, "budget.searches=2")
    for suffix in ("", "~2"):
        best = {
            name: max(records(folder, "search", f"{name}{suffix}"), key=lambda record: record.value or 0.0)
            for name in ("Con", "Gen")
        }
        for name, record in best.items():
            for run_of in records(folder, "confirm", f"{name}{suffix}"):
                assert run_of.hyperparameters == record.hyperparameters
        overall = max(best.values(), key=lambda record: record.value or 0.0)
        for run_of in records(folder, "confirm", f"random_head{suffix}"):
            assert run_of.hyperparameters == overall.hyperparameters


def test_another_search_is_added_to_a_finished_sweep(write_config: Callable[..., Path], folder: SweepFolder) -> None:
    run(write_config(), folder)
    before = {record.key: record for record in Ledger(folder.ledger)}
    jobs = run(write_config(), folder, "budget.searches=2")
    assert {job.search for job in jobs} == {2}
    assert len(jobs) == len(before)
    after = {record.key: record for record in Ledger(folder.ledger) if search_of(record.method) == 1}
    assert after == before


def test_nested_variants_are_searched_anew_too(write_config: Callable[..., Path], folder: SweepFolder) -> None:
    path = write_config(search={"nested": ["labels"]})
    names = {job.name for job in run(path, folder, "budget.searches=2", "subsets=[Con]") if job.stage == "search"}
    assert names == {"Con@all", "Con@2", "Con@all~2", "Con@2~2"}


def test_modality_subsets_confirm_the_winner_of_their_search(
    write_config: Callable[..., Path], folder: SweepFolder
) -> None:
    path = write_config(modality_subsets=[["video", "audio"]])
    run(path, folder, "budget.searches=2", "subsets=[Con]")
    for suffix in ("", "~2"):
        (own, *_), (restricted, *_) = (
            records(folder, "confirm", f"Con{name}{suffix}") for name in ("", "[video-audio]")
        )
        assert own.hyperparameters == restricted.hyperparameters
        assert own.seed == restricted.seed
    assert records(folder, "confirm", "raw_features[video-audio]~2")


def test_a_search_copies_from_its_own_methods_only(write_config: Callable[..., Path], folder: SweepFolder) -> None:
    path = write_config(search={"share_best": True})
    run(path, folder, "budget.searches=2", "budget.trials_per_subset=5")
    for suffix in ("", "~2"):
        (fifth,) = (record for record in records(folder, "search", f"Con{suffix}") if record.number == 4)
        donor, _, _ = fifth.origin.removeprefix("share_best: ").rpartition("-")
        assert donor == f"Gen{suffix}"


def test_a_repeated_grid_visits_its_points_in_another_order(
    write_config: Callable[..., Path], folder: SweepFolder
) -> None:
    space = folder.root.parent / "finite.yaml"
    space.write_text(
        "description: x\nparameters: {representation_dim: {choices: [4, 8, 12, 16, 20, 24, 28, 32], default: 16},"
        " batch_size: 20, projection_dim: 8, warmup_epochs: 1}\n",
        encoding="utf-8",
    )
    path = write_config(space=str(space), search={"sampler": "grid", "finalists": 1})
    config, search = open_search(
        path, folder, "subsets=[Con]", "baselines=[]", "budget.searches=2", "budget.trials_per_subset=8"
    )
    Simulation(config, search, constant, slots=1).run()
    first, second = (
        [record.hyperparameters["representation_dim"] for record in records(folder, "search", name)]
        for name in ("Con", "Con~2")
    )
    assert sorted(first) == sorted(second)
    assert first[0] == second[0] == 16
    assert first != second
