"""Figures over many executions: by step name, and over time. Exact, over the time range that was asked for."""

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, Float, cast, func, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from collector.store.schema import executions, steps

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
