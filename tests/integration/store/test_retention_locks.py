"""What retention locks, nobody waits for longer than 200 ms: the server's own log of long waits is the witness."""

import asyncio
import re
from collections.abc import AsyncIterator

import pytest_asyncio

from collector.store.database import Database
from collector.store.retention import Retention
from collector.telemetry import Telemetry
from tests.conftest import Server
from tests.integration.store.test_retention import days_ago_ns, make_days
from tests.integration.store.writer_rows import batch, root, rows, step, trace, writing

LONG_WAIT = re.compile(r"still waiting for .*\n.*holding the lock: ([\d, ]+)\.")
OLD_DAYS = range(31, 37)


@pytest_asyncio.fixture
async def telling(server: Server, database_name: str) -> AsyncIterator[Database]:
    """A database whose server logs every wait for a lock over 200 ms, and who holds it."""
    await server.command(f"ALTER DATABASE {database_name} SET log_lock_waits = on")
    await server.command(f"ALTER DATABASE {database_name} SET deadlock_timeout = '200ms'")
    database = await Database.open(server.url(database_name), pool_size=2)
    yield database
    await database.close()


def holders(log: str) -> set[int]:
    """The processes that others waited for."""
    return {int(pid) for found in LONG_WAIT.findall(log) for pid in found.split(",")}


async def pid_of(database: Database) -> int:
    return int((await rows(database, "SELECT pg_backend_pid() AS pid"))[0]["pid"])


async def expire_all(database: Database) -> None:
    """Until every old day is gone, whoever is in the way."""
    retention, dropped = Retention(database, 30, Telemetry()), 0
    while dropped < len(OLD_DAYS):
        dropped += (await retention.run_once()).days_dropped


async def test_ingest_never_waits_long_for_retention(telling: Database, server: Server, database_name: str) -> None:
    await make_days(telling, *OLD_DAYS)
    old = [root(trace(), start_ns=days_ago_ns(OLD_DAYS[number % len(OLD_DAYS)])) for number in range(3000)]
    retaining = await Database.open(server.url(database_name), pool_size=1)
    async with writing(telling) as writer:
        await writer.write(batch(old))
        pid, began = await pid_of(retaining), server.log_file.stat().st_size
        expiring = asyncio.create_task(expire_all(retaining))
        late = iter(old[:500])
        while not expiring.done():
            new = [root(trace()) for _ in range(50)]
            again = [step(row.trace_id, start_ns=row.start_ns) for _, row in zip(range(5), late, strict=False)]
            await writer.write(batch(new + again))
        await expiring
    assert pid not in holders(server.log_file.read_bytes()[began:].decode())
    await retaining.close()


async def test_the_witness_sees_a_long_wait(telling: Database, server: Server) -> None:
    began = server.log_file.stat().st_size
    async with telling.connection() as holder, telling.connection() as other, asyncio.timeout(20):
        pid = await holder.fetchval("SELECT pg_backend_pid()")
        holding = holder.transaction()
        await holding.start()
        await holder.execute("LOCK TABLE steps")
        waiting = asyncio.create_task(other.fetch("SELECT FROM steps"))
        while pid not in holders(server.log_file.read_bytes()[began:].decode()):
            await asyncio.sleep(0.01)
        assert not waiting.done()
        await holding.rollback()
        assert await waiting == []
