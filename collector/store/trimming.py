"""The loop that closes pooled connections which nobody needed lately: each is a server process of several megabytes."""

import asyncio
from contextlib import suppress
from typing import cast

from sqlalchemy import QueuePool, event
from sqlalchemy.util import greenlet_spawn

from collector.store.database import CLOSE_LIMIT_S, Database
from collector.store.loop import Loop
from collector.telemetry import Telemetry

FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 60.0
"""Soon after the start, when all loops begin at once, then more and more seldom: a connection costs 5 ms."""


class Trimming(Loop):
    """Compares what is open with the most that was in use at one time since it looked last."""

    def __init__(self, database: Database, telemetry: Telemetry) -> None:
        super().__init__("trimming", telemetry, LONGEST_PAUSE_S)
        self._engine = database.engine
        self._pause_s = FIRST_PAUSE_S
        self._most = 0
        """How many were in use at one time since the last look."""
        event.listen(self._engine.sync_engine, "checkout", self._note)

    async def turn(self) -> float:
        await self.trim()
        pause_s, self._pause_s = self._pause_s, min(self._pause_s * 2, LONGEST_PAUSE_S)
        return pause_s

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
