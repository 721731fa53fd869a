"""Jobs that are done: deleted in the same statement that keeps their reasoning, fenced by the token."""

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

import asyncpg

from collector.model import EXECUTION_SPAN
from collector.store.jobs import PLAN_ONCE, STOP, Places, Taken, add_places, places_of, run_many

# The jobs that are ours and done. A gate goes only where nothing came since it was taken and no step waits for it.
_DONE = """
DELETE FROM reasoning_jobs j
WHERE j.project_id = $1 AND j.trace_id = $2 AND j.lease_token = $3 AND j.span_id = ANY ($4::bytea[])
    AND NOT j.cancel_asked
    AND (j.span_id <> '' OR (j.revision = $5 AND NOT EXISTS (
        SELECT FROM reasoning_jobs w WHERE w.project_id = $1 AND w.trace_id = $2
            AND w.status = 'pending' AND w.run_at = 'infinity')))
RETURNING j.project_id, j.trace_id, j.span_id, j.attempts, j.created_at
"""
# A gate that has more to do: it waits for quiet again.
_OPEN_AGAIN = """
UPDATE reasoning_jobs j
SET status = 'pending', attempts = 0, snoozes = 0, lease_token = NULL, lease_until = NULL, worker = NULL,
    run_at = now() + LEAST($5::interval, $16::interval), settle_by = now() + $16::interval,
    priority = j.priority % 10, changed_at = now()
WHERE j.project_id = $1 AND j.trace_id = $2 AND j.span_id = '' AND j.lease_token = $3 AND NOT j.cancel_asked
    AND '' = ANY ($4::bytea[])
RETURNING j.project_id, j.trace_id, j.span_id, 1::smallint AS attempts, j.created_at
"""
_KEEP = """
INSERT INTO reasonings (project_id, trace_id, span_id, text, facts, root_cause, reasoner, model, prompt_version,
    revision, attempts, tokens_input, tokens_output, cost_usd, status, created_at, asked_at)
SELECT d.project_id, d.trace_id, d.span_id, r.text, r.facts::json, r.root_cause::json, r.reasoner, r.model,
    r.prompt_version, r.revision, d.attempts, r.tokens_input, r.tokens_output, r.cost_usd, 'completed', now(),
    d.created_at
FROM d JOIN unnest($4::bytea[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::int[],
        $13::bigint[], $14::bigint[], $15::float8[])
    AS r (span_id, text, facts, root_cause, reasoner, model, prompt_version, revision, tokens_input, tokens_output,
        cost_usd) ON r.span_id = d.span_id
ON CONFLICT (project_id, trace_id, span_id) DO UPDATE SET
    text = EXCLUDED.text, facts = EXCLUDED.facts, root_cause = EXCLUDED.root_cause, reasoner = EXCLUDED.reasoner,
    model = EXCLUDED.model, prompt_version = EXCLUDED.prompt_version, revision = EXCLUDED.revision,
    attempts = EXCLUDED.attempts, tokens_input = EXCLUDED.tokens_input, tokens_output = EXCLUDED.tokens_output,
    cost_usd = EXCLUDED.cost_usd, status = EXCLUDED.status, created_at = EXCLUDED.created_at,
    asked_at = EXCLUDED.asked_at
RETURNING project_id, trace_id, span_id
"""

# Done with a result: one statement deletes the job and keeps its reasoning. A late token does neither.
COMPLETE = f"WITH d AS (\n{_DONE}\n)\n{_KEEP}"
COMPLETE_OPEN = f"WITH d AS (\n{_OPEN_AGAIN}\n)\n{_KEEP}"
# Done without a result (the execution is settled, nothing is to be explained).
DISCARD = _DONE
DISCARD_OPEN = _OPEN_AGAIN.replace("$16", "$6")


class Result(NamedTuple):
    """One row of `reasonings` to be."""

    span_id: bytes
    text: str
    facts: str | None
    root_cause: str | None
    reasoner: str
    model: str | None
    prompt_version: str | None
    revision: int
    tokens_input: int
    tokens_output: int
    cost_usd: float | None


class Finished(NamedTuple):
    """What is done of a taking: some jobs with a result, some (`dropped`) that turned out to need none."""

    taken: Taken
    results: Sequence[Result]
    dropped: Collection[bytes] = ()


class Quiet(NamedTuple):
    """How long a gate that has more to do waits for quiet, and for how long at most."""

    settle: timedelta
    limit: timedelta


async def complete(conn: asyncpg.Connection, done: Sequence[Finished], quiet: Quiet) -> Places:
    """Delete the jobs and keep their results, all in the caller's transaction; says which jobs were still ours.

    A gate that heard of more since it was taken keeps its result and waits again. What was asked to be cancelled is
    cancelled and keeps no result. A taking that is missing in the answer has lost its lease: nothing was written.
    """
    await conn.execute(PLAN_ONCE)
    ordered = sorted(done, key=lambda finished: finished.taken.key)
    ours = places_of(await run_many(conn, COMPLETE, [_result_arguments(one) for one in ordered if one.results]))
    add_places(ours, await run_many(conn, DISCARD, [_drop_arguments(one) for one in ordered if one.dropped]))
    left = [one for one in ordered if _spans(one) - ours.get(one.taken.key, set())]
    if left:
        add_places(ours, await _close_rest(conn, left, quiet))
    return ours


async def _close_rest(conn: asyncpg.Connection, left: Sequence[Finished], quiet: Quiet) -> list[Any]:
    gates = [one for one in left if one.taken.has_gate]
    kept = [one for one in gates if any(not result.span_id for result in one.results)]
    dropped = [one for one in gates if EXECUTION_SPAN in one.dropped]
    rows = await run_many(conn, COMPLETE_OPEN, [(*_result_arguments(one, quiet.settle), quiet.limit) for one in kept])
    rows += await run_many(conn, DISCARD_OPEN, [(*_drop_arguments(one, quiet.settle), quiet.limit) for one in dropped])
    return rows + await run_many(conn, STOP, [(*one.taken.key, one.taken.token) for one in left])


def _result_arguments(one: Finished, fifth: Any = None) -> tuple[Any, ...]:
    taken = one.taken
    columns = zip(*one.results, strict=True)
    spans = next(columns)
    return (*taken.key, taken.token, spans, taken.gate_revision if fifth is None else fifth, *columns)


def _drop_arguments(one: Finished, fifth: Any = None) -> tuple[Any, ...]:
    taken = one.taken
    return (*taken.key, taken.token, list(one.dropped), taken.gate_revision if fifth is None else fifth)


def _spans(one: Finished) -> set[bytes]:
    return {result.span_id for result in one.results} | set(one.dropped)
