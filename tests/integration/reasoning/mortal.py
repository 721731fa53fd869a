"""A worker that dies before a chosen statement as SIGKILL would let it: from then on nothing of it reaches Postgres."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from collector.reasoning.worker import Worker
from collector.store.database import Database, Target, _make_engine

STATEMENTS = ("execute", "_execute", "_executemany")


class Killed(BaseException):
    """No handler of ours may catch this."""


class Fate:
    """Counts the statements of one worker, and ends it before the one of this number."""

    def __init__(self, dies_at: int) -> None:
        self.dies_at = dies_at
        self.statements = 0
        self.died = asyncio.Event()

    def meet(self) -> None:
        self.statements += 1
        if self.statements >= self.dies_at:
            self.died.set()
            raise Killed


def connection_class(fate: Fate) -> type[asyncpg.Connection]:
    class Mortal(asyncpg.Connection):
        pass

    def watched(name: str) -> Callable[..., Any]:
        original = getattr(asyncpg.Connection, name)

        async def meet(self: asyncpg.Connection, *arguments: Any, **options: Any) -> Any:
            fate.meet()
            return await original(self, *arguments, **options)

        return meet

    for name in STATEMENTS:
        setattr(Mortal, name, watched(name))
    return Mortal


@asynccontextmanager
async def mortal_database(url: str, fate: Fate) -> AsyncIterator[Database]:
    kind = connection_class(fate)

    class MortalTarget(Target):
        async def connect(self, **options: Any) -> asyncpg.Connection:
            made.append(await super().connect(connection_class=kind, **options))
            return made[-1]

    made: list[asyncpg.Connection] = []
    target = MortalTarget(url)
    database = Database(target, _make_engine(target, 5))
    try:
        yield database
    finally:
        for connection in made:
            connection.terminate()
        await database.engine.dispose(close=False)


@asynccontextmanager
async def living(worker: Worker, fate: Fate) -> AsyncIterator[None]:
    """Runs a worker until the block is done; one that is dead leaves without a word."""
    await worker.start()
    try:
        yield
    finally:
        fate.dies_at = 0
        for task in (*worker._loops, *worker._helpers):
            task.cancel()
        await asyncio.gather(*worker._loops, *worker._helpers, return_exceptions=True)
        if worker._engine is not None and worker._engine.close is not None:
            await worker._engine.close()
