"""Figures over many executions: by step name, and over time.

Exact over the time range that was asked for; for long ranges there are the hourly rollups, whose percentiles are off by
at most 4.5 %.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, Float, cast, func, literal, select, true, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from collector.store.rollups import percentile_ms
from collector.store.schema import executions, step_rollups, steps

PERCENTILES = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99}


TOKEN_SUMS = ("tokens_input", "tokens_output", "tokens_cached", "tokens_reasoning")


class StatsFilter(NamedTuple):
    project_id: int
    since: datetime
    until: datetime
    service: str | None = None


class StepStats(NamedTuple):
    """How the steps of one name went."""

    name: str
    kind: str
    service: str | None
    step_count: int
    errors: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    tokens_input: int | None
    tokens_output: int | None
    tokens_cached: int | None
    tokens_reasoning: int | None
    cost_usd: float | None


class Bucket(NamedTuple):
    """How the executions that started within one bucket of time went."""

    started_at: datetime
    executions: int
    errors: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    tokens_input: int | None
    tokens_output: int | None
    tokens_cached: int | None
    tokens_reasoning: int | None
    cost_usd: float | None


async def step_stats(conn: AsyncConnection, wanted: StatsFilter, kind: str | None, limit: int) -> list[StepStats]:
    """Figures by step name, the most frequent first; reads only the partitions of the days asked for."""
    group = (steps.c.name, steps.c.kind, steps.c.service)
    duration_ms = cast(steps.c.duration_ns, Float) / 1e6
    query = (
        select(
            *group,
            func.count().label("count"),
            func.count().filter(steps.c.status == "error"),
            *_percentiles(duration_ms),
            *_sums(steps),
        )
        .where(
            steps.c.project_id == wanted.project_id,
            steps.c.started_at >= wanted.since,
            steps.c.started_at < wanted.until,
        )
        .group_by(*group)
        .order_by(func.count().desc(), *group)
        .limit(limit)
    )
    if wanted.service is not None:
        query = query.where(steps.c.service == wanted.service)
    if kind is not None:
        query = query.where(steps.c.kind == kind)
    return [StepStats(*row) for row in await conn.execute(query)]


async def rolled_step_stats(
    conn: AsyncConnection, wanted: StatsFilter, kind: str | None, limit: int
) -> list[StepStats]:
    """The same from the hourly rollups: whole hours, of executions that have settled."""
    group = (step_rollups.c.name, step_rollups.c.kind, step_rollups.c.service)
    within = [
        step_rollups.c.project_id == wanted.project_id,
        step_rollups.c.hour >= func.date_trunc("hour", literal(wanted.since), "UTC"),
        step_rollups.c.hour < wanted.until,
        *([step_rollups.c.service == wanted.service] if wanted.service is not None else []),
        *([step_rollups.c.kind == kind] if kind is not None else []),
    ]
    names = ("count", "errors", *TOKEN_SUMS, "cost_usd")
    sums = (
        select(*group, *(func.sum(step_rollups.c[name]).label(name) for name in names))
        .where(*within)
        .group_by(*group)
        .having(func.sum(step_rollups.c["count"]) > 0)
        .order_by(func.sum(step_rollups.c["count"]).desc(), *group)
        .limit(limit)
    )
    rows = (await conn.execute(sums)).all()
    histograms = await _histograms(conn, within, [row[:3] for row in rows])
    return [_rolled(row, histograms.get(row[:3], [])) for row in rows]


async def _histograms(
    conn: AsyncConnection, within: list[ColumnElement[bool]], groups: Sequence[Any]
) -> dict[Any, list[tuple[int, int]]]:
    """Durations by group: how many are in each bucket."""
    group = (step_rollups.c.name, step_rollups.c.kind, step_rollups.c.service)
    held = func.unnest(step_rollups.c.buckets, step_rollups.c.counts).table_valued("bucket", "n").render_derived()
    query = (
        select(*group, held.c.bucket, func.sum(held.c.n))
        .select_from(step_rollups.join(held, true()))
        .where(*within, tuple_(*group).in_([tuple(each) for each in groups]))
        .group_by(*group, held.c.bucket)
        .order_by(*group, held.c.bucket)
    )
    found: dict[Any, list[tuple[int, int]]] = {}
    for row in await conn.execute(query) if groups else ():
        found.setdefault(row[:3], []).append((row[3], int(row[4])))
    return found


def _rolled(row: Any, histogram: list[tuple[int, int]]) -> StepStats:
    name, kind, service, count, errors, *sums, cost = row
    percentiles = (percentile_ms(histogram, share) for share in PERCENTILES.values())
    tokens = (int(counted) or None for counted in sums)
    return StepStats._make([name, kind, service or None, int(count), int(errors), *percentiles, *tokens, cost or None])


async def timeline(conn: AsyncConnection, wanted: StatsFilter, width: timedelta) -> list[Bucket]:
    """Figures by bucket of `width`, oldest first, from `since` on; a bucket without executions has no row."""
    start = func.date_bin(width, executions.c.started_at, literal(wanted.since)).label("start")
    duration_ms = func.extract("epoch", executions.c.ended_at - executions.c.started_at) * 1000
    query = (
        select(
            start,
            func.count(),
            func.count().filter(executions.c.error_count > 0),
            *_percentiles(cast(duration_ms, Float)),
            *_sums(executions),
        )
        .where(
            executions.c.project_id == wanted.project_id,
            executions.c.started_at >= wanted.since,
            executions.c.started_at < wanted.until,
        )
        .group_by(start)
        .order_by(start)
    )
    if wanted.service is not None:
        query = query.where(executions.c.service == wanted.service)
    return [Bucket(*row) for row in await conn.execute(query)]


def _percentiles(duration_ms: ColumnElement[Any]) -> list[ColumnElement[Any]]:
    return [func.percentile_cont(share).within_group(duration_ms) for share in PERCENTILES.values()]


def _sums(table: Any) -> list[ColumnElement[Any]]:
    return [*(func.sum(table.c[name]).cast(BigInteger) for name in TOKEN_SUMS), func.sum(table.c.cost_usd)]
