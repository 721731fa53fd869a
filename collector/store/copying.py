"""The ingest transaction: what one group of rows does on one connection, as named SQL.

Both ways take locks in one order (steps by partition and key, records, step jobs, executions by key, gates by key), so
that writers wait for each other and never in a circle. Others that touch an execution and its jobs in one transaction
take the row of `executions` first.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from functools import cache
from itertools import chain
from typing import Any, NamedTuple

import asyncpg
from sqlalchemy.dialects import postgresql

from collector.model import ExecutionKey, OriginRow, RecordRow, StepRow
from collector.store import schema
from collector.store.conflict import Vanished
from collector.store.merge import NO_STEP, Merge, StepJob, Summary, gate_of

# Upserts of other keys on the same shard need not wait for each other; a placeholder that plain Postgres ignores.
BEGIN = "BEGIN; SET LOCAL citus.all_modifications_commutative TO on"

# Resources and scopes; a day's first sight renews `seen_on`, so that retention sees what is in use.
KEEP_ORIGINS = """
INSERT INTO origins AS o (project_id, origin_id, service, resource, scope, wire, seen_on)
SELECT u.*, CURRENT_DATE FROM unnest($1::int[], $2::bytea[], $3::text[], $4::json[], $5::json[], $6::bytea[])
    AS u (project_id, origin_id, service, resource, scope, wire)
ON CONFLICT (project_id, origin_id) DO UPDATE SET seen_on = EXCLUDED.seen_on WHERE o.seen_on < EXCLUDED.seen_on
"""

# One row an execution, merged by rules that commute; what settling writes is not touched. In key order.
MERGE_EXECUTIONS = """
INSERT INTO executions AS e (project_id, trace_id, root_order, name, kind, service, root_status, started_at, ended_at,
    step_count, error_count, revision, execution_id, first_received_at, last_received_at)
SELECT u.*, now(), now() FROM unnest($1::int[], $2::bytea[], $3::bytea[], $4::text[], $5::text[], $6::text[],
        $7::text[], $8::timestamptz[], $9::timestamptz[], $10::int[], $11::int[], $12::int[], $13::text[])
    AS u (project_id, trace_id, root_order, name, kind, service, root_status, started_at, ended_at,
        step_count, error_count, revision, execution_id)
ON CONFLICT (project_id, trace_id) DO UPDATE SET
    root_order = LEAST(e.root_order, EXCLUDED.root_order),
    name = CASE WHEN EXCLUDED.root_order < e.root_order THEN EXCLUDED.name ELSE e.name END,
    kind = CASE WHEN EXCLUDED.root_order < e.root_order THEN EXCLUDED.kind ELSE e.kind END,
    service = CASE WHEN EXCLUDED.root_order < e.root_order THEN EXCLUDED.service ELSE e.service END,
    root_status = CASE WHEN EXCLUDED.root_order < e.root_order THEN EXCLUDED.root_status ELSE e.root_status END,
    started_at = LEAST(e.started_at, EXCLUDED.started_at),
    ended_at = GREATEST(e.ended_at, EXCLUDED.ended_at),
    step_count = e.step_count + EXCLUDED.step_count,
    error_count = e.error_count + EXCLUDED.error_count,
    revision = e.revision + EXCLUDED.revision,
    execution_id = LEAST(e.execution_id COLLATE "C", EXCLUDED.execution_id COLLATE "C"),
    last_received_at = GREATEST(e.last_received_at, EXCLUDED.last_received_at)
"""

# Which of these steps are stored, by their number. By primary key, in the partitions of their time.
FIND_STEPS = """
SELECT u.n FROM unnest($1::int[], $2::bytea[], $3::bytea[], $4::timestamptz[], $5::int[])
    AS u (project_id, trace_id, span_id, started_at, n)
JOIN steps s ON s.project_id = u.project_id AND s.trace_id = u.trace_id AND s.span_id = u.span_id
    AND s.started_at = u.started_at
WHERE s.started_at BETWEEN $6 AND $7
"""
FIND_RECORDS = """
SELECT u.n FROM unnest($1::int[], $2::bytea[], $3::bytea[], $4::bytea[], $5::int[])
    AS u (project_id, trace_id, span_id, record_id, n)
JOIN records r ON r.project_id = u.project_id AND r.trace_id = u.trace_id AND r.span_id = u.span_id
    AND r.record_id = u.record_id
