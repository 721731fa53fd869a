"""Today's mapping over what was stored with an older one: every step is read back as the span it was, and mapped anew.

Executions are done one by one in key order, each in a transaction of its own, and the place is kept: a run that was
stopped goes on from there. What has settled settles again; its reasoning is stale then, and is not paid for again.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from importlib.metadata import version
from typing import Any, NamedTuple

import asyncpg
import orjson
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans
from sqlalchemy.dialects import postgresql

from collector.mapping.assemble import assemble
from collector.mapping.otlp_out import span_of
from collector.mapping.prices import PriceTable
from collector.mapping.steps import map_traces
from collector.model import ExecutionKey, StepRow
from collector.store import schema
from collector.store.database import Database
from collector.store.executions import ExecutionRow, load_execution, read_steps
from collector.store.records import read_records
from collector.store.settling import Settled, settle

EVER = datetime(1970, 1, 1, tzinfo=UTC)
POSTGRES_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
BEGIN_KEY = ExecutionKey(-1, b"")
PAGE_STEPS = 200
EXECUTIONS_A_LOOK = 200
ALTERED = "replaced by"
"""Stands in warnings about data that the decoder had to alter: the mapping can't find that out again."""

KEPT_COLUMNS = frozenset(
    (
        *("project_id", "trace_id", "span_id", "started_at", "start_ns", "parent_span_id", "name", "span_kind"),
        *("status_code", "status_message", "origin_id", "flags", "trace_state"),
    )
)
"""What a span says itself, in columns that no mapping rule touches."""
MAPPED = tuple(name for name in StepRow._fields if name not in KEPT_COLUMNS)

COUNT = "SELECT count(*) FROM executions WHERE started_at >= $1"
LOOK = """
SELECT project_id, trace_id FROM executions
WHERE (project_id, trace_id) > ($1, $2) AND started_at >= $3 ORDER BY project_id, trace_id LIMIT $4
"""
# One at a time with ingest, which takes the row of `executions` after it inserted its steps.
LOCK = "SELECT 1 FROM executions WHERE project_id = $1 AND trace_id = $2 FOR UPDATE"
# By primary key, pruned to the execution's own time.
PAGE = f"""
SELECT {", ".join(StepRow._fields)} FROM steps
WHERE project_id = $1 AND trace_id = $2 AND started_at BETWEEN $3 AND $4 AND (started_at, span_id) > ($5, $6)
ORDER BY started_at, span_id LIMIT $7
"""  # noqa: S608 - names of columns
ORIGINS = "SELECT origin_id, wire FROM origins WHERE project_id = $1 AND origin_id = ANY ($2::bytea[])"
# What was explained before is stale from now on.
CHANGED = """
UPDATE executions SET revision = revision + 1, error_count = error_count + $3
WHERE project_id = $1 AND trace_id = $2
"""
RESUME = "SELECT project_id, trace_id, done, changed FROM remap_runs WHERE mapping = $1 AND since = $2"
KEEP = """
INSERT INTO remap_runs (mapping, since, project_id, trace_id, done, changed) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (mapping, since) DO UPDATE SET project_id = EXCLUDED.project_id, trace_id = EXCLUDED.trace_id,
    done = EXCLUDED.done, changed = EXCLUDED.changed, changed_at = EXCLUDED.changed_at
"""
FORGET = "DELETE FROM remap_runs WHERE mapping = $1 AND since = $2"


class Place(NamedTuple):
    """How far a run got."""

    key: ExecutionKey = BEGIN_KEY
    done: int = 0
    changed: int = 0


async def remap(
    database: Database,
    since: datetime | None,
    progress: Callable[[int, int], None],
    prices: PriceTable | None = None,
) -> int:
    """Map the steps of all executions that began since then anew; says how many steps changed.

    `progress` is told how many executions are done, of how many. Stop it at any time: the next call with the same
    `since` and the same program goes on where this one was.
    """
    run = (version("xray-collector"), since or EVER)
    async with database.connection() as conn:
        total = await conn.fetchval(COUNT, since or EVER)
        found = await conn.fetchrow(RESUME, *run)
    place = Place(ExecutionKey(found[0], found[1]), found[2], found[3]) if found else Place()
    progress(place.done, max(total, place.done))
    while keys := await _look(database, place.key, since or EVER):
        for key in keys:
            changed = await database.retrying(partial(_remap_execution, database, key, prices))
            place = Place(key, place.done + 1, place.changed + changed)
            async with database.connection() as conn:
                await conn.execute(KEEP, *run, *key, place.done, place.changed)
            progress(place.done, max(total, place.done))
    async with database.connection() as conn:
        await conn.execute(FORGET, *run)
    return place.changed


async def _look(database: Database, after: ExecutionKey, since: datetime) -> list[ExecutionKey]:
    async with database.connection() as conn:
        return [ExecutionKey(*row) for row in await conn.fetch(LOOK, *after, since, EXECUTIONS_A_LOOK)]


