"""The user's side of the queue: ask for reasoning, cancel, retry, redrive what is dead, count.

Locks are taken in one order: the gate first, then steps by span id. Functions take a raw connection inside of a
transaction of the caller's, and never commit.
"""

from collections.abc import Collection
from datetime import timedelta
from typing import Any, NamedTuple

import asyncpg

from collector.model import EXECUTION_SPAN, ExecutionKey
from collector.store.jobs import run_many

ASKED = 1
"""The priority of what a person waits for: behind failures, before everything else."""
REDRIVEN_PER_S = 50
"""Executions whose dead jobs come back in one second."""

_REVIVE = """
ON CONFLICT (project_id, trace_id, span_id) DO UPDATE SET
    status = CASE WHEN j.status = 'processing' THEN j.status ELSE 'pending' END,
    run_at = CASE WHEN j.status = 'processing' THEN j.run_at ELSE EXCLUDED.run_at END,
    created_at = CASE WHEN j.status = 'processing' THEN j.created_at ELSE EXCLUDED.created_at END,
    attempts = CASE WHEN j.status = 'processing' THEN j.attempts ELSE 0 END,
    snoozes = CASE WHEN j.status = 'processing' THEN j.snoozes ELSE 0 END,
    cancel_asked = CASE WHEN j.status = 'processing' THEN j.cancel_asked ELSE false END,
    priority = LEAST(j.priority, EXCLUDED.priority), forced = j.forced OR EXCLUDED.forced,
    revision = j.revision + EXCLUDED.revision
"""

# The gate is due now; one that runs is run once more, since its revision moves on.
ASK_GATE = (
    """
INSERT INTO reasoning_jobs AS j (project_id, trace_id, span_id, priority, run_at, forced, revision, created_at)
SELECT e.project_id, e.trace_id, '', $3::smallint, now(), $4::boolean, 1, now() FROM executions e
WHERE e.project_id = $1 AND e.trace_id = $2
"""
    + _REVIVE
)

# Steps worth explaining wait for the gate ($5: infinity), steps asked for by name are due by themselves ($5: now).
ASK_STEPS = (
    """
INSERT INTO reasoning_jobs AS j (project_id, trace_id, span_id, priority, run_at, forced, revision, created_at)
SELECT DISTINCT s.project_id, s.trace_id, s.span_id, $3::smallint,
    CASE WHEN $5::bytea[] IS NULL THEN 'infinity' ELSE now() END, $4::boolean, 0, now()
FROM steps s
WHERE s.project_id = $1 AND s.trace_id = $2 AND CASE WHEN $5::bytea[] IS NULL
    THEN s.kind = ANY ($6::text[]) OR s.status = 'error' OR s.parent_span_id IS NULL
    ELSE s.span_id = ANY ($5::bytea[]) END
ORDER BY s.span_id
"""
    + _REVIVE
)

# Pending: at once. Running: its worker sees the wish at its next beat. With the gate goes all that waits for it.
CANCEL = """
WITH wanted AS MATERIALIZED (
    SELECT span_id FROM reasoning_jobs
    WHERE project_id = $1 AND trace_id = $2 AND status IN ('pending', 'processing') AND (span_id = $3 OR $3 = '')
    ORDER BY span_id FOR UPDATE
)
UPDATE reasoning_jobs j SET
    status = CASE WHEN j.status = 'processing' THEN j.status ELSE 'cancelled' END,
    cancel_asked = (j.status = 'processing'), changed_at = now()
FROM wanted WHERE j.project_id = $1 AND j.trace_id = $2 AND j.span_id = wanted.span_id
RETURNING j.span_id, j.status
"""

# Dead or cancelled jobs start anew after a delay; with the gate ('' asked for) all of its execution.
REVIVE = """
WITH dead AS MATERIALIZED (
    SELECT span_id FROM reasoning_jobs
    WHERE project_id = $1 AND trace_id = $2 AND status = ANY ($4::text[]) AND (span_id = $3 OR $3 = '')
    ORDER BY span_id FOR UPDATE SKIP LOCKED
)
UPDATE reasoning_jobs j SET status = 'pending', attempts = 0, snoozes = 0, cancel_asked = false, created_at = now(),
    run_at = now() + $5::interval, changed_at = now(), priority = j.priority % 10
FROM dead WHERE j.project_id = $1 AND j.trace_id = $2 AND j.span_id = dead.span_id
RETURNING j.span_id
"""

