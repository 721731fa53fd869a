"""Many executions read at once: all that settling and reasoning need of them."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

import msgspec
from sqlalchemy import BindParameter, LargeBinary, any_, bindparam, case, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from collector.model import ExecutionKey, Record, Step
from collector.store.executions import (
    EXECUTION_COLUMNS,
    STEP_COLUMNS,
    ExecutionRow,
    execution_row,
    step_of,
)
from collector.store.records import read_records_of_many
from collector.store.schema import executions, steps


class Loaded(msgspec.Struct):
    """One execution with everything that came of it, without the wide columns."""

    execution: ExecutionRow
    steps: list[Step]
    records: list[Record]
    events: dict[bytes, str]
    """Span events by span id, as JSON text."""


LARGE = 10_000
"""Of executions with more steps than this, only the root's input and output are read."""
LEAN_COLUMNS = [
    case((steps.c.parent_span_id.is_(None), column)).label(column.name)
    if column.name in ("input", "output")
    else column
    for column in STEP_COLUMNS
]


async def load_many(conn: AsyncConnection, keys: Iterable[ExecutionKey]) -> dict[ExecutionKey, Loaded]:
    """Executions by key; one that does not exist is left out.

    The execution is read before its steps: what commits meanwhile is never counted in the revision.
    """
    found: dict[ExecutionKey, Loaded] = {}
    for project_id, ours in _by_project(keys):
        found |= await _load_project(conn, project_id, ours)
    return found


def _by_project(keys: Iterable[ExecutionKey]) -> Iterator[tuple[int, BindParameter[Any]]]:
    for project_id, group in groupby(sorted(keys), key=lambda key: key.project_id):
        yield project_id, bindparam("trace_ids", [key.trace_id for key in group], ARRAY(LargeBinary))


async def _load_project(conn: AsyncConnection, project_id: int, ours: BindParameter[Any]) -> dict[ExecutionKey, Loaded]:
    query = select(*EXECUTION_COLUMNS).where(executions.c.project_id == project_id, executions.c.trace_id == any_(ours))
    rows = [execution_row(row) for row in (await conn.execute(query)).mappings()]
    found = {row.trace_id: Loaded(row, [], [], {}) for row in rows}
    if not rows:
        return {}
    first, last = min(row.started_at for row in rows), max(row.ended_at for row in rows)
    wanted = (steps.c.project_id == project_id, steps.c.trace_id == any_(ours), steps.c.started_at.between(first, last))
    columns = LEAN_COLUMNS if max(row.step_count for row in rows) > LARGE else STEP_COLUMNS
    columns = [*columns, steps.c.trace_id, steps.c.events]
    for row in (await conn.execute(select(*columns).where(*wanted))).mappings():
        loaded = found.get(row["trace_id"])
        if loaded is None:  # it came between the two reads
            continue
        loaded.steps.append(step_of(row))
        if row["events"] is not None:
            loaded.events[row["span_id"]] = row["events"]
    for trace_id, record in await read_records_of_many(conn, project_id, ours):
        if loaded := found.get(trace_id):
            loaded.records.append(record)
    return {ExecutionKey(project_id, trace_id): loaded for trace_id, loaded in found.items()}
