"""Leases that ran out: the jobs of a lost worker go back to the queue, and gates that died with work waiting reopen."""

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

import asyncpg

from collector.model import ExecutionKey
from collector.store.jobs import FREE, NOTE, Places, places_of, run_many

# Executions with a lease that ran out. Index reasoning_jobs_processing holds what runs: few rows.
LOST = """
SELECT DISTINCT project_id, trace_id FROM reasoning_jobs
WHERE status = 'processing' AND lease_until < now() LIMIT $1
"""

# Decide and change in one: a job that was completed or beaten since the look no longer matches.
SWEEP = """
WITH lost AS MATERIALIZED (
    SELECT span_id FROM reasoning_jobs
    WHERE project_id = $1 AND trace_id = $2 AND status = 'processing' AND lease_until < now()
    ORDER BY span_id FOR UPDATE SKIP LOCKED
)
UPDATE reasoning_jobs j SET
    status = CASE WHEN j.cancel_asked THEN 'cancelled' WHEN j.attempts >= $3 THEN 'failed' ELSE 'pending' END,
    run_at = now() + ($4::interval[])[GREATEST(LEAST(j.attempts, cardinality($4::interval[])), 1)],
    {note}, {free}
FROM lost
WHERE j.project_id = $1 AND j.trace_id = $2 AND j.span_id = lost.span_id
    AND j.status = 'processing' AND j.lease_until < now()
RETURNING j.project_id, j.trace_id, j.span_id, j.status
""".replace("{note}", NOTE.replace("$8", "$5")).replace("{free}", FREE)

# Executions whose gate is dead while jobs wait for it: something came in the moment it died. Index reasoning_jobs_dead.
STRANDED = """
SELECT g.project_id, g.trace_id FROM reasoning_jobs g
WHERE g.status IN ('failed', 'cancelled') AND g.span_id = '' AND g.changed_at > now() - interval '1 day'
    AND EXISTS (SELECT FROM reasoning_jobs w WHERE w.project_id = g.project_id AND w.trace_id = g.trace_id
        AND w.status = 'pending' AND w.run_at = 'infinity')
LIMIT $1
"""
REOPEN = """
UPDATE reasoning_jobs SET status = 'pending', attempts = 0, snoozes = 0, cancel_asked = false, run_at = now(),
    changed_at = now()
WHERE project_id = $1 AND trace_id = $2 AND span_id = '' AND status IN ('failed', 'cancelled')
RETURNING project_id, trace_id, span_id
"""

WORKER_LOST = "worker lost: its lease ran out before it said anything"


class Sweep(NamedTuple):
    delays: Sequence[timedelta]
    """By attempt."""
    most_attempts: int
    limit: int = 200
    """Executions at once."""


async def sweep(conn: asyncpg.Connection, rule: Sweep) -> Places:
    """Take the jobs of lost workers from them: tried again after a delay, or dead after the last attempt."""
    lost = sorted(ExecutionKey(*row) for row in await conn.fetch(LOST, rule.limit))
    arguments = [(*key, rule.most_attempts, list(rule.delays), WORKER_LOST) for key in lost]
    return places_of(await run_many(conn, SWEEP, arguments))


async def reopen(conn: asyncpg.Connection, limit: int = 200) -> Places:
    """Open gates again that died or were cancelled in the moment when more came."""
    keys = sorted(tuple(row) for row in await conn.fetch(STRANDED, limit))
    return places_of(await run_many(conn, REOPEN, keys))
