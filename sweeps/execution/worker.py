"""Workers: the train loop of a persistent Ray Train worker group, which runs one job after another.

A group of several workers trains one job together, data parallel. Its first worker speaks to the mailbox; what it is
told, it shares with the others. A worker whose peer is gone says nothing of the job: it ends, the group starts again,
and the job with it.
"""

import gc
import math
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import ray
import torch
from ray.train.torch import get_device
from torch import distributed

from conclugen.distributed import PeerLostError, collective
from conclugen.training.execution import Execution
from conclugen.training.pretrain import DivergedError
from sweeps.config import load_config
from sweeps.execution.mailbox import Group
from sweeps.execution.worker_process import WorkerProcess
from sweeps.folder.layout import SweepFolder
from sweeps.jobs import Job, Report
from sweeps.terminal import log
from sweeps.trial import TrialRunner
from sweeps.trial.failures import reason_of
from sweeps.trial.hardware import computing

__all__ = ["Team", "attempt", "serve"]

_PULSE_SECONDS = 1.0  # between two signs of life
_WITHOUT_LIMIT = timedelta(days=365)  # the others wait as long as the first worker waits for a job

_T = TypeVar("_T")


class Team:
    """The workers of a group, as one of them sees them; alone without a process group."""

    def __init__(self) -> None:
        alone = not distributed.is_initialized() or distributed.get_world_size() == 1
        self.leads = alone or distributed.get_rank() == 0
        self._channel = None if alone else distributed.new_group(timeout=_WITHOUT_LIMIT, backend="gloo")

    @property
    def alone(self) -> bool:
        """True if there are no others."""
        return self._channel is None

    def ask(self, question: Callable[[], Any]) -> Any:
        """Let the first worker ask; return its answer to every worker."""
        answer = [question() if self.leads else None]
        if self._channel is not None:
            with collective():
                distributed.broadcast_object_list(answer, src=0, group=self._channel)
        return answer[0]

    def everyones(self, own: _T) -> list[_T]:
        """Return what each worker calls its own."""
        if self._channel is None:
            return [own]
        every = [own] * distributed.get_world_size()
        with collective():
            distributed.all_gather_object(every, own, group=self._channel)
        return every


def serve(settings: dict[str, Any]) -> None:
    """Take jobs from a mailbox and run them until there are no more.

    Args:
        settings: ``mailbox`` (the actor that has it), ``folder`` (the sweep's) and ``cpus`` (granted by Ray; as many
            threads).
    """
    with computing(settings["cpus"]):
        _take_jobs(SweepFolder(Path(settings["folder"])), settings["mailbox"])


def _take_jobs(folder: SweepFolder, mailbox: Any) -> None:
    try:
        team = Team()
        node = ray.get_runtime_context().get_node_id()
        nodes, processes = zip(*team.everyones((node, WorkerProcess.current())), strict=True)
        config = load_config(folder.config, written=True)
        minutes = config.workers.hang_minutes
        patience = None if minutes is None else 60 * minutes
        group = Group(nodes=frozenset(nodes), processes=processes, patience=patience)
        device = get_device()
        decisions = Execution.on(device, recorded=team.alone).decisions
        log(f"steps on {device}: {decisions}")
        runner = TrialRunner(config, folder, device, _pulse(mailbox, team))
    except PeerLostError:
        raise  # the group starts again
    except Exception as error:  # no job is to blame, and Train, were it told, would start the group again and again
        traceback.print_exc()
        ray.get(mailbox.break_off.remote(f"a worker cannot start: {error}"))
        return

    def take() -> Job | None:
        alive = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
        job: Job | None = ray.get(mailbox.take.remote(group, alive))
        return job

    while (job := team.ask(take)) is not None:
        report = attempt(runner, job, mailbox, team)
        if report is not None and team.leads:
            ray.get(mailbox.report.remote(job.key, report))


def _pulse(mailbox: Any, team: Team) -> Callable[[], None]:
    """Return what a job calls to show that it makes progress, as often as it likes."""
    told = -math.inf

    def pulse() -> None:
        nonlocal told
        if team.leads and (now := time.monotonic()) - told >= _PULSE_SECONDS:
            told = now
            mailbox.alive.remote()

    return pulse


def attempt(runner: TrialRunner, job: Job, mailbox: Any, team: Team) -> Report | None:
    """Run ``job``; an exception of its own making becomes a failed report, and the process stays usable.

    Raises:
        Exception: whatever only a new group helps, once it is reported: what happened to one worker of several, since
            the others wait for it in vain, and a broken context of the device, in which all that follows fails.
        PeerLostError: another worker is gone; nothing is reported.
    """
    last = Report(epochs=0)

    def report(progress: Report) -> bool:
        nonlocal last
        last = progress
        return bool(team.ask(lambda: ray.get(mailbox.report.remote(job.key, progress))))

    def failed(reason: str) -> Report:
        return Report(
            epochs=last.epochs,
            value=last.value,
            seconds=last.seconds,
            state="failed",
            reason=reason,
            hardware=runner.hardware,
        )

    try:
        return runner.run(job, report)
    except (ray.exceptions.RayError, PeerLostError):
        raise  # the slot or a peer is gone, and the group goes with it
    except Exception as error:  # a trial must not take the group down: its reason goes into the ledger
        failure = failed(reason_of(error, job))
        everywhere = isinstance(error, DivergedError)  # losses are the whole group's: all workers are here
        if not (team.alone or everywhere) or isinstance(error, torch.AcceleratorError):
            ray.get(mailbox.report.remote(job.key, failure))
            raise
    # Only here is the error gone, whose frames kept the trial's tensors; the next trial needs their memory.
    gc.collect()
    torch.cuda.empty_cache()
    return failure
