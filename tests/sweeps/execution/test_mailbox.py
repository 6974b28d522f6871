"""The mailbox's lock step between slot and worker group, with both sides as coroutines of one process."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import pytest

from sweeps.execution.mailbox import Group, GroupBrokenError, GroupDisplacedError, Mailbox
from sweeps.jobs import MAX_ATTEMPTS, Job, Report


def job(number: int = 0) -> Job:
    return Job(stage="search", method="Con", number=number, seed=1, hyperparameters={})


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, timeout=10))


@dataclass
class FakeProcess:
    """Stands for a worker's process, and counts how often it is killed."""

    out_of_memory: bool = False
    kills: int = 0

    def kill(self) -> None:
        self.kills += 1

    def starved(self) -> bool:
        return self.out_of_memory


def group_on(*nodes: str) -> Group:
    return Group(nodes=frozenset(nodes))


class SimulatedTimeLoop(asyncio.SelectorEventLoop):
    """An event loop of simulated time, which jumps to the next timer once every task waits."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:
            self.now = max(self.now, self._scheduled[0].when())
        super()._run_once()  # type: ignore[misc]


def run_simulated(test: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=SimulatedTimeLoop) as runner:
        runner.run(asyncio.wait_for(test, timeout=1e6))


async def settle() -> None:
    """Let every other task run until it waits."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_a_worker_goes_on_only_when_the_slot_asks_for_the_next_report() -> None:
    async def scenario() -> None:
        mailbox = Mailbox()
        await mailbox.assign(job())
        assert await mailbox.take(Group()) == job()
        reporting = asyncio.create_task(mailbox.report(job().key, Report(epochs=1, value=0.5)))
        assert (await mailbox.advance()).value == 0.5
        await settle()
        assert not reporting.done()  # the slot has the report, but has not asked for the next one
        advancing = asyncio.create_task(mailbox.advance())
        assert await reporting is True
        await mailbox.report(job().key, Report(epochs=2, state="complete"))
        assert (await advancing).state == "complete"

    run(scenario())


def test_a_new_job_stops_the_current_one_at_its_report() -> None:
    async def scenario() -> None:
        mailbox = Mailbox()
        await mailbox.assign(job(0))
        await mailbox.take(Group())
        reporting = asyncio.create_task(mailbox.report(job(0).key, Report(epochs=1, value=0.1)))
        await mailbox.advance()
        await mailbox.assign(job(1))
        assert await reporting is False
        assert await mailbox.take(Group()) == job(1)

    run(scenario())


def test_a_restarted_worker_gets_its_job_again_and_the_slot_sees_no_repeated_report() -> None:
    async def scenario() -> None:
        mailbox = Mailbox()
        await mailbox.assign(job())
        await mailbox.take(Group())
        reporting = asyncio.create_task(mailbox.report(job().key, Report(epochs=1, value=0.5)))
        await mailbox.advance()
        advancing = asyncio.create_task(mailbox.advance())
        await reporting
        # The worker dies now, and restarts without a checkpoint.
        assert await mailbox.take(Group()) == job()
        assert await mailbox.report(job().key, Report(epochs=1, value=0.5)) is True
        assert not advancing.done()
        reporting = asyncio.create_task(mailbox.report(job().key, Report(epochs=2, value=0.6)))
        assert (await advancing).epochs == 2
        reporting.cancel()

    run(scenario())


def test_a_job_that_loses_its_worker_too_often_fails_and_the_group_goes_on() -> None:
    async def scenario() -> None:
        mailbox = Mailbox()
        await mailbox.assign(job(0))
        for _ in range(MAX_ATTEMPTS):
            assert await mailbox.take(Group()) == job(0)
        taking = asyncio.create_task(mailbox.take(Group()))
        report = await mailbox.advance()
        assert report.state == "failed"
        assert report.reason.startswith("worker_lost:")
        await settle()
        assert not taking.done()
        await mailbox.assign(job(1))
        assert await taking == job(1)

    run(scenario())


def test_workers_that_died_before_they_got_a_job_count_no_attempt_at_it() -> None:
    async def scenario() -> None:
        mailbox = Mailbox()
        dead = [asyncio.create_task(mailbox.take(Group())) for _ in range(MAX_ATTEMPTS)]
        await settle()
        taking = asyncio.create_task(mailbox.take(Group()))
        await settle()
        await mailbox.assign(job())
        assert await taking == job()
        assert await asyncio.gather(*dead) == [None] * MAX_ATTEMPTS

    run(scenario())


def test_attempts_on_lost_nodes_do_not_count_even_if_the_loss_is_known_late() -> None:
    async def scenario() -> None:
        mailbox = Mailbox()
        await mailbox.assign(job())
        # Each pair of nodes loses one node. The cluster notices the loss only after the next attempt has begun.
        for i in range(3 * MAX_ATTEMPTS):
            alive = ["shared", f"lost{i}", f"lost{i - 1}"]
            assert await mailbox.take(group_on("shared", f"lost{i}"), alive) == job()
        for _ in range(MAX_ATTEMPTS):
            assert await mailbox.take(group_on("shared"), ["shared"]) == job()
        taking = asyncio.create_task(mailbox.take(group_on("shared"), ["shared"]))
        assert (await mailbox.advance()).reason.startswith("worker_lost:")
        taking.cancel()

    run(scenario())


