"""What changed lately in some executions: for those who watch."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from collector.model import Step
from collector.store.executions import EXECUTION_COLUMNS, STEP_COLUMNS, ExecutionRow, execution_row, step_of
from collector.store.reasonings import Result
from collector.store.schema import executions, reasonings, steps

OVERLAP = timedelta(seconds=5)
"""A row's time is that of its transaction's start: it may become readable a while later."""
MOST_ROWS = 1000


class Watched(NamedTuple):
    """The executions of a project that changed, and since when their news are wanted."""

    project_id: int
    trace_ids: Sequence[bytes]
    since: datetime

    def holds(self, table: Any) -> ColumnElement[bool]:
        return and_(table.c.project_id == self.project_id, table.c.trace_id.in_(self.trace_ids))


class NewStep(NamedTuple):
    trace_id: bytes
    step: Step


async def now_of(conn: AsyncConnection) -> datetime:
    """The database's time."""
    found: datetime = (await conn.execute(select(func.now()))).scalar_one()
    return found


async def changed_executions(conn: AsyncConnection, watched: Watched) -> list[ExecutionRow]:
    query = select(*EXECUTION_COLUMNS).where(watched.holds(executions)).order_by(executions.c.started_at)
    return [execution_row(row) for row in (await conn.execute(query)).mappings()]


async def new_steps(conn: AsyncConnection, watched: Watched, rows: Sequence[ExecutionRow]) -> list[NewStep]:
    """Steps that were received since then; the latest only, where they are very many."""
    if not rows:
        return []
    query = (
        select(steps.c.trace_id, *STEP_COLUMNS)
        .where(
            watched.holds(steps),
            steps.c.started_at.between(min(row.started_at for row in rows), max(row.ended_at for row in rows)),
            steps.c.received_at >= watched.since - OVERLAP,
        )
        .order_by(steps.c.received_at.desc(), steps.c.start_ns.desc())
        .limit(MOST_ROWS)
    )
    found = (await conn.execute(query)).mappings().all()
    return [NewStep(row["trace_id"], step_of(row)) for row in reversed(found)]


async def new_results(conn: AsyncConnection, watched: Watched) -> list[Result]:
    """What was explained since then."""
    query = (
        select(*(reasonings.c[name] for name in Result._fields))
        .where(watched.holds(reasonings), reasonings.c.created_at >= watched.since - OVERLAP)
        .order_by(reasonings.c.created_at.desc())
        .limit(MOST_ROWS)
    )
    return [Result(*row) for row in await conn.execute(query)][::-1]
