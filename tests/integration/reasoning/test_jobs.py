"""The queue's rules, statement by statement."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from collector.model import EXECUTION_SPAN, ExecutionKey
from collector.store.completion import Finished, complete
from collector.store.database import Database
from collector.store.jobs import Failure, Lane, fail, give_back, look, snooze
from collector.store.leases import WORKER_LOST, Sweep, reopen, sweep
from tests.integration.reasoning import queue
from tests.integration.reasoning.queue import (
    AT_ONCE,
    A,
    B,
    arrive,
    complete_all,
    job,
    must_take,
    statuses,
    take_one,
    texts,
)
from tests.integration.store.writer_rows import rows, writing

SECOND = timedelta(seconds=1)
FAILURE = Failure("no luck", [10 * SECOND, 20 * SECOND, 40 * SECOND], 3)
RULE = Sweep([10 * SECOND, 20 * SECOND], 3)


async def looked(conn: Any, lane: Lane = Lane(), limit: int = 10) -> list[ExecutionKey]:  # noqa: B008 - immutable
    return [due.key for due in await look(conn, lane, limit)]


async def test_a_gate_is_taken_with_its_steps_and_by_one_worker_only(database: Database) -> None:
    async with writing(database, AT_ONCE) as writer:
        key = await arrive(writer, steps=3)
    taken = await must_take(database, key)
    assert len(taken.jobs) == 5
    assert taken.has_gate
    assert {job.attempts for job in taken.jobs.values()} == {1}
    assert await take_one(database, key, B) is None


async def test_many_takers_share_the_work_without_overlap(database: Database) -> None:
    async with writing(database, AT_ONCE) as writer:
        keys = [await arrive(writer) for _ in range(20)]
    takings = await asyncio.gather(*(take_one(database, key, lease) for lease in (A, B) for key in keys))
    assert sorted(taken.key for taken in takings if taken) == sorted(keys)


async def test_steps_wait_for_their_gate(database: Database) -> None:
    later = queue.WriterOptions(explained_kinds=frozenset({"tool"}), settle_ms=60_000, notify=False)
    async with writing(database, later) as writer:
        key = await arrive(writer)
    assert await take_one(database, key) is None
    async with database.connection() as conn:
        assert await looked(conn) == []


async def test_completion_deletes_the_jobs_and_keeps_the_results(database: Database) -> None:
    async with writing(database, AT_ONCE) as writer:
        key = await arrive(writer)
    taken = await must_take(database, key)
    await queue.pass_time(database, key, seconds=30)
    assert await complete_all(database, taken) == {key: set(taken.jobs)}
    assert await statuses(database, key) == ["completed"] * 4
    times = "SELECT finished_at - created_at AS took FROM reasoning_ledger WHERE project_id = $1 AND trace_id = $2"
    assert all(30 * SECOND <= row["took"] < 60 * SECOND for row in await rows(database, times, *key))


async def test_a_late_worker_changes_nothing(database: Database) -> None:
    async with writing(database, AT_ONCE) as writer:
        key = await arrive(writer)
    late = await must_take(database, key)
    await queue.pass_time(database, key, minutes=2)
    async with database.connection() as conn, conn.transaction():
        assert len((await sweep(conn, RULE))[key]) == 4
    await queue.pass_time(database, key, minutes=2)
    taken = await must_take(database, key, B)
    await complete_all(database, taken, "B was here.")
    before = await rows(database, "SELECT * FROM reasonings ORDER BY span_id")
    assert await complete_all(database, late, "A was late.") == {}
    assert await queue.beat_one(database, late) == ({}, {})
    async with database.connection() as conn:
        assert await fail(conn, late, list(late.jobs), FAILURE) == {}
        assert await snooze(conn, late, SECOND, SECOND, "closed") == {}
        assert await give_back(conn, [late]) == {}
    assert await rows(database, "SELECT * FROM reasonings ORDER BY span_id") == before
    assert set((await texts(database, key)).values()) == {"B was here."}


async def test_what_comes_while_it_runs_gives_exactly_one_more_run(database: Database) -> None:
    async with writing(database, AT_ONCE) as writer:
        key = await arrive(writer)
        taken = await must_take(database, key)
        await arrive(writer, trace_id=key.trace_id)
        await arrive(writer, trace_id=key.trace_id)
        await complete_all(database, taken)
    gate = await job(database, key)
    assert (gate["status"], gate["attempts"]) == ("pending", 0)
    assert 1 < gate["due_in_s"] <= 2
    await queue.pass_time(database, key, seconds=5)
    again = await must_take(database, key)
    assert len(again.jobs) == 1 + 6 + 3, "the gate, the new steps, and those whose explanation is stale"
    await complete_all(database, again)
    assert await take_one(database, key) is None
    assert await statuses(database, key) == ["completed"] * 10


async def test_a_gate_stays_while_steps_that_were_locked_wait_for_it(database: Database) -> None:
    async with writing(database, AT_ONCE) as writer:
        key = await arrive(writer)
    query = "SELECT span_id FROM reasoning_jobs WHERE span_id <> '' LIMIT 1 FOR UPDATE"
    async with database.connection() as other, other.transaction():
        held = await other.fetchval(query)
        taken = await must_take(database, key)
        assert held not in taken.jobs
    await complete_all(database, taken)
    assert (await job(database, key))["status"] == "pending"
    await queue.pass_time(database, key, seconds=5)
    assert set((await must_take(database, key)).jobs) >= {held, EXECUTION_SPAN}


async def test_failures_wait_longer_each_time_and_die(database: Database) -> None:
    async with writing(database, AT_ONCE) as writer:
        key = await arrive(writer, steps=0)
    waits = []
    for attempt in (1, 2, 3):
        taken = await must_take(database, key)
        assert taken.jobs[EXECUTION_SPAN].attempts == attempt
        async with database.connection() as conn:
            states = await fail(conn, taken, list(taken.jobs), FAILURE)
        waits.append((await job(database, key))["due_in_s"])
        await queue.pass_time(database, key, minutes=2)
    assert set(states.values()) == {"failed"}
    assert waits == pytest.approx([10, 20, 40], abs=1)
    assert await take_one(database, key) is None
    found = await rows(database, "SELECT error, attempts FROM reasoning_ledger")
    assert [(row["error"], row["attempts"]) for row in found] == [("no luck", 3)] * 2


async def test_only_the_last_five_errors_stay_and_each_is_short(database: Database) -> None:
    async with writing(database, AT_ONCE) as writer:
        key = await arrive(writer, steps=0)
    for number in range(7):
        await queue.pass_time(database, key, minutes=2)
        taken = await must_take(database, key)
        async with database.connection() as conn:
            await fail(conn, taken, list(taken.jobs), Failure(f"{number}\0" + "ä" * 3000, [SECOND], 99))
    query = (
        "SELECT json_array_length(errors) AS n, errors -> 0 ->> 'message' AS first, octet_length(errors::text) AS bytes"
    )
    found = (await rows(database, query + " FROM reasoning_jobs WHERE span_id = ''"))[0]
    assert found["n"] == 5
    assert found["first"].startswith("2\ufffdää")
    assert found["bytes"] < 5 * 2300


async def test_a_step_that_failed_alone_is_tried_again_without_its_gate(database: Database) -> None:
    async with writing(database, AT_ONCE) as writer:
        key = await arrive(writer)
    taken = await must_take(database, key)
    unlucky = max(taken.jobs)
    done = Finished(taken, [queue.result(span) for span in taken.jobs if span != unlucky])
    async with database.connection() as conn, conn.transaction():
        await complete(conn, [done], queue.QUIET)
        await fail(conn, taken, [unlucky], FAILURE)
    await queue.pass_time(database, key, minutes=1)
    again = await must_take(database, key)
    assert set(again.jobs) == {unlucky}
    assert again.jobs[unlucky].attempts == 2


async def test_a_snooze_costs_no_attempt_but_not_for_ever(database: Database) -> None:
    async with writing(database, AT_ONCE) as writer:
        key = await arrive(writer)
    for _ in range(12):
        taken = await must_take(database, key)
        assert taken.jobs[EXECUTION_SPAN].attempts == 1
        async with database.connection() as conn:
            states = await snooze(conn, taken, 30 * SECOND, timedelta(hours=24), "the provider is closed")
        assert set(states.values()) == {"pending"}
        assert (await job(database, key))["due_in_s"] == pytest.approx(30, abs=1)
        await queue.pass_time(database, key, minutes=1)
    found = (await rows(database, "SELECT snoozes, errors FROM reasoning_jobs WHERE span_id = ''"))[0]
    assert found["snoozes"] == 12
    assert found["errors"].count("the provider is closed") == 1
    await queue.pass_time(database, key, hours=24)
    taken = await must_take(database, key)
    async with database.connection() as conn:
        states = await snooze(conn, taken, 30 * SECOND, timedelta(hours=24), "the provider is closed")
    assert set(states.values()) == {"failed"}


async def test_a_deploy_costs_no_attempt(database: Database) -> None:
    async with writing(database, AT_ONCE) as writer:
        key = await arrive(writer)
    for _ in range(10):
        taken = await must_take(database, key)
        async with database.connection() as conn:
            assert (await give_back(conn, [taken]))[key] == set(taken.jobs)
    taken = await must_take(database, key)
    assert {job.attempts for job in taken.jobs.values()} == {1}
    assert len(taken.jobs) == 4


async def test_a_job_that_kills_its_workers_dies_and_says_so(database: Database) -> None:
    async with writing(database, AT_ONCE) as writer:
        key = await arrive(writer, steps=0)
    for _ in range(3):
        await must_take(database, key)
        await queue.pass_time(database, key, minutes=2)
        async with database.connection() as conn, conn.transaction():
            await sweep(conn, RULE)
        await queue.pass_time(database, key, minutes=2)
    assert await take_one(database, key) is None
    found = await rows(database, "SELECT status, attempts, error FROM reasoning_ledger")
    assert [(row["status"], row["attempts"], row["error"]) for row in found] == [("failed", 3, WORKER_LOST)] * 2


async def test_a_sweep_leaves_what_was_beaten_or_done_alone(database: Database) -> None:
    async with writing(database, AT_ONCE) as writer:
        living, done = [await arrive(writer) for _ in range(2)]
    taken = await must_take(database, living)
    await complete_all(database, await must_take(database, done))
    await queue.pass_time(database, living, minutes=2)
    assert await queue.beat_one(database, taken) == ({living: set(taken.jobs)}, {})
    async with database.connection() as conn, conn.transaction():
        assert await sweep(conn, RULE) == {}


async def test_two_sweepers_at_once_do_the_work_of_one(database: Database) -> None:
    async with writing(database, AT_ONCE) as writer:
        keys = [await arrive(writer) for _ in range(10)]
    for key in keys:
        await must_take(database, key)
        await queue.pass_time(database, key, minutes=2)

    async def one() -> int:
        async with database.connection() as conn, conn.transaction():
            return sum(len(spans) for spans in (await sweep(conn, RULE)).values())

    assert sum(await asyncio.gather(one(), one(), one())) == 40


async def test_work_that_came_as_its_gate_died_is_not_stranded(database: Database) -> None:
    async with writing(database, AT_ONCE) as writer:
        key = await arrive(writer)
    async with database.connection() as conn, conn.transaction():
        await conn.execute("UPDATE reasoning_jobs SET status = 'failed' WHERE span_id = ''")
        assert await take_one(database, key) is None
        assert await reopen(conn) == {key: {EXECUTION_SPAN}}
    assert len((await must_take(database, key)).jobs) == 4


async def test_settled_executions_wait_in_a_lane_of_their_own(database: Database) -> None:
    async with writing(database, AT_ONCE) as writer:
        key = await arrive(writer)
        taken = await must_take(database, key)
        async with database.connection() as conn:
            await give_back(conn, [taken], settled=True)
            assert await looked(conn, Lane(0, 10)) == []
            assert await looked(conn, Lane(10)) == [key]
        again = await must_take(database, key)
        assert again.is_settled
        async with database.connection() as conn:
            await give_back(conn, [again])
            assert await looked(conn, Lane(10)) == [key]
        await arrive(writer, trace_id=key.trace_id)
    async with database.connection() as conn:
        assert await looked(conn, Lane(0, 10)) == [key], "news are settled first"


async def test_errors_go_first(database: Database) -> None:
    async with writing(database, AT_ONCE) as writer:
        for _ in range(3):
            await arrive(writer)
        failed = await arrive(writer, status="error")
    async with database.connection() as conn:
        assert await looked(conn, limit=1) == [failed]
