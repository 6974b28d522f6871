"""Workers without a cluster: attempts at a job, and the loop that takes jobs."""

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
from sweeps.execution import worker
from sweeps.execution.code import code_here, origin
from sweeps.execution.mailbox import ForeignCodeError, GroupBrokenError
from sweeps.execution.worker import Team, attempt, serve
from sweeps.folder.layout import SweepFolder
from sweeps.jobs import Job, Report
from sweeps.trial import TrialRunner
from sweeps.trial.hardware import own_hardware

CODE = origin(code_here())
JOB = Job(stage="search", method="Con", number=3, seed=1, hyperparameters={})


class FakeRunner:
    """Reports once, then calls ``then``."""

    hardware = own_hardware(torch.device("cpu"))

    def __init__(self, then: Callable[[], Report | None]) -> None:
        self._then = then

    def run(self, job: Job, report: Callable[[Report], bool]) -> Report | None:
        if not report(Report(epochs=5, value=0.4)):
            return None
        return self._then()


# Stands for the runtime context of a worker's process.
CONTEXT = SimpleNamespace(get_node_id=lambda: "n", get_actor_id=lambda: "a", current_actor="handle")


@pytest.fixture
def mailbox(monkeypatch: pytest.MonkeyPatch) -> Any:
    """An actor handle that notes each report in ``reports`` and answers it with ``verdict``."""
    monkeypatch.setattr(ray, "get", lambda reference: reference)
    fake = SimpleNamespace(verdict=True, reports=[])

    def remote(key: str, report: Report) -> bool:
        fake.reports.append((key, report.epochs))
        return fake.verdict

    fake.report = SimpleNamespace(remote=remote)
    return fake


def raising(error: BaseException) -> Callable[[], Report | None]:
    def then() -> Report | None:
        raise error

    return then


def test_an_attempt_passes_reports_on_and_returns_the_last(mailbox: Any) -> None:
    final = Report(epochs=9, state="complete")
    assert attempt(FakeRunner(lambda: final), JOB, mailbox, Team()) is final
    assert mailbox.reports == [("search-Con-00003", 5)]


def test_a_verdict_to_stop_ends_the_attempt_without_a_report(mailbox: Any) -> None:
    mailbox.verdict = False
    assert attempt(FakeRunner(raising(AssertionError("not stopped"))), JOB, mailbox, Team()) is None


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
def test_an_exception_of_the_job_becomes_its_failure_reason(
    mailbox: Any, error: Exception, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    report = attempt(FakeRunner(raising(error)), JOB, mailbox, Team())
    assert (report.state, report.reason, report.epochs, report.value) == ("failed", reason, 5, 0.4)
    assert report.hardware == FakeRunner.hardware
    traced = f"{JOB.key} raised an error:\nTraceback" in capsys.readouterr().err
    assert traced != isinstance(error, DivergedError)  # a loss that is not finite has no place in the code


def test_an_out_of_memory_reason_names_the_sizes_and_the_remedy(mailbox: Any) -> None:
    text = "CUDA out of memory. Tried to allocate 80.00 GiB. If reserved but unallocated memory is large try x"
    job = replace(JOB, hyperparameters={"batch_size": 4096, "representation_dim": 8192, "lr": 0.1})
    reason = attempt(FakeRunner(raising(torch.OutOfMemoryError(text))), job, mailbox, Team()).reason
    assert reason == (
        "out_of_memory: batch_size 4096 and representation_dim 8192 did not fit: CUDA out of memory. "
        "Tried to allocate 80.00 GiB.; narrow their ranges; `sweep check --gpu-memory` says how far"
    )


def test_a_failed_allocation_of_host_memory_is_out_of_memory(mailbox: Any) -> None:
    def then() -> Report | None:
        torch.empty(2**60, dtype=torch.uint8)
        return None

    assert attempt(FakeRunner(then), JOB, mailbox, Team()).reason.startswith("out_of_memory:")


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("x"), DivergedError("x"), ValueError("x")])
def test_a_failed_job_leaves_no_tensor_to_the_next(mailbox: Any, error: Exception) -> None:
    tensors: list[weakref.ref[torch.Tensor]] = []

    def then() -> Report | None:
        batch = torch.zeros(2**20)
        cycle: dict[str, Any] = {"tensor": torch.zeros(2**20)}
        cycle["self"] = cycle
        tensors.extend(map(weakref.ref, (batch, cycle["tensor"])))
        try:
            raise KeyError("the cause")
        except KeyError as cause:
            raise type(error)("x") from cause

    gc.disable()  # an automatic collection could hide a missing one
    try:
        attempt(FakeRunner(then), JOB, mailbox, Team())
    finally:
        gc.enable()
    assert [tensor() for tensor in tensors] == [None, None]


