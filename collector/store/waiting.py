"""How executions stand before they are read, and the wait of those whose root may still come."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from itertools import groupby
from typing import NamedTuple

import asyncpg

from collector.model import ExecutionKey
from collector.store.jobs import FREE, Taken, run_many

# By primary key.
LOOK_OVER = """
SELECT project_id, trace_id, step_count, error_count, root_order, now() - last_received_at FROM executions
WHERE project_id = $1 AND trace_id = ANY ($2::bytea[])
"""

# Back without an attempt spent. What came meanwhile may have been the root: then the usual quiet time counts.
PUT_OFF = """
UPDATE reasoning_jobs j SET
    status = CASE WHEN j.cancel_asked THEN 'cancelled' ELSE 'pending' END, attempts = GREATEST(j.attempts - 1, 0),
    run_at = CASE WHEN j.span_id <> '' THEN j.run_at WHEN j.revision = $4 THEN LEAST(now() + $5::interval, j.settle_by)
                  ELSE LEAST(now() + $6::interval, j.settle_by) END,
    {free}
WHERE j.project_id = $1 AND j.trace_id = $2 AND j.lease_token = $3
RETURNING j.span_id
""".replace("{free}", FREE)


class Outline(NamedTuple):
    """How an execution stands."""

    step_count: int
    error_count: int
    root_order: bytes
    quiet: timedelta
    """Time since its last span or record came, by the database's clock."""

    @property
    def lacks_root(self) -> bool:
        """True where its first step has a parent that should still come: one in the same process."""
        return self.root_order[0] != 0 and self.root_order[17] == 0


class Early(NamedTuple):
    """An execution that was taken before its root came."""

    taken: Taken
    wait: timedelta
    settle: timedelta


async def look_over(conn: asyncpg.Connection, keys: Iterable[ExecutionKey]) -> dict[ExecutionKey, Outline]:
    """How executions stand; one that does not exist is left out."""
    found: dict[ExecutionKey, Outline] = {}
    for project_id, ours in groupby(sorted(keys), key=lambda key: key.project_id):
        rows = await conn.fetch(LOOK_OVER, project_id, [key.trace_id for key in ours])
        found |= {ExecutionKey(*row[:2]): Outline(*row[2:]) for row in rows}
    return found


async def put_off(conn: asyncpg.Connection, early: Sequence[Early]) -> None:
    """Give back what was taken too early, until it may have waited long enough."""
    ordered = sorted(early, key=lambda one: one.taken.key)
    arguments = [(*one.taken.key, one.taken.token, one.taken.gate_revision, one.wait, one.settle) for one in ordered]
    await run_many(conn, PUT_OFF, arguments)
