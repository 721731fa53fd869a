"""`GET /stream`: server-sent events of executions, steps and reasoning as they are committed."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import msgspec
from litestar import get
from litestar.response import ServerSentEvent, ServerSentEventMessage

from api.asked import AnyRequest, Given, Project, project_of
from api.query import ProjectQuery, described, read_query
from api.schemas import ReasoningEvent, StepEvent
from api.services import Services
from api.views import list_item, step_view
from collector.model import EXECUTION_SPAN
from collector.store.changes import Watched, changed_executions, new_results, new_steps, now_of
from collector.store.executions import ExecutionRow
from collector.store.reasonings import Result, load_own_states, reasoning_of

HEARTBEAT_S = 15.0
PAUSE_S = 0.2
"""Changes within this time are told together."""
MOST_SEEN = 20_000


class Seen:
    """What a stream has told already, as far back as the store's overlap needs it."""

    def __init__(self) -> None:
        self._told: OrderedDict[Any, None] = OrderedDict()

    def is_new(self, *what: Any) -> bool:
        if what in self._told:
            return False
        self._told[what] = None
        while len(self._told) > MOST_SEEN:
            self._told.popitem(last=False)
        return True


@get("/stream", operation_class=described(ProjectQuery), media_type="text/event-stream")
async def stream(request: AnyRequest, services: Given) -> ServerSentEvent:
    """Server-sent events `execution`, `step` and `reasoning` as they are committed."""
    read_query(request.query_params, ProjectQuery)
    services.hub.check_room()
    async with services.database.begin() as conn:
        project, since = await project_of(conn, request), await now_of(conn)
    return ServerSentEvent(_events(services, project, since))


async def _events(services: Services, project: Project, since: datetime) -> AsyncIterator[ServerSentEventMessage]:
    seen = Seen()
    with services.hub.watching() as watcher:
        yield ServerSentEventMessage(comment="listening", data=None, retry=2000)
        while watcher.is_open and not services.hub.is_closed:  # it may have closed before this one was known
            changed = await watcher.changes(HEARTBEAT_S)
            trace_ids = [key.trace_id for key in changed if key.project_id == project.id]
            if trace_ids:
                messages, since = await _news(services, project, Watched(project.id, trace_ids, since), seen)
                for message in messages:
                    yield message
            elif not changed:
                yield ServerSentEventMessage(comment="nothing new", data=None)
            await asyncio.sleep(PAUSE_S)


async def _news(
    services: Services, project: Project, watched: Watched, seen: Seen
) -> tuple[list[ServerSentEventMessage], datetime]:
    async with services.database.begin() as conn:
        now = await now_of(conn)
        rows = await changed_executions(conn, watched)
        own = await load_own_states(conn, project.id, watched.trace_ids)
        steps = await new_steps(conn, watched, rows)
        results = await new_results(conn, watched)
    known = {row.trace_id: row for row in rows}
    messages = [
        _message("execution", list_item(row, project.name, own.of(row.trace_id, EXECUTION_SPAN, row.revision)))
        for row in rows
    ]
    messages += [
        _message("step", StepEvent(_public_id(known[trace_id]), trace_id.hex(), step_view(step, None)))
        for trace_id, step in steps
        if trace_id in known and seen.is_new(trace_id, step.span_id, step.start_ns)
    ]
    messages += [
        _message("reasoning", _reasoning(known[result.trace_id], result))
        for result in results
        if result.trace_id in known and seen.is_new(result.trace_id, result.span_id, result.created_at)
    ]
    return messages, now


def _reasoning(row: ExecutionRow, result: Result) -> ReasoningEvent:
    reasoning = reasoning_of(result, None, row.revision)
    return ReasoningEvent(_public_id(row), row.trace_id.hex(), result.span_id.hex() or None, reasoning)


def _public_id(row: ExecutionRow) -> str:
    return row.execution_id or row.trace_id.hex()


def _message(event: str, data: Any) -> ServerSentEventMessage:
    return ServerSentEventMessage(event=event, data=msgspec.json.encode(data).decode())
