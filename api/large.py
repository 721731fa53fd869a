"""Executions that are too large to be put together for a reader: streamed page by page, so that none needs much memory.

Their facts are those of their row, as of when they settled.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from api import cursor
from api.asked import Project
from api.services import Services
from api.views import detail_head, list_item, step_view
from collector.mapping.assemble import assemble
from collector.model import EXECUTION_SPAN, Record, Step
from collector.store.executions import ExecutionRow, StepPlace, read_places, read_steps
from collector.store.reasonings import States, load_own_states, load_states
from collector.store.records import Records, read_records, read_stray_records

PAGE_STEPS = 1000


class Part(NamedTuple):
    """Which steps are wanted: so many at most, after a place."""

    after: StepPlace | None
    limit: int


async def load_head(conn: AsyncConnection, project: Project, row: ExecutionRow, part: Part) -> bytes:
    """The execution as JSON, without its steps; its own log records stand with the first ones."""
    stray = Records([]) if part.after else await read_stray_records(conn, row.key)
    states = await load_own_states(conn, row.project_id, [row.trace_id])
    listed = list_item(row, project.name, states.of(row.trace_id, EXECUTION_SPAN, row.revision))
    return msgspec.json.encode(detail_head(listed, row, stray))


async def with_steps(head: bytes, services: Services, row: ExecutionRow, part: Part) -> AsyncIterator[bytes]:
    """The execution as JSON, with its steps in start order and a cursor where there are more of them."""
    async with services.database.begin() as conn:
        places = await read_places(conn, row, part.after, part.limit + 1)
    next_cursor = cursor.of_step(places[part.limit - 1]) if len(places) > part.limit else None
    yield head[:-1] + b',"steps":['
    separator = b""
    for first in range(0, min(len(places), part.limit), PAGE_STEPS):
        async with services.database.begin() as conn:
            page = await _page(conn, row, places[first : min(first + PAGE_STEPS, part.limit)])
        if body := await asyncio.to_thread(page):
            yield separator + body
            separator = b","
    yield b'],"next_steps_cursor":' + msgspec.json.encode(next_cursor) + b"}"


async def _page(conn: AsyncConnection, row: ExecutionRow, places: Sequence[StepPlace]) -> Callable[[], bytes]:
    """What makes the JSON of the steps at these places, without the brackets around them; it needs no connection."""
    steps = await read_steps(conn, row, places)
    span_ids = {step.span_id for step in steps}
    records = await read_records(conn, row.key, span_ids)
    states = await load_states(conn, row.key, span_ids)
    return lambda: _json(row, steps, records.found, states)


def _json(row: ExecutionRow, steps: list[Step], records: list[Record], states: States) -> bytes:
    joined, _ = assemble(steps, records)
    views = [step_view(step, states.of(row.trace_id, step.span_id, row.revision)) for step in joined]
    return msgspec.json.encode(views)[1:-1]
