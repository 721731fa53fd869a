"""A worker in a process of its own, told by one JSON argument what to do; also one that dies at a chosen statement."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import asyncpg
import msgspec

from collector.config import Settings
from collector.model import Explanation
from collector.reasoning import making
from collector.reasoning.case import Case
from collector.reasoning.making import make_worker
from collector.reasoning.reasoner import Engine
from collector.reasoning.worker import Worker, WorkerOptions
from collector.store.database import Database
from collector.telemetry import Telemetry, start_logging

STATEMENTS = ("execute", "_execute", "_executemany")
# What is put off is not waited for.
QUIET = """
SELECT NOT EXISTS (SELECT FROM reasoning_jobs
    WHERE (status = 'pending' AND run_at < now() + interval '1 minute')
        OR (status = 'processing' AND lease_until < now() + interval '1 hour'))
"""
ENDED, KILLED_ITSELF = 0, -signal.SIGKILL


class Order(msgspec.Struct, kw_only=True):
    url: str
    settings: dict[str, Any] = {}
    deadly: str = ""
    """Hex of a trace whose explanation ends the process."""
    grace_s: float = 5.0


class Deadly:
    """Wraps a reasoner; one execution takes the process down."""

    def __init__(self, reasoner: Any, trace_id: bytes) -> None:
        self._reasoner = reasoner
        self._trace_id = trace_id

    async def explain(self, case: Case) -> list[Explanation]:
        if case.key.trace_id == self._trace_id:
            os._exit(9)
        found: list[Explanation] = await self._reasoner.explain(case)
        return found


def quicken() -> None:
    """Short polls and sweeps."""
    of = WorkerOptions.of

    def quicker(settings: Settings) -> WorkerOptions:
        return msgspec.structs.replace(of(settings), poll_ms=50, sweep_ms=100, listen=False)

    making.WorkerOptions.of = quicker


async def make(order: Order) -> tuple[Worker, Database, Telemetry]:
    database, telemetry = await Database.open(order.url, pool_size=5), Telemetry()
    worker = make_worker(Settings(**{"reasoner_settle_ms": 0} | order.settings), database, telemetry)
    if order.deadly:
        engine: Engine = worker._work._engine
        worker._work._engine = engine._replace(reasoner=Deadly(engine.reasoner, bytes.fromhex(order.deadly)))
    return worker, database, telemetry


async def run(order: Order) -> None:
    """Work until SIGTERM; says when it begins, and at its end how many leases it lost."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    worker, database, telemetry = await make(order)
    await worker.start()
    print("ready", flush=True)
    await stop.wait()
    await worker.stop(order.grace_s)
    await database.close()
    print(json.dumps({"lost": telemetry.metrics.lease_lost._value.get()}), flush=True)


async def work_until_quiet(order: Order, on_statement: Callable[[], None]) -> None:
    worker, database, _ = await make(order)
    async with database.connection() as conn:
        await conn.fetchval(QUIET)
    for name in STATEMENTS:
        watch(name, on_statement)
    await worker.start()
    asked = await asyncpg.connect(order.url, connection_class=Unwatched)
    while not await asked.fetchval(QUIET):
        await asyncio.sleep(0.01)
    await asked.close()
    os._exit(ENDED)


class Unwatched(asyncpg.Connection):
    """Its statements are the test's own."""


def watch(name: str, on_statement: Callable[[], None]) -> None:
    original = getattr(asyncpg.Connection, name)

    async def counted(self: asyncpg.Connection, *arguments: Any, **options: Any) -> Any:
        if type(self) is not Unwatched:  # asyncpg answers isinstance() with yes for every connection
            on_statement()
        return await original(self, *arguments, **options)

    setattr(asyncpg.Connection, name, counted)


def die_at(order: Order, number: int) -> int:
    """Work in a forked child that kills itself before its statement of this number; how it ended."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    count = 0

    def on_statement() -> None:
        nonlocal count
        count += 1
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)

    asyncio.run(work_until_quiet(order, on_statement))
    raise AssertionError


def die_everywhere(order: Order) -> None:
    """For each line of input, a child that dies one statement later than the one before; says how it ended."""
    for number, _ in enumerate(sys.stdin, 1):
        print(die_at(order, number), flush=True)


def main() -> None:
    start_logging()
    quicken()
    order = msgspec.json.decode(sys.argv[2], type=Order)
    if sys.argv[1] == "run":
        asyncio.run(run(order))
    else:
        die_everywhere(order)


if __name__ == "__main__":
    main()
