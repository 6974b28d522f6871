"""The mailbox between a slot (the Tune side) and its worker group (the Train side).

A worker group outlives the jobs that it runs, so jobs cannot be arguments of a Train run. The slot puts a job into the
mailbox. The group takes the job, reports into the mailbox and waits for the verdict. Both sides move in lock step. Tune
says "continue" by asking the slot for the next result, and only then does a worker go on. So a pruned trial stops
exactly at the epoch of its verdict, and the order of jobs does not depend on timing.

Each side may die and come back. A restarted worker takes the same job again and repeats earlier reports, which the
mailbox answers from memory. A job that has lost its worker too often is reported as failed. A worker that was lost with
its node does not count. The loss of a node may become known late, so each attempt keeps its nodes, and the attempts are
counted again at each take.

A worker may also hang. While the slot waits, the job must show progress. A group that shows none for too long is
killed, and counts as one more lost worker. The signs of progress come from the job's own steps, because a separate
thread would go on signalling while the job hangs. The clock runs while the worker has the job, except while the worker
waits for a verdict.
"""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from conclugen.counts import counted
from sweeps.jobs import MAX_ATTEMPTS, FailureReason, Job, Report

__all__ = ["ForeignCodeError", "Group", "GroupBrokenError", "GroupDisplacedError", "Mailbox", "Process"]


class GroupBrokenError(RuntimeError):
    """The worker group ended for good; only a new slot can have a new group."""


class GroupDisplacedError(GroupBrokenError):
    """The cluster has no room for the worker group any more; the group's job is not to blame."""


class ForeignCodeError(GroupBrokenError):
    """A worker would run other code than the sweep was started with; no slot can do better."""


class Process(Protocol):
    """A worker's process, seen from another process."""

    def kill(self) -> None:
        """End the process, whatever state it is in."""

    def starved(self) -> bool:
        """Whether the process was ended because its node was short of memory."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Workers that take jobs together."""

    nodes: frozenset[str] = frozenset()
    """The nodes of the workers."""
    processes: tuple[Process, ...] = ()
    patience: float | None = None
    """Seconds without a sign of life after which the group counts as hung; None for never."""


@dataclass
class _Attempt:
    group: Group
    last_sign: float  # when the group last showed progress, in the event loop's time
    hung: bool = False

    @property
    def deadline(self) -> float | None:
        """When the group counts as hung; None if it never will."""
        return None if self.hung or self.group.patience is None else self.last_sign + self.group.patience


