"""Reads of log records: of an execution, of some of its steps, and what is known of a trace that has nothing else.

Of very many, errors and records with a name (messages, exceptions) are read before plain lines, early ones before late.
Every function takes a connection and never commits.
"""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

import msgspec
from sqlalchemy import BindParameter, ColumnElement, and_, any_, exists, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from collector.model import ExecutionKey, Record
from collector.store.schema import origins, records, steps

RECORD_COLUMNS = [records.c[name] for name in Record.__struct_fields__]
MOST_RECORDS = 10_000
"""Records of one execution that are read at once."""
ERROR_SEVERITY = 17
IS_PLAIN = and_(records.c.event_name.is_(None), records.c.severity < ERROR_SEVERITY)
TELLING_FIRST = (IS_PLAIN, records.c.time_ns, records.c.record_id)
# No step has the span id that the record names, or it names none. By the primary key of `steps`.
WITHOUT_STEP = ~exists().where(
    steps.c.project_id == records.c.project_id,
    steps.c.trace_id == records.c.trace_id,
    steps.c.span_id == records.c.span_id,
)
RECENT = text("interval '1 minute'")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Records(msgspec.Struct):
    """Records in no order, and how many more there are than were read."""

    found: list[Record]
    unread: int = 0


class Known(msgspec.Struct, frozen=True):
    """What the records of a trace tell of it together."""

    service: str | None
    started_at: datetime
    ended_at: datetime
    count: int
    is_recent: bool
    """The last one came within a minute: steps may follow."""


async def read_records(conn: AsyncConnection, key: ExecutionKey, span_ids: Collection[bytes] | None = None) -> Records:
    """The log records of an execution, or of some of its steps."""
    return await _read(conn, _of(key) if span_ids is None else and_(_of(key), records.c.span_id.in_(span_ids)))


async def read_stray_records(conn: AsyncConnection, key: ExecutionKey) -> Records:
    """The log records of an execution that belong to none of its steps, for one whose steps are not all read."""
    return await _read(conn, and_(_of(key), WITHOUT_STEP))


async def _read(conn: AsyncConnection, wanted: ColumnElement[bool]) -> Records:
    query = select(*RECORD_COLUMNS).where(wanted).order_by(*TELLING_FIRST).limit(MOST_RECORDS)
    found = [Record(**row) for row in (await conn.execute(query)).mappings()]
    if len(found) < MOST_RECORDS:
        return Records(found)
    total = (await conn.execute(select(func.count()).select_from(records).where(wanted))).scalar_one()
    return Records(found, max(0, total - len(found)))


async def read_records_of_many(
    conn: AsyncConnection, project_id: int, trace_ids: BindParameter[list[bytes]]
) -> list[tuple[bytes, Record]]:
    """The log records of many executions, each with its trace id; the bound holds for each execution."""
    place = func.row_number().over(partition_by=records.c.trace_id, order_by=TELLING_FIRST).label("place")
    ours = and_(records.c.project_id == project_id, records.c.trace_id == any_(trace_ids))
    placed = select(*RECORD_COLUMNS, records.c.trace_id, place).where(ours).subquery()
    query = select(placed).where(placed.c.place <= MOST_RECORDS).order_by(placed.c.trace_id, placed.c.time_ns)
    rows = (await conn.execute(query)).mappings()
    return [(row["trace_id"], Record(**{name: row[name] for name in Record.__struct_fields__})) for row in rows]


async def know_by_records(conn: AsyncConnection, key: ExecutionKey) -> Known | None:
    """A trace of which only log records have come; None where there are none."""
    origin = and_(origins.c.project_id == records.c.project_id, origins.c.origin_id == records.c.origin_id)
    query = (
        select(
            func.min(origins.c.service).label("service"),
            func.min(records.c.time_ns).label("first_ns"),
            func.max(records.c.time_ns).label("last_ns"),
            func.count().label("count"),
            (func.max(records.c.received_at) > func.now() - RECENT).label("is_recent"),
        )
        .select_from(records.outerjoin(origins, origin))
        .where(_of(key))
    )
    row = (await conn.execute(query)).one()
    if not row.count:
        return None
    return Known(row.service, _time_of(row.first_ns), _time_of(row.last_ns), row.count, bool(row.is_recent))


def _of(key: ExecutionKey) -> ColumnElement[bool]:
    return and_(records.c.project_id == key.project_id, records.c.trace_id == key.trace_id)


def _time_of(unix_ns: int) -> datetime:
    return EPOCH + timedelta(microseconds=unix_ns // 1000)