def test_a_worker_that_reports_an_ended_job_must_stop() -> None:
    async def scenario() -> None:
        mailbox = Mailbox()
        await mailbox.assign(job(1))
        assert await mailbox.report(job(0).key, Report(epochs=9, value=1.0)) is False
        assert await mailbox.report(job(0).key, Report(epochs=9, state="complete")) is False
        advancing = asyncio.create_task(mailbox.advance())
        await settle()
        assert not advancing.done()
        advancing.cancel()

    run(scenario())


def test_the_slot_learns_of_a_broken_group_after_the_groups_last_report() -> None:
    async def scenario() -> None:
        mailbox = Mailbox()
        await mailbox.assign(job())
        await mailbox.take(Group())
        await mailbox.report(job().key, Report(epochs=3, state="complete"))
        await mailbox.break_off(GroupBrokenError("first reason"))
        await mailbox.break_off(GroupDisplacedError("second reason"))
        assert (await mailbox.advance()).epochs == 3
        with pytest.raises(GroupBrokenError, match="first reason"):
            await mailbox.advance()

    run(scenario())


def test_a_group_without_room_has_an_error_of_its_own() -> None:
    async def scenario() -> None:
        mailbox = Mailbox()
        await mailbox.assign(job())
        await mailbox.break_off(GroupDisplacedError("no room"))
        with pytest.raises(GroupDisplacedError, match="no room"):
            await mailbox.advance()

    run(scenario())


def test_a_closed_mailbox_has_no_job_for_waiting_and_later_callers() -> None:
    async def scenario() -> None:
        mailbox = Mailbox()
        taking = asyncio.create_task(mailbox.take(Group()))
        await settle()
        await mailbox.close()
        assert await taking is None
        assert await mailbox.take(Group()) is None

    run(scenario())


PATIENCE = 100.0


def test_all_processes_of_a_hung_group_are_killed_and_its_job_is_taken_again() -> None:
    async def scenario() -> None:
        mailbox = Mailbox()
        processes = (FakeProcess(), FakeProcess())
        group = Group(processes=processes, patience=PATIENCE)
        await mailbox.assign(job())
        advancing = asyncio.create_task(mailbox.advance())
        await asyncio.sleep(10 * PATIENCE)  # the group starts slowly
        assert await mailbox.take(group) == job()
        await asyncio.sleep(PATIENCE - 1)
        assert [process.kills for process in processes] == [0, 0]
        await asyncio.sleep(2)
        assert [process.kills for process in processes] == [1, 1]
        await asyncio.sleep(10 * PATIENCE)  # the group restarts slowly
        assert [process.kills for process in processes] == [1, 1]
        assert await mailbox.take(group) == job()
        await mailbox.report(job().key, Report(epochs=4, state="complete"))
        assert (await advancing).state == "complete"

    run_simulated(scenario())


def test_a_worker_that_shows_progress_or_waits_for_a_verdict_does_not_hang() -> None:
    async def scenario() -> None:
        mailbox = Mailbox()
        await mailbox.assign(job())
        process = FakeProcess()
        await mailbox.take(Group(processes=(process,), patience=PATIENCE))
        advancing = asyncio.create_task(mailbox.advance())
        for _ in range(5):
            await asyncio.sleep(0.9 * PATIENCE)
            await mailbox.alive()
        await asyncio.sleep(0.9 * PATIENCE)
        reporting = asyncio.create_task(mailbox.report(job().key, Report(epochs=1, value=0.5)))
        assert (await advancing).epochs == 1
        await asyncio.sleep(10 * PATIENCE)  # the slot is slow
        advancing = asyncio.create_task(mailbox.advance())
        assert await reporting
        await asyncio.sleep(0.9 * PATIENCE)
        assert process.kills == 0
        await asyncio.sleep(0.2 * PATIENCE)
        assert process.kills == 1
        advancing.cancel()

    run_simulated(scenario())


def test_a_silent_job_without_a_time_limit_is_not_killed() -> None:
    async def scenario() -> None:
        mailbox = Mailbox()
        await mailbox.assign(job())
        process = FakeProcess()
        await mailbox.take(Group(processes=(process,)))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(mailbox.advance(), timeout=1e5)
        assert process.kills == 0

    run_simulated(scenario())


def test_a_job_that_hangs_in_every_attempt_fails_as_hung() -> None:
    async def scenario() -> None:
        mailbox = Mailbox()
        process = FakeProcess()
        group = Group(processes=(process,), patience=PATIENCE)
        await mailbox.assign(job(0))
        advancing = asyncio.create_task(mailbox.advance())
        for _ in range(MAX_ATTEMPTS):
            assert await mailbox.take(group) == job(0)
            await asyncio.sleep(PATIENCE + 1)
        taking = asyncio.create_task(mailbox.take(group))
        report = await advancing
        assert (report.state, report.reason.partition(":")[0]) == ("failed", "hung")
        assert "3 times in 3 starts" in report.reason
        assert process.kills == MAX_ATTEMPTS
        await mailbox.assign(job(1))
        assert await taking == job(1)

    run_simulated(scenario())


def test_a_job_whose_workers_the_node_killed_for_memory_fails_as_out_of_memory() -> None:
    async def scenario() -> None:
        mailbox = Mailbox()
        group = Group(processes=(FakeProcess(out_of_memory=True),))
        await mailbox.assign(job())
        for _ in range(MAX_ATTEMPTS):
            await mailbox.take(group)
        taking = asyncio.create_task(mailbox.take(group))
        assert (await mailbox.advance()).reason.startswith("out_of_memory:")
        taking.cancel()

    run(scenario())
