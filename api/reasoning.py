"""Reasoning: ask for it, watch its jobs, retry and cancel them."""

from collections.abc import Awaitable, Callable, Sized
from datetime import datetime
from typing import Annotated, Literal, NamedTuple

import msgspec
from litestar import get, post
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from api import cursor
from api.asked import AnyRequest, Given, execution_of, project_of
from api.query import DEFAULT_PROJECT, Limit, ProjectName, ProjectQuery, described, read_query
from api.schemas import Ask, Enqueued, JobPage, JobView, Process, ReasoningStats
from api.services import Services
from api.views import job_id, job_view
from collector.errors import Conflict, NotFound, Rejected
from collector.model import ExecutionKey
from collector.reasoning.policy import EXPLAINED_KINDS
from collector.store import asking
from collector.store.ledger import LedgerFilter, LedgerPlace, list_jobs, load_job
from collector.store.search import searching


class JobQuery(msgspec.Struct, frozen=True, kw_only=True):
    project: ProjectName = DEFAULT_PROJECT
    status: Annotated[
        Literal["pending", "processing", "completed", "failed", "cancelled", "skipped"] | None,
        Meta(description="Jobs in this state."),
    ] = None
    execution_id: Annotated[str | None, Meta(description="Jobs of this execution and its steps.")] = None
    since: Annotated[datetime | None, Meta(description="Created then or later: ISO 8601, or 15m, 24h, 7d ago.")] = None
    until: Annotated[datetime | None, Meta(description="Created before.")] = None
    limit: Limit = 50
    cursor: Annotated[str | None, Meta(description="next_cursor of the page before.")] = None


class JobPlace(NamedTuple):
    """A job's public id: `trace.span` in hex, and nothing behind the dot for the execution's own."""

    trace_id: bytes
    span_id: bytes

    @classmethod
    def of(cls, text: str) -> "JobPlace":
        trace, _, span = text.partition(".")
        try:
            place = cls(bytes.fromhex(trace), bytes.fromhex(span))
        except ValueError:
            place = cls(b"", b"")
        if len(place.trace_id) != 16 or len(place.span_id) not in (0, 8):
            raise NotFound(f"A job's id is TRACE.SPAN in hex (or TRACE. alone), {text[:100]!r} is none.")
        return place


@get("/reasoning/jobs", operation_class=described(JobQuery))
async def jobs_page(request: AnyRequest, services: Given) -> JobPage:
    """Jobs, newest first: those that wait or run, that failed or were cancelled, and those that are done."""
    query = read_query(request.query_params, JobQuery)
    after = cursor.job_place(query.cursor) if query.cursor else None
    async with searching(services.database) as conn:
        project = await project_of(conn, request)
        trace_id = None
        if query.execution_id is not None:
            trace_id = (await execution_of(conn, project, query.execution_id)).trace_id
        wanted = LedgerFilter(project.id, query.status, trace_id, query.since, query.until)
        rows = await list_jobs(conn, wanted, after, query.limit + 1)
    page = rows[: query.limit]
    last = LedgerPlace(page[-1].created_at, page[-1].trace_id, page[-1].span_id) if len(rows) > query.limit else None
    return JobPage([job_view(row) for row in page], cursor.of_job(last) if last else None)


@get("/reasoning/jobs/{job:str}", operation_class=described(ProjectQuery))
async def show_job(request: AnyRequest, services: Given, job: FromPath[str]) -> JobView:
    """One job."""
    place = JobPlace.of(job)
    async with services.database.begin() as conn:
        project = await project_of(conn, request)
    return await _shown(services, ExecutionKey(project.id, place.trace_id), place)


@post("/reasoning/jobs/{job:str}/retry", operation_class=described(ProjectQuery), status_code=202)
async def retry_job(request: AnyRequest, services: Given, job: FromPath[str]) -> JobView:
    """Start a failed or cancelled job anew; with an execution's own job all those of its steps."""
    _expect_reasoner(services)
    shown, is_changed = await _change(request, services, JobPlace.of(job), asking.retry)
    if not is_changed:
        raise Conflict(f"The job is {shown.status}: only one that failed or was cancelled can be retried.")
    return shown


