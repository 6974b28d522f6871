"""The adapters to Ray Tune, without a cluster; tests/end_to_end has whole sweeps."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from sweeps.config import load_config
from sweeps.config.sections import Workers
from sweeps.estimate.room import Allocation, Node
from sweeps.execution import capacity as capacity_module
from sweeps.execution import executor
from sweeps.execution.capacity import Capacity
from sweeps.execution.executor import ExecutorError, JobScheduler, JobSearcher
from sweeps.execution.mailbox import ForeignCodeError, GroupBrokenError, GroupDisplacedError
from sweeps.execution.slot import Slot
from sweeps.folder.layout import SweepFolder
from sweeps.jobs import Job, Report
from sweeps.search import Search


def capacity(nodes: list[Node], slots: int = 1, gate: Any = None) -> Capacity:
    allocation = Allocation(slots=slots, workers=1, cpus=1, gpus=0)
    return Capacity(allocation, Workers(), gate, lambda text: None, lambda: nodes)


def node(cpus: int) -> Node:
    return Node("n", "10.0.0.1", cpus, 0)


@pytest.fixture
def search(write_config: Callable[..., Path], tmp_path: Path) -> tuple[Search, SweepFolder]:
    config, folder = load_config(write_config(), ["subsets=[Con]", "budget.seeds=1"]), SweepFolder(tmp_path / "sweep")
    folder.prepare(config)
    return Search(config, folder), folder


def test_the_searcher_never_fills_more_than_its_slots(search: tuple[Search, SweepFolder]) -> None:
    searcher = JobSearcher(*search, capacity([node(2)], slots=2), lambda: None)
    first = searcher.suggest("t1")
    assert first["job"].key == "search-Con-00000"
    assert (first["cpus"], first["gpus"], first["folder"]) == (1, 0, str(search[1].root.resolve()))
    assert searcher.suggest("t2")["job"].key == "search-Con-00001"
    assert searcher.suggest("t3") is None
    search[0].report("search-Con-00000", Report(epochs=4, value=0.5, state="complete"))
    searcher.on_trial_complete(trial_id="t1")
    assert searcher.suggest("t3")["job"].key == "confirm-raw_features-00000"


def test_the_searcher_finishes_with_the_search(search: tuple[Search, SweepFolder]) -> None:
    searcher = JobSearcher(*search, capacity([node(1)]), lambda: None)
    for number in range(5):
        job = searcher.suggest(f"t{number}")["job"]
        search[0].report(job.key, Report(epochs=4, value=0.5, state="complete"))
        searcher.on_trial_complete(trial_id=f"t{number}")
    assert searcher.suggest("t9") == Searcher.FINISHED


def test_the_searcher_finishes_when_the_last_search_ends_early(search: tuple[Search, SweepFolder]) -> None:
    ending: Any = SimpleNamespace(finished=False, next_job=lambda: setattr(ending, "finished", True))
    assert JobSearcher(ending, search[1], capacity([node(1)]), lambda: None).suggest("t1") == Searcher.FINISHED


def test_the_scheduler_passes_reports_on_and_returns_verdicts(search: tuple[Search, SweepFolder]) -> None:
    changes: list[int] = []
    searcher = JobSearcher(*search, capacity([node(1)]), lambda: None)
    scheduler = JobScheduler(search[0], searcher, lambda: changes.append(1))
    job = search[0].next_job()
    trial: Any = SimpleNamespace(config={"job": job})
    controller: Any = None
    running, final = Report(epochs=1, value=0.5), Report(epochs=4, value=0.6, state="complete")
    assert scheduler.on_trial_result(controller, trial, {"report": running}) == TrialScheduler.CONTINUE
    assert scheduler.on_trial_result(controller, trial, {"report": final}) == TrialScheduler.STOP
    assert len(changes) == 2


def test_the_search_hands_the_job_of_a_dead_slot_out_again(search: tuple[Search, SweepFolder]) -> None:
    scheduler = JobScheduler(search[0], JobSearcher(*search, capacity([node(1)]), lambda: None), lambda: None)
    job = search[0].next_job()
    assert job is not None
    trial = lost_trial(job, task_error(GroupBrokenError("the worker group failed")), search[1])
    scheduler.on_trial_error(None, trial)  # type: ignore[arg-type]
    assert search[0].next_job() == job


def test_six_lost_slots_in_a_row_end_the_sweep(search: tuple[Search, SweepFolder]) -> None:
    """No single job is to blame; counted as its job's fault, each loss would fail one job after the other."""
    scheduler = JobScheduler(search[0], JobSearcher(*search, capacity([node(1)]), lambda: None), lambda: None)
    job = search[0].next_job()
    assert job is not None
    trial = lost_trial(job, task_error(GroupBrokenError("the worker group failed")), search[1])
    controller: Any = None
    for _ in range(5):
        scheduler.on_trial_error(controller, trial)
        search[0].next_job()
    with pytest.raises(ExecutorError, match=r"6 slots in a row .* the last one with: the worker group failed"):
        scheduler.on_trial_error(controller, trial)