# Executions with dead jobs, the longest dead first. Index reasoning_jobs_dead.
DEAD = """
SELECT project_id, trace_id FROM reasoning_jobs WHERE project_id = $1 AND status = 'failed'
GROUP BY project_id, trace_id ORDER BY min(changed_at), trace_id LIMIT $2
"""

COUNT_JOBS = """
SELECT count(*) FILTER (WHERE status = 'pending') AS pending,
    count(*) FILTER (WHERE status = 'processing') AS processing,
    count(*) FILTER (WHERE status = 'failed') AS failed,
    count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
    GREATEST(extract(epoch FROM now() - min(run_at) FILTER (WHERE status = 'pending' AND run_at <= now())), 0)::float8
        AS oldest_pending_age_s
FROM reasoning_jobs WHERE $1::int IS NULL OR project_id = $1
"""
COUNT_DONE = """
SELECT count(*) AS completed, COALESCE(sum(tokens_input + tokens_output), 0)::bigint AS tokens,
    COALESCE(sum(cost_usd), 0)::float8 AS cost_usd
FROM reasonings WHERE $1::int IS NULL OR project_id = $1
"""


class JobCounts(NamedTuple):
    pending: int
    processing: int
    failed: int
    cancelled: int
    oldest_pending_age_s: float | None


class DoneCounts(NamedTuple):
    completed: int
    tokens: int
    cost_usd: float


class Wish(NamedTuple):
    """What somebody wants explained: some steps by name, or the execution with all that is worth it."""

    kinds: Collection[str]
    steps: Collection[bytes] | None = None
    forced: bool = False


async def ask(conn: asyncpg.Connection, key: ExecutionKey, wish: Wish) -> int:
    """Queue reasoning now; says how many jobs. Nothing where the execution or the steps don't exist."""
    count = 0
    spans = None
    if wish.steps is None:
        count += _changed(await conn.execute(ASK_GATE, *key, ASKED, wish.forced))
    else:
        spans = sorted(wish.steps)
    return count + _changed(await conn.execute(ASK_STEPS, *key, ASKED, wish.forced, spans, list(wish.kinds)))


async def cancel(conn: asyncpg.Connection, key: ExecutionKey, span_id: bytes) -> dict[bytes, str]:
    """Cancel a job, with a gate all jobs of its execution; status by span, `processing` where a worker must see it."""
    return {row["span_id"]: row["status"] for row in await conn.fetch(CANCEL, *key, span_id)}


async def retry(conn: asyncpg.Connection, key: ExecutionKey, span_id: bytes) -> list[bytes]:
    """Start a dead or cancelled job anew, with a gate all those of its execution; the spans that it changed."""
    rows = await conn.fetch(REVIVE, *key, span_id, ["failed", "cancelled"], timedelta(0))
    return [row["span_id"] for row in rows]


async def redrive(conn: asyncpg.Connection, project_id: int, limit: int = 2_000) -> int:
    """Bring a project's dead jobs back, some executions a second; says how many jobs. Cancelled ones stay."""
    keys = sorted(ExecutionKey(*row) for row in await conn.fetch(DEAD, project_id, limit))
    pause = timedelta(seconds=1 / REDRIVEN_PER_S)
    arguments = [(*key, EXECUTION_SPAN, ["failed"], number * pause) for number, key in enumerate(keys)]
    return len(await run_many(conn, REVIVE, arguments))


async def count_jobs(conn: asyncpg.Connection, project_id: int | None = None) -> JobCounts:
    """How many jobs wait, run or are dead; reads the whole job table, which holds live work only."""
    return JobCounts(*await conn.fetchrow(COUNT_JOBS, project_id))


async def count_done(conn: asyncpg.Connection, project_id: int | None = None) -> DoneCounts:
    """How much was explained, and what that has cost."""
    return DoneCounts(*await conn.fetchrow(COUNT_DONE, project_id))


def _changed(tag: Any) -> int:
    return int(str(tag).rpartition(" ")[2])
