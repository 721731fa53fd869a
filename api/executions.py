"""Executions: the list, one with its steps, one step whole, what came in as OTLP, deletion."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, NamedTuple, cast

import msgspec
from litestar import MediaType, Response, delete, get
from litestar.params import FromPath
from litestar.response import Stream
from msgspec import Meta
from sqlalchemy.ext.asyncio import AsyncConnection

from api import cursor
from api.asked import AnyRequest, Given, Project, execution_of, project_of
from api.large import Part, load_head, with_steps
from api.query import DEFAULT_PROJECT, Limit, ProjectName, ProjectQuery, described, read_query
from api.schemas import ExecutionDetail, ExecutionPage, WideStepView
from api.services import Services
from api.traces import execution_or_logs_of
from api.views import Assembled, detail, list_item, wide_step_view
from collector.errors import NotFound
from collector.mapping.assemble import assemble
from collector.model import EXECUTION_SPAN, Step
from collector.store.deletion import delete_execution
from collector.store.executions import (
    ExecutionRow,
    Place,
    list_executions,
    read_step,
    read_steps,
)
from collector.store.reasonings import States, load_own_states, load_states
from collector.store.records import Records, read_records, read_stray_records
from collector.store.search import ExecutionFilter, conditions, searching
from collector.store.steps import load_wide_step

MANY_STEPS = 300
"""From here on assembling takes longer than the event loop should wait."""
ASSEMBLED_STEPS = 5000
"""Executions of more steps are streamed: see `api.large`."""
MOST_STEPS = 50_000
"""Steps that are answered at once."""


class ExecutionQuery(ExecutionFilter, frozen=True, kw_only=True):
    project: ProjectName = DEFAULT_PROJECT
    limit: Limit = 50
    cursor: Annotated[str | None, Meta(description="next_cursor of the page before.")] = None


class DetailQuery(msgspec.Struct, frozen=True, kw_only=True):
    project: ProjectName = DEFAULT_PROJECT
    steps_limit: Annotated[int, Meta(ge=1, le=MOST_STEPS, description="Steps that are answered at once.")] = MOST_STEPS
    steps_cursor: Annotated[str | None, Meta(description="next_steps_cursor of the page before.")] = None


class Read(NamedTuple):
    row: ExecutionRow
    steps: list[Step]
    records: Records


@get("/executions", operation_class=described(ExecutionQuery))
async def list_page(request: AnyRequest, services: Given) -> ExecutionPage:
    """Executions, newest first."""
    query = read_query(request.query_params, ExecutionQuery)
    after = cursor.execution_place(query.cursor) if query.cursor else None
    async with searching(services.database) as conn:
        project = await project_of(conn, request)
        rows = await list_executions(conn, project.id, conditions(query), after, query.limit + 1)
        page = rows[: query.limit]
        states = await load_own_states(conn, project.id, [row.trace_id for row in page])
    items = [list_item(row, project.name, states.of(row.trace_id, EXECUTION_SPAN, row.revision)) for row in page]
    has_more = len(rows) > query.limit
    return ExecutionPage(
        items, cursor.of_execution(Place(page[-1].started_at, page[-1].trace_id)) if has_more else None
    )


@get("/executions/{execution_id:str}", operation_class=described(DetailQuery))
async def show(request: AnyRequest, services: Given, execution_id: FromPath[str]) -> Response[ExecutionDetail]:
    """One execution with its steps in start order, exact at any time."""
    query = read_query(request.query_params, DetailQuery)
    after = cursor.step_place(query.steps_cursor) if query.steps_cursor else None
    async with services.database.begin() as conn:
        project = await project_of(conn, request)
        row = await execution_or_logs_of(conn, project, execution_id)
        if after is not None or row.step_count > min(query.steps_limit, ASSEMBLED_STEPS):
            part = Part(after, query.steps_limit)
            return _stream(with_steps(await load_head(conn, project, row, part), services, row, part))
        read = Read(row, await read_steps(conn, row), await _records(conn, row))
        states = await load_states(conn, row.key)
    if len(read.steps) < MANY_STEPS:
        return _json(_detail_json(read, services, project, states))
    return _json(await asyncio.to_thread(_detail_json, read, services, project, states))


async def _records(conn: AsyncConnection, row: ExecutionRow) -> Records:
    """All of an execution's records; where they are too many, `unread` counts those that are of no step."""
    read = await read_records(conn, row.key)
    if not read.unread:
        return read
    stray = await read_stray_records(conn, row.key)
    return Records(read.found + stray.found, stray.unread)


def _detail_json(read: Read, services: Services, project: Project, states: States) -> bytes:
    return msgspec.json.encode(detail(_assembled(read, services), project.name, states))


@get("/executions/{execution_id:str}/steps/{span_id:str}", operation_class=described(ProjectQuery))
async def show_step(
    request: AnyRequest, services: Given, execution_id: FromPath[str], span_id: FromPath[str]
) -> WideStepView:
    """One step with everything that came with it."""
    wanted = span_id_of(span_id)
    async with services.database.begin() as conn:
        row = await execution_of(conn, await project_of(conn, request), execution_id)
        own = await read_records(conn, row.key, {wanted})
        if row.step_count > ASSEMBLED_STEPS:
            read = Read(row, await read_step(conn, row, wanted), own)
        else:
            every = await read_records(conn, row.key)
            read = Read(row, await read_steps(conn, row), Records(every.found + own.found))
        wide = await load_wide_step(conn, row, wanted)
        states = await load_states(conn, row.key, {wanted})
    whole = await asyncio.to_thread(_assembled, read, services)
    step = next((step for step in whole.steps if step.span_id == wanted), None)
    if step is None:
        raise NotFound(f"There is no step {span_id[:100]!r} in this execution.")
    return wide_step_view(whole._replace(records=own), step, wide, states.of(row.trace_id, wanted, row.revision))


@delete("/executions/{execution_id:str}", operation_class=described(ProjectQuery), status_code=204)
async def remove(request: AnyRequest, services: Given, execution_id: FromPath[str]) -> None:
    """Delete an execution with its steps, log records, jobs and reasoning."""
    async with services.database.begin() as conn:
        project = await project_of(conn, request)
        await delete_execution(conn, await execution_or_logs_of(conn, project, execution_id))


def _assembled(read: Read, services: Services) -> Assembled:
    steps, facts = assemble(read.steps, read.records.found, services.prices)
    return Assembled(read.row, facts, steps, read.records)


def _stream(parts: AsyncIterator[bytes]) -> Response[Any]:
    return Stream(parts, media_type=MediaType.JSON)


def _json(body: bytes) -> Response[Any]:
    return Response(cast("Any", body), media_type=MediaType.JSON)


def span_id_of(text: str) -> bytes:
    """A span id from hex; NotFound for anything else, for there can be no such step."""
    try:
        span_id = bytes.fromhex(text)
    except ValueError:
        span_id = b""
    if len(span_id) != 8:
        raise NotFound(f"A span id is 16 hex digits, {text[:100]!r} is none.")
    return span_id