def tensors() -> dict[int, torch.Tensor]:
    """Identity -> tensor, for all tensors that live in this process."""
    return {id(item): item for item in gc.get_objects() if issubclass(type(item), torch.Tensor)}


def test_a_step_out_of_memory_leaves_no_tensor_and_does_not_change_the_next_trial(
    mailbox: Any, write_config: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(write_config())
    runner = TrialRunner(config, SweepFolder(tmp_path / "sweep"), torch.device("cpu"))
    job = replace(JOB, method="ConCluGen", hyperparameters=config.load_space().default_configuration(tuple(Loss)))
    failing = replace(job, number=4)
    expected = attempt(runner, job, mailbox, Team())
    data = tensors()  # every trial uses them
    trial_tensors: list[weakref.ref[torch.Tensor]] = []
    steps = 0

    def run_out_of_memory(parameters: Iterable[torch.Tensor]) -> None:
        nonlocal steps
        steps += 1
        if steps == 2 * 3:  # the second epoch's last step: its gradients exist, and the moments of earlier steps
            alive = tensors()
            trial_tensors.extend(weakref.ref(alive[identity]) for identity in alive.keys() - data.keys())
            assert all(parameter.grad is not None for parameter in parameters)
            raise torch.OutOfMemoryError("CUDA out of memory.")

    gc.disable()  # an automatic collection could hide a missing one
    try:
        with monkeypatch.context() as patch:
            patch.setattr(pretrain, "average_gradients", run_out_of_memory)
            failure = attempt(runner, failing, mailbox, Team())
    finally:
        gc.enable()
    assert failure.reason.startswith("out_of_memory:")
    assert len(trial_tensors) > 3 * 20  # weights, gradients, moments
    assert [tensor() for tensor in trial_tensors if tensor() is not None] == []
    assert tensors().keys() <= data.keys()
    repeated = attempt(runner, job, mailbox, Team())
    assert (repeated.state, repeated.value, repeated.losses) == ("complete", expected.value, expected.losses)


def test_a_broken_device_context_ends_the_group_after_its_report(mailbox: Any) -> None:
    with pytest.raises(torch.AcceleratorError):
        attempt(FakeRunner(raising(torch.AcceleratorError("device-side assert"))), JOB, mailbox, Team())
    assert mailbox.reports == [("search-Con-00003", 5)] * 2


@pytest.mark.parametrize(("leads", "expected"), [(True, [100.0, 101.0, 102.5]), (False, [])])
def test_only_the_first_worker_shows_progress_and_at_most_once_a_second(
    mailbox: Any,
    write_config: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    leads: bool,
    expected: list[float],
) -> None:
    folder = SweepFolder(tmp_path / "sweep")
    folder.prepare(load_config(write_config()))
    clock = SimpleNamespace(now=0.0)
    signs: list[float] = []
    jobs = iter([JOB, None])
    mailbox.take = SimpleNamespace(remote=lambda group, alive: next(jobs))
    mailbox.alive = SimpleNamespace(remote=lambda: signs.append(clock.now))

    class SteppingRunner(FakeRunner):
        def __init__(self, config: object, folder: object, device: object, pulse: Callable[[], None]) -> None:
            super().__init__(lambda: Report(epochs=9, state="complete"))
            self._pulse = pulse

        def run(self, job: Job, report: Callable[[Report], bool]) -> Report | None:
            for clock.now in (100.0, 100.5, 101.0, 101.5, 102.5):
                self._pulse()
            return super().run(job, report)

    team = SimpleNamespace(alone=True, leads=leads, ask=lambda question: question(), gather=lambda value: [value])
    monkeypatch.setattr(worker, "Team", lambda: team)
    monkeypatch.setattr(worker, "TrialRunner", SteppingRunner)
    monkeypatch.setattr(worker, "get_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(worker, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(ray, "get_runtime_context", lambda: CONTEXT)
    monkeypatch.setattr(ray, "nodes", list)
    serve({"mailbox": mailbox, "folder": str(folder.root), "cpus": 1, "code": CODE})
    assert signs == expected


@pytest.mark.parametrize("error", [ray.exceptions.RayActorError(), PeerLostError("Connection closed by peer")])
def test_losing_the_slot_or_a_peer_is_no_failure_of_the_job(mailbox: Any, error: Exception) -> None:
    team: Any = SimpleNamespace(alone=False, leads=False, ask=lambda question: True)
    with pytest.raises(type(error)):
        attempt(FakeRunner(raising(error)), JOB, mailbox, team)
    assert mailbox.reports == []


def test_an_error_in_one_of_several_workers_is_reported_and_ends_the_group(mailbox: Any) -> None:
    """The other workers wait in a collective operation; a report of the failure alone would leave them there."""
    team: Any = SimpleNamespace(alone=False, leads=False, ask=lambda question: True)
    with pytest.raises(ValueError, match="odd"):
        attempt(FakeRunner(raising(ValueError("odd"))), JOB, mailbox, team)
    assert mailbox.reports == [("search-Con-00003", 5)]


def test_divergence_in_all_workers_leaves_the_group_alive(mailbox: Any) -> None:
    team: Any = SimpleNamespace(alone=False, leads=True, ask=lambda question: question())
    report = attempt(FakeRunner(raising(DivergedError("x"))), JOB, mailbox, team)
    assert report.state == "failed"


def test_a_worker_that_cannot_start_reports_why_and_raises_nothing(
    mailbox: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the worker raised, Train would start its group again, with the same result."""
    reasons: list[GroupBrokenError] = []
    mailbox.break_off = SimpleNamespace(remote=reasons.append)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: CONTEXT)
    serve({"mailbox": mailbox, "folder": str(tmp_path), "cpus": 1, "code": CODE})
    (reason,) = reasons
    assert str(reason).startswith("a worker cannot start: ")
    assert "config.yaml: cannot be read" in str(reason)


def test_a_worker_with_other_code_than_the_sweeps_runs_no_job(mailbox: Any, tmp_path: Path) -> None:
    """The mailbox has no ``take``, so a worker that asked for a job would raise."""
    reasons: list[GroupBrokenError] = []
    mailbox.break_off = SimpleNamespace(remote=reasons.append)
    place, _ = CODE["conclugen"]
    code = {**CODE, "conclugen": ("/old/conclugen", "01d")}
    serve({"mailbox": mailbox, "folder": str(tmp_path), "cpus": 1, "code": code})
    (reason,) = reasons
    assert isinstance(reason, ForeignCodeError)
    assert f"conclugen from {place} is not what conclugen from /old/conclugen was" in str(reason)


def test_a_worker_that_loses_a_peer_at_its_start_raises_so_that_train_restarts_the_group(
    mailbox: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost() -> None:
        raise PeerLostError("gone")

    monkeypatch.setattr(ray, "get_runtime_context", lost)
    with pytest.raises(PeerLostError):
        serve({"mailbox": mailbox, "folder": str(tmp_path), "cpus": 1, "code": CODE})


def test_a_worker_computes_with_one_thread_for_each_of_its_cpus(
    mailbox: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    mailbox.break_off = SimpleNamespace(remote=lambda _: threads.append(torch.get_num_threads()))
    monkeypatch.setattr(ray, "get_runtime_context", lambda: CONTEXT)
    serve({"mailbox": mailbox, "folder": str(tmp_path), "cpus": 3, "code": CODE})
    assert threads == [3]
