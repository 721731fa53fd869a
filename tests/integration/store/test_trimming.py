"""A pool gives back what it does not need, and works on."""

import asyncio
from contextlib import AsyncExitStack

from collector.store.database import Database
from collector.store.trimming import Trimming
from collector.telemetry import Telemetry

ASK = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


async def use(database: Database, count: int) -> int:
    """How many others there are, asked while so many connections are in use."""
    async with AsyncExitStack() as stack:
        held = [await stack.enter_async_context(database.connection()) for _ in range(count)]
        others: int = await held[0].fetchval(ASK)
        return others


async def test_connections_that_nobody_needed_are_closed(database: Database) -> None:
    trimming = Trimming(database, Telemetry())
    for most in (4, 3):  # the new pool is watched as the first one was
        assert await use(database, most) == most - 1
        await trimming.trim()
        assert await use(database, 1) == most - 1, "so many were in use since the last look"
        await trimming.trim()
        async with asyncio.timeout(10):
            while await use(database, 1):  # a server process may end a moment after its connection
                await asyncio.sleep(0)
        await trimming.trim()


async def test_nothing_is_closed_while_a_connection_is_in_use(database: Database) -> None:
    trimming = Trimming(database, Telemetry())
    await use(database, 3)
    await trimming.trim()
    async with database.connection() as held:
        await trimming.trim()
        assert await held.fetchval(ASK) == 2
