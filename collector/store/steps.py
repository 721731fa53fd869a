"""Reads of steps with everything that came with them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import and_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from collector.model import StepRow
from collector.store.executions import ExecutionRow, StepPlace, at_places, steps_of
from collector.store.schema import origins, steps


class WideStep(msgspec.Struct, frozen=True):
    """What a step has beside the columns of `Step`: JSON texts as they are stored."""

    attributes: str
    input: str | None = None
    output: str | None = None
    input_key: str | None = None
    output_key: str | None = None
    events: str | None = None
    links: str | None = None
    resource: str | None = None
    scope: str | None = None
    trace_state: str | None = None
    flags: int | None = None


OF_ORIGIN = ("resource", "scope")
WIDE_COLUMNS = [(origins if name in OF_ORIGIN else steps).c[name] for name in WideStep.__struct_fields__]


async def load_wide_step(conn: AsyncConnection, execution: ExecutionRow, span_id: bytes) -> WideStep | None:
    """The wide columns of one step; the earliest, where a sender used its span id twice."""
    origin = and_(origins.c.project_id == steps.c.project_id, origins.c.origin_id == steps.c.origin_id)
    query = (
        steps_of(execution, *WIDE_COLUMNS)
        .select_from(steps.outerjoin(origins, origin))
        .where(steps.c.span_id == span_id)
        .limit(1)
    )
    row = (await conn.execute(query)).one_or_none()
    return None if row is None else WideStep(*row)


STEP_ROW_COLUMNS = [steps.c[name] for name in StepRow._fields]
POSTGRES_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


async def load_rows(
    conn: AsyncConnection, execution: ExecutionRow, places: Sequence[StepPlace]
) -> tuple[list[StepRow], dict[bytes, bytes]]:
    """Steps at places that follow each other, with all columns, and their origins' kept messages by id."""
    query = at_places(steps_of(execution, *STEP_ROW_COLUMNS), places)
    rows = [_step_row(row) for row in await conn.execute(query)]
    wanted = origins.c.origin_id.in_({row.origin_id for row in rows})
    kept = select(origins.c.origin_id, origins.c.wire).where(origins.c.project_id == execution.project_id, wanted)
    return rows, {row[0]: row[1] for row in await conn.execute(kept)}


def _step_row(row: Any) -> StepRow:
    read = StepRow(*row)
    return read._replace(started_at=(row.started_at - POSTGRES_EPOCH) // timedelta(microseconds=1))
