"""The queue's plans stay cheap over many dead, future and running rows, with statistics fresh and stale."""

import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from collector.reasoning.worker import FAIR_LOOK
from collector.store.completion import DISCARD
from collector.store.database import Database
from collector.store.jobs import BEAT, LOOK, PLAN_ONCE, TAKE
from collector.store.leases import LOST

ROWS, MILLION = 30_000, 1_000_000
FILL = """
INSERT INTO reasoning_jobs (project_id, trace_id, span_id, status, priority, run_at, lease_token, lease_until)
SELECT 1, decode(md5(g::text), 'hex'), CASE WHEN g % 3 = 0 THEN '\\x' ELSE '\\x0102030405060708'::bytea END, status, 5,
    CASE g % 4 WHEN 0 THEN now() - interval '1 hour' WHEN 1 THEN now() + interval '1 day' ELSE 'infinity' END,
    CASE WHEN status = 'processing' THEN gen_random_uuid() END, now() + interval '1 minute'
FROM generate_series(1, $1::int) g, LATERAL (SELECT CASE
    WHEN g % 500 = 0 THEN 'processing' WHEN g % 10 = 9 THEN 'failed'
    WHEN g % 4 = 0 AND g % 40 <> 0 THEN 'cancelled' ELSE 'pending' END AS status) s
"""
MOST_ROWS = 1_000
MOST_BLOCKS = 60


@pytest.fixture(params=["fresh", "stale"])
async def full(database: Database, request: pytest.FixtureRequest) -> Database:
    async with database.connection() as conn:
        if request.param == "stale":
            await conn.execute("ANALYZE reasoning_jobs")
        await conn.execute(FILL, ROWS)
        if request.param == "fresh":
            await conn.execute("VACUUM ANALYZE reasoning_jobs")
    return database


async def explained(database: Database, statement: str, *arguments: Any) -> list[dict[str, Any]]:
    """All nodes of the plan as it ran."""
    async with database.connection() as conn, conn.transaction():
        await conn.execute(PLAN_ONCE)
        text = await conn.fetchval("EXPLAIN (ANALYZE, BUFFERS, FORMAT json) " + statement, *arguments)
    nodes = [json.loads(text)[0]["Plan"]]
    for node in nodes:
        nodes.extend(node.get("Plans", []))
    return nodes


def check(nodes: list[dict[str, Any]], index: str) -> None:
    assert "Seq Scan" not in {node["Node Type"] for node in nodes}
    assert index in {node.get("Index Name") for node in nodes}
    seen = sum(node["Actual Rows"] + node.get("Rows Removed by Filter", 0) for node in nodes if "Index Name" in node)
    assert seen <= MOST_ROWS
    assert nodes[0]["Shared Hit Blocks"] + nodes[0]["Shared Read Blocks"] <= MOST_BLOCKS


async def test_look_reads_what_it_returns(full: Database) -> None:
    await check_that_look_reads_little(full)


async def test_take_beat_and_complete_read_one_execution(full: Database) -> None:
    await check_that_the_rest_reads_little(full)


async def test_the_sweep_reads_what_runs(full: Database) -> None:
    await check_that_the_sweep_reads_little(full, ROWS)


@pytest.mark.soak
@pytest.mark.timeout(300)
async def test_a_million_rows_change_nothing(database: Database) -> None:
    """First with the statistics of an empty table, then with fresh ones."""
    async with database.connection() as conn:
        await conn.execute("ANALYZE reasoning_jobs")
        await conn.execute("SET synchronous_commit = off")
        await conn.execute(FILL, MILLION, timeout=200)
    for statement in ("SELECT 1", "VACUUM ANALYZE reasoning_jobs"):
        async with database.connection() as conn:
            await conn.execute(statement, timeout=60)
        await check_that_look_reads_little(database)
        await check_that_the_rest_reads_little(database)
        await check_that_the_sweep_reads_little(database, MILLION)


async def check_that_look_reads_little(full: Database) -> None:
    """Without the settings of a transaction, as the worker looks."""
    async with full.connection() as conn:
        text = await conn.fetchval("EXPLAIN (ANALYZE, BUFFERS, FORMAT json) " + LOOK, 0, 10, 64)
    nodes = [json.loads(text)[0]["Plan"]]
    for node in nodes:
        nodes.extend(node.get("Plans", []))
    (scan,) = [node for node in nodes if "Index Name" in node]
    assert scan["Index Name"] == "reasoning_jobs_due"
    assert scan["Actual Rows"] <= 64
    assert FAIR_LOOK > 1


async def check_that_the_rest_reads_little(full: Database) -> None:
    async with full.connection() as conn:
        trace_id = await conn.fetchval("SELECT trace_id FROM reasoning_jobs WHERE status = 'pending' LIMIT 1")
    token, lease = uuid4(), timedelta(seconds=60)
    check(await explained(full, TAKE, 1, trace_id, token, lease, "w", 100), "reasoning_jobs_pkey")
    beat = await explained(full, BEAT, 1, trace_id, token, lease)
    assert {node.get("Index Name") for node in beat} & {"reasoning_jobs_pkey", "reasoning_jobs_processing"}
    check(await explained(full, DISCARD, 1, trace_id, token, [b""], 0), "reasoning_jobs_pkey")


async def check_that_the_sweep_reads_little(full: Database, count: int) -> None:
    nodes = await explained(full, LOST, 200)
    assert "reasoning_jobs_processing" in {node.get("Index Name") for node in nodes}
    assert sum(node.get("Rows Removed by Filter", 0) for node in nodes) <= count / 500


async def test_a_beat_is_a_hot_update(database: Database) -> None:
    """No index holds what a beat changes."""
    async with database.connection() as conn:
        await conn.execute(FILL, 2_000)
        token = await conn.fetchrow("SELECT trace_id, lease_token FROM reasoning_jobs WHERE status = 'processing'")
        await conn.execute("SELECT pg_stat_force_next_flush()")
        before = await hot(conn)
        for _ in range(50):
            await conn.execute(BEAT, 1, *token, timedelta(seconds=60))
        await conn.execute("SELECT pg_stat_force_next_flush()")
        after = await hot(conn)
    assert after["updates"] - before["updates"] == 50
    assert after["hot"] - before["hot"] >= 45


async def hot(conn: Any) -> Any:
    return await conn.fetchrow(
        "SELECT n_tup_upd AS updates, n_tup_hot_upd AS hot FROM pg_stat_user_tables WHERE relname = 'reasoning_jobs'"
    )
