"""Reads of executions: one by its id, a page of the list, all steps for detail, settling and reasoning.

Every function takes a connection and never commits.
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import (
    ColumnElement,
    LargeBinary,
    RowMapping,
    Select,
    and_,
    any_,
    bindparam,
    literal,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from collector.model import ExecutionKey, Facts, Record, Step, StepError, StepExtra, Tokens
from collector.store.records import read_records
from collector.store.schema import executions, steps


class ExecutionRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `executions` as it is read back."""

    project_id: int
    trace_id: bytes
    root_order: bytes
    execution_id: str | None
    name: str
    kind: str
    service: str | None
    status: str
    settled: bool
    started_at: datetime
    ended_at: datetime
    step_count: int
    error_count: int
    revision: int
    session_id: str | None
    user_id: str | None
    environment: str | None
    tags: list[str] | None
    models: list[str] | None
    metadata: str | None
    """JSON text, an object."""
    final_outcome: str | None
    """JSON text."""
    tokens: Tokens | None
    cost_usd: float | None
    prices_at: date | None
    root_missing: bool | None
    plumbing: bool
    warnings: list[str]

    @property
    def key(self) -> ExecutionKey:
        return ExecutionKey(self.project_id, self.trace_id)

    @property
    def root_span_id(self) -> bytes:
        return self.root_order[9:17]


class Place(NamedTuple):
    """Where a page of the list ended."""

    started_at: datetime
    trace_id: bytes


class StepPlace(NamedTuple):
    """Where a page of steps ended."""

    start_ns: int
    span_id: bytes


TOKEN_COLUMNS = ("tokens_input", "tokens_output", "tokens_cached", "tokens_reasoning", "tokens_cache_write")
EXECUTION_FIELDS = [field for field in ExecutionRow.__struct_fields__ if field != "tokens"]
EXECUTION_COLUMNS = [executions.c[name] for name in (*EXECUTION_FIELDS, *TOKEN_COLUMNS)]
STEP_FIELDS = [field for field in Step.__struct_fields__ if field not in ("error", "tokens")]
ERROR_COLUMNS = ("error_type", "error_message", "error_stacktrace")
STEP_COLUMNS = [steps.c[name] for name in (*STEP_FIELDS, *ERROR_COLUMNS, *TOKEN_COLUMNS)]

INDEXED_TEXT = 500
"""Characters of a text that an index of `executions` holds: Postgres refuses index rows over 2.7 KB."""
SAVED_FIELDS = (
    *("name", "kind", "service", "execution_id", "session_id", "user_id", "environment", "tags", "models"),
    *("metadata", "final_outcome", "cost_usd", "prices_at", "root_missing", "plumbing"),
)
INDEXED_FIELDS = ("service", "execution_id", "session_id")


def is_execution(key: ExecutionKey) -> ColumnElement[bool]:
    return and_(executions.c.project_id == key.project_id, executions.c.trace_id == key.trace_id)


async def load_execution(conn: AsyncConnection, key: ExecutionKey) -> ExecutionRow | None:
    """One execution by its primary key."""
    found = await conn.execute(select(*EXECUTION_COLUMNS).where(is_execution(key)))
    row = found.mappings().one_or_none()
    return None if row is None else execution_row(row)


async def find_execution(conn: AsyncConnection, project_id: int, public_id: str) -> ExecutionRow | None:
    """One execution by its trace id in hex, else by the sender's own id (the newest, where several carry it)."""
    trace_id = trace_id_of(public_id)
    if trace_id is not None and (row := await load_execution(conn, ExecutionKey(project_id, trace_id))):
        return row
    # executions_own_id
    wanted = and_(executions.c.project_id == project_id, executions.c.execution_id == public_id[:INDEXED_TEXT])
    query = select(*EXECUTION_COLUMNS).where(wanted).order_by(executions.c.started_at.desc()).limit(1)
    found = (await conn.execute(query)).mappings().one_or_none()
    return None if found is None else execution_row(found)


def trace_id_of(public_id: str) -> bytes | None:
    if len(public_id) != 32:
        return None
    try:
        trace_id = bytes.fromhex(public_id)
    except ValueError:
        return None
    return trace_id if len(trace_id) == 16 else None


async def list_executions(
    conn: AsyncConnection, project_id: int, wanted: Sequence[ColumnElement[bool]], after: Place | None, limit: int
) -> list[ExecutionRow]:
    """A page of executions, newest first, in the order of the index executions_latest; it reads no other table."""
    query = select(*EXECUTION_COLUMNS).where(executions.c.project_id == project_id, *wanted)
    if after is not None:
        query = query.where(_place() < _literals(after))
    query = query.order_by(executions.c.started_at.desc(), executions.c.trace_id.desc()).limit(limit)
    return [execution_row(row) for row in (await conn.execute(query)).mappings()]


