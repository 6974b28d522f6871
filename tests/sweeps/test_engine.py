"""The adapters to Ray Tune, without a cluster; whole sweeps are in test_end_to_end.py and test_faults.py."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from sweeps.config import ConfigError, load_config
from sweeps.engine import Allocation, EngineError, _Scheduler, _Searcher, allocate, connect
from sweeps.plan import Report, SweepFolder
from sweeps.search import Search


@pytest.mark.parametrize(
    ("cluster", "overrides", "expected"),
    [
        ({"CPU": 2.0}, [], Allocation(slots=2, workers=1, cpus=1, gpus=0)),
        ({"CPU": 16.0}, ["workers.concurrent_trials=3"], Allocation(slots=3, workers=1, cpus=5, gpus=0)),
        ({"CPU": 16.0, "GPU": 4.0}, [], Allocation(slots=4, workers=1, cpus=4, gpus=1)),
        ({"CPU": 16.0, "GPU": 4.0}, ["workers.gpus=0"], Allocation(slots=16, workers=1, cpus=1, gpus=0)),
        ({"CPU": 16.0}, ["workers.per_trial=4"], Allocation(slots=4, workers=4, cpus=1, gpus=0)),
        ({"CPU": 16.0, "GPU": 5.0}, ["workers.per_trial=2"], Allocation(slots=2, workers=2, cpus=4, gpus=1)),
        ({"CPU": 2.0, "GPU": 4.0}, [], Allocation(slots=2, workers=1, cpus=1, gpus=1)),
    ],
)
def test_the_cluster_is_divided_into_slots(
    write_config: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    cluster: dict[str, float],
    overrides: list[str],
    expected: Allocation,
) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: cluster)
    assert allocate(load_config(write_config(), overrides)) == expected


@pytest.mark.parametrize(
    ("cluster", "override"), [({"CPU": 2.0}, "workers.gpus=1"), ({"CPU": 2.0}, "workers.concurrent_trials=3")]
)
def test_more_than_the_cluster_has_is_refused(
    write_config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, cluster: dict[str, float], override: str
) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: cluster)
    with pytest.raises(ConfigError, match="the cluster has 2 CPUs and 0 GPUs"):
        allocate(load_config(write_config(), [override]))


@pytest.fixture
def search(write_config: Callable[..., Path], tmp_path: Path) -> tuple[Search, SweepFolder]:
    config, folder = load_config(write_config(), ["subsets=[Con]", "budget.seeds=1"]), SweepFolder(tmp_path / "sweep")
    folder.prepare(config)
    return Search(config, folder), folder


def test_the_searcher_never_fills_more_than_its_slots(search: tuple[Search, SweepFolder]) -> None:
    searcher = _Searcher(*search, Allocation(slots=2, workers=1, cpus=1, gpus=0), lambda: None)
    first = searcher.suggest("t1")
    assert first["job"].key == "search-Con-00000"
    assert (first["cpus"], first["gpus"], first["folder"]) == (1, 0, str(search[1].root.resolve()))
    assert searcher.suggest("t2")["job"].key == "search-Con-00001"
    assert searcher.suggest("t3") is None
    search[0].report("search-Con-00000", Report(epochs=4, value=0.5, state="complete"))
    searcher.on_trial_complete(trial_id="t1")
    assert searcher.suggest("t3")["job"].key == "confirm-raw_features-00000"


def test_the_searcher_is_finished_with_the_search(search: tuple[Search, SweepFolder]) -> None:
    searcher = _Searcher(*search, Allocation(slots=1, workers=1, cpus=1, gpus=0), lambda: None)
    for number in range(5):
        job = searcher.suggest(f"t{number}")["job"]
        search[0].report(job.key, Report(epochs=4, value=0.5, state="complete"))
        searcher.on_trial_complete(trial_id=f"t{number}")
    assert searcher.suggest("t9") == Searcher.FINISHED


def test_the_scheduler_passes_reports_on_and_verdicts_back(search: tuple[Search, SweepFolder]) -> None:
    changes: list[int] = []
    scheduler = _Scheduler(search[0], lambda: changes.append(1))
    job = search[0].next_job()
    trial: Any = SimpleNamespace(config={"job": job})
    controller: Any = None
    running, final = Report(epochs=1, value=0.5), Report(epochs=4, value=0.6, state="complete")
    assert scheduler.on_trial_result(controller, trial, {"report": running}) == TrialScheduler.CONTINUE
    assert scheduler.on_trial_result(controller, trial, {"report": final}) == TrialScheduler.STOP
    assert len(changes) == 2


def test_the_job_of_a_slot_that_died_goes_back_to_the_search(search: tuple[Search, SweepFolder]) -> None:
    scheduler = _Scheduler(search[0], lambda: None)
    job = search[0].next_job()
    trial: Any = SimpleNamespace(config={"job": job})
    scheduler.on_trial_error(None, trial)  # type: ignore[arg-type]
    assert search[0].next_job() == job


def test_slots_that_are_lost_one_after_the_other_end_the_sweep(search: tuple[Search, SweepFolder]) -> None:
    """Were each loss its job's, every job would fail in turn for what is no fault of its own."""
    scheduler = _Scheduler(search[0], lambda: None)
    trial: Any = SimpleNamespace(config={"job": search[0].next_job()})
    controller: Any = None
    for _ in range(5):
        scheduler.on_trial_error(controller, trial)
        search[0].next_job()
    with pytest.raises(EngineError, match="6 slots in a row"):
        scheduler.on_trial_error(controller, trial)


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="--address foo: no Ray cluster answers there"):
        connect("foo")
