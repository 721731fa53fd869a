"""How steps of one name went, hour by hour: built when executions settle, off the way of the spans.

Settling an execution writes what it gives (its parts), whole and keyed by the execution: settling it again replaces
them, so that every step counts once however often that happens. A background loop folds parts into hourly rows, and
of parts that were folded before only the difference.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import asyncpg
import msgspec

from collector.model import ExecutionKey, Step

BUCKETS_A_DOUBLING = 8
"""Neighbouring buckets lie 9 % apart: a percentile read back is off by at most 4.5 %."""
LAST_BUCKET = BUCKETS_A_DOUBLING * 42
"""Some 50 days."""
HOUR_NS = 3_600_000_000_000
NAME_CHARS = 200
MOST_PARTS = 500
"""Names an execution may add; senders that put ids into names would otherwise fill the table."""
FOLD_KEY = 0x58526F6C  # "XRol"


class Part(msgspec.Struct, array_like=True):
    """What one execution gives to one row of `step_rollups`."""

    service: str
    name: str
    kind: str
    hour: int
    """Hours since 1970."""
    count: int = 0
    errors: int = 0
    tokens_input: int = 0
    tokens_output: int = 0
    tokens_cached: int = 0
    tokens_reasoning: int = 0
    cost_usd: float = 0.0
    buckets: dict[int, int] = {}


class Settled(NamedTuple):
    """An execution that settles: all of its steps as of a revision."""

    key: ExecutionKey
    revision: int
    steps: Sequence[Step]


# Keep what executions give; an older revision never replaces a newer one, the same one only where it says otherwise.
RECORD = """
INSERT INTO step_rollup_parts AS p (project_id, trace_id, revision, parts)
SELECT * FROM unnest($1::int[], $2::bytea[], $3::int[], $4::json[])
ON CONFLICT (project_id, trace_id) DO UPDATE SET
    parts = EXCLUDED.parts, revision = EXCLUDED.revision, is_pending = true, changed_at = EXCLUDED.changed_at,
    folded = CASE WHEN p.is_pending THEN p.folded ELSE p.parts END
WHERE p.revision < EXCLUDED.revision
    OR (p.revision = EXCLUDED.revision AND p.parts::text <> EXCLUDED.parts::text)
"""
# Through the index step_rollup_parts_pending.
PENDING = """
SELECT project_id, trace_id, parts, folded FROM step_rollup_parts WHERE is_pending
ORDER BY project_id, trace_id LIMIT $1
"""
# Only what is still as it was read counts as folded.
MARK_FOLDED = """
UPDATE step_rollup_parts p SET is_pending = false, folded = NULL
FROM unnest($1::int[], $2::bytea[], $3::text[]) AS k (project_id, trace_id, parts)
WHERE p.project_id = k.project_id AND p.trace_id = k.trace_id AND p.parts::text = k.parts AND p.is_pending
RETURNING p.project_id, p.trace_id
"""
ADD = """
INSERT INTO step_rollups AS r (project_id, service, name, kind, hour, count, errors,
    tokens_input, tokens_output, tokens_cached, tokens_reasoning, cost_usd, buckets, counts)
VALUES ($1, $2, $3, $4, to_timestamp($5::bigint * 3600), $6, $7, $8, $9, $10, $11, $12, $13, $14)
ON CONFLICT (project_id, service, name, kind, hour) DO UPDATE SET
    count = r.count + EXCLUDED.count, errors = r.errors + EXCLUDED.errors,
    tokens_input = r.tokens_input + EXCLUDED.tokens_input, tokens_output = r.tokens_output + EXCLUDED.tokens_output,
    tokens_cached = r.tokens_cached + EXCLUDED.tokens_cached,
    tokens_reasoning = r.tokens_reasoning + EXCLUDED.tokens_reasoning, cost_usd = r.cost_usd + EXCLUDED.cost_usd,
    (buckets, counts) = (
        SELECT COALESCE(array_agg(s.bucket ORDER BY s.bucket), '{}'), COALESCE(array_agg(s.n ORDER BY s.bucket), '{}')
        FROM (SELECT u.bucket, sum(u.n)::bigint AS n
              FROM unnest(r.buckets || EXCLUDED.buckets, r.counts || EXCLUDED.counts) AS u (bucket, n)
              GROUP BY u.bucket HAVING sum(u.n) > 0) s)
