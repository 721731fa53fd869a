"""What a worker does with what it found due: one way for fast reasoners, two lanes for slow ones."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from uuid import UUID, uuid4

from collector.errors import Unavailable
from collector.model import ExecutionKey
from collector.reasoning.keeper import Keeper
from collector.reasoning.provider import Provider
from collector.reasoning.settlement import Settlement
from collector.reasoning.work import Work
from collector.store.database import Database
from collector.store.jobs import Taken, take

BUSY_REST = 1.5
"""Rest after each batch while ingest is busy, as a multiple of the time that the batch took."""


class Lanes:
    """Each lane takes some of the executions it is shown, and says whether there was anything to do."""

    def __init__(self, database: Database, work: Work, settlement: Settlement, keeper: Keeper) -> None:
        self.provider: Provider | None = None
        self.busy: Callable[[], bool] = lambda: False
        self.on_commit: list[Callable[[list[ExecutionKey]], None]] = []
        self._database = database
        self._work = work
        self._settlement = settlement
        self._keeper = keeper

    async def explain_batch(self, keys: Sequence[ExecutionKey]) -> bool:
        """All the work of a fast reasoner, for many executions in a few statements."""
        began = time.monotonic()
        if takings := await self._take(keys):
            await self._hold(takings, only_settle=False)
        await self._step_aside(time.monotonic() - began)
        return bool(keys)

    async def settle_batch(self, keys: Sequence[ExecutionKey]) -> bool:
        """Settle executions at once; they wait for the slow reasoner in a lane of their own."""
        began = time.monotonic()
        if takings := await self._take(keys):
            await self._hold(takings, only_settle=True)
        await self._step_aside(time.monotonic() - began)
        return bool(keys)

    async def explain_one(self, keys: Sequence[ExecutionKey]) -> bool:
        """One execution at a time, with a place at the provider before it is taken."""
        if not keys:
            return False
        async with self._place() as place:
            if place is None:
                return False
            with self._keeper.holding_slot(place):
                for key in keys:
                    if takings := await self._take([key]):
                        await self._hold(takings, only_settle=False)
                        break
        return True

    def _place(self) -> AbstractAsyncContextManager[UUID | None]:
        return self.provider.place(self._keeper.lease) if self.provider else nullcontext(uuid4())

    async def _take(self, keys: Sequence[ExecutionKey]) -> list[Taken]:
        if not keys:
            return []
        async with self._database.connection() as conn, conn.transaction():
            return await take(conn, {key: uuid4() for key in keys}, self._keeper.lease)

    async def _hold(self, takings: list[Taken], *, only_settle: bool) -> None:
        """Work under the lease; what is interrupted goes back at once, and costs no attempt."""
        with self._keeper.holding(takings):
            try:
                await self._do(takings, only_settle)
            except (asyncio.CancelledError, Unavailable):
                await asyncio.shield(self._settlement.return_jobs(takings))
                raise

    async def _do(self, takings: list[Taken], only_settle: bool) -> None:
        outcomes = await self._work.load(takings)
        if not only_settle:
            for outcome in outcomes:
                await self._work.explain(outcome)
        await self._settlement.write(outcomes, only_settle=only_settle)
        for tell in self.on_commit:
            tell([taken.key for taken in takings])

    async def _step_aside(self, took_s: float) -> None:
        """While ingest is busy, leave it most of the time."""
        if self.busy():
            await asyncio.sleep(took_s * BUSY_REST)
