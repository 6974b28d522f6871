import errno
import gc
import weakref
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import torch
from safetensors import SafetensorError

from conclugen.distributed import PeerLostError
from conclugen.subsets import Loss
from conclugen.training import pretrain
from conclugen.training.pretrain import DivergedError
from sweeps.config import load_config
from sweeps.execution import worker as workers
from sweeps.execution.worker import Team, attempt, serve
from sweeps.folder.layout import SweepFolder
from sweeps.jobs import Job, Report
from sweeps.trial import TrialRunner
from sweeps.trial.hardware import own_hardware

JOB = Job(stage="search", method="Con", number=3, seed=1, hyperparameters={})


class FakeRunner:
    """Reports once, then does what the test says."""

    hardware = own_hardware(torch.device("cpu"))

    def __init__(self, then: Callable[[], Report | None]) -> None:
        self._then = then

    def run(self, job: Job, report: Callable[[Report], bool]) -> Report | None:
        if not report(Report(epochs=5, value=0.4)):
            return None
        return self._then()


HERE = SimpleNamespace(get_node_id=lambda: "n", get_actor_id=lambda: "a", current_actor="handle")


@pytest.fixture
def mailbox(monkeypatch: pytest.MonkeyPatch) -> Any:
    """An actor handle whose ``report`` is answered at once by ``go_on``."""
    monkeypatch.setattr(ray, "get", lambda reference: reference)
    fake = SimpleNamespace(go_on=True, seen=[])

    def remote(key: str, report: Report) -> bool:
        fake.seen.append((key, report.epochs))
        return fake.go_on

    fake.report = SimpleNamespace(remote=remote)
    return fake


def raising(error: BaseException) -> Callable[[], Report | None]:
    def then() -> Report | None:
        raise error

    return then


def test_results_and_reports_pass_through(mailbox: Any) -> None:
    final = Report(epochs=9, state="complete")
    assert attempt(FakeRunner(lambda: final), JOB, mailbox, Team()) is final
    assert mailbox.seen == [("search-Con-00003", 5)]


def test_a_stop_ends_the_attempt_without_a_result(mailbox: Any) -> None:
    mailbox.go_on = False
    assert attempt(FakeRunner(raising(AssertionError("went on"))), JOB, mailbox, Team()) is None


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (DivergedError("loss is not finite"), "nan_loss: loss is not finite"),
        (MemoryError("host"), "out_of_memory: host"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk_full: [Errno 28] No space left on device"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), f"disk_full: [Errno {errno.EDQUOT}] Disk quota exceeded"),
        (SafetensorError("I/O error: No space (os error 28)"), "disk_full: I/O error: No space (os error 28)"),
        (OSError(errno.EACCES, "no"), "exception: PermissionError: [Errno 13] no"),
        (ValueError("odd"), "exception: ValueError: odd"),
    ],
)
def test_failures_of_the_job_become_its_reason(mailbox: Any, error: Exception, reason: str) -> None:
    report = attempt(FakeRunner(raising(error)), JOB, mailbox, Team())
    assert (report.state, report.reason, report.epochs, report.value) == ("failed", reason, 5, 0.4)
    assert report.hardware == FakeRunner.hardware


def test_what_did_not_fit_is_named_with_what_to_do(mailbox: Any) -> None:
    text = "CUDA out of memory. Tried to allocate 80.00 GiB. If reserved but unallocated memory is large try x"
    big = replace(JOB, hyperparameters={"batch_size": 4096, "representation_dim": 8192, "lr": 0.1})
    reason = attempt(FakeRunner(raising(torch.OutOfMemoryError(text))), big, mailbox, Team()).reason
    assert reason == (
        "out_of_memory: batch_size 4096 and representation_dim 8192 did not fit: CUDA out of memory. "
        "Tried to allocate 80.00 GiB.; narrow them, `sweep check --gpu-memory` says how far"
    )


def test_host_memory_that_torch_cannot_have_is_memory_too(mailbox: Any) -> None:
    def then() -> Report | None:
        torch.empty(2**60, dtype=torch.uint8)
        return None

    assert attempt(FakeRunner(then), JOB, mailbox, Team()).reason.startswith("out_of_memory:")


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("x"), DivergedError("x"), ValueError("x")])
def test_a_failed_jobs_tensors_are_gone_when_the_next_may_start(mailbox: Any, error: Exception) -> None:
    tensors: list[weakref.ref[torch.Tensor]] = []

    def then() -> Report | None:
        batch = torch.zeros(2**20)
        cycle: dict[str, Any] = {"tensor": torch.zeros(2**20)}
        cycle["self"] = cycle
        tensors.extend(map(weakref.ref, (batch, cycle["tensor"])))
        try:
            raise KeyError("what it came from")
        except KeyError as cause:
            raise type(error)("x") from cause

    gc.disable()  # else it might come by of its own
    try:
        attempt(FakeRunner(then), JOB, mailbox, Team())
    finally:
        gc.enable()
    assert [tensor() for tensor in tensors] == [None, None]


def tensors() -> dict[int, torch.Tensor]:
    """All that live in this process."""
    return {id(found): found for found in gc.get_objects() if issubclass(type(found), torch.Tensor)}