class Mailbox:
    """One slot's mailbox; all of its coroutines run in one event loop."""

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._job: Job | None = None
        self._attempts: list[_Attempt] = []  # attempts at the current job
        self._undelivered: Report | None = None
        self._delivered = -1  # epochs of the last report that the slot has received
        self._granted = -1  # epochs up to which the worker may go on
        self._closed = False
        self._broken: GroupBrokenError | None = None
        self._callers = 0  # calls of take() so far

    # -- the slot's side -----------------------------------------------------------------------------------------

    async def assign(self, job: Job) -> None:
        """Give the group its next job, which ends the one before."""
        async with self._changed:
            self._job, self._attempts = job, []
            self._undelivered, self._delivered, self._granted = None, -1, -1
            self._changed.notify_all()

    async def advance(self) -> Report:
        """Let the worker go on and wait for its next report; kill its group if it hangs.

        Raises:
            GroupBrokenError: the group has ended.
        """
        async with self._changed:
            self._granted = self._delivered
            self._note_sign()  # the worker waited until now
            self._changed.notify_all()
            while self._undelivered is None and self._broken is None:
                try:
                    async with asyncio.timeout_at(self._attempts[-1].deadline if self._attempts else None):
                        await self._changed.wait()
                except TimeoutError:  # the deadline may have moved meanwhile
                    self._kill_hung_group()
            if self._undelivered is None:
                raise cast(GroupBrokenError, self._broken)
            report, self._undelivered = self._undelivered, None
            self._delivered = report.epochs
            return report

    async def close(self) -> None:
        """Give out no more jobs: the group ends when it asks for the next one."""
        async with self._changed:
            self._closed, self._job = True, None
            self._changed.notify_all()

    async def break_off(self, error: GroupBrokenError) -> None:
        """Note that the group has ended, and why. The first error stays: it is the cause of later ones."""
        async with self._changed:
            self._broken = self._broken or error
            self._changed.notify_all()

    # -- the worker's side ---------------------------------------------------------------------------------------

    async def take(self, group: Group, alive: Collection[str] = ()) -> Job | None:
        """Wait for a job to run; return None when there will be no more, or when a newer caller asks.

        If a newer caller asks, the older caller has died; giving it a job would lose the job.

        Args:
            group: the caller's group.
            alive: the nodes of the cluster that are alive.
        """
        async with self._changed:
            self._callers = caller = self._callers + 1
            self._changed.notify_all()
            while True:
                await self._changed.wait_for(lambda: self._closed or self._job is not None or self._callers > caller)
                if self._job is None or self._callers > caller:
                    return None
                attempts = [attempt for attempt in self._attempts if attempt.group.nodes <= {*group.nodes, *alive}]
                if len(attempts) < MAX_ATTEMPTS:
                    self._attempts.append(_Attempt(group, asyncio.get_running_loop().time()))
                    self._changed.notify_all()  # advance() has a deadline now
                    return self._job
                self._end(Report(epochs=max(self._delivered, 0), state="failed", reason=self._reason(attempts)))

    async def alive(self) -> None:
        """Note that the job makes progress."""
        self._note_sign()

    async def report(self, key: str, report: Report) -> bool:
        """Pass on a report of job ``key``, and wait for the verdict: False if the worker must not go on."""
        async with self._changed:
            if self._job is None or self._job.key != key:
                return False
            if report.state != "running":
                self._end(report)
                return False
            self._note_sign()
            if report.epochs > self._delivered:
                self._undelivered = report
                self._changed.notify_all()
            await self._changed.wait_for(lambda: not self._is_current(key) or self._granted >= report.epochs)
            return self._is_current(key)

    def _end(self, report: Report) -> None:
        self._undelivered, self._job = report, None
        self._changed.notify_all()

    def _is_current(self, key: str) -> bool:
        return self._job is not None and self._job.key == key

    # -- attempts ------------------------------------------------------------------------------------------------

    def _note_sign(self) -> None:
        if self._attempts:
            self._attempts[-1].last_sign = asyncio.get_running_loop().time()

    def _kill_hung_group(self) -> None:
        """Kill the group if it is past its deadline. Train starts the group again, and it takes its job again.

        All processes of the group are killed. Those that wait for the hung one would keep Train from ending the group.
        """
        attempt = self._attempts[-1]
        if attempt.deadline is not None and asyncio.get_running_loop().time() >= attempt.deadline:
            attempt.hung = True
            for process in attempt.group.processes:
                process.kill()

    def _reason(self, attempts: Sequence[_Attempt]) -> str:
        """Return why a job failed that was attempted too often: what ended its last attempt."""
        last = attempts[-1]
        if last.hung:
            times = f"{counted(sum(attempt.hung for attempt in attempts), 'time')} in {counted(len(attempts), 'start')}"
            return FailureReason.HUNG.because(f"its worker showed no progress for workers.hang_minutes, {times}")
        if any(process.starved() for process in last.group.processes):
            times = counted(len(attempts), "time")
            detail = f"its worker process died {times}, the last time because its node was short of memory"
            return FailureReason.OUT_OF_MEMORY.because(f"{detail}; use fewer workers.concurrent_trials")
        return FailureReason.WORKER_LOST.because(f"its worker process died {counted(len(attempts), 'time')}")
