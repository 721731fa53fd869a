"""Rows as mapping makes them, and what the database holds of them afterwards."""

import os
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from collector.model import POSTGRES_EPOCH_US, Batch, OriginRow, RecordRow, StepRow
from collector.store.database import Database
from collector.store.writer import Writer, WriterOptions

ORIGIN = OriginRow(1, b"o" * 16, "shop", '{"attributes":{"service.name":"shop"}}', '{"name":"tests"}', b"\n\x00")
OPTIONS = WriterOptions(explained_kinds=frozenset({"llm", "tool", "agent"}))


def trace() -> bytes:
    return os.urandom(16)


def step(trace_id: bytes, **columns: Any) -> StepRow:
    """A child of a root that is elsewhere, ended well, of a kind that is not explained."""
    start_ns = columns.pop("start_ns", time.time_ns())
    row: dict[str, Any] = dict.fromkeys(StepRow._fields) | {
        "project_id": 1,
        "trace_id": trace_id,
        "span_id": os.urandom(8),
        "started_at": start_ns // 1000 - POSTGRES_EPOCH_US,
        "start_ns": start_ns,
        "duration_ns": 5_000_000,
        "parent_span_id": b"elsewher",
        "name": "work",
        "kind": "function",
        "span_kind": 1,
        "status": "unset",
        "status_code": 0,
        "service": "shop",
        "attributes": '{"n":1}',
        "origin_id": ORIGIN.origin_id,
    }
    return StepRow(**row | columns)


def root(trace_id: bytes, **columns: Any) -> StepRow:
    return step(trace_id, **{"name": "root", "kind": "agent", "parent_span_id": None} | columns)


def record(trace_id: bytes, **columns: Any) -> RecordRow:
    row = {
        "project_id": 1,
        "trace_id": trace_id,
        "span_id": b"",
        "record_id": os.urandom(16),
        "time_ns": time.time_ns(),
        "event_name": None,
        "severity": 9,
        "body": '"hello"',
        "attributes": "{}",
        "origin_id": ORIGIN.origin_id,
        "warnings": None,
    }
    return RecordRow(**row | columns)


def batch(steps: Iterable[StepRow] = (), records: Iterable[RecordRow] = (), *origins: OriginRow) -> Batch:
    return Batch(
        list(steps),
        list(records),
        {(origin.project_id, origin.origin_id): origin for origin in origins or (ORIGIN,)},
        size_bytes=1000,
    )


@asynccontextmanager
async def writing(database: Database, options: WriterOptions = OPTIONS) -> AsyncIterator[Writer]:
    writer = Writer(database, options)
    await writer.start()
    try:
        yield writer
    finally:
        await writer.stop()


async def rows(database: Database, query: str, *arguments: Any) -> list[dict[str, Any]]:
    async with database.connection() as connection:
        return [dict(row) for row in await connection.fetch(query, *arguments)]


async def everything(database: Database) -> dict[str, list[dict[str, Any]]]:
    """All that writing twice must not change."""
    return {
        table: await rows(database, f"SELECT t.* FROM {table} t ORDER BY t::text")
        for table in ("steps", "records", "executions", "reasoning_jobs", "origins")
    }


async def execution(database: Database, trace_id: bytes) -> dict[str, Any]:
    (found,) = await rows(database, "SELECT * FROM executions WHERE project_id = 1 AND trace_id = $1", trace_id)
    return found


async def jobs(database: Database, trace_id: bytes) -> dict[bytes, dict[str, Any]]:
    """The jobs of an execution by span id; the gate's is empty."""
    found = await rows(
        database,
        """SELECT *, run_at = 'infinity' AS waits, extract(epoch FROM run_at - now())::float AS due_in_s,
                  extract(epoch FROM settle_by - now())::float AS settle_in_s
           FROM (SELECT * FROM reasoning_jobs WHERE project_id = 1 AND trace_id = $1) j""",
        trace_id,
    )
    return {row["span_id"]: row for row in found}
