"""A step's own history: how steps of the same name went lately."""

import time
from collections.abc import Iterable
from typing import NamedTuple

import asyncpg
import msgspec

from collector.model import Step
from collector.store.rollups import NAME_CHARS, percentile_ms

DAYS = 7
MOST_NAMES = 500


class StepName(NamedTuple):
    """What makes two steps comparable."""

    service: str | None
    name: str
    kind: str


class StepHistory(msgspec.Struct, frozen=True):
    """How often steps of one name ran lately, how long they took and how often they failed."""

    count: int
    p50_ms: float
    p95_ms: float
    error_rate: float


# A week by name: through the primary key of step_rollups, one range of it for each name. Bucket -1 holds the errors.
LOAD = """
SELECT b.service, b.name, b.kind, array_agg(b.bucket ORDER BY b.bucket) AS buckets, array_agg(b.n ORDER BY b.bucket)
FROM (
    SELECT r.service, r.name, r.kind, u.bucket, sum(u.n)::bigint AS n
    FROM unnest($2::text[], $3::text[], $4::text[]) AS w (service, name, kind)
    JOIN step_rollups r ON r.project_id = $1 AND r.service = w.service AND r.name = w.name AND r.kind = w.kind
        AND r.hour >= now() - make_interval(days => $5)
    CROSS JOIN LATERAL unnest(r.buckets || (-1)::smallint, r.counts || r.errors) AS u (bucket, n)
    GROUP BY r.service, r.name, r.kind, u.bucket
) b
GROUP BY b.service, b.name, b.kind
"""


async def load(
    conn: asyncpg.Connection, project_id: int, names: Iterable[StepName], days: int = DAYS
) -> dict[StepName, StepHistory]:
    """The history of each name that has any; the callers keep it for a minute or so, and share it.

    Names beyond `MOST_NAMES` are left out: an execution of so many has no history to speak of.
    """
    wanted = {(name.service or "", name.name[:NAME_CHARS], name.kind): name for name in names}
    keys = sorted(wanted)[:MOST_NAMES]
    if not keys:
        return {}
    services, titles, kinds = (list(column) for column in zip(*keys, strict=True))
    found: dict[StepName, StepHistory] = {}
    for service, title, kind, buckets, counts in await conn.fetch(LOAD, project_id, services, titles, kinds, days):
        errors = counts[0]
        past = _history(list(zip(buckets[1:], counts[1:], strict=True)), errors)
        if past is not None:
            found[wanted[service, title, kind]] = past
    return found


def _history(histogram: list[tuple[int, int]], errors: int) -> StepHistory | None:
    total = sum(count for _, count in histogram)
    p50_ms, p95_ms = percentile_ms(histogram, 0.5), percentile_ms(histogram, 0.95)
    if p50_ms is None or p95_ms is None:
        return None
    return StepHistory(total, p50_ms, p95_ms, min(errors / total, 1.0))


class Histories:
    """Histories that a worker's executions share, read again after a while; that there is none is kept, too."""

    def __init__(self, kept_s: float = 60.0, most: int = 20_000) -> None:
        self._kept_s = kept_s
        self._most = most
        self._known: dict[tuple[int, StepName], tuple[float, StepHistory | None]] = {}

    async def of(self, conn: asyncpg.Connection, project_id: int, steps: Iterable[Step]) -> dict[StepName, StepHistory]:
        """The history of each step that has one."""
        now = time.monotonic()
        names = {StepName(step.service, step.name, step.kind) for step in steps}
        stale = [name for name in names if self._known.get((project_id, name), (0.0, None))[0] <= now]
        if stale:
            if len(self._known) + len(stale) > self._most:
                self._known.clear()
            loaded = await load(conn, project_id, stale)
            self._known.update({(project_id, name): (now + self._kept_s, loaded.get(name)) for name in stale})
        kept = {name: self._known.get((project_id, name), (0.0, None))[1] for name in names}
        return {name: past for name, past in kept.items() if past is not None}