def test_after_a_step_that_ran_out_of_memory_nothing_of_its_trial_lives_and_the_next_one_runs_as_ever(
    mailbox: Any, write_config: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(write_config())
    runner, steps = TrialRunner(config, SweepFolder(tmp_path / "sweep"), torch.device("cpu")), 0
    job = replace(JOB, method="ConCluGen", hyperparameters=config.load_space().default_configuration(tuple(Loss)))
    failing, of_the_trial = replace(job, number=4), list[weakref.ref[torch.Tensor]]()
    expected = attempt(runner, job, mailbox, Team())
    kept = tensors()  # data, which every trial uses

    def run_out(parameters: Iterable[torch.Tensor]) -> None:
        nonlocal steps
        steps += 1
        if steps == 2 * 3:  # of the second epoch's last step there are gradients, of those before moments
            alive = tensors()
            of_the_trial.extend(weakref.ref(alive[found]) for found in alive.keys() - kept.keys())
            assert all(parameter.grad is not None for parameter in parameters)
            raise torch.OutOfMemoryError("CUDA out of memory.")

    gc.disable()  # else it might come by of its own
    try:
        with monkeypatch.context() as small:
            small.setattr(pretrain, "average_gradients", run_out)
            failed = attempt(runner, failing, mailbox, Team())
    finally:
        gc.enable()
    assert failed.reason.startswith("out_of_memory:")
    assert len(of_the_trial) > 3 * 20  # weights, gradients, moments
    assert [found() for found in of_the_trial if found() is not None] == []
    assert tensors().keys() <= kept.keys()
    again = attempt(runner, job, mailbox, Team())
    assert (again.state, again.value, again.losses) == ("complete", expected.value, expected.losses)


def test_a_broken_device_context_ends_the_group_after_its_report(mailbox: Any) -> None:
    with pytest.raises(torch.AcceleratorError):
        attempt(FakeRunner(raising(torch.AcceleratorError("device-side assert"))), JOB, mailbox, Team())
    assert mailbox.seen == [("search-Con-00003", 5)] * 2


def test_signs_of_life_come_from_the_first_worker_and_not_too_often(
    mailbox: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[float] = []
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(workers, "time", SimpleNamespace(monotonic=lambda: clock.now))
    mailbox.alive = SimpleNamespace(remote=lambda: told.append(clock.now))
    leader, other = (workers._pulse(mailbox, SimpleNamespace(leads=leads)) for leads in (True, False))
    for clock.now in (100.0, 100.5, 101.0, 101.5, 102.5):
        leader()
        other()
    assert told == [100.0, 101.0, 102.5]


@pytest.mark.parametrize("error", [ray.exceptions.RayActorError(), PeerLostError("Connection closed by peer")])
def test_loss_of_the_slot_or_of_a_peer_is_not_the_jobs_failure(mailbox: Any, error: Exception) -> None:
    team: Any = SimpleNamespace(alone=False, leads=False, ask=lambda question: True)
    with pytest.raises(type(error)):
        attempt(FakeRunner(raising(error)), JOB, mailbox, team)
    assert mailbox.seen == []


def test_a_worker_that_fails_among_several_reports_and_ends_the_group(mailbox: Any) -> None:
    """The others wait for it in a collective operation: a failed report alone would leave them there."""
    team: Any = SimpleNamespace(alone=False, leads=False, ask=lambda question: True)
    with pytest.raises(ValueError, match="odd"):
        attempt(FakeRunner(raising(ValueError("odd"))), JOB, mailbox, team)
    assert mailbox.seen == [("search-Con-00003", 5)]


def test_divergence_is_every_workers_and_leaves_the_group_alive(mailbox: Any) -> None:
    team: Any = SimpleNamespace(alone=False, leads=True, ask=lambda question: question())
    report = attempt(FakeRunner(raising(DivergedError("x"))), JOB, mailbox, team)
    assert report.state == "failed"


def test_a_worker_that_cannot_start_says_why_and_ends_in_order(
    mailbox: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Train starts a group again whose worker raises; nothing would be another time round."""
    reasons: list[str] = []
    mailbox.break_off = SimpleNamespace(remote=reasons.append)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: HERE)
    serve({"mailbox": mailbox, "folder": str(tmp_path), "cpus": 1})
    (reason,) = reasons
    assert reason.startswith("a worker cannot start: ")
    assert "config.yaml cannot be read" in reason


def test_a_worker_whose_peer_is_lost_at_the_start_leaves_it_to_train(
    mailbox: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost() -> None:
        raise PeerLostError("gone")

    monkeypatch.setattr(ray, "get_runtime_context", lost)
    with pytest.raises(PeerLostError):
        serve({"mailbox": mailbox, "folder": str(tmp_path), "cpus": 1})


def test_a_worker_computes_with_as_many_threads_as_it_was_granted_cpus(
    mailbox: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    mailbox.break_off = SimpleNamespace(remote=lambda _: threads.append(torch.get_num_threads()))
    monkeypatch.setattr(ray, "get_runtime_context", lambda: HERE)
    serve({"mailbox": mailbox, "folder": str(tmp_path), "cpus": 3})
    assert threads == [3]