"""

# Which of these executions exist (records alone never make one). By primary key.
FIND_EXECUTIONS = """
SELECT e.project_id, e.trace_id FROM unnest($1::int[], $2::bytea[]) AS u (project_id, trace_id)
JOIN executions e ON e.project_id = u.project_id AND e.trace_id = u.trace_id
"""

# The gate of each execution: due after a quiet time, but not later than `settle_by`. A taken one only learns that
# there is more; one that failed, or waits to be tried again, keeps its place in the queue or starts anew.
ARM_GATES = """
INSERT INTO reasoning_jobs AS j (project_id, trace_id, span_id, priority, revision, run_at, settle_by)
SELECT u.*, now() + LEAST($6::interval, $7::interval), now() + $7::interval
FROM unnest($1::int[], $2::bytea[], $3::bytea[], $4::smallint[], $5::int[])
    AS u (project_id, trace_id, span_id, priority, revision)
ON CONFLICT (project_id, trace_id, span_id) DO UPDATE SET
    revision = j.revision + EXCLUDED.revision,
    priority = LEAST(j.priority, EXCLUDED.priority),
    status = CASE WHEN j.status = 'processing' THEN j.status ELSE 'pending' END,
    run_at = CASE WHEN j.status = 'processing' THEN j.run_at
                  WHEN j.status <> 'pending' THEN EXCLUDED.run_at
                  WHEN j.attempts > 0 OR j.snoozes > 0 THEN j.run_at
                  ELSE LEAST(EXCLUDED.run_at, j.settle_by) END,
    settle_by = CASE WHEN j.status IN ('pending', 'processing') THEN j.settle_by ELSE EXCLUDED.settle_by END,
    attempts = CASE WHEN j.status IN ('pending', 'processing') THEN j.attempts ELSE 0 END,
    snoozes = CASE WHEN j.status IN ('pending', 'processing') THEN j.snoozes ELSE 0 END,
    cancel_asked = CASE WHEN j.status IN ('pending', 'processing') THEN j.cancel_asked ELSE false END
"""


JOB_COLUMNS = ("project_id", "trace_id", "span_id", "priority")


class Quiet(NamedTuple):
    """How long an execution's gate waits for quiet, and for how long at most."""

    settle: timedelta
    limit: timedelta


async def prepare(connection: asyncpg.Connection) -> None:
    """Make timestamps integers (microseconds since 2000, no Python call a value), and run what is hot once, empty.

    So the first group does not wait for types to be looked up, and a server that takes no writes is found out here.
    """
    await connection.set_builtin_type_codec("timestamptz", schema="pg_catalog", codec_name="int8", format="binary")
    await connection.execute(MERGE_EXECUTIONS, *columns((), 13))
    await connection.execute(ARM_GATES, *columns((), 5), *Quiet(timedelta(), timedelta()))
    await connection.execute(insert_steps(), *columns((), len(StepRow._fields)))


async def keep_origins(connection: asyncpg.Connection, origins: Sequence[OriginRow]) -> None:
    await connection.execute(KEEP_ORIGINS, *columns(origins, 6))


async def unknown_steps(connection: asyncpg.Connection, steps: Sequence[StepRow]) -> list[StepRow]:
    """The steps that are not stored yet; of equal keys the first."""
    fresh = list({row[:4]: row for row in reversed(steps)}.values())[::-1]
    if not fresh:
        return fresh
    times = [row.started_at for row in fresh]
    known = await connection.fetch(FIND_STEPS, *columns(_numbered(fresh), 5), min(times), max(times))
    return _without(fresh, {row["n"] for row in known})


async def unknown_records(connection: asyncpg.Connection, records: Sequence[RecordRow]) -> list[RecordRow]:
    fresh = list({row[:4]: row for row in reversed(records)}.values())[::-1]
    if not fresh:
        return fresh
    known = await connection.fetch(FIND_RECORDS, *columns(_numbered(fresh), 5))
    return _without(fresh, {row["n"] for row in known})


def _numbered(rows: Sequence[Any]) -> list[tuple[Any, ...]]:
    return [(*row[:4], number) for number, row in enumerate(rows)]


def _without(rows: list[Any], numbers: set[int]) -> list[Any]:
    return [row for number, row in enumerate(rows) if number not in numbers] if numbers else rows


async def copy_rows(
    connection: asyncpg.Connection, steps: Sequence[StepRow], records: Sequence[RecordRow], jobs: Sequence[StepJob]
) -> None:
    """COPY everything; any key that is already there fails the transaction."""
    if steps:
        names, rows = _filled(steps)
        await connection.copy_records_to_table("steps", records=rows, columns=names)
    if records:
        await connection.copy_records_to_table("records", records=records, columns=RecordRow._fields)
    if jobs:
        await connection.copy_records_to_table("reasoning_jobs", records=jobs, columns=JOB_COLUMNS)