"""


async def record(conn: asyncpg.Connection, settled: Iterable[Settled]) -> None:
    """Write what executions give to the rollups, in the caller's transaction; the same again changes nothing."""
    rows = sorted((one.key, one.revision, msgspec.json.encode(parts_of(one.steps)).decode()) for one in settled)
    if rows:
        keys, revisions, parts = zip(*rows, strict=True)
        projects, traces = zip(*keys, strict=True)
        await conn.execute(RECORD, list(projects), list(traces), list(revisions), list(parts))


async def fold(conn: asyncpg.Connection, most: int = 500) -> int:
    """Fold parts into the hourly rows, in the caller's transaction; says how many executions' parts there were.

    Only one process folds at a time: another finds the lock taken and does nothing.
    """
    if not await conn.fetchval("SELECT pg_try_advisory_xact_lock($1)", FOLD_KEY):
        return 0
    pending = await conn.fetch(PENDING, most)
    if not pending:
        return 0
    keys = [[row[place] for row in pending] for place in range(3)]
    marked = {(row[0], row[1]) for row in await conn.fetch(MARK_FOLDED, *keys)}
    sums: dict[tuple[int, str, str, str, int], Part] = {}
    for project_id, trace_id, parts, folded in pending:
        if (project_id, trace_id) in marked:
            _add(sums, project_id, parts, 1)
            _add(sums, project_id, folded, -1)
    await conn.executemany(ADD, [_row(key, part) for key, part in sorted(sums.items()) if _counts(part)])
    return len(pending)


def parts_of(steps: Iterable[Step]) -> list[Part]:
    """What these steps give, the most frequent names first."""
    parts: dict[tuple[str, str, str, int], Part] = {}
    for step in steps:
        key = (step.service or "")[:NAME_CHARS], step.name[:NAME_CHARS], step.kind, step.start_ns // HOUR_NS
        part = parts.get(key)
        if part is None:
            part = parts[key] = Part(*key)
        _count(part, step)
    found = list(parts.values())
    return found if len(found) <= MOST_PARTS else sorted(found, key=lambda part: -part.count)[:MOST_PARTS]


def _count(part: Part, step: Step) -> None:
    part.count += 1
    part.errors += step.status == "error"
    if step.duration_ns is not None:
        bucket = bucket_of(step.duration_ns)
        part.buckets[bucket] = part.buckets.get(bucket, 0) + 1
    if step.tokens is not None:
        part.tokens_input += step.tokens.input or 0
        part.tokens_output += step.tokens.output or 0
        part.tokens_cached += step.tokens.cached or 0
        part.tokens_reasoning += step.tokens.reasoning or 0
    part.cost_usd += step.cost_usd or 0.0


def bucket_of(duration_ns: int) -> int:
    """Bucket 0 holds all below a microsecond and a bit."""
    microseconds = duration_ns / 1000
    return min(int(math.log2(microseconds) * BUCKETS_A_DOUBLING), LAST_BUCKET) if microseconds > 1 else 0


def percentile_ms(histogram: Sequence[tuple[int, int]], share: float) -> float | None:
    """A percentile of (bucket, count) pairs in bucket order: the middle of the bucket that it lies in."""
    total = sum(count for _, count in histogram)
    if total <= 0:
        return None
    reached = 0
    for bucket, count in histogram:
        reached += count
        if reached >= share * total:
            return float(2 ** ((bucket + 0.5) / BUCKETS_A_DOUBLING) / 1000)
    return None


SUMS = ("count", "errors", "tokens_input", "tokens_output", "tokens_cached", "tokens_reasoning", "cost_usd")


def _add(sums: dict[tuple[int, str, str, str, int], Part], project_id: int, parts: str | None, sign: int) -> None:
    for part in msgspec.json.decode(parts, type=list[Part]) if parts else ():
        key = project_id, part.service, part.name, part.kind, part.hour
        held = sums.setdefault(key, Part(*key[1:]))
        for name in SUMS:
            setattr(held, name, getattr(held, name) + sign * getattr(part, name))
        for bucket, count in part.buckets.items():
            held.buckets[bucket] = held.buckets.get(bucket, 0) + sign * count


def _counts(part: Part) -> bool:
    return any(getattr(part, name) for name in SUMS) or any(part.buckets.values())


def _row(key: tuple[int, str, str, str, int], part: Part) -> tuple[object, ...]:
    buckets = sorted(bucket for bucket, count in part.buckets.items() if count)
    return *key, *(getattr(part, name) for name in SUMS), buckets, [part.buckets[bucket] for bucket in buckets]
