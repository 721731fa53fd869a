"""What the writer stores: once, all together, and only what is new counts."""

import asyncio
import json
from datetime import date, timedelta

import pytest

from collector.errors import Unavailable
from collector.model import ExecutionKey, OriginRow
from collector.store.database import Database
from collector.store.writer import WriterOptions
from tests.integration.store.writer_rows import (
    OPTIONS,
    batch,
    everything,
    execution,
    jobs,
    record,
    root,
    rows,
    step,
    trace,
    writing,
)

FULL = {
    "name": "chat ☃",
    "kind": "llm",
    "status": "error",
    "status_code": 2,
    "status_message": "no",
    "error_type": "E",
    "error_message": "broken",
    "error_stacktrace": "line 1\nline 2",
    "input": '[{"role":"user"}]',
    "output": '"text"',
    "input_key": "gen_ai.input.messages",
    "output_key": "gen_ai.output.messages",
    "model": "m",
    "provider": "p",
    "tool": "t",
    "session_id": "s",
    "user_id": "u",
    "tokens_input": 2**40,
    "tokens_output": 2,
    "tokens_cached": 3,
    "tokens_cache_write": 4,
    "tokens_reasoning": 5,
    "cost_usd": 0.25,
    "cost_source": "sender",
    "extra": '{"execution_id":"mine"}',
    "attributes": '{"big": 9223372036854775807, "a":1.0}',
    "events": '[{"name":"e"}]',
    "links": "[]",
    "flags": 257,
    "trace_state": "k=v",
    "warnings": '["w"]',
    "wire": b"\x00\xff",
}


async def test_every_column_comes_back_as_it_was_given_on_all_ways(database: Database) -> None:
    one = trace()
    copied, looked_up, inserted = (step(one, **FULL) for _ in range(3))
    async with writing(database) as writer:
        await writer.write(batch([copied]))
        await writer.write(batch([copied, looked_up]))
        assert len(await writer.write(batch([inserted, step(one, name="a row that COPY refuses \0")]))) == 1
    for row in (copied, looked_up, inserted):
        (stored,) = await rows(
            database,
            "SELECT *, (extract(epoch FROM started_at) * 1000000)::bigint - 946684800000000 AS started_us "
            "FROM steps WHERE span_id = $1",
            row.span_id,
        )
        expected = row._asdict()
        assert stored["started_us"] == expected.pop("started_at")
        assert {name: stored[name] for name in expected} == expected


async def test_an_execution_is_merged_from_its_steps(database: Database) -> None:
    one, start_ns = trace(), 1_700_000_000_000_000_000
    async with writing(database) as writer:
        await writer.write(batch([step(one, start_ns=start_ns - 1_000_000, status="error", duration_ns=None)]))
        first = await execution(database, one)
        long_root = root(one, start_ns=start_ns, duration_ns=9_000_000_000, extra='{"execution_id":"b"}')
        await writer.write(batch([long_root]))
        await writer.write(batch([step(one, start_ns=start_ns, extra='{"execution_id":"a"}')]))
    merged = await execution(database, one)
    assert (first["name"], first["status"], first["step_count"], first["error_count"]) == ("work", "error", 1, 1)
    assert first["started_at"] == first["ended_at"]
    assert (merged["name"], merged["kind"], merged["service"], merged["status"]) == ("root", "agent", "shop", "ok")
    assert (merged["step_count"], merged["error_count"], merged["revision"]) == (3, 1, 3)
    assert merged["ended_at"] - merged["started_at"] == timedelta(seconds=9, milliseconds=1)
    assert merged["execution_id"] == "a"
    assert merged["first_received_at"] == first["first_received_at"] < merged["last_received_at"]


async def test_writing_the_same_twice_changes_nothing(database: Database) -> None:
    traces = [trace() for _ in range(5)]
    given = batch(
        [row for one in traces for row in (root(one), step(one, kind="tool"), step(one, status="error"))],
        [record(one) for one in traces],
    )
    async with writing(database) as writer:
        await writer.write(given)
        before = await everything(database)
        for _ in range(3):
            assert await writer.write(given) == []
        assert await everything(database) == before
    assert len(before["steps"]) == 15


async def test_a_span_twice_in_one_request_counts_once(database: Database) -> None:
    one = trace()
    row = root(one)
    async with writing(database) as writer:
        await writer.write(batch([row, step(one), row._replace(name="a later copy")]))
    merged = await execution(database, one)
    assert (merged["step_count"], merged["name"]) == (2, "root")


