"""Deletion of an execution with everything that belongs to it."""

from sqlalchemy import ColumnElement, Table, and_, case, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from collector.model import ExecutionKey
from collector.store.executions import ExecutionRow, is_execution
from collector.store.schema import executions, reasoning_jobs, reasonings, records, step_rollup_parts, steps

# Nothing is left of what it gave to the rollups; the next fold takes off what they have of it already.
TAKE_FROM_ROLLUPS = update(step_rollup_parts).values(
    folded=case((step_rollup_parts.c.is_pending, step_rollup_parts.c.folded), else_=step_rollup_parts.c.parts),
    parts="[]",
    revision=0,
    is_pending=True,
    changed_at=func.now(),
)


async def delete_execution(conn: AsyncConnection, execution: ExecutionRow) -> None:
    """Delete steps, log records, jobs, reasoning and the execution itself.

    A worker that explains it meanwhile finds its job gone when it wants to complete it, and writes nothing.
    """
    key = execution.key
    await conn.execute(select(executions.c.revision).where(is_execution(key)).with_for_update())
    within = steps.c.started_at.between(execution.started_at, execution.ended_at)
    await conn.execute(delete(steps).where(_of(steps, key), within))
    await conn.execute(TAKE_FROM_ROLLUPS.where(_of(step_rollup_parts, key)))
    for table in (records, reasoning_jobs, reasonings, executions):
        await conn.execute(delete(table).where(_of(table, key)))


def _of(table: Table, key: ExecutionKey) -> ColumnElement[bool]:
    return and_(table.c.project_id == key.project_id, table.c.trace_id == key.trace_id)
