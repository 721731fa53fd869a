"""The loop that closes pooled connections which nobody needed lately: each is a server process of several megabytes."""

import asyncio
from contextlib import suppress
from random import uniform
from typing import cast

from sqlalchemy import QueuePool, event
from sqlalchemy.util import greenlet_spawn

from collector.store.database import CLOSE_LIMIT_S, Database
from collector.telemetry import Telemetry

FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 60.0
"""Soon after the start, when all loops begin at once, then more and more seldom: a connection costs 5 ms."""


class Trimming:
    """Compares what is open with the most that was in use at one time since it looked last."""

    def __init__(self, database: Database, telemetry: Telemetry) -> None:
        self._engine = database.engine
        self._telemetry = telemetry
        self._most = 0
        """How many were in use at one time since the last look."""
        self._task: asyncio.Task[None] | None = None
        event.listen(self._engine.sync_engine, "checkout", self._note)

    @property
    def is_healthy(self) -> bool:
        return self._task is not None and not self._task.done()

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="trimming")

    async def stop(self) -> None:
        """Safe twice, and without a start."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def trim(self) -> None:
        """Close all pooled connections where fewer would have done, unless one is in use; they are opened as needed."""
        pool = self._pool()
        most, self._most = self._most, 0
        if pool.checkedout() or pool.checkedin() <= most:
            return
        # A new pool first, without a turn of the event loop between: nobody is given what is being closed.
        await self._engine.dispose(close=False)
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_LIMIT_S):
                await greenlet_spawn(pool.dispose)

    def _pool(self) -> QueuePool:
        return cast("QueuePool", self._engine.pool)

    def _note(self, *_: object) -> None:
        self._most = max(self._most, self._pool().checkedout())

    async def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            await asyncio.sleep(pause_s * uniform(0.8, 1.2))  # noqa: S311 - jitter
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
            try:
                await self.trim()
            except Exception as error:  # noqa: BLE001 - the loop goes on; the server may be away
                self._telemetry.errors.report("trimming", error)
