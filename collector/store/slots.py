"""A provider that all workers share: how many may ask it at once, and whether anybody may.

Slots are numbered rows under a lease, so that a worker that dies frees its slot, and counting can't go wrong.
These tables have no trace id: they hold a few rows, and stay on one node where the others are distributed.
"""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import asyncpg

from collector.store.jobs import Lease

# The rows 1 to $2 of a provider exist.
MAKE_SLOTS = """
INSERT INTO provider_slots (provider, slot) SELECT $1, g FROM generate_series(1, $2::int) g ON CONFLICT DO NOTHING
"""
TAKE_SLOT = """
UPDATE provider_slots SET lease_token = $3, lease_until = now() + $4::interval, worker = $5
WHERE provider = $1 AND slot = (
    SELECT slot FROM provider_slots
    WHERE provider = $1 AND slot <= $2::int AND (lease_until IS NULL OR lease_until < now())
    ORDER BY slot LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING slot
"""
RENEW_SLOTS = "UPDATE provider_slots SET lease_until = now() + $2::interval WHERE lease_token = ANY ($1::uuid[])"
FREE_SLOT = "UPDATE provider_slots SET lease_token = NULL, lease_until = NULL, worker = NULL WHERE lease_token = $1"

# The longest closure wins: a late 429 never opens the door.
CLOSE = """
INSERT INTO provider_states AS p (provider, closed_until, reason) SELECT $1, now() + $2::interval, $3
ON CONFLICT (provider) DO UPDATE SET closed_until = EXCLUDED.closed_until, reason = EXCLUDED.reason
WHERE p.closed_until < EXCLUDED.closed_until
"""
CLOSED_FOR = """
SELECT extract(epoch FROM closed_until - now())::float8 AS seconds, reason FROM provider_states
WHERE provider = $1 AND closed_until > now()
"""


async def make_slots(conn: asyncpg.Connection, provider: str, count: int) -> None:
    await conn.execute(MAKE_SLOTS, provider, count)


async def take_slot(conn: asyncpg.Connection, provider: str, count: int, token: UUID, lease: Lease) -> bool:
    """One of the first `count` slots, until the lease ends; False where none is free."""
    return await conn.fetchval(TAKE_SLOT, provider, count, token, lease.duration, lease.worker) is not None


async def renew(conn: asyncpg.Connection, tokens: Sequence[UUID], lease: Lease) -> None:
    await conn.execute(RENEW_SLOTS, tokens, lease.duration)


async def free_slot(conn: asyncpg.Connection, token: UUID) -> None:
    await conn.execute(FREE_SLOT, token)


async def close_provider(conn: asyncpg.Connection, provider: str, delay: timedelta, reason: str) -> None:
    """Nobody asks the provider before the delay is over."""
    await conn.execute(CLOSE, provider, delay, reason)


async def closed_for(conn: asyncpg.Connection, provider: str) -> tuple[float, str] | None:
    """For how many seconds the provider is closed, and why; None where it is open."""
    row = await conn.fetchrow(CLOSED_FOR, provider)
    return None if row is None else (row["seconds"], row["reason"])