def _literals(place: Place | StepPlace) -> ColumnElement[Any]:
    return tuple_(*(literal(part) for part in place))


def _place() -> ColumnElement[Any]:
    return tuple_(executions.c.started_at, executions.c.trace_id)


async def load_steps(conn: AsyncConnection, key: ExecutionKey) -> tuple[list[Step], list[Record], ExecutionRow | None]:
    """All steps in start order and the log records of an execution, without the wide columns.

    The execution is read first: what commits meanwhile may be among the steps, but is never counted in the revision.
    """
    execution = await load_execution(conn, key)
    if execution is None:
        return [], [], None
    return await read_steps(conn, execution), (await read_records(conn, key)).found, execution


def steps_of(execution: ExecutionRow, *columns: Any) -> Select[Any]:
    """Columns of an execution's steps in start order; its own time range leaves the other days' partitions unread."""
    return (
        select(*columns)
        .where(
            steps.c.project_id == execution.project_id,
            steps.c.trace_id == execution.trace_id,
            steps.c.started_at.between(execution.started_at, execution.ended_at),
        )
        .order_by(steps.c.start_ns, steps.c.span_id)
    )


async def read_places(
    conn: AsyncConnection, execution: ExecutionRow, after: StepPlace | None = None, limit: int | None = None
) -> list[StepPlace]:
    """Where its steps stand in start order: sorted once, for pages that are then read by key."""
    place = (steps.c.start_ns, steps.c.span_id)
    query = steps_of(execution, *place).limit(limit)
    if after is not None:
        query = query.where(tuple_(*place) > _literals(after))
    return [StepPlace(*row) for row in await conn.execute(query)]


def at_places(query: Select[Any], places: Sequence[StepPlace]) -> Select[Any]:
    """Of steps only those at places that follow each other; several rows of one span id and start are never parted."""
    span_ids = bindparam("span_ids", [place.span_id for place in places], ARRAY(LargeBinary))
    place = tuple_(steps.c.start_ns, steps.c.span_id)
    return query.where(steps.c.span_id == any_(span_ids), place >= _literals(places[0]), place <= _literals(places[-1]))


async def read_steps(
    conn: AsyncConnection, execution: ExecutionRow, places: Sequence[StepPlace] | None = None
) -> list[Step]:
    """All steps in start order, or those at some places that follow each other."""
    query = steps_of(execution, *STEP_COLUMNS)
    rows = await conn.execute(query if places is None else at_places(query, places))
    return [step_of(row) for row in rows.mappings()]


async def read_step(conn: AsyncConnection, execution: ExecutionRow, span_id: bytes) -> list[Step]:
    """One step; two, where a sender used its span id for two."""
    query = steps_of(execution, *STEP_COLUMNS).where(steps.c.span_id == span_id)
    return [step_of(row) for row in (await conn.execute(query)).mappings()]


def facts_values(facts: Facts) -> dict[str, Any]:
    """What settling writes, by column, in one order."""
    tokens = facts.tokens or Tokens()
    values: dict[str, Any] = {name: getattr(facts, name) for name in SAVED_FIELDS}
    values |= {name: (values[name] or "")[:INDEXED_TEXT] or None for name in INDEXED_FIELDS}
    values |= {name: getattr(tokens, name.removeprefix("tokens_")) for name in TOKEN_COLUMNS}
    values["warnings"] = msgspec.json.encode(facts.warnings).decode() if facts.warnings else None
    values["root_status"] = facts.status
    return values


def execution_row(row: RowMapping) -> ExecutionRow:
    fields = {name: row[name] for name in EXECUTION_FIELDS}
    fields["warnings"] = texts_of(row["warnings"])
    return ExecutionRow(**fields, tokens=tokens_of(row))


def step_of(row: RowMapping) -> Step:
    fields = {name: row[name] for name in STEP_FIELDS}
    fields["extra"] = msgspec.json.decode(row["extra"], type=StepExtra) if row["extra"] else None
    fields["warnings"] = texts_of(row["warnings"])
    return Step(**fields, error=error_of(row), tokens=tokens_of(row))


def error_of(row: RowMapping) -> StepError | None:
    kind, message, stacktrace = (row[name] for name in ERROR_COLUMNS)
    return StepError(kind, message, stacktrace) if kind or message or stacktrace else None


def tokens_of(row: RowMapping) -> Tokens | None:
    counts = {name.removeprefix("tokens_"): row[name] for name in TOKEN_COLUMNS}
    return Tokens(**counts) if any(count is not None for count in counts.values()) else None


def texts_of(json_text: str | None) -> list[str]:
    return msgspec.json.decode(json_text, type=list[str]) if json_text else []
