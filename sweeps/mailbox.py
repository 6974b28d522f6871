"""The mailbox between a slot (the Tune side) and its worker group (the Train side).

A worker group outlives the trials that it runs, so trials cannot be handed over as arguments of a Train run: the slot
puts a job into the mailbox, the group takes it, reports into it and waits for the verdict. The two sides move in lock
step: a worker goes on only after the slot has been asked for the next result, which is how Tune says "continue". So a
pruned trial stops at the very epoch it was judged at, and what runs next never depends on timing.

Each side may die and come back. A worker that restarts takes the same job again and repeats reports that were already
delivered: they are answered from memory. A job that has lost its worker too often is reported as failed. A worker that
was lost with its node does not count, and whether it was may be known long after: so attempts keep their nodes, and are
counted anew each time.
"""

import asyncio
from collections.abc import Collection
from typing import cast

from sweeps.plan import MAX_ATTEMPTS, Job, Report

__all__ = ["GroupBrokenError", "GroupDisplacedError", "Mailbox"]


class GroupBrokenError(RuntimeError):
    """The worker group ended and cannot be restarted from within."""


class GroupDisplacedError(GroupBrokenError):
    """The cluster has no room for the worker group any more; no job of its is to blame."""


class Mailbox:
    """One slot's mailbox; run as an asynchronous Ray actor."""

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._job: Job | None = None
        self._attempts: list[frozenset[str]] = []  # at the job: the nodes of each
        self._undelivered: Report | None = None
        self._delivered = -1  # epochs of the last report that the slot was given
        self._granted = -1  # epochs up to which the worker may go on
        self._closed = False
        self._broken: GroupBrokenError | None = None

    # -- the slot's side -----------------------------------------------------------------------------------------

    async def assign(self, job: Job) -> None:
        """Give the group its next job; whatever it was doing is over."""
        async with self._changed:
            self._job, self._attempts = job, []
            self._undelivered, self._delivered, self._granted = None, -1, -1
            self._changed.notify_all()

    async def advance(self) -> Report:
        """Let the worker go on and wait for its next report.

        Raises:
            GroupBrokenError: the group has ended.
        """
        async with self._changed:
            self._granted = self._delivered
            self._changed.notify_all()
            await self._changed.wait_for(lambda: self._undelivered is not None or self._broken is not None)
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

    async def take(self, nodes: Collection[str] = (), alive: Collection[str] = ()) -> Job | None:
        """Wait for a job to run; None when there will be no more.

        Args:
            nodes: those that the group's workers are on.
            alive: all of the cluster's.
        """
        async with self._changed:
            while True:
                await self._changed.wait_for(lambda: self._closed or self._job is not None)
                if self._job is None:
                    return None
                self._attempts.append(frozenset(nodes))
                if sum(attempt <= {*nodes, *alive} for attempt in self._attempts) <= MAX_ATTEMPTS:
                    return self._job
                self._end(
                    Report(
                        epochs=max(self._delivered, 0),
                        state="failed",
                        reason=f"worker_lost: its worker process died {MAX_ATTEMPTS} times",
                    )
                )

    async def report(self, key: str, report: Report) -> bool:
        """Pass on a report of job ``key`` and wait for the verdict; False if the worker must not go on."""
        async with self._changed:
            if self._job is None or self._job.key != key:
                return False
            if report.state != "running":
                self._end(report)
                return False
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
