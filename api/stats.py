"""Figures over many executions: by step name, and over time."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec
from litestar import get
from msgspec import Meta

from api.asked import AnyRequest, Given, project_of
from api.problems import BadQuery, Fault
from api.query import DEFAULT_PROJECT, Limit, ProjectName, described, read_query
from api.schemas import BucketView, StepStatsPage, StepStatsView, Timeline
from collector.mapping.rates import plain_usd
from collector.model import Kind, Tokens
from collector.store.figures import step_figures
from collector.store.search import searching
from collector.store.stats import Bucket, StatsFilter, StepStats, step_stats, timeline

USUAL_RANGE = timedelta(hours=24)
EXACT_RANGE = timedelta(hours=25)
"""Longer ones are answered from the hourly rollups."""
MOST_BUCKETS = 1000
USUAL_BUCKETS = 60
ROUND_SECONDS = (1, 5, 10, 30, 60, 300, 600, 1800, 3600, 10_800, 21_600, 43_200, 86_400)

Since = Annotated[datetime | None, Meta(description="From then on; 24 hours before `until` where it is left out.")]
Until = Annotated[datetime | None, Meta(description="Before then; now where it is left out.")]


class StepStatsQuery(msgspec.Struct, frozen=True, kw_only=True):
    project: ProjectName = DEFAULT_PROJECT
    since: Since = None
    until: Until = None
    service: Annotated[str | None, Meta(description="Steps of this service.")] = None
    kind: Annotated[Kind | None, Meta(description="Steps of this kind.")] = None
    limit: Limit = 100


class TimelineQuery(msgspec.Struct, frozen=True, kw_only=True):
    project: ProjectName = DEFAULT_PROJECT
    since: Since = None
    until: Until = None
    service: Annotated[str | None, Meta(description="Executions whose root is of this service.")] = None
    bucket_s: Annotated[
        Annotated[int, Meta(ge=1, le=2_678_400)] | None, Meta(description="Width of a bucket in seconds.")
    ] = None


@get("/stats/steps", operation_class=described(StepStatsQuery))
async def steps_page(request: AnyRequest, services: Given) -> StepStatsPage:
    """Count, errors, durations, tokens and cost by step name, the most frequent first."""
    query = read_query(request.query_params, StepStatsQuery)
    since, until = _range(query.since, query.until)
    is_exact = until - since <= EXACT_RANGE
    async with searching(services.database) as conn:
        project = await project_of(conn, request)
        wanted = StatsFilter(project.id, since, until, query.service)
        rows = await step_stats(conn, wanted, query.kind, query.limit) if is_exact else []
    if not is_exact:
        async with services.database.connection() as raw:
            rows = await step_figures(raw, wanted, query.kind, query.limit)
    return StepStatsPage(since, until, is_exact, [_step_view(row) for row in rows])


@get("/stats/timeline", operation_class=described(TimelineQuery))
async def timeline_page(request: AnyRequest, services: Given) -> Timeline:
    """Executions, errors, durations, tokens and cost by bucket of time, oldest first, empty buckets included."""
    query = read_query(request.query_params, TimelineQuery)
    since, until = _range(query.since, query.until)
    bucket_s = query.bucket_s or _usual_bucket_s(until - since)
    starts = _starts(since, until, bucket_s)
    async with searching(services.database) as conn:
        project = await project_of(conn, request)
        wanted = StatsFilter(project.id, starts[0], until, query.service)
        rows = await timeline(conn, wanted, timedelta(seconds=bucket_s))
    known = {row.started_at: row for row in rows}
    return Timeline(starts[0], until, bucket_s, [_bucket_view(start, known.get(start)) for start in starts])


def _range(since: datetime | None, until: datetime | None) -> tuple[datetime, datetime]:
    until = until or datetime.now(UTC)
    since = since or until - USUAL_RANGE
    if since >= until:
        raise BadQuery([Fault("since", f"it must be before until ({until.isoformat()}).")])
    return since, until


def _usual_bucket_s(width: timedelta) -> int:
    wanted = width.total_seconds() / USUAL_BUCKETS
    return next((seconds for seconds in ROUND_SECONDS if seconds >= wanted), 86_400 * (1 + int(wanted // 86_400)))


def _starts(since: datetime, until: datetime, bucket_s: int) -> list[datetime]:
    """The starts of all buckets, at round times of the clock."""
    first = int(since.timestamp()) // bucket_s * bucket_s
    last = int((until - timedelta(microseconds=1)).timestamp()) // bucket_s * bucket_s
    if (last - first) // bucket_s >= MOST_BUCKETS:
        raise BadQuery([Fault("bucket_s", f"that makes more than {MOST_BUCKETS} buckets: take wider ones.")])
    return [datetime.fromtimestamp(second, UTC) for second in range(first, last + 1, bucket_s)]


def _step_view(row: StepStats) -> StepStatsView:
    return StepStatsView(name=row.name, kind=row.kind, service=row.service, count=row.step_count, **_figures(row))


def _bucket_view(start: datetime, row: Bucket | None) -> BucketView:
    row = row or Bucket(start, 0, 0, *[None] * 8)
    return BucketView(started_at=start, executions=row.executions, **_figures(row))


def _figures(row: StepStats | Bucket) -> dict[str, Any]:
    same = {name: getattr(row, name) for name in ("errors", "p50_ms", "p95_ms", "p99_ms")}
    counts = {name: getattr(row, f"tokens_{name}") for name in ("input", "output", "cached", "reasoning")}
    cost = None if row.cost_usd is None else plain_usd(row.cost_usd)
    return same | {"tokens": Tokens(**counts), "cost_usd": cost}
