"""Reasoning: ask for it, watch its jobs, retry and cancel them."""

from datetime import datetime
from typing import Annotated, Literal, NamedTuple

import msgspec
from litestar import get
from litestar.params import FromPath
from msgspec import Meta

from api import cursor
from api.query import DEFAULT_PROJECT, ProjectName, ProjectQuery, described, read_query
from api.schemas import JobPage, JobView
from api.services import AnyRequest, Given, execution_of, project_of
from api.views import job_id, job_view
from collector.errors import NotFound
from collector.model import ExecutionKey
from collector.store.ledger import LedgerFilter, LedgerPlace, list_jobs, load_job
from collector.store.search import searching


class JobQuery(msgspec.Struct, frozen=True, kw_only=True):
    project: ProjectName = DEFAULT_PROJECT
    status: Literal["pending", "processing", "completed", "failed", "cancelled", "skipped"] | None = None
    execution_id: Annotated[str | None, Meta(description="Jobs of this execution and its steps.")] = None
    since: Annotated[datetime | None, Meta(description="Created then or later: ISO 8601, or 15m, 24h, 7d ago.")] = None
    until: Annotated[datetime | None, Meta(description="Created before.")] = None
    limit: Annotated[int, Meta(ge=1, le=500)] = 50
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
        row = await load_job(conn, ExecutionKey(project.id, place.trace_id), place.span_id)
    if row is None:
        raise NotFound(f"There is no job {job_id(*place)!r}.")
    return job_view(row)