def test_a_worker_with_other_code_ends_the_sweep_at_once_and_no_job_fails(search: tuple[Search, SweepFolder]) -> None:
    scheduler = JobScheduler(search[0], JobSearcher(*search, capacity([node(1)]), lambda: None), lambda: None)
    job = search[0].next_job()
    assert job is not None
    trial = lost_trial(
        job, task_error(ForeignCodeError("conclugen from /a is not what conclugen from /b was")), search[1]
    )
    controller: Any = None
    with pytest.raises(ExecutorError, match="conclugen from /a is not what conclugen from /b was"):
        scheduler.on_trial_error(controller, trial)
    assert search[0].next_job() != job  # it was not given up, which would have handed it out again


def lost_trial(job: Job, error: Exception, folder: SweepFolder) -> Any:
    """Return a trial of Tune whose slot ended with ``error``, and which has not been copied into ``folder``."""
    storage: Any = SimpleNamespace(trial_driver_staging_path=str(folder.root), trial_working_directory="")
    trial = Trial("Slot", config={"job": job}, stub=True)
    trial.storage = storage
    trial.handle_error(error)
    return trial


def task_error(cause: Exception) -> ray.exceptions.RayTaskError:
    return ray.exceptions.RayTaskError("step", "traceback", cause)


def test_a_job_whose_workers_found_no_room_starts_again_and_counts_no_loss(
    search: tuple[Search, SweepFolder],
) -> None:
    searcher = JobSearcher(*search, capacity([node(1)]), lambda: None)
    scheduler = JobScheduler(search[0], searcher, lambda: None)
    job = searcher.suggest("t0")["job"]
    for number in range(20):
        trial = lost_trial(job, task_error(GroupDisplacedError("no room")), search[1])
        scheduler.on_trial_error(None, trial)  # type: ignore[arg-type]
        searcher.on_trial_complete(f"t{number}", error=True)
        assert searcher.suggest(f"t{number + 1}")["job"] == job
    assert search[0].report(job.key, Report(epochs=4, value=0.5, state="complete"))


@pytest.mark.parametrize(("process_died", "counts"), [(True, True), (False, False)])
def test_a_slot_lost_with_its_node_counts_no_loss_of_its_job(
    search: tuple[Search, SweepFolder], monkeypatch: pytest.MonkeyPatch, process_died: bool, counts: bool
) -> None:
    """The error says only that the slot cannot be reached. The cluster knows whether the slot's process has died."""
    losses: list[str] = []
    monkeypatch.setattr(executor, "process_died", lambda actor_id: process_died)
    monkeypatch.setattr(search[0], "lose", losses.append)
    searcher = JobSearcher(*search, capacity([node(1)]), lambda: None)
    job = searcher.suggest("t0")["job"]
    trial = lost_trial(job, ray.exceptions.RayActorError(actor_id="ab"), search[1])
    JobScheduler(search[0], searcher, lambda: None).on_trial_error(None, trial)  # type: ignore[arg-type]
    assert losses == ([job.key] if counts else [])


def test_a_job_that_ended_before_its_slot_was_lost_is_not_started_again(search: tuple[Search, SweepFolder]) -> None:
    searcher = JobSearcher(*search, capacity([node(1)]), lambda: None)
    scheduler = JobScheduler(search[0], searcher, lambda: None)
    controller: Any = None
    trial = lost_trial(searcher.suggest("t0")["job"], task_error(GroupDisplacedError("no room")), search[1])
    final = Report(epochs=4, value=0.6, state="complete")
    assert scheduler.on_trial_result(controller, trial, {"report": final}) == TrialScheduler.STOP
    scheduler.on_trial_error(controller, trial)
    searcher.on_trial_complete("t0", error=True)
    assert searcher.suggest("t1")["job"] != trial.config["job"]


def test_the_searcher_hands_out_jobs_as_nodes_come_and_go(
    search: tuple[Search, SweepFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity_module, "LOOK_SECONDS", 0.0)
    nodes = [node(1)]
    gate = SimpleNamespace(refused=(), usable=lambda nodes: nodes)
    searcher = JobSearcher(*search, capacity(nodes, gate=gate), lambda: None)
    assert searcher.suggest("t0") is not None
    assert searcher.suggest("t1") is None
    nodes.append(node(1))
    assert searcher.suggest("t1") is not None
    nodes.clear()
    searcher.on_trial_complete("t0", error=True)
    assert searcher.suggest("t2") is None


def test_slots_avoid_the_nodes_that_the_preflight_check_refused(search: tuple[Search, SweepFolder]) -> None:
    gate = SimpleNamespace(refused=("abc", "def"), usable=lambda nodes: nodes)
    config = JobSearcher(*search, capacity([node(1)], gate=gate), lambda: None).suggest("t0")
    assert config["avoid"] == ("abc", "def")
    assert Slot.default_resource_request(config) != Slot.default_resource_request({**config, "avoid": ()})
