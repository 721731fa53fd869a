"""Reads of the ledger: every reasoning job, whether it waits, runs, has failed, was cancelled or is done."""

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, column, literal, select, table, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from collector.model import ExecutionKey


class LedgerRow(NamedTuple):
    """One row of the view `reasoning_ledger`."""

    trace_id: bytes
    span_id: bytes
    status: str
    attempts: int
    priority: int | None
    run_at: datetime | None
    error: str | None
    model: str | None
    reasoner: str | None
    tokens_input: int | None
    tokens_output: int | None
    cost_usd: float | None
    created_at: datetime
    finished_at: datetime | None


class LedgerPlace(NamedTuple):
    """Where a page ended."""

    created_at: datetime
    trace_id: bytes
    span_id: bytes


class LedgerFilter(NamedTuple):
    project_id: int
    status: str | None = None
    trace_id: bytes | None = None
    since: datetime | None = None
    until: datetime | None = None


ledger = table("reasoning_ledger", column("project_id"), *(column(name) for name in LedgerRow._fields))


async def list_jobs(
    conn: AsyncConnection, wanted: LedgerFilter, after: LedgerPlace | None, limit: int
) -> list[LedgerRow]:
    """A page of jobs, newest first."""
    order = (ledger.c.created_at, ledger.c.trace_id, ledger.c.span_id)
    query = select(*_columns()).where(*_conditions(wanted)).order_by(*(part.desc() for part in order)).limit(limit)
    if after is not None:
        query = query.where(tuple_(*order) < tuple_(*(literal(part) for part in after)))
    return [LedgerRow(*row) for row in await conn.execute(query)]


async def load_job(conn: AsyncConnection, key: ExecutionKey, span_id: bytes) -> LedgerRow | None:
    """One job; where it was asked for again after it had been done, the new one."""
    wanted = (ledger.c.project_id == key.project_id, ledger.c.trace_id == key.trace_id, ledger.c.span_id == span_id)
    query = select(*_columns()).where(*wanted).order_by(ledger.c.finished_at.desc().nulls_first()).limit(1)
    row = (await conn.execute(query)).one_or_none()
    return None if row is None else LedgerRow(*row)


def _columns() -> list[ColumnElement[Any]]:
    return [ledger.c[name] for name in LedgerRow._fields]


def _conditions(wanted: LedgerFilter) -> list[ColumnElement[bool]]:
    conditions = [ledger.c.project_id == wanted.project_id]
    if wanted.status is not None:
        conditions.append(ledger.c.status == wanted.status)
    if wanted.trace_id is not None:
        conditions.append(ledger.c.trace_id == wanted.trace_id)
    if wanted.since is not None:
        conditions.append(ledger.c.created_at >= wanted.since)
    if wanted.until is not None:
        conditions.append(ledger.c.created_at < wanted.until)
    return conditions
