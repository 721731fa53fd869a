"""The worker's side of the queue: look, take, beat, fail, snooze, give back; `completion.py` holds what is done.

A job is one row of `reasoning_jobs`. The job with an empty span id is its execution's gate: it is due when the
execution has been quiet, and opens the jobs of its steps, which wait at `run_at = infinity` until then.

- Attempts are counted when a job is taken; a token that only this taking knows fences every later change.
- Every statement names one execution, so that it runs on one shard; many executions go as many sets of arguments of one
  prepared statement, in key order. Nothing here waits for a lock that somebody holds on a pending job.
- The database's clock is the clock. Functions take a connection and never commit.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import msgspec

from collector.model import EXECUTION_SPAN, ExecutionKey
from collector.store.merge import ORDINARY

SETTLED_OFFSET = 10
"""Added to the priority of jobs whose execution is settled and now waits for a slow reasoner: a lane of its own."""
STEPS_AT_ONCE = 2_000
"""Steps of one execution that are taken together; the others follow."""

# For the transaction's hot statements: planned once instead of for each set of arguments (0.2 ms each), and by index
# whatever the statistics of a table say that was empty a moment ago.
PLAN_ONCE = "SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_seqscan = off"
# For what a crash of the server may forget as a whole: a lease that nobody knows of, a result that is found out again.
FORGETTABLE = "SET LOCAL synchronous_commit = off"

# The most urgent executions with due work, without a lock. Index reasoning_jobs_due.
LOOK = """
SELECT project_id, trace_id, max(attempts) FROM (
    SELECT project_id, trace_id, attempts FROM reasoning_jobs
    WHERE status = 'pending' AND run_at < 'infinity' AND run_at <= now() AND priority >= $1 AND priority < $2
    ORDER BY priority, run_at, trace_id LIMIT $3
) due
GROUP BY project_id, trace_id
"""

# Lock and lease what is due of one execution: the gate with the steps that wait for it, steps that are tried again.
# Where the gate is due, too, steps leave with it alone: who locked it a moment ago is about to take them all.
TAKE = """
WITH gate AS MATERIALIZED (
    SELECT span_id FROM reasoning_jobs
    WHERE project_id = $1 AND trace_id = $2 AND span_id = '' AND status = 'pending' AND run_at <= now()
    FOR UPDATE SKIP LOCKED
), steps AS MATERIALIZED (
    SELECT span_id FROM reasoning_jobs
    WHERE project_id = $1 AND trace_id = $2 AND span_id <> '' AND status = 'pending'
        AND (EXISTS (SELECT FROM gate) OR run_at <= now() AND NOT EXISTS (
            SELECT FROM reasoning_jobs g WHERE g.project_id = $1 AND g.trace_id = $2 AND g.span_id = ''
                AND g.status = 'pending' AND g.run_at <= now()))
    ORDER BY span_id LIMIT $6 FOR UPDATE SKIP LOCKED
)
UPDATE reasoning_jobs j
SET status = 'processing', attempts = j.attempts + 1, lease_token = $3, lease_until = now() + $4::interval,
    worker = $5, changed_at = now()
FROM (SELECT span_id FROM gate UNION ALL SELECT span_id FROM steps) due
WHERE j.project_id = $1 AND j.trace_id = $2 AND j.span_id = due.span_id
RETURNING j.project_id, j.trace_id, j.span_id, j.revision, j.attempts, j.priority, j.forced, j.settle_by > now(),
    j.span_id = '' AND EXISTS (SELECT FROM reasonings r WHERE r.project_id = $1 AND r.trace_id = $2) AS was_explained
"""

# What was explained of an execution before more came is explained again, along with its gate (held by our token).
TAKE_STALE = """
INSERT INTO reasoning_jobs (project_id, trace_id, span_id, status, attempts, lease_token, lease_until, worker)
SELECT r.project_id, r.trace_id, r.span_id, 'processing', 1, $3, now() + $4::interval, $5 FROM reasonings r
WHERE r.project_id = $1 AND r.trace_id = $2 AND r.span_id <> ''
    AND r.revision < (SELECT e.revision FROM executions e WHERE e.project_id = $1 AND e.trace_id = $2)
