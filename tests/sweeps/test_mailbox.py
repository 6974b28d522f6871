"""The lock-step protocol between slot and worker group, with both sides as coroutines of one process."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from sweeps.mailbox import GroupBrokenError, GroupDisplacedError, Mailbox
from sweeps.plan import MAX_ATTEMPTS, Job, Report


def job(number: int = 0) -> Job:
    return Job(stage="search", method="Con", number=number, seed=1, hyperparameters={})


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, timeout=10))


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_a_worker_waits_until_the_slot_asks_for_more() -> None:
    async def scenario() -> None:
        mailbox = Mailbox()
        await mailbox.assign(job())
        taken = await mailbox.take()
        assert taken == job()
        reporting = asyncio.create_task(mailbox.report(job().key, Report(epochs=1, value=0.5)))
        assert (await mailbox.advance()).value == 0.5
        await settle()
        assert not reporting.done()  # the slot has the report, but has not said "continue"
        advancing = asyncio.create_task(mailbox.advance())
        assert await reporting is True
        await mailbox.report(job().key, Report(epochs=2, state="complete"))
        assert (await advancing).state == "complete"

    run(scenario())


def test_a_new_job_stops_the_current_one_at_its_report() -> None:
    async def scenario() -> None:
        mailbox = Mailbox()
        await mailbox.assign(job(0))
        await mailbox.take()
        reporting = asyncio.create_task(mailbox.report(job(0).key, Report(epochs=1, value=0.1)))
        await mailbox.advance()
        await mailbox.assign(job(1))
        assert await reporting is False
        assert await mailbox.take() == job(1)

    run(scenario())


def test_a_restarted_worker_gets_its_job_again_and_repeats_reports_unheard() -> None:
    async def scenario() -> None:
        mailbox = Mailbox()
        await mailbox.assign(job())
        await mailbox.take()
        lost = asyncio.create_task(mailbox.report(job().key, Report(epochs=1, value=0.5)))
        await mailbox.advance()
        advancing = asyncio.create_task(mailbox.advance())
        await lost
        # The worker dies here, and comes back without a checkpoint.
        assert await mailbox.take() == job()
        assert await mailbox.report(job().key, Report(epochs=1, value=0.5)) is True
        assert not advancing.done()
        again = asyncio.create_task(mailbox.report(job().key, Report(epochs=2, value=0.6)))
        assert (await advancing).epochs == 2
        again.cancel()

    run(scenario())


def test_a_job_that_loses_its_worker_too_often_fails_and_the_group_goes_on() -> None:
    async def scenario() -> None:
        mailbox = Mailbox()
        await mailbox.assign(job(0))
        for _ in range(MAX_ATTEMPTS):
            assert await mailbox.take() == job(0)
        taking = asyncio.create_task(mailbox.take())
        report = await mailbox.advance()
        assert report.state == "failed"
        assert report.reason.startswith("worker_lost:")
        await settle()
        assert not taking.done()
        await mailbox.assign(job(1))
        assert await taking == job(1)

    run(scenario())


def test_attempts_on_nodes_that_are_lost_do_not_count_however_late_that_is_known() -> None:
    async def scenario() -> None:
        mailbox = Mailbox()
        await mailbox.assign(job())
        # Each pair of nodes loses one, which the cluster notices only after the next attempt has begun.
        for i in range(3 * MAX_ATTEMPTS):
            alive = ["shared", f"lost{i}", f"lost{i - 1}"]
            assert await mailbox.take(["shared", f"lost{i}"], alive) == job()
        for _ in range(MAX_ATTEMPTS):
            assert await mailbox.take(["shared"], ["shared"]) == job()
        taking = asyncio.create_task(mailbox.take(["shared"], ["shared"]))
        assert (await mailbox.advance()).reason.startswith("worker_lost:")
        taking.cancel()

    run(scenario())


def test_reports_of_a_job_that_is_over_are_answered_with_stop() -> None:
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


def test_a_broken_group_reaches_the_waiting_slot_but_not_before_its_last_report() -> None:
    async def scenario() -> None:
        mailbox = Mailbox()
        await mailbox.assign(job())
        await mailbox.take()
        await mailbox.report(job().key, Report(epochs=3, state="complete"))
        await mailbox.break_off("it ended")
        await mailbox.break_off("and so did all else")
        assert (await mailbox.advance()).epochs == 3
        with pytest.raises(GroupBrokenError, match="it ended"):
            await mailbox.advance()

    run(scenario())


def test_a_group_without_room_is_told_from_one_that_broke() -> None:
    async def scenario() -> None:
        mailbox = Mailbox()
        await mailbox.assign(job())
        await mailbox.break_off("no room", displaced=True)
        with pytest.raises(GroupDisplacedError, match="no room"):
            await mailbox.advance()

    run(scenario())


def test_closing_ends_the_group_now_or_at_its_next_question() -> None:
    async def scenario() -> None:
        mailbox = Mailbox()
        taking = asyncio.create_task(mailbox.take())
        await settle()
        await mailbox.close()
        assert await taking is None
        assert await mailbox.take() is None

    run(scenario())
