"""Figures by step name from the hourly rollups: fast over millions of steps, exact to the hour and to 5 %.

`collector.store.stats.step_stats` answers the same question exactly, by reading every step of the time range.
"""

from collections.abc import Sequence
from typing import Any

import asyncpg

from collector.store.rollups import percentile_ms
from collector.store.stats import StatsFilter, StepStats

# The most frequent names of the hours asked for, with their histograms. Index step_rollups_hour.
FIGURES = """
WITH r AS (
    SELECT * FROM step_rollups
    WHERE project_id = $1 AND hour >= date_trunc('hour', $2::timestamptz) AND hour < $3
        AND ($4::text IS NULL OR service = $4) AND ($5::text IS NULL OR kind = $5)
), n AS (
    SELECT service, name, kind, sum(count)::bigint AS steps, sum(errors)::bigint AS errors,
        sum(tokens_input)::bigint AS tokens_input, sum(tokens_output)::bigint AS tokens_output,
        sum(tokens_cached)::bigint AS tokens_cached, sum(tokens_reasoning)::bigint AS tokens_reasoning,
        sum(cost_usd) AS cost_usd
    FROM r GROUP BY service, name, kind
    HAVING sum(count) > 0 ORDER BY sum(count) DESC, service, name, kind LIMIT $6
), b AS (
    SELECT r.service, r.name, r.kind, u.bucket, sum(u.n)::bigint AS n
    FROM n JOIN r USING (service, name, kind) CROSS JOIN LATERAL unnest(r.buckets, r.counts) AS u (bucket, n)
    GROUP BY r.service, r.name, r.kind, u.bucket
), h AS (
    SELECT service, name, kind, array_agg(bucket ORDER BY bucket) AS buckets, array_agg(n ORDER BY bucket) AS counts
    FROM b GROUP BY service, name, kind
)
SELECT n.*, h.buckets, h.counts FROM n LEFT JOIN h USING (service, name, kind)
ORDER BY n.steps DESC, n.service, n.name, n.kind
"""


async def step_figures(conn: asyncpg.Connection, wanted: StatsFilter, kind: str | None, limit: int) -> list[StepStats]:
    """Like `step_stats`, over whole hours and settled executions."""
    rows = await conn.fetch(FIGURES, wanted.project_id, wanted.since, wanted.until, wanted.service, kind, limit)
    return [_stats(row) for row in rows]


def _stats(row: Any) -> StepStats:
    histogram: Sequence[tuple[int, int]] = list(zip(row["buckets"] or (), row["counts"] or (), strict=True))
    tokens = {name: row[name] or None for name in StepStats._fields if name.startswith("tokens_")}
    return StepStats(
        name=row["name"],
        kind=row["kind"],
        service=row["service"] or None,
        step_count=row["steps"],
        errors=row["errors"],
        p50_ms=percentile_ms(histogram, 0.5),
        p95_ms=percentile_ms(histogram, 0.95),
        p99_ms=percentile_ms(histogram, 0.99),
        cost_usd=row["cost_usd"] or None,
        **tokens,
    )