ORDER BY r.span_id LIMIT $6
ON CONFLICT (project_id, trace_id, span_id) DO NOTHING
RETURNING project_id, trace_id, span_id, revision, attempts, priority, forced, false, false AS was_explained
"""

# Lengthen the lease; says what is still ours, and what somebody wants cancelled. No index holds `lease_until`.
BEAT = """
UPDATE reasoning_jobs SET lease_until = now() + $4::interval
WHERE project_id = $1 AND trace_id = $2 AND lease_token = $3
RETURNING project_id, trace_id, span_id, cancel_asked
"""

# What was asked to stop while it ran.
STOP = """
UPDATE reasoning_jobs
SET status = 'cancelled', lease_token = NULL, lease_until = NULL, worker = NULL, changed_at = now()
WHERE project_id = $1 AND trace_id = $2 AND lease_token = $3 AND cancel_asked
RETURNING project_id, trace_id, span_id
"""

# One more line in `errors`: the last five stay.
NOTE = """errors = (COALESCE(jsonb_path_query_array(j.errors::jsonb, '$[last - 3 to last]'), '[]')
        || jsonb_build_array(jsonb_build_object('at', now(), 'attempt', j.attempts, 'message', $8::text)))::json"""
# The same, but the same words twice in a row are one line.
NOTE_ONCE = (
    NOTE.replace("errors = (", "errors = CASE WHEN j.errors -> -1 ->> 'message' = $8::text THEN j.errors ELSE (")
    + " END"
)
FREE = "lease_token = NULL, lease_until = NULL, worker = NULL, changed_at = now()"

# Try again after a delay that grows with the attempts, or dead after the last one. A gate that has news starts anew.
FAIL = """
UPDATE reasoning_jobs j SET
    status = CASE WHEN j.cancel_asked THEN 'cancelled'
                  WHEN j.attempts >= $6 AND (j.span_id <> '' OR j.revision = $5) THEN 'failed' ELSE 'pending' END,
    attempts = CASE WHEN j.attempts >= $6 AND j.span_id = '' AND j.revision <> $5 THEN 0 ELSE j.attempts END,
    run_at = now() + ($7::interval[])[GREATEST(LEAST(j.attempts, cardinality($7::interval[])), 1)],
    {note}, {free}
WHERE j.project_id = $1 AND j.trace_id = $2 AND j.lease_token = $3 AND j.span_id = ANY ($4::bytea[])
RETURNING j.project_id, j.trace_id, j.span_id, j.status
""".replace("{note}", NOTE).replace("{free}", FREE)

# Wait without spending an attempt; dead when it has waited too long and too often.
SNOOZE = """
UPDATE reasoning_jobs j SET
    status = CASE WHEN j.cancel_asked THEN 'cancelled'
                  WHEN j.snoozes >= 10 AND j.created_at + $5::interval < now() THEN 'failed' ELSE 'pending' END,
    attempts = GREATEST(j.attempts - 1, 0), snoozes = j.snoozes + 1, run_at = now() + $4::interval,
    {note}, {free}
WHERE j.project_id = $1 AND j.trace_id = $2 AND j.lease_token = $3
RETURNING j.project_id, j.trace_id, j.span_id, j.status
""".replace("{note}", NOTE_ONCE.replace("$8", "$6")).replace("{free}", FREE)

# Back as it was before it was taken; where $5 is above 0, in the lane of settled executions.
GIVE_BACK = """
UPDATE reasoning_jobs j SET
    status = CASE WHEN j.cancel_asked THEN 'cancelled' ELSE 'pending' END,
    attempts = GREATEST(j.attempts - 1, 0),
    priority = j.priority % 10 + CASE WHEN j.span_id <> '' OR j.revision = $4
                                      THEN GREATEST($5::smallint, j.priority / 10 * 10) ELSE 0 END,
    {free}
