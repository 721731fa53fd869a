"""Executions: the list, one with its steps, one step whole, what came in as OTLP, deletion."""

import asyncio
from typing import Annotated, Any, NamedTuple, cast

import msgspec
from litestar import MediaType, Response, delete, get
from litestar.params import FromPath
from msgspec import Meta
from sqlalchemy.ext.asyncio import AsyncConnection

from api import cursor
from api.query import DEFAULT_PROJECT, ProjectName, ProjectQuery, described, read_query
from api.schemas import ExecutionDetail, ExecutionPage, WideStepView
from api.services import AnyRequest, Given, Project, Services, execution_of, project_of
from api.views import Assembled, detail, list_item, wide_step_view
from collector.errors import NotFound
from collector.mapping.assemble import assemble
from collector.mapping.otlp_out import otlp_json
from collector.model import EXECUTION_SPAN, Record, Step
from collector.store.deletion import delete_execution
from collector.store.executions import ExecutionRow, Place, list_executions, read_records, read_steps
from collector.store.reasonings import States, load_own_states, load_states
from collector.store.search import ExecutionFilter, conditions, searching
from collector.store.steps import load_rows, load_wide_step

MANY_STEPS = 300
"""From here on assembling takes longer than the event loop should wait."""


class ExecutionQuery(ExecutionFilter, frozen=True, kw_only=True):
    project: ProjectName = DEFAULT_PROJECT
    limit: Annotated[int, Meta(ge=1, le=500)] = 50
    cursor: Annotated[str | None, Meta(description="next_cursor of the page before.")] = None


class Read(NamedTuple):
    row: ExecutionRow
    steps: list[Step]
    records: list[Record]


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


@get("/executions/{execution_id:str}", operation_class=described(ProjectQuery))
async def show(request: AnyRequest, services: Given, execution_id: FromPath[str]) -> Response[ExecutionDetail]:
    """One execution with its steps in start order, exact at any time."""
    async with services.database.begin() as conn:
        project = await project_of(conn, request)
        read = await _read(conn, await execution_of(conn, project, execution_id))
        states = await load_states(conn, read.row.key)
    if len(read.steps) < MANY_STEPS:
        body = _detail_json(read, services, project, states)
    else:
        body = await asyncio.to_thread(_detail_json, read, services, project, states)
    return Response(cast("Any", body), media_type=MediaType.JSON)


def _detail_json(read: Read, services: Services, project: Project, states: States) -> bytes:
    return msgspec.json.encode(detail(_assembled(read, services), project.name, states))


@get("/executions/{execution_id:str}/steps/{span_id:str}", operation_class=described(ProjectQuery))
async def show_step(
    request: AnyRequest, services: Given, execution_id: FromPath[str], span_id: FromPath[str]
) -> WideStepView:
    """One step with everything that came with it."""
    async with services.database.begin() as conn:
        read = await _read(conn, await execution_of(conn, await project_of(conn, request), execution_id))
        wide = await load_wide_step(conn, read.row, span_id_of(span_id))
        states = await load_states(conn, read.row.key)
    whole = await asyncio.to_thread(_assembled, read, services)
    step = next((step for step in whole.steps if step.span_id == span_id_of(span_id)), None)
    if step is None:
        raise NotFound(f"There is no step {span_id[:100]!r} in this execution.")
    return wide_step_view(whole, step, wide, states.of(read.row.trace_id, step.span_id, read.row.revision))


@get("/executions/{execution_id:str}/otlp", operation_class=described(ProjectQuery))
async def otlp(request: AnyRequest, services: Given, execution_id: FromPath[str]) -> Response[dict[str, Any]]:
    """What came in, as OTLP/JSON: every type exactly as it was sent."""
    async with services.database.begin() as conn:
        rows, origins = await load_rows(conn, await execution_of(conn, await project_of(conn, request), execution_id))
    body = await asyncio.to_thread(otlp_json, rows, origins)
    return Response(cast("Any", body), media_type=MediaType.JSON)


@delete("/executions/{execution_id:str}", operation_class=described(ProjectQuery), status_code=204)
async def remove(request: AnyRequest, services: Given, execution_id: FromPath[str]) -> None:
    """Delete an execution with its steps, log records, jobs and reasoning."""
    async with services.database.begin() as conn:
        await delete_execution(conn, await execution_of(conn, await project_of(conn, request), execution_id))


async def _read(conn: AsyncConnection, row: ExecutionRow) -> Read:
    return Read(row, await read_steps(conn, row), await read_records(conn, row.key))


def _assembled(read: Read, services: Services) -> Assembled:
    steps, facts = assemble(read.steps, read.records, services.prices)
    return Assembled(read.row, facts, steps)


def span_id_of(text: str) -> bytes:
    """A span id from hex; NotFound for anything else, for there can be no such step."""
    try:
        span_id = bytes.fromhex(text)
    except ValueError:
        span_id = b""
    if len(span_id) != 8:
        raise NotFound(f"A span id is 16 hex digits, {text[:100]!r} is none.")
    return span_id
