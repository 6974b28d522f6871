"""The mailbox between a slot (the Tune side) and its worker group (the Train side).

A worker group outlives the trials that it runs, so trials cannot be handed over as arguments of a Train run: the slot
puts a job into the mailbox, the group takes it, reports into it and waits for the verdict. The two sides move in lock
step: a worker goes on only after the slot has been asked for the next result, which is how Tune says "continue". So a
pruned trial stops at the very epoch it was judged at, and what runs next never depends on timing.

Each side may die and come back. A worker that restarts takes the same job again and repeats reports that were already
delivered: they are answered from memory. A job that has lost its worker too often is reported as failed. A worker that
was lost with its node does not count, and whether it was may be known long after: so attempts keep their nodes, and are
counted anew each time.

A worker may also hang. While the slot waits, the job must show progress; a group that shows none for too long is
killed, which makes it one more lost worker. Signs come from the job's own steps: a thread beside them would live on.
Only the time between the worker's start on the job and its end counts, less what it waits for verdicts.
"""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from sweeps.jobs import MAX_ATTEMPTS, FailureReason, Job, Report

__all__ = ["Group", "GroupBrokenError", "GroupDisplacedError", "Mailbox", "Process"]


class GroupBrokenError(RuntimeError):
    """The worker group ended and cannot be restarted from within."""


class GroupDisplacedError(GroupBrokenError):
    """The cluster has no room for the worker group any more; no job of its is to blame."""


class Process(Protocol):
    """A worker's process, seen from elsewhere."""

    def kill(self) -> None:
        """End it, whatever state it is in."""

    def starved(self) -> bool:
        """Whether it was ended because its node was short of memory."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Workers that take jobs together."""

    nodes: frozenset[str] = frozenset()
    """Those that they are on."""
    processes: tuple[Process, ...] = ()
    patience: float | None = None
    """Seconds without a sign of life after which they count as hung; None for never."""


@dataclass
class _Attempt:
    group: Group
    heard: float  # when it last showed progress, in the loop's time
    hung: bool = False

    @property
    def deadline(self) -> float | None:
        """When it counts as hung."""
        return None if self.hung or self.group.patience is None else self.heard + self.group.patience


class Mailbox:
    """One slot's mailbox; all of its coroutines run in one event loop."""

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._job: Job | None = None
        self._attempts: list[_Attempt] = []  # at the job
        self._undelivered: Report | None = None
        self._delivered = -1  # epochs of the last report that the slot was given
        self._granted = -1  # epochs up to which the worker may go on
        self._closed = False
        self._broken: GroupBrokenError | None = None
        self._takers = 0  # how often a job was asked for

    # -- the slot's side -----------------------------------------------------------------------------------------

    async def assign(self, job: Job) -> None:
        """Give the group its next job; whatever it was doing is over."""
        async with self._changed:
            self._job, self._attempts = job, []
            self._undelivered, self._delivered, self._granted = None, -1, -1
            self._changed.notify_all()

    async def advance(self) -> Report:
        """Let the worker go on and wait for its next report; end its group if it hangs.

        Raises:
            GroupBrokenError: the group has ended.
        """
        async with self._changed:
            self._granted = self._delivered
            self._hear()  # it was waiting until now
            self._changed.notify_all()
            while self._undelivered is None and self._broken is None:
                try:
                    async with asyncio.timeout_at(self._attempts[-1].deadline if self._attempts else None):
                        await self._changed.wait()
                except TimeoutError:  # or the time that was up before it was heard again
                    self._end_hung_group()
            if self._undelivered is None:
                raise cast(GroupBrokenError, self._broken)
            report, self._undelivered = self._undelivered, None
            self._delivered = report.epochs
            return report

    async def close(self) -> None:
        """No more jobs: the group ends once it asks."""
        async with self._changed:
            self._closed, self._job = True, None
            self._changed.notify_all()

    async def break_off(self, reason: str, *, displaced: bool = False) -> None:
        """The group has ended by itself, or because there was no room; the first reason is the cause of the others."""
        async with self._changed:
            self._broken = self._broken or (GroupDisplacedError if displaced else GroupBrokenError)(reason)
            self._changed.notify_all()

    # -- the worker's side ---------------------------------------------------------------------------------------

    async def take(self, group: Group, alive: Collection[str] = ()) -> Job | None:
        """Wait for a job to run; None when there will be no more, and where another has asked since.

        Who waits when another asks has died: a job that it was given would be nobody's.

        Args:
            group: who takes it.
            alive: all of the cluster's nodes.
        """
        async with self._changed:
            self._takers = own = self._takers + 1
            self._changed.notify_all()
            while True:
                await self._changed.wait_for(lambda: self._closed or self._job is not None or self._takers > own)
                if self._job is None or self._takers > own:
                    return None
                counted = [attempt for attempt in self._attempts if attempt.group.nodes <= {*group.nodes, *alive}]
                if len(counted) < MAX_ATTEMPTS:
                    self._attempts.append(_Attempt(group, asyncio.get_running_loop().time()))
                    self._changed.notify_all()  # there is a deadline now
                    return self._job
                self._end(Report(epochs=max(self._delivered, 0), state="failed", reason=self._reason(counted)))

    async def alive(self) -> None:
        """The job makes progress."""
        self._hear()

    async def report(self, key: str, report: Report) -> bool:
        """Pass on a report of job ``key`` and wait for the verdict; False if the worker must not go on."""
        async with self._changed:
            if self._job is None or self._job.key != key:
                return False
            if report.state != "running":
                self._end(report)
                return False
            self._hear()
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

    def _hear(self) -> None:
        if self._attempts:
            self._attempts[-1].heard = asyncio.get_running_loop().time()

    def _end_hung_group(self) -> None:
        """Kill the group whose time is up, if it still is; Train starts it again, and it takes its job again.

        All of it: whichever hangs, those that wait for it would keep Train from ending the group.
        """
        attempt = self._attempts[-1]
        if attempt.deadline is not None and asyncio.get_running_loop().time() >= attempt.deadline:
            attempt.hung = True
            for process in attempt.group.processes:
                process.kill()

    def _reason(self, attempts: Sequence[_Attempt]) -> str:
        """Why a job failed that was attempted too often: what happened the last time."""
        last = attempts[-1]
        if last.hung:
            times = f"{sum(attempt.hung for attempt in attempts)} times in {len(attempts)} starts"
            return FailureReason.HUNG.because(f"its worker showed no progress for workers.hang_minutes, {times}")
        if any(process.starved() for process in last.group.processes):
            detail = (
                f"its worker process died {len(attempts)} times, the last time because its node was short of memory"
            )
            return FailureReason.OUT_OF_MEMORY.because(f"{detail}; use fewer workers.concurrent_trials")
        return FailureReason.WORKER_LOST.because(f"its worker process died {len(attempts)} times")
