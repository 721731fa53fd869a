"""Rows that are bad, connections that die, writers that get in each other's way."""

import asyncio
import random
import time

import pytest

from collector.errors import Overloaded, Unavailable
from collector.model import Batch, OriginRow, Refusal
from collector.store.database import Database
from collector.store.writer import Writer, WriterOptions
from tests.conftest import Server
from tests.integration.store.writer_rows import (
    OPTIONS,
    batch,
    execution,
    record,
    root,
    rows,
    step,
    trace,
    writing,
)

NUL, LONE_SURROGATE, NOT_JSON, TOO_LARGE = "a\0b", "\ud800", "{", 2**63


async def together(writer: Writer, *batches: Batch) -> list[list[Refusal]]:
    return await asyncio.gather(*(writer.write(each) for each in batches))


@pytest.mark.parametrize(
    "bad",
    [
        {"name": NUL},
        {"service": LONE_SURROGATE},
        {"attributes": NOT_JSON},
        {"tokens_input": TOO_LARGE},
        {"name": None},
        {"start_ns": -1, "parent_span_id": None},
        {"extra": '{"execution_id":7}'},
    ],
    ids=lambda bad: next(iter(bad)),
)
async def test_a_bad_span_costs_only_itself(database: Database, bad: dict[str, object]) -> None:
    one, other = trace(), trace()
    culprit = step(one)._replace(**bad)
    async with writing(database, WriterOptions(connections=1)) as writer:
        many = [step(other) for _ in range(40)]
        answers = await together(
            writer, batch(many), batch([root(one), culprit]), batch([root(other)], [record(other)])
        )
    assert [len(answer) for answer in answers] == [0, 1, 0]
    (refusal,) = answers[1]
    assert (refusal.reason, refusal.spans) == ("database", 1)
    assert culprit.span_id.hex() in refusal.message
    assert (await execution(database, other))["step_count"] == 41
    assert (await execution(database, other))["revision"] == 42
    assert (await execution(database, one))["step_count"] == 1
    assert len(await rows(database, "SELECT FROM records")) == 1


async def test_a_bad_log_record_costs_only_itself(database: Database) -> None:
    one = trace()
    async with writing(database) as writer:
        (refusals,) = await together(writer, batch([root(one)], [record(one), record(one, body=NOT_JSON), record(one)]))
    assert [refusal.spans for refusal in refusals] == [1]
    assert (await execution(database, one))["revision"] == 3


async def test_a_bad_resource_costs_only_its_spans(database: Database) -> None:
    one = trace()
    bad = OriginRow(1, b"b" * 16, "shop", NOT_JSON, "{}", b"")
    good = OriginRow(1, b"o" * 16, "shop", "{}", "{}", b"")
    given = [step(one), step(one, origin_id=bad.origin_id), step(one, origin_id=bad.origin_id)]
    async with writing(database) as writer:
        refusals = await writer.write(batch(given, [], bad, good))
    assert [refusal.reason for refusal in refusals] == ["database"] * 2
    assert (await execution(database, one))["step_count"] == 1


async def test_only_bad_spans_are_all_refused(database: Database) -> None:
    one = trace()
    async with writing(database) as writer:
        refusals = await writer.write(batch([step(one, name=NUL) for _ in range(5)]))
        assert len(refusals) == 5
        assert await writer.write(batch([root(one)])) == []


async def terminate(database: Database, condition: str) -> int:
    ended = await rows(
        database,
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        f"WHERE datname = current_database() AND pid <> pg_backend_pid() AND {condition}",
    )
    return len(ended)


async def test_a_killed_backend_costs_no_acknowledged_span(database: Database) -> None:
    acknowledged, refused, done = [], 0, asyncio.Event()

    async def send(writer: Writer) -> None:
        nonlocal refused
        while not done.is_set():
            one = trace()
            try:
                await writer.write(batch([root(one), *(step(one) for _ in range(20))]))
                acknowledged.append(one)
            except Unavailable:
                refused += 1

    async with writing(database) as writer:
        senders = [asyncio.create_task(send(writer)) for _ in range(4)]
        for _ in range(5):
            before = len(acknowledged)
            while len(acknowledged) < before + 8:
                await asyncio.sleep(0)
            assert await terminate(database, "query ~ 'COPY|COMMIT|BEGIN|INSERT|ROLLBACK'")
        done.set()
        await asyncio.wait_for(asyncio.gather(*senders), 10)
        await until_stored(writer, batch([root(trace())]))
    stored = {row["trace_id"]: row["step_count"] for row in await rows(database, "SELECT * FROM executions")}
    assert {one: stored.get(one) for one in acknowledged} == dict.fromkeys(acknowledged, 21)
    assert len(await rows(database, "SELECT FROM steps")) == sum(stored.values())
    assert refused


