from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import torch

from conclugen.distributed import PeerLostError
from conclugen.pretrain import DivergedError
from sweeps.plan import Job, Report
from sweeps.workers import Team, attempt, serve

JOB = Job(stage="search", method="Con", number=3, seed=1, hyperparameters={})


class FakeRunner:
    """Reports once, then does what the test says."""

    def __init__(self, then: Callable[[], Report | None]) -> None:
        self._then = then

    def run(self, job: Job, report: Callable[[Report], bool]) -> Report | None:
        if not report(Report(epochs=5, value=0.4)):
            return None
        return self._then()


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
        (torch.OutOfMemoryError("CUDA out of memory"), "out_of_memory: CUDA out of memory"),
        (MemoryError("host"), "out_of_memory: host"),
        (ValueError("odd"), "exception: ValueError: odd"),
    ],
)
def test_failures_of_the_job_become_its_reason(mailbox: Any, error: Exception, reason: str) -> None:
    report = attempt(FakeRunner(raising(error)), JOB, mailbox, Team())
    assert (report.state, report.reason, report.epochs, report.value) == ("failed", reason, 5, 0.4)


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
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "n"))
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
