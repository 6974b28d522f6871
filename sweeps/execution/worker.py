"""Workers: the train loop of a persistent Ray Train worker group, which runs one job after another.

A group of several workers trains one job together, data parallel. The first worker speaks to the mailbox and shares the
answers with the others. A worker whose peer is gone ends and reports nothing about the job. Then Train starts the group
again, and the group takes the same job again.
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
from sweeps.execution.code import change
from sweeps.execution.mailbox import ForeignCodeError, Group, GroupBrokenError
from sweeps.execution.worker_process import WorkerProcess
from sweeps.folder.layout import SweepFolder
from sweeps.jobs import Job, Report
from sweeps.terminal import log
from sweeps.trial import TrialRunner
from sweeps.trial.failures import reason_of
from sweeps.trial.hardware import computing

__all__ = ["Team", "attempt", "serve"]

_PULSE_SECONDS = 1.0  # between two signs of life
_WITHOUT_LIMIT = timedelta(days=365)  # the other workers wait as long as the first one waits for a job

_T = TypeVar("_T")


class Team:
    """The workers of a group, as one of them sees them. A worker without a process group is alone."""

    def __init__(self) -> None:
        alone = not distributed.is_initialized() or distributed.get_world_size() == 1
        self.leads = alone or distributed.get_rank() == 0
        self._channel = None if alone else distributed.new_group(timeout=_WITHOUT_LIMIT, backend="gloo")

    @property
    def alone(self) -> bool:
        """True if the group has one worker."""
        return self._channel is None

    def ask(self, question: Callable[[], Any]) -> Any:
        """Call ``question`` in the first worker; return its answer in every worker."""
        answer = [question() if self.leads else None]
        if self._channel is not None:
            with collective():
                distributed.broadcast_object_list(answer, src=0, group=self._channel)
        return answer[0]

    def gather(self, value: _T) -> list[_T]:
        """Return the values of all workers, by rank."""
        if self._channel is None:
            return [value]
        values = [value] * distributed.get_world_size()
        with collective():
            distributed.all_gather_object(values, value, group=self._channel)
        return values


def serve(settings: dict[str, Any]) -> None:
    """Take jobs from a mailbox and run them until there are no more.

    Args:
        settings: ``mailbox`` (the slot's mailbox), ``folder`` (the sweep folder), ``cpus`` (granted by Ray, and the
            number of threads that compute) and ``code`` (the origin of the sweep's code).
    """
    if (difference := change(settings["code"])) is not None:
        node = ray.util.get_node_ip_address()
        ray.get(settings["mailbox"].break_off.remote(ForeignCodeError(f"on node {node}, {difference}")))
        return
    with computing(settings["cpus"]):
        _take_jobs(SweepFolder(Path(settings["folder"])), settings["mailbox"])


def _take_jobs(folder: SweepFolder, mailbox: Any) -> None:
    try:
        team = Team()
        node = ray.get_runtime_context().get_node_id()
        nodes, processes = zip(*team.gather((node, WorkerProcess.current())), strict=True)
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
    except Exception as error:  # no job is to blame, and Train would start the group again and again
        traceback.print_exc()
        ray.get(mailbox.break_off.remote(GroupBrokenError(f"a worker cannot start: {error}")))
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
    """Return the function that a job calls, as often as it likes, to show that it makes progress."""
    last_pulse = -math.inf

    def pulse() -> None:
        nonlocal last_pulse
        if team.leads and (now := time.monotonic()) - last_pulse >= _PULSE_SECONDS:
            last_pulse = now
            mailbox.alive.remote()

    return pulse


def attempt(runner: TrialRunner, job: Job, mailbox: Any, team: Team) -> Report | None:
    """Run ``job``. An exception that the job raises becomes a failed report, and the process stays usable.

    Raises:
        Exception: the job's error is reported, and the group must start again. Either one worker of several fails, and
            the others would wait in vain. Or the device context is broken, and every later job would fail.
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
        raise  # the slot or a peer is gone, and the group ends with it
    except Exception as error:  # a job must not take the group down: its reason goes into the ledger
        failure = failed(reason_of(error, job))
        everywhere = isinstance(error, DivergedError)  # all workers compute the same losses and raise this together
        if not everywhere:
            log(f"{job.key} raised an error:\n{traceback.format_exc()}")
        if not (team.alone or everywhere) or isinstance(error, torch.AcceleratorError):
            ray.get(mailbox.report.remote(job.key, failure))
            raise
    # The error's frames kept the job's tensors alive so far, and the next job needs their memory.
    gc.collect()
    torch.cuda.empty_cache()
    return failure
