"""What Postgres does for each read: a lost index is a red test."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest_asyncio
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection

from collector.model import ExecutionKey
from collector.store.changes import Watched, changed_executions, new_results, new_steps
from collector.store.database import Database
from collector.store.deletion import delete_execution
from collector.store.executions import Place, find_execution, list_executions, load_steps
from collector.store.ledger import LedgerFilter, list_jobs, load_job
from collector.store.reasonings import load_own_states, load_states
from collector.store.search import ExecutionFilter, conditions
from collector.store.stats import StatsFilter, step_stats, timeline
from collector.store.steps import load_wide_step

COUNT = 20_000
TRACE = (77).to_bytes(16, "big")
KEY = ExecutionKey(1, TRACE)
MIDDAY = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
TODAY = f"{MIDDAY:%Y%m%d}"

FILL = f"""
INSERT INTO executions (project_id, trace_id, root_order, name, kind, service, root_status, started_at, ended_at,
    step_count, error_count, revision, first_received_at, last_received_at, execution_id, session_id, models)
SELECT 1, decode(lpad(to_hex(n), 32, '0'), 'hex'), '\\x00', 'name' || n % 50, 'chain', 'service' || n % 20, 'ok', t,
    t + interval '1 s', 2, CASE WHEN n % 100 = 0 THEN 1 ELSE 0 END, 2, t, t, 'own' || n, 's' || n, '{{m}}'
FROM generate_series(1, {COUNT}) n, LATERAL (SELECT timestamptz '{MIDDAY.isoformat()}' - n * interval '2 s' AS t) at;
INSERT INTO steps (project_id, trace_id, span_id, started_at, start_ns, duration_ns, name, kind, span_kind, status,
    status_code, attributes, origin_id)
SELECT e.project_id, e.trace_id, decode(lpad(to_hex(k), 16, '0'), 'hex'), e.started_at, 0, 1000, 'step' || k, 'tool', 1,
    'ok', 0, '{{"a": "b"}}', '\\x00' FROM executions e, generate_series(1, 2) k;
INSERT INTO reasonings (project_id, trace_id, span_id, text, reasoner, revision, attempts, created_at)
SELECT project_id, trace_id, '', 'fine', 'rules', 2, 1, ended_at FROM executions WHERE error_count = 0;
INSERT INTO reasoning_jobs (project_id, trace_id, span_id)
SELECT project_id, trace_id, '' FROM executions WHERE error_count > 0
"""

Plans = Callable[[Callable[[AsyncConnection], Awaitable[Any]]], Awaitable[str]]


@pytest_asyncio.fixture
async def plans_of(database: Database) -> AsyncIterator[Plans]:
    """Runs a read over many rows; gives the plans of all its statements."""
    async with database.connection() as conn:
        await conn.execute(FILL)
        await conn.execute("ANALYZE executions, steps, reasonings, reasoning_jobs")

    async def plans(read: Callable[[AsyncConnection], Awaitable[Any]]) -> str:
        async with recorded(database) as statements, database.begin() as sqlalchemy_conn:
            await read(sqlalchemy_conn)
        lines: list[str] = []
        async with database.connection() as conn:
            for statement, parameters in statements:
                lines += [row[0] for row in await conn.fetch(f"EXPLAIN {statement}", *parameters)]
        return "\n".join(lines)

    yield plans


@asynccontextmanager
async def recorded(database: Database) -> AsyncIterator[list[tuple[str, Any]]]:
    statements: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if not statement.startswith("SET"):
            statements.append((statement, parameters))

    event.listen(database.engine.sync_engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(database.engine.sync_engine, "before_cursor_execute", note)


def page(after: Place | None = None, **wanted: Any) -> Callable[[AsyncConnection], Awaitable[Any]]:
    return lambda conn: list_executions(conn, 1, conditions(ExecutionFilter(**wanted)), after, 51)


async def test_pages_of_the_list_read_one_index_in_its_order(plans_of: Plans) -> None:
    middle = Place(MIDDAY - timedelta(hours=5), TRACE)
    expected = {
        "executions_latest": [page(), page(middle), page(status="ok"), page(name="name1"), page(plumbing=False)],
        "executions_service": [page(service="service1"), page(middle, service="service1")],
        "executions_errors": [page(has_error=True)],
    }
    for index, reads in expected.items():
        for read in reads:
            plan = await plans_of(read)
            assert index in plan, plan
            assert "Sort" not in plan, plan
            assert "Seq Scan" not in plan, plan
            assert "steps" not in plan, plan
    plan = await plans_of(page(session_id="s7"))
    assert "executions_session" in plan, plan
    assert "Seq Scan" not in plan, plan


async def test_searches_in_steps_go_through_the_executions_by_key(plans_of: Plans) -> None:
    searches: list[dict[str, Any]] = [{"kind": "llm"}, {"q": "needle"}, {"attributes": (("a", "c"),)}]
    for wanted in searches:
        plan = await plans_of(page(**wanted))
        assert "executions_latest" in plan, plan
        assert f"Index Scan using steps_{TODAY}_pkey" in plan, plan
        assert f"Seq Scan on steps_{TODAY}" not in plan, plan
        assert "hashed SubPlan" not in plan, plan


async def test_one_execution_is_read_by_key_and_from_its_own_days_only(plans_of: Plans) -> None:
    async def steps_of(conn: AsyncConnection) -> None:
        steps, _, row = await load_steps(conn, KEY)
        assert row is not None
        assert len(steps) == 2
        assert await load_wide_step(conn, row, steps[0].span_id) is not None
        await new_steps(conn, Watched(1, [TRACE], row.started_at), [row])
        assert (await find_execution(conn, 1, "own77")) == row
        await delete_execution(conn, row)

    plan = await plans_of(steps_of)
    assert "executions_own_id" in plan, plan
    assert "Seq Scan" not in plan, plan
    assert len(set(re.findall(r"on steps_(\d{8})", plan))) == 1, plan


async def test_reasoning_is_read_by_key(plans_of: Plans) -> None:
    ids = [number.to_bytes(16, "big") for number in range(1, 52)]

    async def reads(conn: AsyncConnection) -> None:
        await load_own_states(conn, 1, ids)
        await load_states(conn, KEY)
        await load_job(conn, KEY, b"")
        await list_jobs(conn, LedgerFilter(1, trace_id=TRACE), None, 51)
        await changed_executions(conn, Watched(1, ids, MIDDAY))
        await new_results(conn, Watched(1, ids, MIDDAY))

    plan = await plans_of(reads)
    for table in ("reasonings", "executions"):
        assert f"Seq Scan on {table}" not in plan, plan
    # A page of all jobs does not read all that was ever explained.
    plan = await plans_of(lambda conn: list_jobs(conn, LedgerFilter(1), None, 51))
    assert "reasonings_asked" in plan, plan
    assert "Seq Scan on reasonings" not in plan, plan


async def test_figures_read_only_the_time_that_was_asked_for(plans_of: Plans) -> None:
    until = MIDDAY
    wanted = StatsFilter(1, until - timedelta(minutes=10), until)
    plan = await plans_of(lambda conn: timeline(conn, wanted, timedelta(minutes=1)))
    assert "executions_latest" in plan, plan
    tomorrow = StatsFilter(1, until + timedelta(days=1), until + timedelta(days=1, minutes=5))
    plan = await plans_of(lambda conn: step_stats(conn, tomorrow, None, 100))
    assert len(set(re.findall(r"on steps_(\d{8})", plan))) <= 2, plan