@post("/reasoning/jobs/{job:str}/cancel", operation_class=described(ProjectQuery), status_code=202)
async def cancel_job(request: AnyRequest, services: Given, job: FromPath[str]) -> JobView:
    """Cancel a job that waits or runs (its worker stops at its next beat); with an execution's own job all of them."""
    shown, is_changed = await _change(request, services, JobPlace.of(job), asking.cancel)
    if not is_changed:
        raise Conflict(f"The job is {shown.status}: only one that waits or runs can be cancelled.")
    return shown


async def _change(
    request: AnyRequest, services: Services, place: JobPlace, change: Callable[..., Awaitable[Sized]]
) -> tuple[JobView, bool]:
    """The job after the change, and whether that changed anything."""
    async with services.database.begin() as conn:
        project = await project_of(conn, request)
    key = ExecutionKey(project.id, place.trace_id)
    async with services.database.connection() as raw, raw.transaction():
        changed = await change(raw, key, place.span_id)
    return await _shown(services, key, place), bool(changed)


@post("/executions/{execution_id:str}/reasoning", operation_class=described(ProjectQuery), status_code=202)
async def ask_again(
    request: AnyRequest, services: Given, execution_id: FromPath[str], data: JSONBody[Ask | None] = None
) -> Enqueued:
    """Explain an execution (again), or some of its steps."""
    _expect_reasoner(services)
    asked = data or Ask()
    async with services.database.begin() as conn:
        row = await execution_of(conn, await project_of(conn, request), execution_id)
    spans = None if asked.steps is None else {bytes.fromhex(span_id) for span_id in asked.steps}
    enqueued = await _ask(services, row.key, asking.Wish(EXPLAINED_KINDS, spans, asked.force))
    if asked.steps and not enqueued:
        raise NotFound("The execution has none of these steps.")
    return Enqueued(enqueued)


@post("/reasoning/process", operation_class=described(ProjectQuery), status_code=202)
async def process(request: AnyRequest, services: Given, data: JSONBody[Process | None] = None) -> Enqueued:
    """Explain one execution again, or everything whose jobs have failed (at a bounded rate)."""
    wanted = data or Process()
    if (wanted.execution_id is None) == (wanted.status is None):
        raise Rejected('Say what to process: either {"execution_id": "…"} or {"status": "failed"}.')
    _expect_reasoner(services)
    async with services.database.begin() as conn:
        project = await project_of(conn, request)
        row = None if wanted.execution_id is None else await execution_of(conn, project, wanted.execution_id)
    if row is not None:
        return Enqueued(await _ask(services, row.key, asking.Wish(EXPLAINED_KINDS)))
    async with services.database.connection() as raw, raw.transaction():
        return Enqueued(await asking.redrive(raw, project.id))


@get("/reasoning/stats", operation_class=described(ProjectQuery))
async def reasoning_stats(request: AnyRequest, services: Given) -> ReasoningStats:
    """How many jobs wait, run, failed or are done, and what the explanations have cost."""
    read_query(request.query_params, ProjectQuery)
    async with services.database.begin() as conn:
        project = await project_of(conn, request)
    async with services.database.connection() as raw, raw.transaction():
        jobs = await asking.count_jobs(raw, project.id)
        done = await asking.count_done(raw, project.id)
    figures = jobs._asdict() | done._asdict()
    figures["oldest_pending_age_s"] = jobs.oldest_pending_age_s or 0.0
    return ReasoningStats(**figures)


def _expect_reasoner(services: Services) -> None:
    if not services.explains:
        raise Conflict(
            "The reasoner is off (XRAY_REASONER=off), so nobody would explain it. "
            "Start X-Ray with XRAY_REASONER=auto, rules or openai, then ask again."
        )


async def _ask(services: Services, key: ExecutionKey, wish: asking.Wish) -> int:
    async def ask() -> int:
        async with services.database.connection() as raw, raw.transaction():
            return await asking.ask(raw, key, wish)

    return await services.database.retrying(ask)


async def _shown(services: Services, key: ExecutionKey, place: JobPlace) -> JobView:
    async with services.database.begin() as conn:
        row = await load_job(conn, key, place.span_id)
    if row is None:
        raise NotFound(f"There is no job {job_id(*place)!r}.")
    return job_view(row)