async def test_a_span_id_with_another_start_is_another_row(database: Database) -> None:
    one = trace()
    first = root(one, span_id=b"12345678", start_ns=1_700_000_000_000_000_000)
    second = root(one, span_id=b"12345678", start_ns=1_700_000_001_000_000_000)
    async with writing(database) as writer:
        await writer.write(batch([first]))
        await writer.write(batch([second]))
        await writer.write(batch([second, first]))
    assert len(await rows(database, "SELECT FROM steps")) == 2
    assert (await execution(database, one))["step_count"] == 2
    assert set(await jobs(database, one)) == {b"12345678", b""}


async def test_only_new_rows_of_a_repeated_request_count(database: Database) -> None:
    one = trace()
    old, new = step(one, status="error"), [step(one, status="error"), step(one)]
    async with writing(database) as writer:
        await writer.write(batch([old], [kept := record(one)]))
        await writer.write(batch([old, *new], [kept, record(one)]))
    merged = await execution(database, one)
    assert (merged["step_count"], merged["error_count"], merged["revision"]) == (3, 2, 5)


async def test_steps_outside_all_days_go_to_the_default_partition(database: Database) -> None:
    one = trace()
    async with writing(database) as writer:
        await writer.write(batch([step(one, start_ns=0), step(one, start_ns=2**63 - 1), step(one)]))
    partitions = await rows(
        database, "SELECT tableoid::regclass::text AS name, count(*) FROM steps GROUP BY 1 ORDER BY 2"
    )
    assert [found["count"] for found in partitions] == [1, 2]
    assert partitions[1]["name"] == "steps_default"
    assert (await execution(database, one))["step_count"] == 3


async def test_requests_that_wait_together_are_one_transaction(database: Database) -> None:
    async with writing(database, WriterOptions(connections=1, notify=False)) as writer:
        told: list[list[ExecutionKey]] = []
        writer.on_commit.append(told.append)
        traces = sorted(trace() for _ in range(20))
        await asyncio.gather(*(writer.write(batch([root(one)])) for one in traces))
    assert sum(map(len, told)) == 20
    assert len(told) == 1
    assert told[0] == [ExecutionKey(1, one) for one in traces]


async def test_a_caller_that_gave_up_disturbs_nobody(database: Database) -> None:
    given_up, stays = trace(), trace()
    async with writing(database, WriterOptions(connections=1)) as writer:
        first = asyncio.create_task(writer.write(batch([root(given_up)])))
        second = asyncio.create_task(writer.write(batch([root(stays)])))
        await asyncio.sleep(0)
        first.cancel()
        assert await second == []
        assert writer.is_healthy
        await writer.write(batch([root(given_up)]))
    assert (await execution(database, stays))["step_count"] == 1
    assert (await execution(database, given_up))["step_count"] == 1


async def test_stopping_stores_what_waits(database: Database) -> None:
    async with writing(database) as writer:
        traces = [trace() for _ in range(50)]
        written = [asyncio.create_task(writer.write(batch([root(one)]))) for one in traces]
        await asyncio.sleep(0)
        await writer.stop()
        assert await asyncio.gather(*written) == [[]] * 50
        with pytest.raises(Unavailable):
            await writer.write(batch([root(trace())]))
    assert len(await rows(database, "SELECT FROM executions")) == 50


async def test_origins_are_kept_once_and_seen_again_on_another_day(database: Database) -> None:
    origin = OriginRow(1, b"x" * 16, None, json.dumps({"attributes": {}}), "{}", b"")
    async with writing(database) as writer:
        await writer.write(batch([step(trace())], (), origin))
        await rows(database, "UPDATE origins SET seen_on = CURRENT_DATE - 9")
        await writer.write(batch([step(trace())], (), origin))
    assert (await rows(database, "SELECT CURRENT_DATE - seen_on AS days FROM origins"))[0]["days"] == 9
    async with writing(database) as restarted:
        await restarted.write(batch([step(trace())], (), origin))
    (kept,) = await rows(database, "SELECT seen_on, CURRENT_DATE AS today FROM origins")
    assert isinstance(kept["seen_on"], date)
    assert kept["seen_on"] == kept["today"]


async def test_workers_are_told_after_the_commit(database: Database) -> None:
    listener = await database.connect()
    heard = asyncio.Event()
    await listener.add_listener("xray_jobs", lambda *_: heard.set())
    try:
        async with writing(database, OPTIONS) as writer:
            writing_it = asyncio.create_task(writer.write(batch([root(trace())])))
            await asyncio.wait_for(heard.wait(), 5)
            assert len(await rows(database, "SELECT FROM reasoning_jobs WHERE span_id = ''")) == 1
            assert not await writing_it
    finally:
        await listener.close()