def _filled(steps: Sequence[StepRow]) -> tuple[list[str], Iterable[tuple[Any, ...]]]:
    """The columns that any of the steps fills, and their values row by row.

    A NULL costs both ends of a COPY about as much as a number, and half of the columns are empty in most groups.
    """
    columns = zip(StepRow._fields, zip(*steps, strict=True), strict=True)
    filled = [(name, column) for name, column in columns if column[0] is not None or column.count(None) < len(column)]
    return [name for name, _ in filled], zip(*(column for _, column in filled), strict=True)


async def insert_new_steps(connection: asyncpg.Connection, steps: Sequence[StepRow]) -> list[StepRow]:
    """Insert the steps whose key is not there, and say which; of equal keys in `steps` the first."""
    if not steps:
        return []
    returned = await connection.fetch(insert_steps(), *columns(steps, len(StepRow._fields)))
    return _first_of_each(steps, {tuple(row) for row in returned}, lambda row: row[:4])


async def insert_new_records(connection: asyncpg.Connection, records: Sequence[RecordRow]) -> list[RecordRow]:
    if not records:
        return []
    returned = await connection.fetch(insert_records(), *columns(records, len(RecordRow._fields)))
    return _first_of_each(records, {tuple(row) for row in returned}, lambda row: row[:4])


def _first_of_each(rows: Sequence[Any], new: set[tuple[Any, ...]], key: Callable[[Any], tuple[Any, ...]]) -> list[Any]:
    first: list[Any] = []
    for row in rows:
        if (found := key(row)) in new:
            new.discard(found)
            first.append(row)
    return first


async def insert_jobs(connection: asyncpg.Connection, jobs: Sequence[StepJob]) -> None:
    if jobs:
        await connection.execute(insert_step_jobs(), *columns(jobs, len(JOB_COLUMNS)))


async def merge_executions(connection: asyncpg.Connection, summary: Summary) -> list[Merge]:
    """Merge the group into `executions`; those that it only brings records for must exist already."""
    merges = summary.sorted()
    missing = [merge.key for merge in merges if not merge.step_count]
    if missing:
        found = {ExecutionKey(*row) for row in await connection.fetch(FIND_EXECUTIONS, *columns(missing, 2))}
        merges = [merge for merge in merges if merge.step_count or merge.key in found]
    if not merges:
        return merges
    arguments = columns([_execution_row(merge) for merge in merges], 13)
    if not missing:
        await connection.execute(MERGE_EXECUTIONS, *arguments)
    elif NO_STEP in chain.from_iterable(await connection.fetch(MERGE_EXECUTIONS + " RETURNING root_order", *arguments)):
        raise Vanished
    return merges


def _execution_row(merge: Merge) -> tuple[Any, ...]:
    return (
        *merge.key,
        merge.root_order,
        merge.name,
        merge.kind,
        merge.service,
        merge.root_status,
        merge.started_at,
        merge.ended_at,
        merge.step_count,
        merge.error_count,
        merge.step_count + merge.record_count,
        merge.execution_id,
    )


async def arm_gates(connection: asyncpg.Connection, merges: Sequence[Merge], quiet: Quiet) -> bool:
    gates = [gate_of(merge) for merge in merges if merge.waits]
    if gates:
        await connection.execute(ARM_GATES, *columns(gates, 5), *quiet)
    return bool(gates)


def columns(rows: Sequence[Sequence[Any]], count: int) -> list[tuple[Any, ...]]:
    """Rows turned into one array a column, for `unnest`."""
    return list(zip(*rows, strict=True)) if rows else [()] * count


@cache
def insert_steps() -> str:
    """Insert steps whose key is not there yet; returns the keys of the new ones."""
    return _insert_new("steps", StepRow._fields, ("project_id", "trace_id", "span_id", "started_at"))


@cache
def insert_records() -> str:
    """Insert records whose key is not there yet; returns the keys of the new ones."""
    return _insert_new("records", RecordRow._fields, ("project_id", "trace_id", "span_id", "record_id"))


@cache
def insert_step_jobs() -> str:
    """Insert jobs of new steps; one that is there stays as it is."""
    return _insert_new("reasoning_jobs", JOB_COLUMNS, ())


def _insert_new(table: str, names: Sequence[str], returning: Sequence[str]) -> str:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    types = [schema.metadata.tables[table].c[name].type.compile(dialect) for name in names]
    arrays = ", ".join(f"${number}::{sql_type}[]" for number, sql_type in enumerate(types, 1))
    listed = ", ".join(names)
    return (
        f"INSERT INTO {table} ({listed}) SELECT u.* FROM unnest({arrays}) AS u ({listed}) ON CONFLICT DO NOTHING"  # noqa: S608
        + (f" RETURNING {', '.join(returning)}" if returning else "")
    )
