"""What people do to the queue: ask, cancel, retry, redrive; and that nothing starves."""

import asyncio
from datetime import timedelta

import pytest

from collector.model import EXECUTION_SPAN
from collector.reasoning.policy import EXPLAINED_KINDS
from collector.reasoning.worker import Worker, WorkerOptions
from collector.store.asking import REDRIVEN_PER_S, Wish, ask, cancel, count_done, count_jobs, redrive, retry
from collector.store.database import Database
from collector.store.jobs import Failure, Lane, fail
from tests.integration.reasoning import queue
from tests.integration.reasoning.queue import (
    AT_ONCE,
    arrive,
    complete_all,
    job,
    must_take,
    statuses,
    take_one,
    texts,
)
from tests.integration.reasoning.test_worker import is_quiet, until, working
from tests.integration.store.writer_rows import rows, writing

SECOND = timedelta(seconds=1)


async def test_asking_again_explains_the_execution_and_all_that_is_worth_it(database: Database) -> None:
    async with writing(database, AT_ONCE) as writer:
        key = await arrive(writer, steps=2)
    await complete_all(database, await must_take(database, key), "Before.")
    async with database.connection() as conn, conn.transaction():
        assert await ask(conn, key, Wish(EXPLAINED_KINDS, forced=True)) == 4
    taken = await must_take(database, key)
    assert all(one.forced for one in taken.jobs.values())
    await complete_all(database, taken, "After.")
    assert set((await texts(database, key)).values()) == {"After."}


async def test_single_steps_can_be_asked_for(database: Database) -> None:
    async with writing(database, AT_ONCE) as writer:
        key = await arrive(writer, steps=2)
    first = await must_take(database, key)
    await complete_all(database, first)
    span = max(first.jobs)
    async with database.connection() as conn, conn.transaction():
        assert await ask(conn, key, Wish(EXPLAINED_KINDS, [span, b"unknown!"])) == 1
    assert set((await must_take(database, key)).jobs) == {span}


@pytest.mark.parametrize("wishes", [1, 5])
async def test_asking_during_a_run_gives_exactly_one_more(database: Database, wishes: int) -> None:
    async with writing(database, AT_ONCE) as writer:
        key = await arrive(writer)
    taken = await must_take(database, key)

    async def wish() -> None:
        async with database.connection() as conn, conn.transaction():
            await ask(conn, key, Wish(EXPLAINED_KINDS))

    await asyncio.gather(*(wish() for _ in range(wishes)))
    assert await take_one(database, key) is None
    await complete_all(database, taken)
    await queue.pass_time(database, key, seconds=5)
    await complete_all(database, await must_take(database, key))
    await queue.pass_time(database, key, seconds=5)
    assert await take_one(database, key) is None


async def test_what_does_not_exist_can_not_be_asked_for(database: Database) -> None:
    async with database.connection() as conn, conn.transaction():
        assert await ask(conn, queue.ExecutionKey(1, b"?" * 16), Wish(EXPLAINED_KINDS)) == 0
        assert await cancel(conn, queue.ExecutionKey(1, b"?" * 16), EXECUTION_SPAN) == {}


async def test_cancelling_what_waits_and_what_runs(database: Database) -> None:
    async with writing(database, AT_ONCE) as writer:
        waiting, running = [await arrive(writer) for _ in range(2)]
    taken = await must_take(database, running)
    async with database.connection() as conn, conn.transaction():
        assert set((await cancel(conn, waiting, EXECUTION_SPAN)).values()) == {"cancelled"}
        assert set((await cancel(conn, running, EXECUTION_SPAN)).values()) == {"processing"}
    assert await take_one(database, waiting) is None
    ours, asked = await queue.beat_one(database, taken)
    assert ours == asked == {running: set(taken.jobs)}
    await complete_all(database, taken)
    assert await statuses(database, running) == ["cancelled"] * 4
    assert await texts(database, running) == {}