WHERE j.project_id = $1 AND j.trace_id = $2 AND j.lease_token = $3
RETURNING j.project_id, j.trace_id, j.span_id, j.status
""".replace("{free}", FREE)

MESSAGE_BYTES = 2_000
NO_GATE = -1


class Lease(NamedTuple):
    """Who takes, and for how long without a beat."""

    worker: str
    duration: timedelta


class Lane(NamedTuple):
    """A range of priorities: from `first` to below `end`."""

    first: int = 0
    end: int = 32_767


class Due(NamedTuple):
    """An execution with due jobs."""

    key: ExecutionKey
    attempts: int
    """How often it was tried in vain."""


class TakenJob(NamedTuple):
    revision: int
    attempts: int
    priority: int
    forced: bool
    is_early: bool
    """The upper bound of its wait for quiet lies ahead."""


class Taken(msgspec.Struct, frozen=True):
    """The jobs of one execution that are ours as long as the lease lives."""

    key: ExecutionKey
    token: UUID
    jobs: dict[bytes, TakenJob]

    @property
    def has_gate(self) -> bool:
        return EXECUTION_SPAN in self.jobs

    @property
    def gate_revision(self) -> int:
        gate = self.jobs.get(EXECUTION_SPAN)
        return gate.revision if gate else NO_GATE

    @property
    def may_wait(self) -> bool:
        """True where nothing failed and nobody waits for it, and the upper bound of the quiet time lies ahead."""
        gate = self.jobs.get(EXECUTION_SPAN)
        return gate is not None and gate.is_early and gate.priority == ORDINARY and not gate.forced

    @property
    def is_settled(self) -> bool:
        """True where a lane before has settled the execution, and nothing came since."""
        return all(job.priority >= SETTLED_OFFSET for job in self.jobs.values())


Places = dict[ExecutionKey, set[bytes]]


async def look(conn: asyncpg.Connection, lane: Lane, limit: int) -> list[Due]:
    """The most urgent executions with due jobs; another worker may be faster in taking them."""
    rows = await conn.fetch(LOOK, lane.first, lane.end, limit)
    return [Due(ExecutionKey(project_id, trace_id), attempts) for project_id, trace_id, attempts in rows]


async def take(conn: asyncpg.Connection, keys: Mapping[ExecutionKey, UUID], lease: Lease) -> list[Taken]:
    """Lease what is due of these executions, each under a token of its own; what others hold is left out.

    In a transaction of the caller's.
    Where a gate was taken, so are its steps whose explanation is older than the last steps that came.
    """
    arguments = [(*key, keys[key], lease.duration, lease.worker, STEPS_AT_ONCE) for key in sorted(keys)]
    await conn.execute(f"{PLAN_ONCE}; {FORGETTABLE}")
    rows = await conn.fetchmany(TAKE, arguments)
    explained = {ExecutionKey(row["project_id"], row["trace_id"]) for row in rows if row["was_explained"]}
    rows += await run_many(conn, TAKE_STALE, [one for one in arguments if ExecutionKey(*one[:2]) in explained])
    jobs: dict[ExecutionKey, dict[bytes, TakenJob]] = {}
    for project_id, trace_id, span_id, *job, _ in rows:
        jobs.setdefault(ExecutionKey(project_id, trace_id), {})[span_id] = TakenJob(*job)
    return [Taken(key, keys[key], found) for key, found in jobs.items()]


async def beat(conn: asyncpg.Connection, takings: Iterable[Taken], lease: Lease) -> tuple[Places, Places]:
    """Lengthen the leases; what is still ours, and what of that somebody asked to cancel."""
    arguments = [(*taken.key, taken.token, lease.duration) for taken in in_key_order(takings)]
    rows = await conn.fetchmany(BEAT, arguments)
    return places_of(rows), places_of(row for row in rows if row["cancel_asked"])


async def run_many(conn: asyncpg.Connection, statement: str, arguments: list[tuple[Any, ...]]) -> list[Any]:
    rows: list[Any] = await conn.fetchmany(statement, arguments) if arguments else []
    return rows


class Failure(NamedTuple):
    """Why jobs failed, and when they may be tried again."""

    message: str
    delays: Sequence[timedelta]
    """By attempt; the last one holds for all later ones."""
    most_attempts: int


async def fail(conn: asyncpg.Connection, taken: Taken, spans: Collection[bytes], failure: Failure) -> dict[bytes, str]:
    """Give failed jobs back for another try, or let them be dead; returns the status of those that were ours."""
    rows = await conn.fetch(
        FAIL,
        *(*taken.key, taken.token, list(spans), taken.gate_revision),
        *(failure.most_attempts, list(failure.delays), clipped(failure.message)),
    )
    return {row["span_id"]: row["status"] for row in rows}


async def snooze(
    conn: asyncpg.Connection, taken: Taken, delay: timedelta, oldest: timedelta, reason: str
) -> dict[bytes, str]:
    """Put all jobs of a taking off without spending an attempt; dead when one is older than `oldest` and tired."""
    rows = await conn.fetch(SNOOZE, *taken.key, taken.token, delay, oldest, clipped(reason))
    return {row["span_id"]: row["status"] for row in rows}


async def give_back(conn: asyncpg.Connection, takings: Iterable[Taken], *, settled: bool = False) -> Places:
    """Return jobs as they were, attempt included; `settled`: into the lane of a slow reasoner."""
    offset = SETTLED_OFFSET if settled else 0
    ordered = in_key_order(takings)
    arguments = [(*taken.key, taken.token, taken.gate_revision, offset) for taken in ordered]
    return places_of(await run_many(conn, GIVE_BACK, arguments))


async def stop_cancelled(conn: asyncpg.Connection, taken: Taken) -> Places:
    """Close the jobs of a taking that somebody asked to cancel."""
    return places_of(await conn.fetch(STOP, *taken.key, taken.token))


def clipped(message: str) -> str:
    """At most 2 KB of a message, whole characters, nothing that Postgres refuses."""
    return message.replace("\0", "\ufffd").encode(errors="replace")[:MESSAGE_BYTES].decode(errors="ignore")


def in_key_order(takings: Iterable[Taken]) -> list[Taken]:
    return sorted(takings, key=lambda taken: taken.key)


def places_of(rows: Iterable[Any]) -> Places:
    places: Places = {}
    add_places(places, rows)
    return places


def add_places(places: Places, rows: Iterable[Any]) -> None:
    for row in rows:
        places.setdefault(ExecutionKey(row["project_id"], row["trace_id"]), set()).add(row["span_id"])