async def _remap_execution(database: Database, key: ExecutionKey, prices: PriceTable | None) -> int:
    """One execution in one transaction; says how many of its steps changed."""
    async with database.begin() as conn:
        raw: asyncpg.Connection = (await conn.get_raw_connection()).driver_connection
        await raw.execute(LOCK, *key)
        execution = await load_execution(conn, key)
        if execution is None:
            return 0
        changed, errors = await _remap_steps(raw, execution)
        if not changed:
            return 0
        await raw.execute(CHANGED, *key, errors)
        if execution.settled:
            steps, facts = await asyncio.to_thread(
                assemble, await read_steps(conn, execution), (await read_records(conn, key)).found, prices
            )
            await settle(raw, [Settled(key, execution.revision + 1, facts, steps)])
        return changed


async def _remap_steps(conn: asyncpg.Connection, execution: ExecutionRow) -> tuple[int, int]:
    """How many steps changed, and by how much the number of failed ones."""
    changed = errors = 0
    last = (execution.started_at - timedelta(microseconds=1), b"")
    while True:
        page = await conn.fetch(PAGE, *execution.key, execution.started_at, execution.ended_at, *last, PAGE_STEPS)
        if not page:
            return changed, errors
        last = (page[-1]["started_at"], page[-1]["span_id"])
        pairs = await _mapped_anew(conn, [_row_of(found) for found in page])
        different = [(old, new) for old, new in pairs if _differs(old, new)]
        if different:
            await conn.execute(update_steps(), *execution.key, *_columns(new for _, new in different))
        changed += len(different)
        errors += sum((new.status == "error") - (old.status == "error") for old, new in different)


def _row_of(found: asyncpg.Record) -> StepRow:
    row = StepRow(*found)
    if row.cost_source == "prices":  # settling wrote it, no mapping
        row = row._replace(cost_usd=None, cost_source=None)
    return row._replace(started_at=(found["started_at"] - POSTGRES_EPOCH) // timedelta(microseconds=1))


async def _mapped_anew(conn: asyncpg.Connection, rows: Sequence[StepRow]) -> list[tuple[StepRow, StepRow]]:
    """Each row with what today's mapping makes of its span; rows that no span stands behind are left out."""
    wanted = list({row.origin_id for row in rows})
    origins = {row[0]: row[1] for row in await conn.fetch(ORIGINS, rows[0].project_id, wanted)}
    request = ExportTraceServiceRequest()
    known: dict[tuple[bytes, int], StepRow] = {}
    repairs: dict[bytes, list[str]] = {}
    for origin_id, wire in origins.items():
        of_resource = ResourceSpans.FromString(wire)
        for row in rows:
            if row.origin_id == origin_id:
                of_resource.scope_spans[0].spans.append(span_of(row))
                known[row.span_id, row.started_at] = row
                repairs[row.span_id] = [text for text in orjson.loads(row.warnings or "[]") if ALTERED in text]
        request.resource_spans.append(of_resource)
    mapped = map_traces(request, lambda _: rows[0].project_id, repairs).steps
    return [(known[new.span_id, new.started_at], new) for new in mapped if (new.span_id, new.started_at) in known]


def _differs(old: StepRow, new: StepRow) -> bool:
    """Whether a mapped fact changed; the order of attributes, in which a moved one may come last, is none."""
    if any(getattr(old, name) != getattr(new, name) for name in MAPPED if name not in ("attributes", "wire")):
        return True
    if old.wire is None and new.wire is not None:
        return True
    return old.attributes != new.attributes and bool(orjson.loads(old.attributes) != orjson.loads(new.attributes))


def _columns(rows: Iterable[StepRow]) -> list[list[Any]]:
    found = list(rows)
    times = [POSTGRES_EPOCH + timedelta(microseconds=row.started_at) for row in found]
    return [[row.span_id for row in found], times, *([getattr(row, name) for row in found] for name in MAPPED)]


@cache
def update_steps() -> str:
    """Write the mapped columns of one execution's steps, by primary key; what a span says itself stays."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]  # no types there
    names = ("span_id", "started_at", *MAPPED)
    types = [schema.steps.c[name].type.compile(dialect) for name in names]
    arrays = ", ".join(f"${number}::{sql_type}[]" for number, sql_type in enumerate(types, 3))
    values = ", ".join(f"{name} = u.{name}" for name in MAPPED if name != "wire")
    return (
        f"UPDATE steps s SET {values}, wire = COALESCE(s.wire, u.wire) "  # noqa: S608 - names of columns
        f"FROM unnest({arrays}) AS u ({', '.join(names)}) "
        "WHERE s.project_id = $1 AND s.trace_id = $2 AND s.span_id = u.span_id AND s.started_at = u.started_at"
    )