async def test_one_step_cancelled_while_it_runs_leaves_the_others(database: Database) -> None:
    async with writing(database, AT_ONCE) as writer:
        key = await arrive(writer)
    taken = await must_take(database, key)
    span = max(taken.jobs)
    async with database.connection() as conn, conn.transaction():
        await cancel(conn, key, span)
    await complete_all(database, taken)
    assert sorted(await statuses(database, key)) == ["cancelled"] + ["completed"] * 3
    assert span not in await texts(database, key)


async def test_dead_jobs_come_back_at_a_bounded_rate(database: Database) -> None:
    async with writing(database, AT_ONCE) as writer:
        keys = [await arrive(writer) for _ in range(3)]
        other = await arrive(writer)
    for key in keys:
        taken = await must_take(database, key)
        async with database.connection() as conn:
            await fail(conn, taken, list(taken.jobs), Failure("no luck", [SECOND], 0))
    async with database.connection() as conn, conn.transaction():
        assert (await count_jobs(conn, 1)).failed == 12
        assert await redrive(conn, 2) == 0
        assert await redrive(conn, 1) == 12
        assert await redrive(conn, 1) == 0
    waits = sorted([(await job(database, key))["due_in_s"] for key in keys])
    assert waits == pytest.approx([0, 1 / REDRIVEN_PER_S, 2 / REDRIVEN_PER_S], abs=0.5)
    assert (await job(database, keys[0]))["attempts"] == 0
    assert await statuses(database, other) == ["pending"] * 4


async def test_a_dead_execution_can_be_retried_whole_and_a_living_one_not(database: Database) -> None:
    async with writing(database, AT_ONCE) as writer:
        key = await arrive(writer)
    async with database.connection() as conn, conn.transaction():
        assert await retry(conn, key, EXECUTION_SPAN) == []
    taken = await must_take(database, key)
    async with database.connection() as conn, conn.transaction():
        await fail(conn, taken, list(taken.jobs), Failure("no luck", [SECOND], 0))
        assert set(await retry(conn, key, EXECUTION_SPAN)) == set(taken.jobs)
    again = await must_take(database, key)
    assert {one.attempts for one in again.jobs.values()} == {1}


async def test_counts(database: Database) -> None:
    async with writing(database, AT_ONCE) as writer:
        done, _, running = [await arrive(writer) for _ in range(3)]
    await complete_all(database, await must_take(database, done))
    await must_take(database, running)
    await queue.pass_time(database, done, seconds=5)
    async with database.connection() as conn:
        jobs, finished = await count_jobs(conn), await count_done(conn)
    assert (jobs.pending, jobs.processing, jobs.failed, jobs.cancelled) == (4, 4, 0, 0)
    assert jobs.oldest_pending_age_s is not None
    assert finished.completed == 4


async def test_low_priority_moves_under_endless_urgent_work(database: Database) -> None:
    async with writing(database, AT_ONCE) as writer:
        urgent = [await arrive(writer, steps=0, status="error") for _ in range(30)]
        low = await arrive(writer, steps=0)
    async with database.connection() as conn:
        await conn.execute("UPDATE reasoning_jobs SET priority = 0 WHERE trace_id <> $1", low.trace_id)
        await conn.execute("UPDATE reasoning_jobs SET priority = 9 WHERE trace_id = $1", low.trace_id)
    worker = Worker(database, None, WorkerOptions(batch=10))
    looked = [await worker._look(Lane(), number) for number in range(1, 13)]
    assert low not in {due.key for due in looked[0]}
    assert sum(low in {due.key for due in page} for page in looked) == 3
    assert {due.key for due in looked[0]} <= set(urgent)


async def test_a_late_span_is_explained_with_what_it_makes_stale(database: Database) -> None:
    """Twice the whole way: the second run names a revision that holds for all."""
    async with writing(database, AT_ONCE) as writer, working(database):
        key = await arrive(writer)
        await until(lambda: is_quiet(database))
        await arrive(writer, trace_id=key.trace_id)
        await until(lambda: is_quiet(database))
    (found,) = await rows(
        database,
        """SELECT count(*) AS n, count(*) FILTER (WHERE r.revision = e.revision) AS current
           FROM reasonings r JOIN executions e USING (project_id, trace_id)""",
    )
    assert (found["n"], found["current"]) == (7, 7)