async def until_stored(writer: Writer, given: Batch) -> None:
    while True:
        try:
            await writer.write(given)
        except Unavailable:
            await asyncio.sleep(0)
        else:
            return


async def test_connections_that_died_while_idle_are_made_anew(database: Database) -> None:
    async with writing(database, OPTIONS) as writer:
        await writer.write(batch([root(trace())]))
        assert await terminate(database, "backend_type = 'client backend'")
        one = trace()
        await until_stored(writer, batch([root(one)]))
        assert (await execution(database, one))["step_count"] == 1


async def until_refused(writer: Writer) -> None:
    while True:
        await writer.write(batch([root(trace())]))


async def test_without_postgres_writing_is_refused_until_it_is_back(
    database: Database, database_name: str, server: Server
) -> None:
    async with writing(database) as writer:
        await server.command(f"ALTER DATABASE {database_name} ALLOW_CONNECTIONS false")
        await server.command(
            f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{database_name}'"
        )
        with pytest.raises(Unavailable):
            await until_refused(writer)
        while writer.is_available:
            await asyncio.sleep(0)
        with pytest.raises(Unavailable):
            await writer.write(batch([root(trace())]))
        await server.command(f"ALTER DATABASE {database_name} ALLOW_CONNECTIONS true")
        while not writer.is_available:
            await asyncio.sleep(0)
        assert await writer.write(batch([root(trace())])) == []
        assert writer.is_healthy


async def test_more_than_the_queue_holds_is_shed(database: Database) -> None:
    async with writing(database, WriterOptions(queue_bytes=2500)) as writer:
        answers = await asyncio.gather(
            *(writer.write(batch([root(trace())])) for _ in range(5)), return_exceptions=True
        )
        assert sum(isinstance(answer, Overloaded) for answer in answers) == 3
        assert await writer.write(batch([root(trace())])) == []
    assert len(await rows(database, "SELECT FROM steps")) == 3


async def test_eight_writers_with_the_same_shuffled_spans_never_deadlock(database: Database) -> None:
    rng, starts_ns = random.Random(5), (0, 1_700_000_000 * 10**9, time.time_ns())
    traces = [trace() for _ in range(250)]
    shared = [root(one) for one in traces]
    shared += [step(one, kind="tool", start_ns=rng.choice(starts_ns)) for one in traces for _ in range(7)]
    records = [record(one) for one in traces]

    async def send(seed: int) -> None:
        order, mine, also = random.Random(seed), shared + [step(one) for one in traces], list(records)
        order.shuffle(mine)
        order.shuffle(also)
        parts = [batch(mine[part::4], also[part::4]) for part in range(4)]
        async with writing(database, OPTIONS) as writer:
            assert await together(writer, *parts) == [[]] * 4

    async with asyncio.TaskGroup() as group, asyncio.timeout(40):
        for seed in range(8):
            group.create_task(send(seed))
    (deadlocks,) = await rows(database, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    assert deadlocks["deadlocks"] == 0
    merged = await rows(
        database,
        "SELECT e.*, j.revision AS armed FROM executions e "
        "JOIN reasoning_jobs j USING (project_id, trace_id) WHERE j.span_id = ''",
    )
    assert {(row["step_count"], row["name"]) for row in merged} == {(16, "root")}
    assert len(merged) == len(traces)
    # A record that came before its execution is not part of the revision.
    assert {row["revision"] for row in merged} <= {16, 17}
    assert all(row["revision"] == row["armed"] for row in merged)


async def test_a_connection_that_hangs_does_not_keep_the_other_one_from_storing(database: Database) -> None:
    held, other = trace(), trace()
    async with database.connection() as holder, writing(database) as writer:
        await writer.write(batch([root(held)]))
        holding = holder.transaction()
        await holding.start()
        await holder.execute("SELECT FROM executions WHERE trace_id = $1 FOR UPDATE", held)
        waits = asyncio.create_task(writer.write(batch([step(held)])))
        while not await rows(database, "SELECT FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0)
        assert await asyncio.wait_for(writer.write(batch([root(other)])), 5) == []
        assert not waits.done()
        await holding.rollback()
        assert await waits == []


async def test_a_server_that_takes_no_writes_counts_as_away(
    database: Database, database_name: str, server: Server
) -> None:
    await server.command(f"ALTER DATABASE {database_name} SET default_transaction_read_only = on")
    async with writing(database) as writer:
        assert not writer.is_available
        with pytest.raises(Unavailable):
            await writer.write(batch([root(trace())]))
        await server.command(f"ALTER DATABASE {database_name} RESET default_transaction_read_only")
        await until_stored(writer, batch([root(trace())]))
        assert writer.is_available
